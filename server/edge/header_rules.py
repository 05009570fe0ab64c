"""A site's `_headers` file: compiled once, applied when a response is rendered.

1. `compile_headers`  the text → `HeaderRules`: rules that work, problems by line
2. `edits_for`        the edits that count for one answer, each with its line
3. `collect`          what they come to, header by header
4. `merge`            the answer's headers with that

A rule is a path pattern (`patterns`) in the first column and, indented below it, `Name: value` to set a header or
`! Name` to remove it; a line that begins with `#` is a comment. What a rule sets takes the place of the server's own
value; what later rules set for the same name is added with a comma. Set-Cookie, which has no lists, is added as it is
(RFC 9110 §5.3); of Content-Type, which has none either, the last one counts. `! Name` forgets all of that and the
server's value too. Vary is the exception: what a rule sets is added to what the server says.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypeAlias

from server.edge.patterns import Pattern, parse_pattern, split_path
from server.edge.response import Headers
from server.edge.rule_lines import Problem, Report, RuleError, check_line, read_lines

MAX_RULES = 100
MAX_EDITS = 100  # headers set or removed by one rule
MAX_LINE = 2000  # characters
MAX_ADDED = 16 * 1024  # bytes of names and values in one answer; clients refuse heads not much larger

_REFUSED = """
    etag last-modified content-length content-encoding content-range accept-ranges location date server connection
    transfer-encoding upgrade trailer alt-svc repr-digest content-digest
"""
# Header → why a rule may neither set nor remove it.
_OURS = dict.fromkeys(_REFUSED.split(), "is the server's to say: remove the line") | dict.fromkeys(
    ("keep-alive", "proxy-connection", "te"),
    "is about the connection, which makes a response malformed in HTTP/2 (RFC 9113 §8.2.2): remove the line",
)
_KEPT = {
    "x-content-type-options": "stays nosniff on every answer",
    "vary": "can be extended and not shortened, or caches would mix up visitors",
    "content-type": "can be changed and not removed: set the type that is meant",
}

_TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")  # RFC 9110 §5.6.2
_NOT_IN_A_VALUE = re.compile(r"[^\t\x20-\x7e]")  # §5.5, without obs-text


@dataclass(frozen=True, slots=True)
class Edit:
    """One indented line. `name` is in lower case; `value` None removes."""

    line: int
    name: bytes
    value: bytes | None


Changes: TypeAlias = dict[bytes, list[Edit]]


@dataclass(frozen=True, slots=True)
class HeaderRule:
    line: int
    pattern: Pattern
    edits: tuple[Edit, ...]


@dataclass(frozen=True, slots=True)
class HeaderRules:
    """A compiled file. `unlisted` counts problems beyond those that are listed."""

    rules: tuple[HeaderRule, ...]
    problems: tuple[Problem, ...]
    unlisted: int


def compile_headers(text: str) -> HeaderRules:
    """Any text compiles; what cannot be understood is among the problems.

    A pattern that cannot be takes the lines below it along, which are not reported one by one.
    """
    report = Report()
    rules: list[HeaderRule] = []
    for (number, line), indented in _blocks(text, report):
        try:
            pattern = _parse_head(line, len(rules))
        except RuleError as error:
            report.add(number, line, f"{error} (the indented lines below it are left out too)")
            continue
        if not indented:
            report.add(number, line, "has no header: write Name: value below it, indented")
            continue
        for extra in indented[MAX_EDITS:]:
            report.add(*extra, f"is one too many: a rule has at most {MAX_EDITS} headers; leave some out")
        edits = tuple(edit for below in indented[:MAX_EDITS] if (edit := _read_edit(*below, report)))
        rules.append(HeaderRule(number, pattern, edits))
    return HeaderRules(tuple(rules), report.problems, report.unlisted)


def _blocks(text: str, report: Report) -> Iterator[tuple[tuple[int, str], list[tuple[int, str]]]]:
    """Each line in the first column with the indented ones below it."""
    head: tuple[int, str] | None = None
    indented: list[tuple[int, str]] = []
    for number, line in read_lines(text, report):
        if line[0] not in " \t":
            if head is not None:
                yield head, indented
            head, indented = (number, line), []
        elif head is None:
            report.add(number, line, "has no pattern above it: begin with a path such as /* in the first column")
        else:
            indented.append((number, line))
    if head is not None:
        yield head, indented


def _parse_head(line: str, count: int) -> Pattern:
    check_line(line, MAX_LINE)
    if " " in line or "\t" in line:
        raise RuleError("is no path: indent it if it is a header, or write %20 for a space in a path")
    pattern = parse_pattern(line)
    if count == MAX_RULES:
        raise RuleError(f"is more than the {MAX_RULES} rules that a file can have: put several into one with /*")
    return pattern


def _read_edit(number: int, line: str, report: Report) -> Edit | None:
    try:
        return _parse_edit(number, line)
    except RuleError as error:
        report.add(number, line, str(error))
        return None


def _parse_edit(number: int, line: str) -> Edit:
    check_line(line, MAX_LINE)
    text = line.strip(" \t")
    if text.startswith("!"):
        name = _parse_name(text[1:].strip(" \t"))
        if name in _KEPT:
            raise RuleError(f"{name} {_KEPT[name]}")
        return Edit(number, name.encode("ascii"), None)
    name, colon, value = text.partition(":")
    if not colon:
        raise RuleError("is no header: write Name: value, or ! Name to remove one")
    name, value = _parse_name(name), value.strip(" \t")
    if not value:
        raise RuleError(f"{name} has no value: write one, or ! {name} to remove it")
    if found := _NOT_IN_A_VALUE.search(value):
        raise RuleError(f"{name} has {found[0]!r} in its value, which can only be visible ASCII: encode or remove it")
    if judge := _VALUES.get(name):
        value = judge(value)
    return Edit(number, name.encode("ascii"), value.encode("ascii"))


def _parse_name(name: str) -> str:
    """In lower case."""
    if not _TOKEN.fullmatch(name):
        raise RuleError(
            f"{name!r} is no header name: it has letters, digits and hyphens, and the colon follows at once"
        )
    name = name.lower()
    if name in _OURS:
        raise RuleError(f"{name} {_OURS[name]}")
    return name


def _judge_cookie(value: str) -> str:
    names = (attribute.partition("=")[0].strip(" \t").lower() for attribute in value.split(";")[1:])
    if "domain" in names:
        raise RuleError("set-cookie has a Domain, which would give it to other sites: leave the attribute out")
    return value


def _judge_nosniff(value: str) -> str:
    if value.lower() != "nosniff":
        raise RuleError(f"x-content-type-options {_KEPT['x-content-type-options']}: remove the line")
    return "nosniff"


def _judge_vary(value: str) -> str:
    if not all(_TOKEN.fullmatch(name.strip(" \t")) for name in value.split(",")):
        raise RuleError("vary is a list of header names with commas: write it so")
    return value


_VALUES: dict[str, Callable[[str], str]] = {
    "set-cookie": _judge_cookie,
    "x-content-type-options": _judge_nosniff,
    "vary": _judge_vary,
}


def edits_for(rules: HeaderRules, request_path: str, served_path: str | None, status: int) -> Iterator[Edit]:
    """The edits that count, in the order of the file.

    `request_path` is from `decode_path`; `served_path` is the file's below the site's prefix, beginning with a slash,
    and None where no file is served. Cache-Control has to be meant for that file, not for the path alone: a fallback
    page does not become immutable because a script's path got it. Errors are never made cacheable.
    """
    asked = split_path(request_path)
    served = None if served_path is None or status >= 400 else split_path(served_path)
    own = served_path is not None and _is_own(request_path, served_path)
    for rule in rules.rules:
        if rule.pattern.match(asked) is None:
            continue
        caching = served is not None and (own or rule.pattern.match(served) is not None)
        for edit in rule.edits:
            if caching or edit.name != b"cache-control":
                yield edit


def _is_own(request_path: str, served_path: str) -> bool:
    """Whether the file is what the path names, be it by a clean URL or as the index of a folder."""
    if request_path.endswith("/"):
        return served_path.startswith(request_path)
    return served_path in (request_path, request_path + ".html")


def collect(rules: HeaderRules, request_path: str, served_path: str | None, status: int) -> Changes:
    """What the edits that count come to: by header, those whose values it gets; the first may be one that removes what
    the server and earlier rules say."""
    changes: Changes = {}
    added = 0
    for edit in edits_for(rules, request_path, served_path, status):
        if edit.value is None:
            changes[edit.name] = [edit]
            continue
        added += len(edit.name) + len(edit.value)
        if added > MAX_ADDED:
            continue
        given = changes.setdefault(edit.name, [])
        if edit.name == b"content-type":
            given.clear()
        # "*, *" is no Access-Control-Allow-Origin, and a list gains nothing by it.
        if not given or edit.value not in [earlier.value for earlier in given]:
            given.append(edit)
    return changes


def merge(headers: Headers, changes: Changes) -> Headers:
    """`headers`, names in lower case, with `changes`; the server's stay in their places."""
    if not changes:
        return headers
    left = {name: [edit.value for edit in edits if edit.value is not None] for name, edits in changes.items()}
    merged: list[tuple[bytes, bytes]] = []
    for name, value in headers:
        if name == b"vary":
            merged.append((name, _extend(value, left.pop(name, []))))
        elif name in left:
            merged += _render(name, left[name])
            left[name] = []  # should the server have it twice, the first is replaced and the second goes
        else:
            merged.append((name, value))
    for name, values in left.items():
        merged += _render(name, values)
    return tuple(merged)


def _render(name: bytes, values: list[bytes]) -> list[tuple[bytes, bytes]]:
    if name == b"set-cookie" or not values:
        return [(name, value) for value in values]
    return [(name, b", ".join(values))]


def _extend(value: bytes, more: list[bytes]) -> bytes:
    """A list of header names with those of `more` that it does not have."""
    first: dict[bytes, bytes] = {}
    for part in (value, *more):
        for name in part.split(b","):
            first.setdefault(name.strip(b" \t").lower(), name.strip(b" \t"))
    return b", ".join(first.values())

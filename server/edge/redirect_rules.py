"""One rule of a `_redirects` file: `from [query=value …] to [status][!] [Condition=value …]`.

1. `parse_rule`   the words of a line → `Rule`, or `RuleError` that says how to mend it
2. `Rule.admit`   whether it is for this visitor, and what its query matches capture
3. `Target`       where it leads; no Location with a control character, or to a host that is not written out, can be
                  made of one, whatever a request has captured
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from unicodedata import normalize
from urllib.parse import quote, unquote

from server.edge.hosts import HostError, parse_authority
from server.edge.paths import encode_path
from server.edge.patterns import PLACEHOLDER, Pattern, Template, decode_text, parse_pattern, parse_template
from server.edge.rule_lines import RuleError, check_line
from server.edge.visitor import LANGUAGE_TAG, NO_INPUTS, Inputs, Visitor, decode_parameter, is_page_path

MAX_LINE = 1000  # characters
REDIRECTS = frozenset({301, 302, 303, 307, 308})
STATUSES = REDIRECTS | {200, 404, 410, 451}
DEFAULT_STATUS = 301

_STATUS = re.compile(r"([0-9]+)(!?)")
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.\-]*:")
_ORIGIN = re.compile(r"(https?)://([^/]*)", re.IGNORECASE)
_HOST = re.compile(r"[A-Za-z0-9._\-:\[\]]+")
_CONDITIONS = {"language": LANGUAGE_TAG, "cookie": re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")}  # RFC 6265 §4.1.1
_MALFORMED_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")
_SLASHES = re.compile(r"/{2,}")
_NOT_IN_A_SEGMENT = re.compile(r"[/\\\x00-\x1f\x7f]")

_URL_SAFE = "/:@!$&'()*+,;=-._~?%"  # what RFC 3986 allows in a path, query or fragment; `%` only in good escapes
_QUERY_SAFE = "".join(map(chr, range(0x21, 0x7F))).replace("#", "")  # what split_target lets into a query


@dataclass(frozen=True, slots=True)
class Target:
    """Where a rule leads. `origin` is "https://host" of another site, or "" for a path of this one.

    The own path is kept decoded, as files' names are; all else is percent-encoded. `query` is None where the rule
    says none: then the request's goes along. A lone `?` at the end says an empty one, which drops it.
    """

    text: str = field(compare=False)
    origin: str
    path: Template
    query: Template | None
    fragment: Template | None

    @property
    def names(self) -> frozenset[str]:
        """The placeholders in it."""
        parts = (self.path, self.query, self.fragment)
        return frozenset(name for part in parts if part is not None for name in part.names)

    def file_path(self, values: Mapping[str, str]) -> str:
        """The decoded path. An empty splat may have left two slashes, which at the front would name a host."""
        return normalize("NFC", _SLASHES.sub("/", self.path.expand(values, str)))

    def query_with(self, values: Mapping[str, str], query: str) -> str:
        """The query of a request that had `query` and is sent here, both without the "?"."""
        # The request's is visible ASCII already; to quote it again makes that true whoever calls.
        return quote(query, safe=_QUERY_SAFE) if self.query is None else self.query.expand(values, _encode_value)

    def location(self, values: Mapping[str, str], query: str) -> str:
        """The Location for a request with `query`, all visible ASCII."""
        if self.origin:
            location = self.origin + self.path.expand(values, encode_path)
        else:
            location = encode_path(self.file_path(values))
        if query := self.query_with(values, query):
            location = f"{location}?{query}"
        return location if self.fragment is None else f"{location}#{self.fragment.expand(values, _encode_value)}"


def _encode_value(value: str) -> str:
    return quote(value, safe="")


@dataclass(frozen=True, slots=True)
class Rule:
    """A compiled rule. `line` counts from 1; `inputs` are what it reads of a request besides the path.

    `path_captures` are the query names whose value gets into the target's path. `navigations_only`: the rule is passed
    over where the request is not for a page to show.
    """

    line: int
    text: str = field(compare=False)
    pattern: Pattern
    literals: tuple[tuple[str, str], ...]  # query name, value that it must have
    captures: tuple[tuple[str, str], ...]  # query name, placeholder that takes its value
    target: Target
    status: int
    forced: bool
    languages: frozenset[str]
    cookies: frozenset[str]
    path_captures: frozenset[str] = field(init=False, compare=False)
    navigations_only: bool = field(init=False, compare=False)
    inputs: Inputs = field(init=False, compare=False)

    def __post_init__(self) -> None:
        in_path = self.target.path.names
        captured = frozenset(name for name, placeholder in self.captures if placeholder in in_path)
        names = frozenset(name for name, _ in (*self.literals, *self.captures))
        fallback = self._is_fallback()
        object.__setattr__(self, "path_captures", captured)
        object.__setattr__(self, "navigations_only", fallback)
        object.__setattr__(self, "inputs", Inputs(names, self.cookies, self.languages, fallback) or NO_INPUTS)

    def _is_fallback(self) -> bool:
        """Whether it is an application's one page for whatever is not there: `/* /index.html 200`.

        A missing script, style or image must not get that page. With `!` its author has said that everything shall.
        """
        written_out = self.pattern.splat and not self.target.names
        return self.status == 200 and not self.forced and written_out and is_page_path(self.target.path.pieces[0])

    @property
    def is_redirect(self) -> bool:
        return self.status in REDIRECTS

    def admit(self, captured: Sequence[str], visitor: Visitor) -> dict[str, str] | None:
        """The values of all placeholders, if the rule is for this visitor; `captured` is from its pattern."""
        if self.cookies and self.cookies.isdisjoint(visitor.cookie_names):
            return None
        if self.languages and self.languages.isdisjoint(visitor.languages):
            return None
        for name, value in self.literals:
            if visitor.parameters.get(name) != value:
                return None
        values = {}
        for name, placeholder in self.captures:
            taken = visitor.parameters.get(name)
            if not taken or (name in self.path_captures and not is_segment(taken)):
                return None
            values[placeholder] = taken
        values.update(zip(self.pattern.names, captured, strict=True))
        return values


def is_segment(value: str) -> bool:
    """Whether a query's value can stand in a path without leading elsewhere."""
    return value not in (".", "..") and not _NOT_IN_A_SEGMENT.search(value)


def parse_rule(number: int, line: str) -> Rule:
    """The rule on a line that is neither blank nor a comment. Raises `RuleError`."""
    check_line(line, MAX_LINE)
    words = _words(line)
    pattern = parse_pattern(words[0])
    place = 1
    while place < len(words) and _is_query_match(words[place]):
        place += 1
    if place == len(words):
        raise RuleError("has no target: write where it leads after what it matches, as in /old /new")
    if not words[place].startswith("/") and not _ORIGIN.match(words[place]):
        raise RuleError(
            f"{words[place]} is neither a query match (name=value) nor a target: write a path that begins with / or a"
            " URL that begins with https://"
        )
    literals, captures = _parse_query_matches(words[1:place], pattern)
    status, forced, conditions = _parse_status(words[place + 1 :])
    target = _parse_target(words[place], status)
    known = {*pattern.names, *(placeholder for _, placeholder in captures)}
    if unknown := sorted(target.names - known):
        raise RuleError(
            f"the target has :{unknown[0]}, which nothing before it captures: capture it, or write %3A to mean a colon"
        )
    return Rule(number, line, pattern, literals, captures, target, status, forced, *_parse_conditions(conditions))


def _words(line: str) -> list[str]:
    """Up to a comment: a word that begins with `#`. Inside a word it begins a fragment."""
    words = line.replace("\t", " ").split(" ")
    comment = next((place for place, word in enumerate(words) if word.startswith("#")), len(words))
    return [word for word in words[:comment] if word]


def _is_query_match(word: str) -> bool:
    return "=" in word and not word.startswith("/") and not _SCHEME.match(word)


def _parse_query_matches(
    words: Sequence[str], pattern: Pattern
) -> tuple[tuple[tuple[str, str], ...], tuple[tuple[str, str], ...]]:
    literals, captures = {}, {}
    taken = set(pattern.names)
    for word in words:
        name, _, value = word.partition("=")
        name = decode_parameter(name)
        if not name or name in literals or name in captures:
            raise RuleError(f"{word}: a query match is name=value, each name once")
        if value == "*":
            raise RuleError(f"{word}: write {name}=:{name} to match any value")
        if found := PLACEHOLDER.fullmatch(value):
            if found[1] in taken:
                raise RuleError(f"{word}: :{found[1]} is taken; give each placeholder a name of its own")
            taken.add(found[1])
            captures[name] = found[1]
        else:
            literals[name] = decode_parameter(value)
    return tuple(literals.items()), tuple(captures.items())


def _parse_status(words: Sequence[str]) -> tuple[int, bool, Sequence[str]]:
    """(status, forced, what follows) of the words after the target."""
    if not words or "=" in words[0]:
        return DEFAULT_STATUS, False, words
    found = _STATUS.fullmatch(words[0])
    if found is None or found[1] not in map(str, STATUSES):
        allowed = " ".join(map(str, sorted(STATUSES)))
        raise RuleError(f"{words[0]} is no status that a rule can give: write one of {allowed}, with ! to force it")
    return int(found[1]), bool(found[2]), words[1:]


def _parse_conditions(words: Sequence[str]) -> tuple[frozenset[str], frozenset[str]]:
    """(languages, cookies)."""
    found: dict[str, frozenset[str]] = {}
    for word in words:
        name, _, text = word.partition("=")
        name = name.lower()
        grammar = _CONDITIONS.get(name)
        if grammar is None:
            raise RuleError(
                f"{word} is no condition that is known: write Language=de,fr or Cookie=name, or leave it out"
            )
        values = (text.lower() if name == "language" else text).split(",")
        if name in found or not all(map(grammar.fullmatch, values)):
            raise RuleError(f"{word}: write each condition once, its values with commas and no spaces between them")
        found[name] = frozenset(values)
    return found.get("language", frozenset()), found.get("cookie", frozenset())


def _parse_target(text: str, status: int) -> Target:
    if "\\" in text:
        raise RuleError(f"{text} has a backslash, which browsers take for a slash: write /")
    head, hash_, fragment = text.partition("#")
    head, mark, query = head.partition("?")
    if head.startswith("//"):
        raise RuleError(f"{text} would lead to another host: write https:{text}, or one slash for a path of this site")
    full = _ORIGIN.match(head)
    origin, path = (_parse_origin(full), head[full.end() :] or "/") if full else ("", head)
    if status not in REDIRECTS and (origin or mark or hash_):
        raise RuleError(
            f"{text}: with {status} a file of this site answers; write its path alone, or a redirect's status"
        )
    for segment in path.split("/"):
        if unquote(PLACEHOLDER.sub("", segment)) in (".", ".."):
            raise RuleError(f"{text} has a segment of dots, {segment}: write the path that is meant")
    return Target(
        text=text,
        origin=origin,
        path=parse_template(path, _encode_text if origin else decode_text),
        query=parse_template(query, _encode_text) if mark else None,
        fragment=parse_template(fragment, _encode_text) if hash_ else None,
    )


def _parse_origin(found: re.Match[str]) -> str:
    scheme, authority = found.groups()
    try:
        parse_authority(authority)
        valid = _HOST.fullmatch(authority)
    except HostError:
        valid = None
    if not valid:
        raise RuleError(
            f"{found[0]} names no host that a rule can lead to: write it out, in xn-- labels if it is not ASCII,"
            " without user or placeholder, as in https://example.com/"
        )
    return f"{scheme.lower()}://{authority}"


def _encode_text(text: str) -> str:
    """Part of a URL as its author wrote it: escapes stay, what has to be escaped and is not will be."""
    if _MALFORMED_ESCAPE.search(text):
        raise RuleError(f"{text} has a % that begins no escape: write %25 to mean the sign")
    return quote(text, safe=_URL_SAFE)

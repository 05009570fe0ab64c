"""The `_headers` file: what its rules do to an answer, what is reported, and what no tenant can do with it."""

from __future__ import annotations

import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.edge.header_rules import (
    MAX_ADDED,
    MAX_EDITS,
    MAX_LINE,
    MAX_RULES,
    HeaderRules,
    collect,
    compile_headers,
    edits_for,
    merge,
)
from server.edge.response import NO_STORE, NOSNIFF, REVALIDATE, Headers
from server.edge.rule_lines import MAX_PROBLEMS
from tests.support.texts import header_files

BASE: Headers = (
    (b"content-type", b"text/html; charset=utf-8"),
    (b"content-length", b"5"),
    (b"etag", b'"x"'),
    (b"vary", b"Accept-Encoding"),
    REVALIDATE,
    NOSNIFF,
)


def apply(rules: HeaderRules, path: str, served: str | None, status: int, base: Headers) -> Headers:
    """`base` with what the rules say."""
    return merge(base, collect(rules, path, served, status))


def given_headers(
    text: str, path: str = "/a/b.html", served: str | None = "/a/b.html", status: int = 200, base: Headers = BASE
) -> list[tuple[str, str]]:
    """What `text` makes of `base`."""
    headers = apply(compile_headers(text), path, served, status, base)
    return [(name.decode(), value.decode()) for name, value in headers]


def added(text: str, path: str = "/a/b.html") -> list[str]:
    """The values of X in the answer."""
    return [value for name, value in given_headers(text, path) if name == "x"]


# Which rules count


@pytest.mark.parametrize(
    ("pattern", "path", "counts"),
    [
        ("/", "/", True),
        ("/", "/a", False),
        ("/*", "/", True),
        ("/*", "/a/b", True),
        ("/a", "/a", True),
        ("/a", "/a/", False),
        ("/a/*", "/a", True),
        ("/a/*", "/a/b/c", True),
        ("/a/*", "/ab", False),
        ("/:x/b", "/a/b", True),
        ("/:x/b", "/a/c", False),
        ("/caf%C3%A9", "/café", True),
    ],
)
def test_patterns_match_the_path_that_was_asked_for(pattern: str, path: str, counts: bool) -> None:
    assert added(f"{pattern}\n  X: 1", path) == ["1"] * counts


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("/*\n X: 1", ["1"]),
        ("/*\n\tX:1", ["1"]),
        ("/*\n  x :  1", []),
        ("/*\n  X: 1 \t", ["1"]),
        ("/*\n  X: a: b # c", ["a: b # c"]),
        ("# note\n/*\n  # note\n\n  X: 1\n# note\n  X: 2", ["1, 2"]),
        ("/*\n  X: 1\n/a/*\n  X: 2\n/b\n  X: 3", ["1, 2"]),
        ("/a/*\n  X: 2\n/*\n  X: 1", ["2, 1"]),
        ("/*\n  X: 1\n/a/*\n  X: 1", ["1"]),
        ("/*\n  X: 1\n/a/*\n  ! X", []),
        ("/*\n  X: 1\n/a/*\n  !X\n  X: 2", ["2"]),
        ("/*\n  X: 1\n/b\n  ! X", ["1"]),
        ("/*\r\n  X: 1\r\n", ["1"]),
        ("\ufeff/*\n  X: 1", ["1"]),
        ("", []),
    ],
)
def test_rules_add_up(text: str, expected: list[str]) -> None:
    assert added(text) == expected


def test_names_are_compared_without_case_and_sent_in_lower_case() -> None:
    assert added("/*\n  x: 1\n  X: 2") == ["1, 2"]


def test_no_edit_no_change() -> None:
    assert apply(compile_headers("/b\n  X: 1"), "/a", "/a", 200, BASE) is BASE


def test_a_rule_replaces_what_the_server_says_in_its_place() -> None:
    text = "/*\n  Content-Type: text/plain\n  Referrer-Policy: no-referrer\n  Cache-Control: max-age=60"
    assert given_headers(text) == [
        ("content-type", "text/plain"),
        ("content-length", "5"),
        ("etag", '"x"'),
        ("vary", "Accept-Encoding"),
        ("cache-control", "max-age=60"),
        ("x-content-type-options", "nosniff"),
        ("referrer-policy", "no-referrer"),
    ]


def test_what_the_server_says_twice_is_replaced_once() -> None:
    base = ((b"link", b"<a>"), (b"etag", b'"x"'), (b"link", b"<b>"))
    assert given_headers("/*\n  Link: <c>", base=base) == [("link", "<c>"), ("etag", '"x"')]


def test_what_the_server_says_can_be_removed() -> None:
    names = [name for name, _ in given_headers("/*\n  ! Cache-Control")]
    assert names == ["content-type", "content-length", "etag", "vary", "x-content-type-options"]


def test_the_last_content_type_counts() -> None:
    text = "/*\n  Content-Type: text/plain\n/a/*\n  Content-Type: text/css"
    assert dict(given_headers(text))["content-type"] == "text/css"


def test_cookies_stay_apart() -> None:
    text = "/*\n  Set-Cookie: a=1; Path=/, x\n  Set-Cookie: b=2; Secure"
    cookies = [value for name, value in given_headers(text) if name == "set-cookie"]
    assert cookies == ["a=1; Path=/, x", "b=2; Secure"]
    assert "set-cookie" not in dict(given_headers(text + "\n  ! Set-Cookie"))


@pytest.mark.parametrize(
    ("base", "lines", "expected"),
    [
        (b"Accept-Encoding", ["X"], "Accept-Encoding, X"),
        (b"Accept-Encoding", ["accept-encoding, X, x", "Y,X"], "Accept-Encoding, X, Y"),
        (b"Accept-Encoding", ["*"], "Accept-Encoding, *"),
        (None, ["X", "Y"], "X, Y"),
    ],
)
def test_vary_is_extended(base: bytes | None, lines: list[str], expected: str) -> None:
    headers = () if base is None else ((b"vary", base),)
    assert given_headers("/*\n" + "\n".join(f"  Vary: {line}" for line in lines), base=headers) == [("vary", expected)]


def test_nosniff_may_be_said_again() -> None:
    compiled = compile_headers("/*\n  X-Content-Type-Options: NoSniff\n  X-Content-Type-Options: nosniff")
    assert not compiled.problems
    assert apply(compiled, "/", "/", 200, (NOSNIFF,)) == (NOSNIFF,)


# Cache-Control

CACHING = """
/assets/*
  Cache-Control: immutable
  X: 1
/about
  Cache-Control: max-age=1
/
  Cache-Control: max-age=2
/docs/
  Cache-Control: max-age=3
/exact.html
  Cache-Control: max-age=4
"""
DEFAULT = REVALIDATE[1].decode()


@pytest.mark.parametrize(
    ("path", "served", "expected"),
    [
        ("/assets/app.js", "/assets/app.js", "immutable"),
        ("/assets/gone.js", "/index.html", DEFAULT),  # an application's fallback page
        ("/assets/gone/", "/index.html", DEFAULT),
        ("/assets/old.js", "/assets/new.js", "immutable"),
        ("/old.js", "/assets/new.js", DEFAULT),
        ("/assets", "/assets/index.html", "immutable"),
        # A file by a shorter name of its own.
        ("/about", "/about.html", "max-age=1"),
        ("/about", "/other.html", DEFAULT),
        ("/", "/index.html", "max-age=2"),
        ("/docs/", "/docs/start.htm", "max-age=3"),
        ("/docs/", "/index.html", DEFAULT),
        ("/exact.html", "/exact.html", "max-age=4"),
        ("/assets/x", None, DEFAULT),
    ],
)
def test_caching_has_to_be_meant_for_the_file(path: str, served: str | None, expected: str) -> None:
    headers = dict(given_headers(CACHING, path, served))
    assert headers["cache-control"] == expected
    assert ("x" in headers) == path.startswith("/assets")


@pytest.mark.parametrize("status", [404, 410, 451, 503])
@pytest.mark.parametrize("line", ["Cache-Control: max-age=60", "! Cache-Control"])
def test_errors_stay_uncacheable(status: int, line: str) -> None:
    text = f"/*\n  {line}\n  X: 1"
    headers = given_headers(text, "/404.html", "/404.html", status, (NO_STORE, NOSNIFF))
    assert headers == [("cache-control", "no-store"), ("x-content-type-options", "nosniff"), ("x", "1")]


# What is reported

REFUSED = """
    ETag Last-Modified Content-Length Content-Encoding Content-Range Accept-Ranges Location Date Server Connection
    Transfer-Encoding Upgrade Trailer Alt-Svc Repr-Digest Content-Digest
"""


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        *(
            (line.format(name), "is the server's to say")
            for name in REFUSED.split()
            for line in ("{}: x", "! {}", "!{}")
        ),
        ("Keep-Alive: timeout=5", "HTTP/2"),
        ("Proxy-Connection: close", "HTTP/2"),
        ("TE: trailers", "HTTP/2"),
        ("! X-Content-Type-Options", "stays nosniff"),
        ("X-Content-Type-Options: sniff", "stays nosniff"),
        ("! Vary", "not shortened"),
        ("Vary: a b", "list of header names"),
        ("Vary: a,,b", "list of header names"),
        ("! Content-Type", "set the type"),
        ("Set-Cookie: a=1; Domain=example.com", "Domain"),
        ("Set-Cookie: a=1;domain", "Domain"),
        ("Set-Cookie: a=1; Path=/; DOMAIN =x", "Domain"),
        ("X", "no header"),
        ("/a", "no header"),
        ("X:", "has no value"),
        ("X: \t", "has no value"),
        (": x", "no header name"),
        ("! ", "no header name"),
        ("!", "no header name"),
        ("! X: 1", "no header name"),
        ("X Y: 1", "no header name"),
        ("X : 1", "no header name"),
        ("Ü: 1", "no header name"),
        ("a/b: 1", "no header name"),
        ("X: é", "visible ASCII"),
        ("X: \xff", "visible ASCII"),
        ("X: a\rSet-Cookie: b", "U+000D"),
        ("X: a\x00", "U+0000"),
        ("X: a\x0b", "U+000B"),
        ("X: " + "a" * MAX_LINE, f"shorten it to {MAX_LINE}"),
    ],
)
def test_a_line_that_is_left_out(line: str, reason: str) -> None:
    compiled = compile_headers(f"/*\n  {line}\n  X-Good: 1")
    (problem,) = compiled.problems
    assert problem.line == 2
    assert problem.left_out
    assert reason in problem.reason
    assert [edit.name for rule in compiled.rules for edit in rule.edits] == [b"x-good"]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("https://example.com/*", "names a host"),
        ("X-Frame-Options: DENY", "indent it"),
        ("/a b", "write %20"),
        ("a", "write /a"),
        ("/*.js", "only be the whole last segment"),
        ("/:a-b", "whole segment"),
        ("/../a", "leave it out"),
        ("/a\x00", "U+0000"),
        ("/" + "a" * MAX_LINE, "shorten it"),
    ],
)
def test_a_pattern_that_is_left_out_takes_its_lines_along(line: str, reason: str) -> None:
    compiled = compile_headers(f"/good\n  X: 1\n{line}\n  X: 2\n  wrong\n/good\n  X: 3")
    (problem,) = compiled.problems
    assert problem.line == 3
    assert reason in problem.reason
    assert [rule.line for rule in compiled.rules] == [1, 6]
    assert dict(given_headers(f"/*\n  X: 1\n{line}\n  X: 2", "/good"))["x"] == "1"


def test_lines_out_of_place() -> None:
    compiled = compile_headers("  X: 1\n/a\n/b\n  X: 2\n/c")
    found = {problem.line: problem.reason for problem in compiled.problems}
    assert found.keys() == {1, 2, 5}
    assert "no pattern above" in found[1]
    assert "no header" in found[2]
    assert [rule.line for rule in compiled.rules] == [3]


def test_each_edit_knows_its_line() -> None:
    compiled = compile_headers("/*\n  X: 1\n/b\n  Y: 2\n/a\n  # note\n  ! X\n  Cache-Control: no-cache")
    found = [(edit.line, edit.name, edit.value) for edit in edits_for(compiled, "/a", "/index.html", 200)]
    assert found == [(2, b"x", b"1"), (7, b"x", None)]


# Limits


def test_at_most_so_many_rules() -> None:
    compiled = compile_headers("".join(f"/{number}\n  X: 1\n" for number in range(MAX_RULES + 1)))
    assert len(compiled.rules) == MAX_RULES
    (problem,) = compiled.problems
    assert problem.line == 2 * MAX_RULES + 1
    assert str(MAX_RULES) in problem.reason


def test_at_most_so_many_headers_in_a_rule() -> None:
    compiled = compile_headers("/*\n" + "".join(f"  X{number}: 1\n" for number in range(MAX_EDITS + 2)))
    assert len(compiled.rules[0].edits) == MAX_EDITS
    assert [problem.line for problem in compiled.problems] == [MAX_EDITS + 2, MAX_EDITS + 3]


def test_at_most_so_much_in_an_answer() -> None:
    compiled = compile_headers(
        "/*\n" + "".join(f"  X{number}: {'v' * 1000}\n" for number in range(50)) + "  ! etag-x\n"
    )
    headers = apply(compiled, "/", "/", 200, ())
    assert 0 < sum(len(name) + len(value) for name, value in headers) <= MAX_ADDED
    assert len(headers) == MAX_ADDED // 1002


def test_a_file_of_mistakes_is_summed_up() -> None:
    compiled = compile_headers("/*\n" + "  wrong\n" * 99 + "  wrong\n" * 1000)
    assert len(compiled.problems) == MAX_PROBLEMS
    assert compiled.unlisted == 1099 - MAX_PROBLEMS


def test_a_file_built_to_be_slow_is_not() -> None:
    placeholders = "/".join(f":{letter}{digit}" for letter in "abcdefgh" for digit in range(7))
    edits = "".join(f"  X-{number}: {number}\n" for number in range(MAX_EDITS))
    compiled = compile_headers("".join(f"/{placeholders}/*\n{edits}" for _ in range(MAX_RULES)))
    assert len(compiled.rules) == MAX_RULES
    path = "/a" * 4096
    best = 10**18
    for _ in range(5):
        started = time.process_time_ns()
        apply(compiled, path, path, 200, BASE)
        best = min(best, time.process_time_ns() - started)
    assert best < 100_000_000


# Any text


@given(header_files)
def test_each_line_counts_or_is_reported(text: str) -> None:
    compiled = compile_headers(text)
    assert compile_headers(text) == compiled
    left_out = {problem.line for problem in compiled.problems}
    works = {rule.line for rule in compiled.rules} | {edit.line for rule in compiled.rules for edit in rule.edits}
    assert not left_out & works
    in_a_block_left_out = False
    for number, raw in enumerate(text.removeprefix("\ufeff").split("\n"), 1):
        line = raw.removesuffix("\r").rstrip(" \t")
        if not line or line.lstrip(" \t").startswith("#"):
            assert number not in left_out | works
            continue
        if line[0] not in " \t":
            in_a_block_left_out = number in left_out
            assert number in left_out | works
        else:
            assert (number in left_out | works) != in_a_block_left_out


@given(
    header_files,
    st.sampled_from(["/", "/a", "/a/b", "/é"]),
    st.sampled_from([None, "/a", "/index.html"]),
    st.booleans(),
)
def test_no_file_breaks_an_answer(text: str, path: str, served: str | None, found: bool) -> None:
    base = BASE if found else (NO_STORE, NOSNIFF)
    headers = apply(compile_headers(text), path, served, 200 if found else 404, base)
    for name, value in headers:
        assert re.fullmatch(rb"[!#$%&'*+\-.^_`|~0-9a-z]+", name)
        assert re.fullmatch(rb"[\x21-\x7e](?:[\t\x20-\x7e]*[\x21-\x7e])?", value)
    names = [name for name, _ in headers if name != b"set-cookie"]
    assert len(set(names)) == len(names)
    assert NOSNIFF in headers
    kept = dict(headers)
    for name in (b"content-length", b"etag"):
        assert kept.get(name) == dict(base).get(name)
    if found:
        assert kept[b"vary"].startswith(b"Accept-Encoding")
        assert b"content-type" in kept
    else:
        assert kept[b"cache-control"] == b"no-store"
    assert not any(b"domain" in value.lower() for name, value in headers if name == b"set-cookie")


VALUE = st.from_regex(r"[!-~](?:[ -~]{0,8}[!-~])?", fullmatch=True)
BLOCKS = st.lists(st.tuples(st.sampled_from(["/", "/a/*", "/:x"]), st.lists(VALUE, min_size=1, max_size=3)), max_size=4)


@given(BLOCKS)
def test_what_is_written_is_read(blocks: list[tuple[str, list[str]]]) -> None:
    text = "".join(f"{pattern}\n" + "".join(f"  X: {value}\n" for value in values) for pattern, values in blocks)
    compiled = compile_headers(text)
    assert not compiled.problems
    read = [
        (rule.pattern.text, [edit.value.decode() for edit in rule.edits if edit.value is not None])
        for rule in compiled.rules
    ]
    assert read == blocks

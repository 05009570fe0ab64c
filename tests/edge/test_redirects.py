"""The `_redirects` file: what its rules do, what is reported, and that nothing makes it dangerous or slow."""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Callable
from types import FrameType
from typing import Any
from urllib.parse import quote, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.edge.paths import decode_path, encode_path
from server.edge.patterns import split_path
from server.edge.redirect_index import MAX_CHECKED
from server.edge.redirect_rules import MAX_LINE, parse_rule
from server.edge.redirects import MAX_DYNAMIC, MAX_STATIC, Outcome, Redirects, compile_redirects, match
from server.edge.request import Refusal
from server.edge.rule_lines import MAX_FILE, MAX_PROBLEMS, RuleError
from server.edge.visitor import NO_INPUTS, Inputs, Visitor
from tests.support.texts import redirect_files


def ask(text: str | Redirects, url: str, *, forced_only: bool = False, **fields: Any) -> Outcome | None:
    path, _, query = url.partition("?")
    compiled = compile_redirects(text) if isinstance(text, str) else text
    return match(compiled, decode_path(path), query, forced_only=forced_only, **fields)


def answer(text: str | Redirects, url: str, **fields: Any) -> str:
    """ "status where", or "-" where no rule applies."""
    outcome = ask(text, url, **fields)
    return "-" if outcome is None else f"{outcome.status} {outcome.location or outcome.target}"


def reasons(text: str) -> dict[int, str]:
    return {problem.line: problem.reason for problem in compile_redirects(text).problems}


# What a rule does


@pytest.mark.parametrize(
    ("rule", "url", "expected"),
    [
        ("/old /new", "/old", "301 /new"),
        ("/old /new", "/old/", "-"),
        ("/old /new", "/older", "-"),
        ("/old\t  /new \t 302  ", "/old", "302 /new"),
        ("/old /new 303", "/old", "303 /new"),
        ("/old /new 307", "/old", "307 /new"),
        ("/old /new 308!", "/old", "308 /new"),
        ("/old /new # moved in May", "/old", "301 /new"),
        ("/old /new 302 # Language=de", "/old", "302 /new"),
        ("  /old /new", "/old", "301 /new"),
        ("/ /home", "/", "301 /home"),
        # Rewrites and errors name a file by its decoded path.
        ("/a /b.html 200", "/a", "200 /b.html"),
        ("/a /caf%C3%A9 200", "/a", "200 /café"),
        ("/a /cafe\u0301 200", "/a", "200 /café"),
        ("/a/* /b/:splat 200", "/a/c%20d", "200 /b/c d"),
        ("/a /gone.html 410", "/a", "410 /gone.html"),
        ("/a /law.html 451", "/a", "451 /law.html"),
        ("/en/* /en/404.html 404", "/en/x", "404 /en/404.html"),
        # Placeholders
        ("/news/* /blog/:splat", "/news/2004/01/a", "301 /blog/2004/01/a"),
        ("/news/* /blog/:splat", "/news", "301 /blog/"),
        ("/news/* /blog/:splat", "/news/", "301 /blog/"),
        ("/news/* /blog/:splat", "/newspaper", "-"),
        ("/:y/:m/:d /blog-:y-:m-:d.html", "/1/2/3", "301 /blog-1-2-3.html"),
        ("/:x /:x/:x", "/a%20b", "301 /a%20b/a%20b"),
        ("/:x /y?x=:x#:x", "/a&b=c%23", "301 /y?x=a%26b%3Dc%23#a%26b%3Dc%23"),
        ("/p/:x https://example.com/:x", "/p/%C3%A9", "301 https://example.com/%C3%A9"),
        # The request's query goes along, unless the target has its own, be it empty.
        ("/a /b", "/a?x=1&y=%202", "301 /b?x=1&y=%202"),
        ("/a /b?z=3", "/a?x=1", "301 /b?z=3"),
        ("/a /b?", "/a?x=1", "301 /b"),
        ("/a /b#part", "/a?x=1", "301 /b?x=1#part"),
        ("/a /b#part?x", "/a", "301 /b#part?x"),
        ("/a https://example.com", "/a?x=1", "301 https://example.com/?x=1"),
        ("/a https://example.com?y=2", "/a?x=1", "301 https://example.com/?y=2"),
        # Query matches
        ("/a id=1 /b", "/a?id=1", "301 /b?id=1"),
        ("/a id=1 /b", "/a?x=&id=1", "301 /b?x=&id=1"),
        ("/a id=1 /b", "/a?id=2", "-"),
        ("/a id=1 /b", "/a?id=2&id=1", "-"),
        ("/a id=1 /b", "/a", "-"),
        ("/a id= /b", "/a?id", "301 /b?id"),
        ("/a q=a+%C3%A9 /b?", "/a?q=a%20%C3%A9", "301 /b"),
        ("/a u=https://x.example/ /b?", "/a?u=https://x.example/", "301 /b"),
        ("/a x=1 y=2 /b?", "/a?y=2&x=1", "301 /b"),
        ("/a x=1 y=2 /b?", "/a?x=1", "-"),
        ("/store id=:id /blog/:id?", "/store?id=a+b", "301 /blog/a%20b"),
        ("/store id=:id /blog/:id?", "/store?id=", "-"),
        ("/store id=:id /blog/:id?", "/store", "-"),
        ("/store id=:id /blog/:id 200", "/store?id=%C3%A9", "200 /blog/é"),
        # What cannot be a segment does not get into a path; in a query it is as good as anything.
        ("/store id=:id /blog/:id?", "/store?id=..", "-"),
        ("/store id=:id /blog/:id?", "/store?id=%2Fx", "-"),
        ("/store id=:id /blog/:id?", "/store?id=a%5Cb", "-"),
        ("/store id=:id /blog/:id 200", "/store?id=%00", "-"),
        ("/out u=:u /leave?to=:u", "/out?u=%2F..%0D%0A&v", "301 /leave?to=%2F..%0D%0A"),
        ("/p/:x id=:y /:x/:y?", "/p/1?id=2", "301 /1/2"),
        # Full URLs
        ("/a http://example.com:8080/b%2Fc?d#e", "/a", "301 http://example.com:8080/b%2Fc?d#e"),
        ("/a HTTPS://Example.com/b", "/a", "301 https://Example.com/b"),
        ("/a https://[::1]:80/", "/a", "301 https://[::1]:80/"),
        ("/a/* https://example.com/:splat", "/a", "301 https://example.com/"),
        # Encoding
        ("/a /é", "/a", "301 /%C3%A9"),
        ("/a /b%20c", "/a", "301 /b%20c"),
        ('/a /"b"', "/a", "301 /%22b%22"),
        ("/a /b%3Fc%3A", "/a", "301 /b%3Fc:"),
        ("/a /b?é=ü#ö", "/a", "301 /b?%C3%A9=%C3%BC#%C3%B6"),
        ("/a https://example.com/é", "/a", "301 https://example.com/%C3%A9"),
        # Never a slash more than is meant: two at the front would name a host.
        ("/a/* /:splat/b", "/a", "301 /b"),
        ("/a/* /:splat/evil.example", "/a/", "301 /evil.example"),
        ("/a/* /:splat/b 200", "/a", "200 /b"),
        ("/:x /b//:x", "/c", "301 /b/c"),
    ],
)
def test_rule(rule: str, url: str, expected: str) -> None:
    compiled = compile_redirects(rule)
    assert [problem for problem in compiled.problems if problem.left_out] == []
    assert answer(compiled, url) == expected


@pytest.mark.parametrize(
    ("condition", "fields", "applies"),
    [
        ("Language=de", {"accept_language": "de-CH,en;q=0.5"}, True),
        ("Language=de", {"accept_language": "en, de;q=0.1"}, True),
        ("Language=de", {"accept_language": "en, de;q=0"}, False),
        ("Language=de", {"accept_language": "*"}, False),
        ("Language=de", {}, False),
        ("language=EN,FR", {"accept_language": "fr"}, True),
        ("Language=pt-BR", {"accept_language": "pt-br"}, True),
        ("Language=pt-BR", {"accept_language": "pt"}, False),
        ("Cookie=a,b", {"cookies": "x=1; b=2"}, True),
        ("Cookie=a,b", {"cookies": "ab=1"}, False),
        ("Cookie=a", {"cookies": "A=1"}, False),
        ("Cookie=a", {}, False),
        ("Cookie=a Language=de", {"cookies": "a=", "accept_language": "de"}, True),
        ("Cookie=a Language=de", {"cookies": "a="}, False),
        ("Cookie=a Language=de", {"accept_language": "de"}, False),
    ],
)
def test_conditions(condition: str, fields: dict[str, str], applies: bool) -> None:
    assert answer(f"/a /b 302 {condition}", "/a", **fields) == ("302 /b" if applies else "-")
    assert answer(f"/a /b {condition}", "/a", **fields) == ("301 /b" if applies else "-")
    assert answer(f"/a x=:x /b? 302 {condition}", "/a?x=1", **fields) == ("302 /b" if applies else "-")


# The first rule that applies


@pytest.mark.parametrize(
    ("text", "url", "expected"),
    [
        ("/a /1\n/a /2", "/a", "301 /1"),
        ("/a /1\n/* /2", "/a", "301 /1"),
        ("/* /2\n/a /1", "/a", "301 /2"),
        ("/:x /1\n/a /2\n/* /3", "/a", "301 /1"),
        ("/b/* /1\n/a /2\n/* /3", "/a", "301 /2"),
        ("/b/* /1\n/a /2\n/* /3", "/c", "301 /3"),
        ("/b/* /1\n/a /2 Cookie=x\n/* /3\n/a /4", "/a", "301 /3"),
        ("/a p=1 /1?\n/a p=2 /2?\n/a /3?", "/a?p=2", "301 /2"),
        ("/a p=1 /1?\n/a p=2 /2?\n/a /3?", "/a?p=3", "301 /3"),
        ("/a p=1 /1?\n/a q=2 /2?", "/a?q=2&p=1", "301 /1"),
        ("/a q=:q /0?\n/a p=1 /1?", "/a?p=1&q=1", "301 /0"),
        ("/a p=1 /1?\n/a q=:q /0?", "/a?p=1&q=1", "301 /1"),
        ("/* /0?\n/a p=1 /1?", "/a?p=1", "301 /0"),
        ("/a /3?\n/a p=1 /1?", "/a?p=1", "301 /3"),
    ],
)
def test_order(text: str, url: str, expected: str) -> None:
    assert answer(text, url) == expected


def test_forced_rules_are_those_that_outdo_a_file() -> None:
    text = "/a /1\n/a /2 302!\n/b/* /3/:splat 200!\n/c /4"
    compiled = compile_redirects(text)
    assert answer(compiled, "/a", forced_only=True) == "302 /2"
    assert answer(compiled, "/a", forced_only=False) == "301 /1"
    assert answer(compiled, "/b/x", forced_only=True) == "200 /3/x"
    assert answer(compiled, "/c", forced_only=True) == "-"
    assert not compiled.problems
    assert answer("/a /1", "/a", forced_only=True) == "-"


FALLBACK = "/api/* /api.json 200\n/* /index.html 200\n/* /late 302"


def test_a_fallback_page_is_for_navigations_only() -> None:
    compiled = compile_redirects(FALLBACK)
    assert not compiled.problems
    assert answer(compiled, "/route") == "200 /index.html"
    assert answer(compiled, "/route", navigation=False) == "302 /late"
    # … and never for what looks like a script; data is not a page, so its rule is not such a fallback.
    assert answer(compiled, "/app.js") == "302 /late"
    assert answer(compiled, "/api/x.js", navigation=False) == "200 /api.json"
    fetched = Inputs(navigation=True)
    assert compiled.inputs == fetched
    assert compiled.inputs_for("/route", forced_only=False) == fetched
    assert compiled.inputs_for("/app.js", forced_only=False) == NO_INPUTS
    assert compiled.inputs_for("/api/x", forced_only=False) == NO_INPUTS


@pytest.mark.parametrize(
    ("rule", "restricted"),
    [
        ("/* /index.html 200", True),
        ("/app/* /app/ 200", True),
        ("/* / 200", True),
        ("/* /app 200", True),
        ("/:x/* /app.htm 200", True),
        ("/* /index.html 200!", False),
        ("/* /index.html 301", False),
        ("/* /404.html 404", False),
        ("/* /v2/:splat 200", False),
        ("/:x /index.html 200", False),
        ("/* /data.json 200", False),
    ],
)
def test_which_rules_are_fallbacks(rule: str, restricted: bool) -> None:
    (compiled,) = compile_redirects(rule).rules
    assert compiled.navigations_only is restricted
    assert compiled.inputs.navigation is restricted


# What is read of a request

READERS = """
/a id=:id x=1 /1/:id?
/a p=1 /2?
/a /3 Cookie=c,d
/b/* /4 302! Language=de
/a /5
/a z=1 /never
/c /6
"""


def test_inputs_of_the_file_and_of_its_rules() -> None:
    compiled = compile_redirects(READERS)
    assert [rule.inputs for rule in compiled.rules] == [
        Inputs(query=frozenset({"id", "x"})),
        Inputs(query=frozenset({"p"})),
        Inputs(cookies=frozenset({"c", "d"})),
        Inputs(languages=frozenset({"de"})),
        NO_INPUTS,
        Inputs(query=frozenset({"z"})),
        NO_INPUTS,
    ]
    everything = Inputs(frozenset({"id", "x", "p", "z"}), frozenset({"c", "d"}), frozenset({"de"}))
    assert compiled.inputs == everything
    assert compiled.forced_inputs == Inputs(languages=frozenset({"de"}))


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/a", Inputs(frozenset({"id", "x", "p"}), frozenset({"c", "d"}))),
        ("/b/x", Inputs(languages=frozenset({"de"}))),
        ("/c", NO_INPUTS),
        ("/none", NO_INPUTS),
    ],
)
def test_inputs_of_a_path(path: str, expected: Inputs) -> None:
    compiled = compile_redirects(READERS)
    assert compiled.inputs_for(path, forced_only=False) == expected
    assert compiled.inputs_for(path, forced_only=True) == (expected if path == "/b/x" else NO_INPUTS)
    assert compile_redirects("/a /b").inputs_for(path, forced_only=False) == NO_INPUTS


@pytest.mark.parametrize(
    ("url", "fields", "consulted"),
    [
        ("/a?id=1&x=1", {}, Inputs(frozenset({"id", "x", "p"}))),
        ("/a?p=1", {}, Inputs(frozenset({"id", "x", "p"}))),
        ("/a", {"cookies": "d"}, Inputs(frozenset({"id", "x", "p"}), frozenset({"c", "d"}))),
        ("/a", {}, Inputs(frozenset({"id", "x", "p"}), frozenset({"c", "d"}))),
        ("/b/", {"accept_language": "de"}, Inputs(languages=frozenset({"de"}))),
        ("/c", {}, NO_INPUTS),
    ],
)
def test_what_was_consulted(url: str, fields: dict[str, Any], consulted: Inputs) -> None:
    outcome = ask(READERS, url, **fields)
    assert outcome is not None
    assert outcome.consulted == consulted


def test_an_outcome_says_which_rule_it_is_from() -> None:
    outcome = ask("# moved\n\n/a /b # yes", "/a?x")
    assert outcome is not None
    assert outcome.rule.line == 3
    assert outcome.rule.text == "/a /b # yes"
    assert outcome.passes_query
    with_own = ask("/a /b?y", "/a?x")
    assert with_own is not None
    assert not with_own.passes_query
    file = ask("/a /b 200", "/a?x")
    assert file is not None
    assert not file.passes_query


# What is reported


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("/a", "has no target"),
        ("/a id=1", "has no target"),
        ("/a # /b", "has no target"),
        ("a /b", "write /a"),
        ("https://example.com/a /b", "names a host"),
        ("/a*/b /c", "only be the whole last segment"),
        ("/a 301", "neither a query match (name=value) nor a target"),
        ("/a foo /b", "neither a query match"),
        ("/a javascript:alert(1)", "neither a query match"),
        ("/a ftp://example.com/", "neither a query match"),
        ("/a b", "neither a query match"),
        ("/a //example.com/b", "write https://example.com/b"),
        ("/a /\\example.com", "backslash"),
        ("/a https:\\\\example.com", "neither a query match"),
        ("/a https://", "names no host"),
        ("/a https:///b", "names no host"),
        ("/a https://user@example.com/", "names no host"),
        ("/a https://example..com/", "names no host"),
        ("/a https://bücher.example/", "xn-- labels"),
        ("/a https://example.com:99999/", "names no host"),
        ("/a/* https://:splat/", "without user or placeholder"),
        ("/a/* https://example.com:splat", "without user or placeholder"),
        ("/a/:x https://:x.example.com/", "without user or placeholder"),
        ("/a https://*.example.com/", "names no host"),
        ("/a /b/../c", "segment of dots"),
        ("/a /b/%2e./c", "segment of dots"),
        ("/a/* /b/:splat..", "segment of dots"),
        ("/a/* https://example.com/..:splat", "segment of dots"),
        ("/a /b%", "malformed"),
        ("/a /b%2Fc", "forbidden"),
        ("/a /b%00", "forbidden"),
        ("/a /%ff", "not UTF-8"),
        ("/a https://example.com/%", "write %25"),
        ("/a /b?x=%", "write %25"),
        ("/a /:b", "captures"),
        ("/a/:b /c?d=:e", ":e"),
        ("/a /:splat", ":splat"),
        ("/a Talk:Page", "neither"),
        ("/a /Talk:Page", "write %3A"),
        ("/a /b 999", "write one of 200 301"),
        ("/a /b 30", "no status"),
        ("/a /b !", "no status"),
        ("/a /b 301!!", "no status"),
        ("/a /b 0301", "no status"),
        ("/a /b ٣٠١", "no status"),
        ("/a /b 301 302", "no condition"),
        ("/a /b 301 Country=de", "no condition"),
        ("/a /b Role=admin", "no condition"),
        ("/a /b 301 Language=", "values with commas"),
        ("/a /b 301 Language=de,", "values with commas"),
        ("/a /b 301 Language=de Language=fr", "each condition once"),
        ("/a /b 301 Cookie=a;b", "values with commas"),
        ("/a /b 301 Cookie", "values with commas"),
        ("/a https://example.com/ 200", "a file of this site"),
        ("/a /b?c=1 200", "a file of this site"),
        ("/a /b#c 404", "a file of this site"),
        ("/a id=1 id=2 /b", "each name once"),
        ("/a id=:x id=:y /b", "each name once"),
        ("/a =1 /b", "each name once"),
        ("/a id=* /b", "write id=:id"),
        ("/a x=:z y=:z /b", "taken"),
        ("/a/:x id=:x /b", "taken"),
        ("/a/* id=:splat /b", "taken"),
        ("/a /b\x00", "U+0000"),
        ("/a\r/b", "U+000D"),
        ("/a /b\u2028", "U+2028"),
        ("/a /b\x85", "U+0085"),
        ("/a /\ud800", "U+D800"),
        ("/" + "a" * MAX_LINE + " /b", f"shorten it to {MAX_LINE}"),
    ],
)
def test_problem(line: str, reason: str) -> None:
    compiled = compile_redirects(f"# a comment\n{line}\n/good /better")
    (problem,) = compiled.problems
    assert problem.line == 2
    assert problem.left_out
    assert line.startswith(problem.text.removesuffix("…"))
    assert reason in problem.reason
    assert [rule.line for rule in compiled.rules] == [3]


def test_lines_are_counted_as_editors_do() -> None:
    text = "\ufeff/a /1\r\n\r\n  # x\n\t\n/b /2\u000b\n/c /3\n"
    compiled = compile_redirects(text)
    assert [rule.line for rule in compiled.rules] == [1, 6]
    assert [problem.line for problem in compiled.problems] == [5]


@pytest.mark.parametrize(
    ("earlier", "later"),
    [
        ("/a /1", "/a /2"),
        ("/a /1", "/a /2 Cookie=x"),
        ("/a /1", "/a x=1 /2"),
        ("/a/* /1", "/a/b /2"),
        ("/a/* /1", "/a /2"),
        ("/a/* /1", "/a/:x/* /2"),
        ("/:x /1", "/a /2"),
        ("/* /1 301!", "/a /2"),
        ("/* /1 301!", "/a /2 301!"),
        ("/a p=1 /1", "/a p=1 /2"),
        ("/a p=1 /1", "/a p=1 q=2 /2"),
        ("/a p=:p /1", "/a p=1 /2"),
        ("/a p=:p /1", "/a p=:q /2/:q"),
        ("/a p=:p /1/:p", "/a p=1 /2"),
        ("/a p=:p /1/:p", "/a p=:q /2/:q"),
        ("/a /1 Cookie=x,y", "/a /2 Cookie=y"),
        ("/a /1 Language=de", "/a /2 Language=de"),
        ("/* /index.html 200", "/a/* /b.html 200"),
    ],
)
def test_a_rule_that_nothing_reaches_is_reported(earlier: str, later: str) -> None:
    compiled = compile_redirects(f"{earlier}\n/zzz /y\n{later}")
    found = {problem.line: problem for problem in compiled.problems}
    assert "line 1 answers first" in found[3].reason
    assert not found[3].left_out
    assert len(compiled.rules) == 3


@pytest.mark.parametrize(
    ("earlier", "later"),
    [
        ("/a /1", "/b /2"),
        ("/a /1", "/a /2 301!"),
        ("/a /1", "/* /2"),
        ("/a/b /1", "/a/* /2"),
        ("/a /1 Cookie=x", "/a /2"),
        ("/a /1 Cookie=x", "/a /2 Cookie=x,y"),
        ("/a /1 Language=de", "/a /2 Cookie=de"),
        ("/a p=1 /1", "/a p=2 /2"),
        ("/a p=1 /1", "/a /2"),
        ("/a p=1 /1", "/a p=:p /2"),
        ("/a p=:p /1", "/a p= /2"),
        ("/a p=:p /1/:p", "/a p=.. /2"),
        ("/a p=:p /1/:p", "/a p=:p /2?q=:p"),
        ("/a p=:p /1", "/a q=:q /2"),
        ("/* /index.html 200", "/a/* /b"),
        ("/* /index.html 200", "/a /b 404"),
    ],
)
def test_a_rule_that_something_reaches_is_not(earlier: str, later: str) -> None:
    assert not reasons(f"{earlier}\n{later}")


# Limits


def test_at_most_so_many_rules() -> None:
    statics = [f"/s/{number} /t" for number in range(MAX_STATIC + 1)]
    dynamics = [f"/d/{number}/* /t" for number in range(MAX_DYNAMIC + 1)]
    compiled = compile_redirects("\n".join([*statics, *dynamics]))
    assert len(compiled.rules) == MAX_STATIC + MAX_DYNAMIC
    assert [problem.line for problem in compiled.problems] == [MAX_STATIC + 1, MAX_STATIC + MAX_DYNAMIC + 2]
    assert all("one too many" in problem.reason for problem in compiled.problems)


def test_at_most_so_many_rules_to_try_for_one_path() -> None:
    compiled = compile_redirects("\n".join(f"/a /t Cookie=c{number}" for number in range(MAX_CHECKED + 1)))
    assert len(compiled.rules) == MAX_CHECKED
    assert "one too many for /a" in compiled.problems[0].reason
    after_all = [*(f"/a /t Cookie=c{number}" for number in range(MAX_CHECKED - 1)), "/a /u", "/a /v", "/a /w"]
    assert len(compile_redirects("\n".join(after_all)).rules) == MAX_CHECKED + 2


def test_one_query_value_for_each_of_many_rules_is_no_limit() -> None:
    compiled = compile_redirects("\n".join(f"/ p={number} /post/{number}?" for number in range(MAX_STATIC)))
    assert not compiled.problems
    assert answer(compiled, "/?p=1234") == "301 /post/1234"


def test_a_file_has_a_size() -> None:
    line = "/a/{} /b" + " " * 900 + "\n"
    text = "".join(line.format(number) for number in range(600))
    assert len(text) > MAX_FILE
    compiled = compile_redirects(text)
    (problem,) = compiled.problems
    assert "longer than" in problem.reason
    assert [rule.line for rule in compiled.rules] == list(range(1, problem.line))
    (only,) = compile_redirects("x" * (MAX_FILE + 1)).problems
    assert only.line == 1
    assert len(only.text) < 1000


def test_a_file_of_mistakes_is_summed_up() -> None:
    compiled = compile_redirects("wrong\n" * 1000)
    assert len(compiled.problems) == MAX_PROBLEMS
    assert compiled.unlisted == 1000 - MAX_PROBLEMS


# Any text, any request

SOME_PATHS = st.lists(st.sampled_from(["a", "b", "é", "x y", "..a", "%0d%0a", "%2e", "evil.example", ""]), max_size=5)


@given(redirect_files)
def test_each_line_is_a_rule_or_a_problem(text: str) -> None:
    compiled = compile_redirects(text)
    lines = dict(enumerate(text.removeprefix("\ufeff").split("\n"), 1))
    meant = {n for n, line in lines.items() if (bare := line.removesuffix("\r").strip(" \t")) and bare[0] != "#"}
    left_out = {problem.line for problem in compiled.problems if problem.left_out}
    works = {rule.line for rule in compiled.rules}
    assert left_out | works == meant
    assert not left_out & works
    assert {problem.line for problem in compiled.problems} <= meant
    assert all(lines[problem.line].startswith(problem.text) for problem in compiled.problems)
    assert compile_redirects(text) == compiled


@given(
    redirect_files,
    SOME_PATHS.map("/".join),
    st.one_of(st.text(max_size=20), st.sampled_from(["id=..", "id=a", "q=%0D%0Ax", "id=//e", "\r\nX: y", "id=é#"])),
    st.booleans(),
    st.booleans(),
)
def test_no_location_can_do_harm(text: str, path: str, query: str, forced_only: bool, navigation: bool) -> None:
    compiled = compile_redirects(text)
    try:
        decoded = decode_path("/" + quote(path, safe="/%"))
    except Refusal:
        return
    fields: dict[str, Any] = {"cookies": "c=1", "accept_language": "de", "navigation": navigation}
    outcome = match(compiled, decoded, query, forced_only=forced_only, **fields)
    if outcome is None:
        return
    assert outcome.rule in compiled.rules
    assert outcome.rule.forced or not forced_only
    possible = compiled.inputs_for(decoded, forced_only=forced_only)
    assert possible | outcome.consulted == possible
    assert compiled.inputs | possible == compiled.inputs
    if outcome.target is not None:
        assert outcome.status in (200, 404, 410, 451)
        assert decode_path(encode_path(outcome.target)) == outcome.target
        return
    location = outcome.location
    assert location is not None
    assert re.fullmatch(r"[!-~]+", location)
    assert location.startswith(("/", "https://e.example/"))
    assert not location.startswith("//")
    assert not {".", ".."} & set(urlsplit(location).path.split("/"))


@given(
    redirect_files,
    st.lists(st.sampled_from(["a", "b", ""]), max_size=3).map(lambda parts: "/" + "/".join(parts)),
    st.sampled_from(["", "id=1", "id=2", "q=1&id=1", "id=..", "q="]),
    st.booleans(),
    st.booleans(),
)
def test_the_first_rule_that_applies_wins(text: str, url: str, query: str, forced_only: bool, plain: bool) -> None:
    """The look-up against the plain sense of it: one rule after the other."""
    compiled = compile_redirects(text)
    path = decode_path(url)
    visitor = Visitor(query, None if plain else "c=1", None if plain else "de", navigation=not plain)
    expected = None
    for rule in compiled.rules:
        captured = rule.pattern.match(split_path(path))
        if captured is None or (forced_only and not rule.forced) or (rule.navigations_only and plain):
            continue
        if rule.admit(captured, visitor) is not None:
            expected = rule
            break
    fields: dict[str, Any] = {"cookies": visitor.cookies, "accept_language": visitor.accept_language}
    outcome = match(compiled, path, query, forced_only=forced_only, navigation=not plain, **fields)
    assert (None if outcome is None else outcome.rule) == expected
    unreached = {problem.line for problem in compiled.problems if "never reached" in problem.reason}
    assert expected is None or expected.line not in unreached


@given(redirect_files, SOME_PATHS.map("/".join))
def test_nothing_that_is_not_read_changes_the_answer(text: str, path: str) -> None:
    compiled = compile_redirects(text)
    try:
        decoded = decode_path("/" + quote(path, safe="/%"))
    except Refusal:
        return
    inputs = compiled.inputs_for(decoded, forced_only=False)
    plain = match(compiled, decoded, forced_only=False)
    for name, fields in {
        "cookies": {"cookies": "c=1"},
        "languages": {"accept_language": "de"},
        "navigation": {"navigation": False},
    }.items():
        if not getattr(inputs, name):
            assert match(compiled, decoded, forced_only=False, **fields) == plain  # type: ignore[arg-type]


QUERY_NAME = st.from_regex(r"[a-z]{1,3}", fullmatch=True)
RULE = st.tuples(
    st.sampled_from(["/a", "/a/:x", "/:y/*", "/é", "/"]),
    st.dictionaries(QUERY_NAME, st.text("ab =&é", max_size=3), max_size=2),
    st.sampled_from(["/b", "/b?q=1", "/b#f", "https://e.example/é", "/"]),
    st.sampled_from([301, 302, 303, 307, 308]),
    st.booleans(),
    st.sets(st.sampled_from(["de", "pt-br"])),
    st.sets(st.sampled_from(["c", "__d"])),
)


@given(RULE)
def test_what_is_written_is_read(
    rule: tuple[str, dict[str, str], str, int, bool, set[str], set[str]],
) -> None:
    source, literals, target, status, forced, languages, cookies = rule
    queries = [f"{name}={quote(value, safe='')}" for name, value in literals.items()]
    conditions = [f"Language={','.join(languages)}"] * bool(languages) + [f"Cookie={','.join(cookies)}"] * bool(cookies)
    line = " ".join([source, *queries, target, f"{status}{'!' * forced}", *conditions])
    parsed = parse_rule(7, line)
    assert (parsed.line, parsed.text, parsed.pattern.text, parsed.target.text) == (7, line, source, target)
    assert (dict(parsed.literals), parsed.captures, parsed.status) == (literals, (), status)
    assert (parsed.forced, set(parsed.languages), set(parsed.cookies)) == (forced, languages, cookies)


@given(st.text(max_size=40))
def test_a_line_is_a_rule_or_refused(line: str) -> None:
    if not line.strip(" \t") or line.strip(" \t").startswith("#"):
        return
    try:
        assert parse_rule(1, line).text == line
    except RuleError:
        return


# Built to be slow


def steps(call: Callable[[], object]) -> int:
    """Bytecodes that `call` executes. They do not depend on the machine or on what else it does."""
    count = 0

    def trace(frame: FrameType, event: str, argument: object) -> Any:
        nonlocal count
        frame.f_trace_opcodes = True
        frame.f_trace_lines = False
        count += event == "opcode"
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        call()
    finally:
        sys.settrace(before)
    return count


NAMES = [f"{letter}{digit}" for letter in "abcdefgh" for digit in range(8)]
PLACEHOLDERS = "/".join(f":{name}" for name in NAMES[:63])
INTERLEAVED = "/".join(f"a/:{name}" for name in NAMES[:31])
SLASHES = "/" * 8192
DEEP = "/a" * 4096
BUILT_TO_BE_SLOW = {
    "placeholders, slashes": ([f"/{PLACEHOLDERS}/n{n} /x" for n in range(100)], SLASHES),
    "placeholders, deep path": ([f"/{PLACEHOLDERS}/n{n} /x" for n in range(100)], DEEP),
    "placeholders, last segment differs": ([f"/{PLACEHOLDERS}/n{n} /x" for n in range(100)], "/a" * 64),
    "all captured, condition fails": ([f"/{PLACEHOLDERS}/* /x{n} Cookie=n{n}" for n in range(100)], DEEP),
    "text and placeholders in turn": ([f"/{INTERLEAVED}/b{n} /x" for n in range(100)], "/a" * 63),
    "splats": ([f"/a/b{n}/* /x/:splat" for n in range(100)], DEEP),
    "conditions": (
        [f"/a /x{n} Cookie=c{n}" for n in range(100)] + [f"/* /x{n} Cookie=d{n}" for n in range(100)],
        "/a",
    ),
    "query values": ([f"/a q=v{n} /x" for n in range(2000)], "/a"),
}


@pytest.mark.parametrize("name", BUILT_TO_BE_SLOW)
def test_a_file_built_to_be_slow_is_not(name: str, record_property: Callable[[str, object], None]) -> None:
    lines, url = BUILT_TO_BE_SLOW[name]
    compiled = compile_redirects("\n".join(lines))
    assert len(compiled.rules) == len(lines)
    path = decode_path(url)
    query = "&".join(f"%41{number}=%42" for number in range(1000))
    cookies, languages = ";".join(f"k{number}=1" for number in range(3000)), "zz-yy," * 3000

    def request() -> Outcome | None:
        return match(compiled, path, query, cookies=cookies, accept_language=languages, forced_only=False)

    assert request() is None
    # About a hundred for each of at most 200 rules, and a few for each cookie and parameter that is looked at.
    assert steps(request) < 50_000
    best = min(_cpu(request) for _ in range(20))
    record_property("microseconds", best / 1000)
    assert best < 20_000_000


def _cpu(call: Callable[[], object]) -> int:
    """Nanoseconds of this process."""
    started = time.process_time_ns()
    call()
    return time.process_time_ns() - started


def test_rules_that_are_not_in_the_way_cost_nothing() -> None:
    few = compile_redirects("/a /b\n/c /d")
    many = compile_redirects("/a /b\n" + "\n".join(f"/{number} /x" for number in range(1999)))
    assert steps(lambda: match(many, "/a", forced_only=False)) == steps(lambda: match(few, "/a", forced_only=False))
    # … nor do any where a file answers and none is forced.
    assert steps(lambda: match(many, "/a", forced_only=True)) < 20


@pytest.mark.parametrize(
    "text",
    [
        ("/a /" + ":a/" * 300 + "\n") * 520,
        ("/a " + "/%41" * 240 + "\n") * 520,
        "\n".join(f"/g/{n} /g/a/{n}" for n in range(2000)) + "\n/g/* /g/a/:splat",
        "\n".join(f"/r{n} /r{(n + 1) % 2000}" for n in range(2000)),
        "x\n" * 200_000,
        ":" * 400_000,
    ],
    ids=["placeholders", "escapes", "growing chains", "a ring", "mistakes", "one line"],
)
@pytest.mark.slow
def test_any_file_compiles_in_bounded_time(text: str) -> None:
    assert _cpu(lambda: compile_redirects(text)) < 10e9

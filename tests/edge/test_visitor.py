"""What of a request rules may read, and how little of it a hostile one makes them read."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.edge.visitor import (
    MAX_COOKIES,
    MAX_PARAMETERS,
    MAX_RANGES,
    NO_INPUTS,
    Inputs,
    Visitor,
    is_navigation,
    is_page_path,
    join_inputs,
)


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("", {}),
        ("a=1", {"a": "1"}),
        ("a", {"a": ""}),
        ("a=", {"a": ""}),
        ("a=1&a=2", {"a": "1"}),
        ("a=1=2", {"a": "1=2"}),
        ("&&a=1&", {"a": "1"}),
        ("=1", {}),
        ("a+b=c+d", {"a b": "c d"}),
        ("%61=%C3%A9", {"a": "é"}),
        ("a=%FF", {"a": "\ufffd"}),
        ("a=%zz", {"a": "%zz"}),
        ("a;b=1", {"a;b": "1"}),
    ],
)
def test_parameters(query: str, expected: dict[str, str]) -> None:
    assert Visitor(query).parameters == expected


@pytest.mark.parametrize(
    ("cookies", "expected"),
    [
        (None, {""}),
        ("a=1", {"a"}),
        ("a=1; b=2;c", {"a", "b", "c"}),
        ("A=1", {"A"}),
        ('a="x=y"', {"a"}),
    ],
)
def test_cookie_names(cookies: str | None, expected: set[str]) -> None:
    assert Visitor(cookies=cookies).cookie_names == expected


@pytest.mark.parametrize(
    ("field", "expected"),
    [
        (None, set()),
        ("", set()),
        ("de", {"de"}),
        ("DE-ch", {"de", "de-ch"}),
        ("zh-Hant-TW", {"zh", "zh-hant", "zh-hant-tw"}),
        ("de, en;q=0.1", {"de", "en"}),
        ("de;q=0, en", {"en"}),
        ("de;q=0.000,en;q=0.001", {"en"}),
        ("de ; q=0 , en", {"en"}),
        ("de;Q=0", set()),
        ("de;q=oops", {"de"}),
        ("*", set()),
        ("de,*;q=0.5", {"de"}),
        ("d_e", set()),
        ("overlonglanguage", set()),
    ],
)
def test_languages(field: str | None, expected: set[str]) -> None:
    assert Visitor(accept_language=field).languages == expected


def test_no_more_is_read_than_a_browser_sends() -> None:
    assert len(Visitor("&".join(f"a{number}" for number in range(1000))).parameters) == MAX_PARAMETERS
    assert len(Visitor(cookies=";".join(f"a{number}" for number in range(1000))).cookie_names) == MAX_COOKIES
    tags = (f"{one}{two}" for one in "abcdefghijklmnop" for two in "abcdefghijklmnop")
    assert len(Visitor(accept_language=",".join(tags)).languages) == MAX_RANGES


@pytest.mark.parametrize(
    ("path", "is_page"),
    [
        ("/", True),
        ("/a", True),
        ("/a/", True),
        ("/a.b/", True),
        ("/a.b/c", True),
        ("/a.html", True),
        ("/A.HTM", True),
        ("/a.js", False),
        ("/a.css", False),
        ("/a.json", False),
        ("/a/b.min.js", False),
        ("/a.", False),
        ("/.well-known", True),
    ],
)
def test_page_paths(path: str, is_page: bool) -> None:
    assert is_page_path(path) is is_page
    assert is_navigation(path, "document", None) is is_page


HTML = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"


@pytest.mark.parametrize(
    ("destination", "accept", "expected"),
    [
        ("document", "*/*", True),
        ("iframe", None, True),
        ("frame", None, True),
        ("embed", None, True),
        ("object", None, True),
        ("script", HTML, False),
        ("image", HTML, False),
        ("style", "text/css,*/*;q=0.1", False),
        ("nonsense", HTML, False),
        # A script says "empty"; old browsers and other programs say nothing. Then Accept has to name HTML.
        ("empty", "*/*", False),
        ("empty", "application/json", False),
        ("empty", "text/html", True),
        ("empty", None, False),
        (None, HTML, True),
        ("", HTML, True),
        (None, "TEXT/HTML ; charset=utf-8", True),
        (None, "text/html;q=0", False),
        (None, "*/*", False),
        (None, None, False),
        (None, "application/json, text/htmlx", False),
    ],
)
def test_navigations(destination: str | None, accept: str | None, expected: bool) -> None:
    assert is_navigation("/app/route", destination, accept) is expected
    assert not is_navigation("/app/a.js", destination, accept)


SOME = Inputs(frozenset({"q"}), frozenset({"c"}), frozenset({"de"}), navigation=True)


def test_inputs() -> None:
    assert not NO_INPUTS
    assert NO_INPUTS.vary == ()
    assert not NO_INPUTS.language
    assert SOME.language
    assert SOME.vary == (b"cookie", b"accept-language", b"sec-fetch-dest", b"accept")
    assert Inputs(query=frozenset({"q"})).vary == ()
    assert SOME | NO_INPUTS == SOME
    assert join_inputs([]) == NO_INPUTS
    assert join_inputs([NO_INPUTS, SOME, NO_INPUTS]) == SOME
    more = Inputs(query=frozenset({"p"}))
    assert join_inputs([SOME, more]) == SOME | more == more | SOME


def test_a_key_holds_what_is_read_and_no_more() -> None:
    visitor = Visitor("q=1&x=2", "c=9; d=8", "de, fr", navigation=True)
    assert visitor.key(NO_INPUTS) == Visitor().key(NO_INPUTS)
    same = Visitor("x=3&q=1", "d; c=1", "de-CH", navigation=True)
    assert visitor.key(SOME) == same.key(SOME)
    others = [
        Visitor("q=2", "c", "de"),
        Visitor("", "c", "de"),
        Visitor("q=1", "d", "de"),
        Visitor("q=1", "c", "fr"),
        Visitor("q=1", "c", "de", navigation=False),
    ]
    keys = {visitor.key(SOME), *(other.key(SOME) for other in others)}
    assert len(keys) == 1 + len(others)


@given(st.text(max_size=60), st.text(max_size=60), st.text(max_size=60))
def test_any_text_can_be_read(query: str, cookies: str, accept: str) -> None:
    visitor = Visitor(query, cookies, accept)
    assert "" not in visitor.parameters
    hash(visitor.key(SOME))
    assert "*" not in visitor.languages
    assert is_navigation("/", accept, cookies) in (True, False)

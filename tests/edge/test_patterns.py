"""Path patterns: what they match, what they capture, what they refuse, and what they cost."""

from __future__ import annotations

from urllib.parse import quote

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from server.edge.paths import decode_path, encode_path
from server.edge.patterns import Pattern, decode_text, parse_pattern, parse_template, split_path
from server.edge.request import Refusal
from server.edge.rule_lines import RuleError
from storage.paths import MAX_SEGMENTS


def captured(pattern: str, path: str) -> dict[str, str] | None:
    compiled = parse_pattern(pattern)
    values = compiled.match(split_path(path))
    return None if values is None else dict(zip(compiled.names, values, strict=True))


@pytest.mark.parametrize(
    ("pattern", "path", "expected"),
    [
        ("/", "/", {}),
        ("/", "/a", None),
        ("/a", "/a", {}),
        ("/a", "/a/", None),
        ("/a/", "/a/", {}),
        ("/a/", "/a", None),
        ("/a/b", "/a/b", {}),
        ("/a/b", "/a/B", None),
        # A splat begins at a slash or at the end, and takes what is left, its slash at the end too.
        ("/*", "/", {"splat": ""}),
        ("/*", "/a", {"splat": "a"}),
        ("/*", "/a/b/", {"splat": "a/b/"}),
        ("/a/*", "/a", {"splat": ""}),
        ("/a/*", "/a/", {"splat": ""}),
        ("/a/*", "/a/b/c", {"splat": "b/c"}),
        ("/a/*", "/ab", None),
        ("/a/*", "/abc/d", None),
        ("/a/*", "/", None),
        # A placeholder is one whole segment that is not empty.
        ("/:x", "/a", {"x": "a"}),
        ("/:x", "/", None),
        ("/:x", "/a/", None),
        ("/:x/", "/a/", {"x": "a"}),
        ("/:x", "/a/b", None),
        ("/a/:x/c", "/a/b/c", {"x": "b"}),
        ("/a/:x/c", "/a//c", None),
        ("/a/:x/c", "/a/b/d", None),
        ("/:x/:y", "/a/b", {"x": "a", "y": "b"}),
        ("/:x/:y_2/*", "/a/b/c/d", {"x": "a", "y_2": "b", "splat": "c/d"}),
        ("/:x/*", "/a", {"x": "a", "splat": ""}),
        ("/:x/*", "/", None),
        # Static text is decoded as paths are.
        ("/caf%C3%A9", "/café", {}),
        ("/café", "/café", {}),
        ("/cafe\u0301", "/café", {}),  # NFD as written, NFC as kept
        ("/a%20b", "/a b", {}),
        ("/a%3Fb", "/a?b", {}),
        ("/a/%2A", "/a/*", {}),
        ("/a/%2A", "/a/b", None),
        ("/%3Ax", "/:x", {}),
        ("/%3Ax", "/y", None),
        ("/12:30", "/12:30", {}),
        ("/a%2520", "/a%20", {}),
    ],
)
def test_match(pattern: str, path: str, expected: dict[str, str] | None) -> None:
    assert captured(pattern, path) == expected


@pytest.mark.parametrize(
    ("pattern", "reason"),
    [
        ("a/b", "write /a/b"),
        ("", "does not begin with a slash"),
        ("*", "does not begin with a slash"),
        ("https://example.com/*", "names a host"),
        ("/a?b=1", "has a ?"),
        ("/a#b", "has a #"),
        ("/a//b", "repeated slashes"),
        ("//a", "repeated slashes"),
        ("/*/a", "only be the whole last segment"),
        ("/a*", "only be the whole last segment"),
        ("/*.js", "only be the whole last segment"),
        ("/*/", "only be the whole last segment"),
        ("/**", "only be the whole last segment"),
        ("/:", "whole segment"),
        ("/:1", "whole segment"),
        ("/:a-b", "whole segment"),
        ("/a-:b", "write %3A"),
        ("/:a.html", "whole segment"),
        ("/:a/:a", "twice"),
        ("/:splat", "another name"),
        ("/:splat/*", "another name"),
        ("/a/../b", "leave it out"),
        ("/.", "leave it out"),
        ("/%2e%2E", "leave it out"),
        ("/%", "malformed"),
        ("/%zz", "malformed"),
        ("/%2F", "forbidden"),
        ("/%00", "forbidden"),
        ("/a\\b", "backslash"),
        ("/%C3", "not UTF-8"),
        ("/\ud800", "surrogate"),
        ("/a" * (MAX_SEGMENTS + 1), "end it earlier"),
    ],
)
def test_refused(pattern: str, reason: str) -> None:
    with pytest.raises(RuleError) as caught:
        parse_pattern(pattern)
    assert reason in str(caught.value)


def test_the_most_segments_there_can_be() -> None:
    pattern = "/a" * MAX_SEGMENTS
    assert captured(pattern, pattern) == {}
    assert captured(pattern, pattern + "/a") is None
    assert captured(pattern, "/a" * 4000) is None
    deep = captured(pattern + "/*", "/a" * 4000)
    assert deep == {"splat": "/".join("a" * (4000 - MAX_SEGMENTS))}


@pytest.mark.parametrize(
    ("wide", "narrow"),
    [
        ("/a", "/a"),
        ("/*", "/"),
        ("/*", "/a"),
        ("/*", "/:x/b"),
        ("/*", "/*"),
        ("/a/*", "/a"),
        ("/a/*", "/a/"),
        ("/a/*", "/a/b/*"),
        ("/:x", "/a"),
        ("/:x", "/:y"),
        ("/:x/*", "/a/*"),
        ("/:x/b", "/a/b"),
    ],
)
def test_covers(wide: str, narrow: str) -> None:
    assert parse_pattern(wide).covers(parse_pattern(narrow))


@pytest.mark.parametrize(
    ("narrow", "wide"),
    [
        ("/a", "/b"),
        ("/a", "/:x"),
        ("/a", "/*"),
        ("/a/*", "/*"),
        ("/a/*", "/:x/*"),
        ("/:x", "/a/*"),
        ("/:x", "/:x/:y"),
        ("/:x/:y", "/:x"),
        ("/:x/:y/*", "/:x/*"),
        ("/a/:x", "/a/"),
        ("/a/:x/:y", "/a/:x/"),
        ("/:x", "/"),
    ],
)
def test_does_not_cover(narrow: str, wide: str) -> None:
    assert not parse_pattern(narrow).covers(parse_pattern(wide))


WORD = st.text(st.characters(exclude_categories=("Cs", "Cc")), min_size=1, max_size=4)
SEGMENT = WORD.filter(lambda word: word not in (".", "..") and not set("/\\") & set(word))
PIECE = st.one_of(st.sampled_from(["a", "b"]), SEGMENT, st.none())
SHAPE = st.tuples(st.lists(PIECE, min_size=1, max_size=4), st.booleans())


def render(shape: tuple[list[str | None], bool]) -> str:
    """A pattern's text from its segments, None for a placeholder, and whether it ends in a splat."""
    pieces, splat = shape
    segments = [f":p{place}" if piece is None else quote(piece, safe="") for place, piece in enumerate(pieces)]
    return "/" + "/".join([*segments, "*"] if splat else segments)


@given(SHAPE, st.lists(SEGMENT, min_size=8, max_size=8))
def test_a_pattern_matches_the_path_it_was_made_for(shape: tuple[list[str | None], bool], fill: list[str]) -> None:
    pieces, splat = shape
    pattern = parse_pattern(render(shape))
    whole = [fill[place] if piece is None else piece for place, piece in enumerate(pieces)] + fill[4:] * splat
    path = decode_path(encode_path("/" + "/".join(whole)))
    values = pattern.match(split_path(path))
    assert values is not None
    filled = iter(values)
    rebuilt = [next(filled) if segment is None else segment for segment in pattern.segments]
    assert "/" + "/".join([*rebuilt, *filled]) == path
    assert (pattern.path == path) == (not pattern.names)


@given(SHAPE, SHAPE, st.lists(st.sampled_from(["a", "b", "c"]), max_size=6), st.booleans())
def test_what_covers_matches_too(
    one: tuple[list[str | None], bool], two: tuple[list[str | None], bool], parts: list[str], slash: bool
) -> None:
    wide, narrow = parse_pattern(render(one)), parse_pattern(render(two))
    path = "/" + "/".join(parts) + "/" * (slash and bool(parts))
    if wide.covers(narrow) and narrow.match(split_path(path)) is not None:
        assert wide.match(split_path(path)) is not None


@given(st.text(st.sampled_from("/:*%a.2Fé\\?#"), max_size=30).map(lambda text: "/" + text))
def test_any_text_is_a_pattern_or_refused(text: str) -> None:
    try:
        pattern = parse_pattern(text)
    except RuleError:
        return
    assert isinstance(pattern, Pattern)
    assert parse_pattern(text) == pattern
    assert pattern.covers(pattern)


@given(st.text(max_size=20))
def test_text_is_decoded_as_paths_are(text: str) -> None:
    try:
        path = decode_path("/x/" + encode_path(text))
    except Refusal:
        return
    assume("//" not in text)
    assert decode_text("x/" + encode_path(text)) == path[1:]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("/a", "/a"),
        ("/:x", "/<1>"),
        ("/:x/:y", "/<1>/<2>"),
        ("/:x-:y.html", "/<1>-<2>.html"),
        (":x:y", "<1><2>"),
        ("/:x_:y", "/<1><2>"),
        ("/12:30", "/12:30"),
        ("", ""),
    ],
)
def test_template(text: str, expected: str) -> None:
    template = parse_template(text, str)
    values = {"x": "1", "x_": "1", "y": "2"}
    assert template.expand(values, lambda value: f"<{value}>") == expected


def test_a_template_converts_what_is_written_out() -> None:
    assert parse_template("/a:x/b", str.upper).pieces == ("/A", "x", "/B")

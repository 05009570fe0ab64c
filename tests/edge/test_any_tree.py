"""Any tree, any path: what is served is a file of the site's own tree, below its prefix, or a known page."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from unicodedata import normalize
from urllib.parse import quote, unquote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from server.edge.decision import NO_FILE
from server.edge.request import Request
from server.edge.response import Response
from storage.errors import Invalid
from storage.paths import parse_path
from tests.support.hosting import Hosting, memory_hosting

NAMES = (
    "index.html",
    "404.html",
    "a",
    "a.html",
    "b",
    "docs",
    "_headers",
    ".env",
    ".well-known",
    "é",
    "%41",
    "a b",
    "p",
)
letters = st.characters(exclude_characters="/\\", exclude_categories=("Cs", "Cc"))
segments = st.sampled_from(NAMES) | st.text(letters, min_size=1, max_size=4)


def is_valid(path: str) -> bool:
    try:
        return parse_path(path) == path
    except Invalid:
        return False


trees = st.lists(st.lists(segments, min_size=1, max_size=4).map("/".join).filter(is_valid), max_size=8)
odd_paths = st.text(st.characters(min_codepoint=33, max_codepoint=126, exclude_characters="#?"), max_size=16)


@pytest.fixture(scope="module")
def runner() -> Iterator[asyncio.Runner]:
    with asyncio.Runner() as runner:
        yield runner


@pytest.mark.slow
@settings(deadline=None, max_examples=200)
@given(tree=trees, prefix=st.sampled_from(["", "p", "p/q"]), odd=st.lists(odd_paths, max_size=3))
def test_what_is_served(runner: asyncio.Runner, tree: list[str], prefix: str, odd: list[str]) -> None:
    runner.run(check(tree, prefix, odd))


async def check(tree: list[str], prefix: str, odd: list[str]) -> None:
    names = {*tree, *(f"p/{name}" for name in tree), *(f"p/q/{name}" for name in tree[:4])}
    paths = {name.removesuffix(end) for name in names for end in ("", ".html", "index.html", "/index.html")}
    async with memory_hosting() as hosting:
        await hosting.site("a.test", {name: name.encode() for name in names}, prefix=prefix)
        await hosting.site("b.test", dict.fromkeys(names, b"of another"))
        for path in (*map(quote, paths), *odd, *(f"{path}/" for path in odd)):
            await check_path(hosting, "/" + path, names, prefix and prefix + "/")


async def check_path(hosting: Hosting, path: str, names: set[str], below: str) -> None:
    answer = await respond(hosting, path)
    assert isinstance(answer.body, bytes)
    served = answer.body.decode()
    match answer.status:
        case 200:
            assert served in names
            asked = normalize("NFC", unquote(re.sub("/+", "/", path), errors="strict")).removeprefix("/")
            endings = ["index.html"] if asked == "" or asked.endswith("/") else ["", ".html"]
            assert served in [f"{below}{asked}{ending}" for ending in endings]
            assert asked not in ("_headers", "_redirects")
            assert all(segment[:1] != "." or segment == ".well-known" for segment in asked.split("/"))
        case 404 if served in names:
            assert served.startswith(below)
            assert served.rpartition("/")[2] == "404.html"
        case 404:
            assert answer.body == NO_FILE.body
            assert f"{below}404.html" not in names
        case 308:
            location = dict(answer.headers)[b"location"].decode()
            assert location.endswith("/")
            assert not location.startswith("//")
            assert (await respond(hosting, location)).status == 200
        case status:
            assert status == 400
            assert answer.body.startswith(b"<!doctype html>")


async def respond(hosting: Hosting, path: str) -> Response:
    """The same whether memory has it or not."""
    request = Request(method="GET", authority="a.test", path=path)
    answer, _ = await hosting.edge.respond(request)
    assert hosting.edge.respond_nowait(request) in (answer, None)
    return answer

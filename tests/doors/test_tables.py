"""Tables of answers that are given up to make room: nothing of them stays charged, and whoever used them goes on."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.doors import tables
from server.doors.http1 import render_head
from server.doors.tables import TABLE_OVERHEAD, Answer
from server.edge.cache import Entry
from server.edge.conditions import finish
from server.edge.request import Request
from server.edge.response import Content, Parts, Representation, Span, file_representation
from storage.models import Blob
from tests.doors.test_fast import connected


@pytest.fixture
def room_for_two(monkeypatch: pytest.MonkeyPatch) -> None:
    make = tables.Tables.__init__
    monkeypatch.setattr(tables.Tables, "__init__", lambda self, cache, _=0: make(self, cache, 2 * TABLE_OVERHEAD + 200))


@pytest.mark.usefixtures("room_for_two")
async def test_an_answer_is_charged_for_as_long_as_it_can_be_found(read: list[bytes]) -> None:
    async with connected() as (hosting, client):
        for other in "bcd":
            await hosting.site(f"{other}.test", {"page.html": other.encode()})
        sizes = []
        for _ in range(20):
            for site in "abcd":
                for _ in range(4):
                    expected = b"page" if site == "a" else site.encode()
                    assert (await client.get("/page", host=f"{site}.test"))[::2] == (200, expected)
            sizes.append(hosting.edge.cache.size)
        assert len(set(sizes)) == 1
        assert len(read) < 20 * 4 * 4 / 1.9  # once found again, an answer is at hand until the next site's turn


@pytest.mark.usefixtures("room_for_two")
async def test_whoever_used_a_table_that_was_given_up_gets_another(slowly: list[bytes], read: list[bytes]) -> None:
    async with connected() as (hosting, client):
        await hosting.site("b.test", {"page.html": b"b"})
        for _ in range(3):
            await client.get("/page")
        for coding in ("br", "zstd", "identity, x"):
            lines = f"GET /page HTTP/1.1\r\nHost: b.test\r\nAccept-Encoding: {coding}\r\n\r\n"
            for _ in range(3):
                client.writer.write(lines.encode())
                assert (await client.answer())[2] == b"b"
        for _ in range(3):
            assert (await client.get("/page"))[2] == b"page"
        del slowly[:], read[:]
        for _ in range(3):
            assert (await client.get("/page"))[2] == b"page"
        assert (slowly, read) == ([], [])


def _file(size: int, *, in_memory: bool) -> Representation:
    blob = Blob(digest="0" * 64, size=size)
    content = Content("text/plain", blob, bytes(map(ord, "0123456789" * size))[:size] if in_memory else blob)
    return file_representation(content, 0, b"Thu, 01 Jan 1970 00:00:00 GMT")


_NUMBERS = st.integers(0, 40) | st.integers(0, 10**19)


@given(st.integers(0, 30), st.booleans(), st.tuples(_NUMBERS, st.none() | _NUMBERS))
def test_a_part_is_what_everybody_gets(size: int, in_memory: bool, asked: tuple[int, int | None]) -> None:
    stored = _file(size, in_memory=in_memory)
    plain = Request(method="GET", authority=None, path="/")
    answer = Answer(Entry(stored, 0), stored, finish(stored, plain), b"", (b"", b""), "")
    field = f"bytes={asked[0]}-{'' if asked[1] is None else asked[1]}"
    expected = finish(stored, Request(method="GET", authority=None, path="/", range=field))
    part = answer.part(field.encode())
    if part is None:
        assert expected.status in (200, 416)
    else:
        assert (expected.status, render_head(expected), expected.body) == (206, *part)


@pytest.mark.parametrize("field", ["bytes=-1", "bytes=0-1,3-4", "bytes= 0-1", "lines=0-1", "bytes=3-2", "bytes=", ""])
def test_a_part_in_unusual_words_is_for_others(field: str) -> None:
    stored = _file(10, in_memory=False)
    whole = Parts(Blob(digest="0" * 64, size=10), (Span(0, 10),), 10)
    response = finish(stored, Request(method="GET", authority=None, path="/"))
    assert response.body == whole
    assert Answer(Entry(stored, 0), stored, response, b"", (b"", b""), "").part(field.encode()) is None

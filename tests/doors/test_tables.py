"""Tables of answers that are given up to make room: nothing of them stays charged, and whoever used them goes on."""

from __future__ import annotations

import pytest

from server.doors import tables
from server.doors.tables import TABLE_OVERHEAD
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

"""What is noted is handed on: once a second, when it is much, and at the end."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Mapping

from server.doors.journal import MAX_COUNTED, MAX_NOTES, Asked, Journal, Tally
from server.doors.log_format import FORMATS
from tests.support.hosting import NOW


class Taken:
    """What a journal handed on."""

    def __init__(self) -> None:
        self.lines: list[bytes] = []
        self.counts: Counter[tuple[str, int]] = Counter()
        self.came = asyncio.Event()

    def write(self, lines: bytes) -> None:
        self.lines += lines.splitlines(keepends=True)

    def count(self, tallies: Mapping[Tally, int]) -> None:
        for tally, times in tallies.items():
            self.counts[tally.site_id, tally.status] += times
        self.came.set()


ASKED = Asked.read(
    b"GET", b"/a?b", "1.1", [(b"host", b"a.test"), (b"user-agent", b"curl"), (b"accept", b"*/*"), (b"referer", b"r")]
)


async def test_much_is_handed_on_at_once() -> None:
    taken = Taken()
    journal = Journal(lambda: NOW, FORMATS["json"], taken.write, taken.count)
    loop = asyncio.get_running_loop()
    for _ in range(MAX_NOTES - 1):
        journal.note_answer(loop, b'{"remote":"","time":"', ASKED, 200, 5, "site_1")
    assert not taken.lines
    journal.note_answer(loop, b'{"remote":"","time":"', ASKED, 404, 5)
    assert len(taken.lines) == MAX_NOTES
    journal.flush()
    assert taken.counts == {("site_1", 200): MAX_NOTES - 1, ("", 404): 1}
    read = json.loads(taken.lines[0])
    assert read["time"].startswith("2026-09-21T14:13:20.")
    del read["time"]
    assert read == {
        "remote": "", "method": "GET", "target": "/a?b", "protocol": "HTTP/1.1", "status": 200, "bytes": 5,
        "site": "site_1", "host": "a.test", "referer": "r", "user_agent": "curl",
    }  # fmt: skip


async def test_what_is_counted_apart_is_not_kept_for_long() -> None:
    taken = Taken()
    journal = Journal(lambda: NOW, FORMATS["json"], count=taken.count)
    loop = asyncio.get_running_loop()
    for size in range(MAX_COUNTED + MAX_NOTES):
        journal.note_answer(loop, b"", ASKED, 200, size, "site_1")
    assert taken.counts["site_1", 200] >= MAX_COUNTED


async def test_little_is_handed_on_within_a_second() -> None:
    taken = Taken()
    journal = Journal(lambda: NOW + 0.98, FORMATS["json"], taken.write, taken.count)
    journal.note_answer(asyncio.get_running_loop(), b"{", ASKED, 200, 5)
    async with asyncio.timeout(10):
        await taken.came.wait()
    assert len(taken.lines) == 1


async def test_without_a_log_it_counts_all_the_same() -> None:
    taken = Taken()
    journal = Journal(lambda: NOW, count=taken.count)
    journal.note_answer(asyncio.get_running_loop(), b"{", ASKED, 200, 5)
    journal.flush()
    journal.flush()
    assert taken.counts == {("", 200): 1}


async def test_the_clock_may_be_set_back() -> None:
    now = NOW + 0.5
    taken = Taken()
    journal = Journal(lambda: now, FORMATS["json"], taken.write)
    loop = asyncio.get_running_loop()
    journal.tick(loop, 100.0)
    journal.note(Tally("", 200, 0), b"", b"", b"")
    now = NOW - 1000
    assert journal.tick(loop, 99.0).date == b"date: Mon, 21 Sep 2026 13:56:40 GMT\r\n"
    journal.note(Tally("", 200, 0), b"", b"", b"")
    journal.flush()


def test_the_authority_of_a_target_stands_for_the_host() -> None:
    assert Asked.read(b"GET", b"http://b.test/", "1.0", [(b"host", b"a.test")], "b.test").host == b"b.test"

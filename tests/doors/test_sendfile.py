"""Large files: the kernel sends them, and what may go wrong meanwhile."""

from __future__ import annotations

import asyncio
import errno
import os
import re
import socket
import struct
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from unittest.mock import Mock

import pytest

from server.doors import fast, open_files, sendfile
from server.doors.http1 import MAX_PIPELINED_BYTES
from server.doors.journal import Journal, Tally
from server.doors.phases import DEADLINES, Phase
from server.doors.tables import Answer
from server.edge.response import Body
from storage.errors import Unavailable
from storage.local import LocalReader
from tests.support.connections import Peer, connection, until, until_all_are_closed, until_unconnected
from tests.support.hosting import Hosting, digest_of, file_hosting, served

BIG = os.urandom(1024) * (24 * 1024)  # more than sockets buffer
GET = b"GET /big.bin HTTP/1.1\r\nHost: a.test\r\n\r\n"
SMALL = b"GET /a.txt HTTP/1.1\r\nHost: a.test\r\n\r\n"
SHORT = 0.05
SMALL_BUFFER = 64 * 1024  # of the client: less than BIG by far


class Notes:
    """A journal, and what it was told."""

    def __init__(self) -> None:
        self.tallies: Counter[Tally] = Counter()
        self.lines = b""
        self.journal = Journal(write=self._write, count=self.tallies.update)

    def _write(self, lines: bytes) -> None:
        self.lines += lines

    def forget(self) -> None:
        """What it was told so far."""
        self.journal.flush()
        self.tallies.clear()
        self.lines = b""

    def sizes(self) -> list[int]:
        """Bytes of each answer noted by now."""
        self.journal.flush()
        return [tally.size for tally, count in self.tallies.items() for _ in range(count)]


@asynccontextmanager
async def connected(
    directory: Path, deadlines: Mapping[Phase, float] = DEADLINES, *, receive_buffer: int = 0
) -> AsyncIterator[tuple[Hosting, Peer, Notes]]:
    """A site whose large file the edge knows, and a connection to it."""
    async with file_hosting(directory) as hosting:
        await hosting.site("a.test", {"a.txt": b"0123456789", "big.bin": BIG})
        notes = Notes()
        async with served(hosting.edge, deadlines, journal=notes.journal) as port:
            before = descriptors()
            warm = await Peer.connect(port)
            warm.send(GET.replace(b"GET", b"HEAD") + SMALL)
            await warm.head()
            await warm.answer()
            await warm.close()
            await until_all_are_closed()
            notes.forget()
            peer = await Peer.connect(port, receive_buffer)
            try:
                yield hosting, peer, notes
            finally:
                await peer.close()
                await until(lambda: descriptors() == before)


def descriptors() -> list[str]:
    """What this process has open, by name; the connections' own are no longer there when it is compared."""
    found = []
    for number in os.listdir("/proc/self/fd"):
        try:
            found.append(os.readlink(f"/proc/self/fd/{number}"))
        except FileNotFoundError:
            continue
    return sorted(name for name in found if name.startswith(("/tmp", "socket:")))


@pytest.fixture(autouse=True)
def _asks_nobody_else(monkeypatch: pytest.MonkeyPatch) -> None:
    """A task would do what the door should do here itself."""

    def refuse(*_: object) -> None:
        raise AssertionError("the large file went through the ASGI door")

    monkeypatch.setattr(LocalReader, "read", refuse)
    monkeypatch.setattr(open_files, "KEEP_SECONDS", SHORT)  # so that it can be seen that nothing stays open for ever


async def test_whole_files_and_ranges(tmp_path: Path) -> None:
    async with connected(tmp_path) as (hosting, peer, notes):
        peer.send(GET)
        assert await peer.answer() == (200, BIG)
        for field, part in (("0-", BIG), ("5-1000004", BIG[5:1000005]), ("-7", BIG[-7:]), ("9999999-", BIG[9999999:])):
            peer.send(GET[:-2] + f"Range: bytes={field}\r\nReferer: http://a/\r\n\r\n".encode())
            assert await peer.answer() == (206, part)
        assert notes.sizes() == [len(BIG), len(BIG), 1000000, 7, len(BIG) - 9999999]
        assert notes.lines.count(b'"target":"/big.bin"') == 5
        site_ids = {tally.site_id for tally in notes.tallies}
        assert site_ids == {(await hosting.metadata.find_site(["a.test"])).id}  # type: ignore[union-attr]


async def test_a_range_that_comes_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is answered from what is kept of it, but not in a word otherwise."""
    reckoned: list[bytes] = []
    part = Answer.part

    def reckon(answer: Answer, field: bytes) -> tuple[bytes, Body] | None:
        reckoned.append(field)
        return part(answer, field)

    monkeypatch.setattr(Answer, "part", reckon)
    again, other = (GET[:-2] + b"Range: bytes=%b\r\n\r\n" % field for field in (b"5-1000004", b"0-"))
    queried = again.replace(b".bin", b".bin?a=b")
    async with connected(tmp_path) as (_, peer, notes):
        heads, logged = set(), set()
        for request in (again, again, again, queried, again, other, again, again):
            peer.send(request)
            head = await peer.head()
            body = BIG if request is other else BIG[5:1000005]
            assert await peer.reader.readexactly(len(body)) == body
            notes.journal.flush()
            if request is not other:
                heads.add(re.sub(rb"\r\ndate: [^\r]*", b"", head))
                logged.add(re.sub(rb'"time":"[^"]*"|\?a=b', b"", notes.lines))
            notes.lines = b""
        assert len(heads) == len(logged) == 1
        assert reckoned == [b"bytes=5-1000004"] * 2 + [b"bytes=0-", b"bytes=5-1000004"]
        assert sorted(notes.sizes()) == [1000000] * 7 + [len(BIG)]
        peer.send(again[:-2] + b"Connection: close\r\n\r\n")
        assert b"connection: close" in await peer.head()
        assert await peer.rest() == BIG[5:1000005]


async def test_a_range_that_comes_again_is_of_what_there_is_now(tmp_path: Path) -> None:
    async with connected(tmp_path) as (hosting, peer, _notes):
        again = GET[:-2] + b"Range: bytes=5-9\r\n\r\n"
        for _ in range(3):
            peer.send(again)
            assert await peer.answer() == (206, BIG[5:10])
        await hosting.publish("a.test", {"big.bin": BIG[1:]})
        hosting.clock.now += 60  # what has changed within this second is not kept
        peer.send(GET.replace(b"GET", b"HEAD"))
        await peer.head()
        for _ in range(3):
            peer.send(again)
            assert await peer.answer() == (206, BIG[6:11])


async def test_heads_and_validators(tmp_path: Path) -> None:
    async with connected(tmp_path) as (_, peer, _notes):
        tag = b'"%b"' % digest_of(BIG)[:32].encode()
        peer.send(GET.replace(b"GET", b"HEAD"))
        assert b"content-length: %d" % len(BIG) in await peer.head()
        peer.send(GET[:-2] + b"If-None-Match: %b\r\n\r\n" % tag)
        assert b"304" in await peer.head()
        peer.send(GET[:-2] + b"Range: bytes=0-3\r\nIf-Range: %b\r\n\r\n" % tag)
        assert await peer.answer() == (206, BIG[:4])
        peer.send(GET[:-2] + b'Range: bytes=0-3\r\nIf-Range: "other"\r\n\r\n')
        assert await peer.answer() == (200, BIG)
        peer.send(SMALL)
        assert await peer.answer() == (200, b"0123456789")


@pytest.mark.parametrize("request_", [GET[:-2] + b"Connection: close\r\n\r\n", GET.replace(b"/1.1", b"/1.0")])
@pytest.mark.parametrize("field", [b"", b"Range: bytes=1-5\r\n"])
async def test_the_last_answer(tmp_path: Path, request_: bytes, field: bytes) -> None:
    async with connected(tmp_path) as (_, peer, _notes):
        peer.send(request_[:-2] + field + b"\r\n" + SMALL)
        assert b"connection: close" in await peer.head()
        assert await peer.rest() == (BIG[1:6] if field else BIG)


@pytest.mark.slow
async def test_many_ranges_that_are_pipelined(tmp_path: Path) -> None:
    async with connected(tmp_path) as (_, peer, notes):
        few = GET[:-2] + b"Range: bytes=3-9\r\n\r\n"
        peer.send(few * 2000 + SMALL)
        for _ in range(2000):
            assert await peer.answer() == (206, BIG[3:10])
        assert await peer.answer() == (200, b"0123456789")
        assert notes.sizes() == [*[7] * 2000, 10]


@pytest.mark.slow
async def test_pipelining_behind_a_large_answer_is_bounded(tmp_path: Path) -> None:
    count = 4 * MAX_PIPELINED_BYTES // len(SMALL)
    async with connected(tmp_path, receive_buffer=SMALL_BUFFER) as (_, peer, _notes):
        peer.send(GET + SMALL * count + GET)
        assert await peer.answer() == (200, BIG)
        for _ in range(count):
            assert await peer.answer() == (200, b"0123456789")
        assert await peer.answer() == (200, BIG)


async def test_a_large_answer_behind_what_is_not_taken_yet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The transport has bytes of its own to write: the file's wait for them."""
    async with connected(tmp_path, receive_buffer=SMALL_BUFFER) as (hosting, peer, _notes):
        await hosting.publish("a.test", {"cached.bin": b"y" * 1_000_000})
        peer.send(SMALL.replace(b"a.txt", b"cached.bin") + GET.replace(b"GET", b"HEAD"))
        assert await peer.answer() == (200, b"y" * 1_000_000)
        await peer.head()
        protocol = await connection()
        protocol.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        protocol.transport.set_write_buffer_limits(2_000_000)
        peer.send(SMALL.replace(b"a.txt", b"cached.bin") + GET[:-2] + b"Range: bytes=0-99999\r\n\r\n")
        assert await peer.answer() == (200, b"y" * 1_000_000)
        assert await peer.answer() == (206, BIG[:100_000])


async def test_a_client_that_takes_long_enough_to_pause_the_transport(tmp_path: Path) -> None:
    async with connected(tmp_path, receive_buffer=SMALL_BUFFER) as (_, peer, _notes):
        peer.send(GET)
        await peer.head()
        protocol = await connection()
        assert protocol._phase is Phase.WRITING
        protocol.pause_writing()
        protocol.resume_writing()
        assert protocol._phase is Phase.WRITING
        assert await peer.reader.readexactly(len(BIG)) == BIG


async def test_what_needs_a_task_behind_a_file_that_was_paused(tmp_path: Path) -> None:
    async with connected(tmp_path, receive_buffer=SMALL_BUFFER) as (_, peer, _notes):
        peer.send(SMALL.replace(b"a.txt", b"unknown"))
        assert (await peer.answer())[0] == 404
        peer.send(GET)
        await peer.head()
        protocol = await connection()
        protocol.pause_writing()
        protocol.resume_writing()
        assert await peer.reader.readexactly(len(BIG)) == BIG
        peer.send(SMALL.replace(b"a.txt", b"unknown-as-well"))
        assert (await peer.answer())[0] == 404


async def test_the_last_answer_has_time_of_its_own(tmp_path: Path) -> None:
    """However long the connection has been open, and whatever is still to be taken before."""
    async with connected(tmp_path, receive_buffer=SMALL_BUFFER) as (_, peer, _notes):
        for _ in range(3):
            peer.send(SMALL)
            await peer.answer()
        protocol = await connection()
        protocol.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        protocol.transport.set_write_buffer_limits(2_000_000)
        protocol.transport.write(b"y" * 1_000_000)
        soon = peer.loop.time() + SHORT
        protocol._set_deadline(soon)
        peer.send(SMALL[:-2] + b"Connection: close\r\n\r\n")
        await until(protocol.transport.is_closing)
        await peer.until(soon + SHORT)
        assert (await peer.rest()).endswith(b"connection: close\r\n\r\n0123456789")


async def test_who_does_not_read_is_dropped(tmp_path: Path) -> None:
    async with connected(tmp_path, {**DEADLINES, Phase.WRITING: SHORT}, receive_buffer=SMALL_BUFFER) as (
        _,
        peer,
        notes,
    ):
        peer.send(GET)
        assert b"200 OK" in await peer.head()
        await until_unconnected(peer)
        [sent] = notes.sizes()
        assert len(await peer.rest()) <= sent < len(BIG)


@pytest.mark.slow
async def test_who_reads_steadily_is_served_however_long_it_takes(tmp_path: Path) -> None:
    short = dict.fromkeys((Phase.WRITING, Phase.FLUSHING, Phase.IDLE), 0.5)
    async with connected(tmp_path, {**DEADLINES, **short}, receive_buffer=SMALL_BUFFER) as (_, peer, _notes):
        peer.send(GET)
        await peer.head()
        for _ in range(6):
            # Not a wait for something: a client of this pace is what the deadlines are to bear with.
            await peer.until(peer.loop.time() + 0.2)
            await peer.reader.readexactly(len(BIG) // 6)


@pytest.mark.slow
async def test_who_reads_less_than_the_kernel_waits_for_is_served(tmp_path: Path) -> None:
    async with connected(tmp_path, {**DEADLINES, Phase.WRITING: 0.5}, receive_buffer=SMALL_BUFFER) as (_, peer, _n):
        peer.send(GET)
        await peer.head()
        assert await peer.dawdle(1 << 20) + await peer.reader.readexactly(len(BIG) - (1 << 20)) == BIG


async def test_half_closed_clients_get_all_of_it(tmp_path: Path) -> None:
    async with connected(tmp_path) as (_, peer, _notes):
        peer.send(GET)
        peer.writer.write_eof()
        assert b"200 OK" in await peer.head()
        assert await peer.rest() == BIG


async def test_the_server_stops_behind_it(tmp_path: Path) -> None:
    async with connected(tmp_path, receive_buffer=SMALL_BUFFER) as (_, peer, _notes):
        peer.send(GET)
        await peer.head()
        (await connection()).shutdown()
        assert await peer.rest() == BIG


async def test_a_client_that_leaves_in_the_middle(tmp_path: Path) -> None:
    async with connected(tmp_path, receive_buffer=SMALL_BUFFER) as (_, peer, notes):
        peer.send(GET)
        await peer.head()
        await peer.close()
        await until_all_are_closed()
        [sent] = notes.sizes()
        assert sent < len(BIG)


async def test_a_client_that_resets_is_no_fault(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async with connected(tmp_path, receive_buffer=SMALL_BUFFER) as (_, peer, _notes):
        peer.send(GET)
        await peer.head()
        protocol = await connection()
        assert isinstance(protocol, fast.FastProtocol)
        protocol._end_span(ConnectionResetError())
        protocol.shutdown()  # as anybody may, before the protocol is told of the end
        assert len(await peer.rest()) < len(BIG)
    assert caplog.records == []


async def test_a_file_that_is_cut_under_way(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async with connected(tmp_path, receive_buffer=SMALL_BUFFER) as (_, peer, _notes):
        peer.send(GET)
        await peer.head()
        digest = digest_of(BIG)
        os.truncate(tmp_path / digest[:2] / digest[2:], len(BIG) - 1_000_000)
        assert len(await peer.rest()) < len(BIG)
    assert "cut short" in caplog.text


async def test_a_file_that_is_deleted_under_way(tmp_path: Path) -> None:
    async with connected(tmp_path, receive_buffer=SMALL_BUFFER) as (hosting, peer, _notes):
        peer.send(GET)
        await peer.head()
        await hosting.blobs.delete(digest_of(BIG))
        assert await peer.reader.readexactly(len(BIG)) == BIG


async def test_a_file_that_is_gone(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async with connected(tmp_path) as (hosting, peer, _notes):
        await hosting.blobs.delete(digest_of(BIG))
        peer.send(GET)
        assert (await peer.answer())[0] == 500
        caplog.clear()


async def test_a_process_without_descriptors_refuses_and_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with connected(tmp_path) as (hosting, peer, _):
        with monkeypatch.context() as patch:
            patch.setattr(hosting.blobs, "open_nowait", lambda digest: None)
            patch.setattr(hosting.blobs, "open", Mock(side_effect=Unavailable("no descriptor is left")))
            peer.send(GET + SMALL)
            assert (await peer.answer())[0] == 503
            assert await peer.answer() == (200, b"0123456789")
        peer.send(GET)
        assert await peer.answer() == (200, BIG)


async def test_a_client_that_cannot_be_watched_is_looked_at_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with connected(tmp_path) as (_, peer, _notes):

        def fail(*_: object) -> None:
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

        monkeypatch.setattr(os, "dup", fail)
        peer.send(GET + SMALL)
        assert await peer.answer() == (200, BIG)
        assert await peer.answer() == (200, b"0123456789")


async def test_what_has_to_come_from_the_disk_is_fetched_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fetched = []
    fetch = LocalReader.fetch

    async def watched(self: LocalReader, start: int, stop: int) -> None:
        fetched.append((start, stop))
        await fetch(self, start, stop)

    monkeypatch.setattr(LocalReader, "fetch", watched)
    monkeypatch.setattr(LocalReader, "is_at_hand", lambda *_: False)
    monkeypatch.setattr(sendfile, "TURN_BYTES", 100_000)
    async with connected(tmp_path) as (_, peer, _notes):
        peer.send(GET[:-2] + b"Range: bytes=50-249999\r\n\r\n")
        assert await peer.answer() == (206, BIG[50:250_000])
        assert fetched == [(50, 100_050), (100_050, 200_050), (200_050, 250_000)]
        peer.send(GET)
        await peer.close()  # a fetch may be under way


async def test_who_leaves_while_the_disk_is_slow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = asyncio.Event()

    async def never(*_: object) -> None:
        asked.set()
        await asyncio.Event().wait()

    monkeypatch.setattr(LocalReader, "fetch", never)
    monkeypatch.setattr(LocalReader, "is_at_hand", lambda *_: False)
    async with connected(tmp_path) as (_, peer, notes):
        peer.send(GET)
        await asked.wait()
        linger = struct.pack("ii", 1, 0)
        peer.writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        await peer.close()
        await until_all_are_closed()
        assert notes.sizes() == [0]

"""The protocol's deadlines, limits and manners, over real connections."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

import pytest

from server import listeners
from server.doors.http1 import MAX_PIPELINED_BYTES
from server.doors.phases import DEADLINES, MAX_DISCARDED_BYTES, Phase
from tests.support.connections import Peer, connection, protocols, until_unconnected
from tests.support.hosting import Hosting, listening, memory_hosting, served

GET = b"GET /a.txt HTTP/1.1\r\nHost: a.test\r\n\r\n"
BIG = b"x" * (24 * 1024 * 1024)  # more than sockets buffer, and streamed
CACHED = b"y" * (8 * 1024 * 1024)
SHORT = 0.05


@asynccontextmanager
async def connected(
    deadlines: Mapping[Phase, float] = DEADLINES, **options: int
) -> AsyncIterator[tuple[Hosting, Peer]]:
    """A site, and a connection to it."""
    async with memory_hosting() as hosting:
        hosting.edge.cache.max_body = len(CACHED)
        await hosting.site("a.test", {"a.txt": b"0123456789", "big.bin": BIG, "cached.bin": CACHED})
        async with served(hosting.edge, deadlines) as port:
            peer = await Peer.connect(port, **options)
            try:
                yield hosting, peer
            finally:
                await peer.close()


async def test_a_slow_head_is_408() -> None:
    async with connected({**DEADLINES, Phase.READING: SHORT}) as (_, peer):
        peer.send(GET[:-2])
        status, body = await peer.answer()
        assert status == 408
        assert b"did not come in time" in body
        peer.writer.write_eof()
        assert await peer.rest() == b""


async def test_a_slow_body_is_408() -> None:
    async with connected({**DEADLINES, Phase.READING: SHORT}) as (_, peer):
        peer.send(b"POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 2\r\n\r\n1")
        assert (await peer.answer())[0] == 408


async def test_bytes_that_trickle_do_not_move_the_deadline() -> None:
    async with connected({**DEADLINES, Phase.READING: SHORT}) as (_, peer):

        async def trickle() -> None:
            for byte in GET * 1000:
                peer.send(bytes([byte]) if byte != 10 else b"a")
                await peer.writer.drain()
                await asyncio.sleep(0)

        trickling = asyncio.create_task(trickle())
        assert (await peer.answer())[0] in (400, 408)
        trickling.cancel()


async def test_an_idle_connection_is_closed_silently() -> None:
    async with connected({**DEADLINES, Phase.IDLE: SHORT}) as (_, peer):
        assert await peer.rest() == b""


async def test_an_idle_connection_is_closed_after_answers_too() -> None:
    async with connected({**DEADLINES, Phase.IDLE: SHORT, Phase.READING: 0.5}) as (_, peer):
        peer.send(GET[:20])
        await peer.writer.drain()
        peer.send(GET[20:])
        assert await peer.answer() == (200, b"0123456789")
        assert await peer.rest() == b""


async def test_who_does_not_read_a_stream_is_dropped() -> None:
    async with connected({**DEADLINES, Phase.WRITING: SHORT}, receive_buffer=4096) as (_, peer):
        peer.send(GET.replace(b"a.txt", b"big.bin"))
        assert b"200 OK" in await peer.head()
        await until_unconnected(peer)
        assert len(await peer.rest()) < len(BIG)


async def test_who_does_not_read_a_cached_body_is_dropped() -> None:
    async with connected({**DEADLINES, Phase.FLUSHING: SHORT}, receive_buffer=4096) as (_, peer):
        peer.send(GET.replace(b"a.txt", b"cached.bin"))
        assert b"200 OK" in await peer.head()
        await until_unconnected(peer)
        assert len(await peer.rest()) < len(CACHED)


@pytest.mark.parametrize("more", ["a request", "half of one, and the end"])
async def test_who_does_not_read_and_goes_on_is_dropped(more: str) -> None:
    deadlines = {**DEADLINES, Phase.WRITING: SHORT, Phase.FLUSHING: SHORT, Phase.READING: SHORT}
    async with connected(deadlines, receive_buffer=4096) as (_, peer):
        peer.send(GET.replace(b"a.txt", b"cached.bin"))
        assert b"200 OK" in await peer.head()
        peer.send(GET if more == "a request" else GET[:20])
        if more != "a request":
            peer.writer.write_eof()
        await until_unconnected(peer)
        assert len(await peer.rest()) < len(CACHED)


async def test_who_does_not_read_the_last_answer_is_dropped() -> None:
    request = b"GET /cached.bin HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n"
    async with connected({**DEADLINES, Phase.WRITING: SHORT}, receive_buffer=4096) as (_, peer):
        peer.send(request)
        assert b"200 OK" in await peer.head()
        await until_unconnected(peer)
        assert len(await peer.rest()) < len(CACHED)


@pytest.mark.slow
@pytest.mark.parametrize(("path", "size"), [(b"big.bin", len(BIG)), (b"cached.bin", len(CACHED))])
@pytest.mark.parametrize("option", [b"", b"Connection: close\r\n"])
async def test_who_reads_steadily_is_served_however_long_it_takes(path: bytes, size: int, option: bytes) -> None:
    short = dict.fromkeys((Phase.WRITING, Phase.FLUSHING, Phase.IDLE), 1.0)
    async with connected({**DEADLINES, **short}, receive_buffer=4096) as (_, peer):
        peer.send(GET.replace(b"a.txt", path)[:-2] + option + b"\r\n")
        await peer.head()
        async with asyncio.timeout(60):
            for _ in range(6):
                # Not a wait for something: a client of this pace is what the deadlines are to bear with.
                await peer.until(peer.loop.time() + 0.25)
                await peer.reader.readexactly(size // 6)
            assert len(await peer.reader.readexactly(size % 6)) == size % 6


@pytest.mark.slow
@pytest.mark.parametrize(("path", "body"), [(b"big.bin", BIG), (b"cached.bin", CACHED)])
async def test_who_reads_less_than_the_kernel_waits_for_is_served(path: bytes, body: bytes) -> None:
    short = dict.fromkeys((Phase.WRITING, Phase.FLUSHING), 0.5)
    async with connected({**DEADLINES, **short}, receive_buffer=64 * 1024) as (_, peer):
        peer.send(GET.replace(b"a.txt", path))
        await peer.head()
        assert await peer.dawdle(1 << 20) + await peer.reader.readexactly(len(body) - (1 << 20)) == body


class ResetsAtTheEnd(dict[Phase, float]):
    """Deadlines that reset a client's connection when the last one is asked for, the last answer just written."""

    def __init__(self, sock: socket.socket) -> None:
        super().__init__(DEADLINES)
        self.sock = sock
        self.asked = asyncio.Event()

    def __getitem__(self, phase: Phase) -> float:
        if phase is Phase.CLOSING:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.sock.close()
            self.asked.set()
        return super().__getitem__(phase)


async def test_a_client_that_resets_as_its_connection_is_ended(caplog: pytest.LogCaptureFixture) -> None:
    async with memory_hosting() as hosting:
        sock = socket.socket()
        deadlines = ResetsAtTheEnd(sock)
        async with served(hosting.edge, deadlines) as port:
            sock.connect(("127.0.0.1", port))
            sock.sendall(GET + b"nonsense\r\n\r\n")
            await deadlines.asked.wait()
    assert caplog.records == []


@pytest.mark.slow
async def test_half_closed_clients_get_their_answer() -> None:
    async with connected() as (_, peer):
        peer.send(GET.replace(b"a.txt", b"big.bin"))
        peer.writer.write_eof()
        head = await peer.head()
        assert b"200 OK" in head
        assert await peer.rest() == BIG


@pytest.mark.parametrize("rest", [b"", GET[:10]])
async def test_half_closed_clients_get_all_their_answers(rest: bytes) -> None:
    async with connected() as (_, peer):
        peer.send(GET * 20 + rest)
        peer.writer.write_eof()
        for _ in range(20):
            assert await peer.answer() == (200, b"0123456789")
        assert await peer.rest() == b""


async def test_half_a_head_and_no_more() -> None:
    async with connected() as (_, peer):
        peer.send(GET[:10])
        peer.writer.write_eof()
        assert await peer.rest() == b""


@pytest.mark.parametrize("empty", [b"\r\n", b"\r|\n", b"|\r\n|", b"\r\n|"])
async def test_one_empty_line_before_a_request_is_ignored_however_it_arrives(empty: bytes) -> None:
    async with connected() as (_, peer):
        for _ in range(2):
            for piece in (empty + GET).split(b"|"):
                peer.send(piece)
                await peer.writer.drain()
                await asyncio.sleep(0)
            assert await peer.answer() == (200, b"0123456789")


@pytest.mark.parametrize("empty", [b"\r\n\r\n", b"\r\n|\r\n", b"\r\n\r|\n"])
async def test_two_are_not(empty: bytes) -> None:
    async with connected() as (_, peer):
        for piece in (empty + GET).split(b"|"):
            peer.send(piece)
            await peer.writer.drain()
            await asyncio.sleep(0)
        assert (await peer.answer())[0] == 400


async def test_a_request_on_its_way_when_the_server_stops_is_answered() -> None:
    async with connected() as (_, peer):
        peer.send(GET[:20])
        await peer.writer.drain()
        (await connection()).shutdown()
        peer.send(GET[20:])
        head = await peer.head()
        assert b"200 OK" in head
        assert b"connection: close" in head
        peer.writer.write_eof()
        assert await peer.rest() == b"0123456789"


async def test_what_does_not_finish_in_time_is_cut_off_quietly(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(listeners, "GRACE_SECONDS", 1.2)
    async with memory_hosting() as hosting:
        await hosting.site("a.test", {"big.bin": BIG})
        with listening() as sock:
            server = listeners.edge_server(hosting.edge)
            running = asyncio.create_task(server.listen(sock))
            await server.listening.wait()
            peer = await Peer.connect(sock.getsockname()[1], receive_buffer=4096)
            peer.send(GET.replace(b"a.txt", b"big.bin"))
            await peer.head()
            server.stop()
            async with asyncio.timeout(10):
                await running
            assert len(await peer.rest()) < len(BIG)
            await peer.close()
    assert not [record for record in caplog.records if record.levelname == "ERROR"]


async def test_a_silent_connection_does_not_hold_up_the_stop() -> None:
    async with connected() as (_, peer):
        (await connection()).shutdown()
        assert await peer.rest() == b""


@pytest.mark.slow
async def test_pipelining_is_bounded() -> None:
    async with connected(receive_buffer=4096) as (_, peer):
        peer.send(GET.replace(b"a.txt", b"big.bin") + GET * (4 * MAX_PIPELINED_BYTES // len(GET)))
        assert b"200 OK" in await peer.head()
        async with asyncio.timeout(20):
            assert await peer.reader.readexactly(len(BIG)) == BIG
        for _ in range(4 * MAX_PIPELINED_BYTES // len(GET)):
            assert await peer.answer() == (200, b"0123456789")


async def test_an_answer_survives_what_is_still_being_sent() -> None:
    async with connected() as (_, peer):
        peer.send(b"POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 300000\r\n\r\n" + b"a" * 300_000)
        assert (await peer.answer())[0] == 405
        peer.writer.write_eof()
        assert await peer.rest() == b""


async def test_what_is_thrown_away_is_bounded() -> None:
    async with connected() as (_, peer):
        peer.send(b"nonsense\r\n\r\n")
        assert (await peer.answer())[0] == 400
        peer.send(b"a" * (8 * MAX_DISCARDED_BYTES))
        with pytest.raises(ConnectionError):
            await peer.writer.drain()


@pytest.mark.slow
async def test_shutdown_lets_an_answer_finish() -> None:
    async with memory_hosting() as hosting:
        await hosting.site("a.test", {"big.bin": BIG})
        async with served(hosting.edge) as port:
            peer = await Peer.connect(port)
            idle = await Peer.connect(port)
            peer.send(GET.replace(b"a.txt", b"big.bin"))
            await peer.head()
            idle.send(GET)
            await idle.answer()
            for protocol in protocols():
                protocol.shutdown()
            assert await idle.rest() == b""
            assert await peer.rest() == BIG
            await peer.close()
            await idle.close()


def test_what_is_used_of_uvicorn_is_there() -> None:
    """The seam: uvicorn is pinned, and this fails if an upgrade moves what the protocol stands on."""
    from uvicorn.protocols.http import httptools_impl

    source = httptools_impl.HttpToolsProtocol
    for name in ("on_message_begin", "on_url", "on_header", "on_headers_complete", "on_message_complete",
                 "on_response_complete", "connection_made", "connection_lost", "data_received", "eof_received",
                 "pause_writing", "resume_writing", "shutdown"):  # fmt: skip
        assert callable(getattr(source, name)), name
    used = {"connections", "cycle", "flow", "headers", "loop", "parser", "server_state", "transport", "url"}
    assert used <= set(source.__init__.__code__.co_names) | set(source.on_message_begin.__code__.co_names)
    cycle = httptools_impl.RequestResponseCycle
    assert {"keep_alive", "more_body", "message_event", "response_complete", "transport"} <= set(
        cycle.__init__.__code__.co_names
    )
    assert httptools_impl.STATUS_LINE[200] == b"HTTP/1.1 200 OK\r\n"

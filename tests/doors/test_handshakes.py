"""Connections before they are anybody's, and TLS seen from the server's end."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import pytest
import trustme
import uvloop

from server.doors.handshakes import Handshakes
from server.doors.phases import DEADLINES, Phase
from server.doors.tls import create_context
from server.doors.tls_transport import PIECE_BYTES, TlsTransport
from server.edge.edge import Edge
from server.listeners import edge_server
from tests.support.connections import Peer, connection, until, until_all_are_closed
from tests.support.hosting import Hosting, in_thread, listened_to, listening, memory_hosting, served
from tests.support.tls import TlsWire, trusting
from tests.support.wire import Wire

BIG = b"y" * (8 * 1024 * 1024)  # more than sockets buffer
GET = b"GET /a.txt HTTP/1.1\r\nHost: a.test\r\n\r\n"
GET_BIG = GET.replace(b"a.txt", b"big.bin")
SHORT = 0.05


@pytest.fixture
def context(pem: tuple[Path, Path]) -> ssl.SSLContext:
    return create_context(*pem, ("http/1.1",))


async def fill(hosting: Hosting) -> None:
    hosting.edge.cache.max_body = len(BIG)
    await hosting.site("a.test", {"a.txt": b"0123456789", "big.bin": BIG})


async def open_tls(port: int, authority: trustme.CA) -> Peer:
    """A client that reads no more than it is made to."""
    sock = socket.socket()
    sock.setblocking(False)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 64 * 1024)
    await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", port))
    trust = trusting(authority)
    return Peer(*await asyncio.open_connection(sock=sock, ssl=trust, server_hostname="a.test", limit=4096))


@asynccontextmanager
async def connected(
    context: ssl.SSLContext, authority: trustme.CA, **short: float
) -> AsyncIterator[tuple[Peer, TlsTransport]]:
    """Both ends of a connection; `short` are deadlines by the name of their phase."""
    deadlines = {**DEADLINES, **{Phase[name]: seconds for name, seconds in short.items()}}
    async with memory_hosting() as hosting:
        await fill(hosting)
        async with served(hosting.edge, deadlines, context) as port:
            peer = await open_tls(port, authority)
            transport = (await connection()).transport
            assert isinstance(transport, TlsTransport)
            yield peer, transport
            await peer.close()


@pytest.mark.parametrize("sent", [b"", b"\x16", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"])
async def test_one_that_does_not_end(context: ssl.SSLContext, sent: bytes) -> None:
    async with memory_hosting() as hosting, served(hosting.edge, {**DEADLINES, Phase.READING: SHORT}, context) as port:
        peer = await Peer.connect(port)
        peer.send(sent)
        assert await peer.rest() == b""
        await peer.close()


async def test_there_is_no_more_than_so_many(context: ssl.SSLContext, authority: trustme.CA) -> None:
    handshakes = Handshakes(10, most=2)
    loop = asyncio.get_running_loop()
    with listening() as sock:
        server = await loop.create_server(lambda: TlsTransport(context, handshakes, asyncio.Protocol), sock=sock)
        port = sock.getsockname()[1]
        first, second = await Peer.connect(port), await Peer.connect(port)
        await until(lambda: len(handshakes) == 2)
        peer = await open_tls(port, authority)
        assert await first.rest() == b""
        await until(lambda: len(handshakes) == 1)
        for each in (second, peer, first):
            await each.close()
        await until(lambda: len(handshakes) == 0)
        server.close()


@asynccontextmanager
async def stoppable(edge: Edge, context: ssl.SSLContext, stops: list[Callable[[], object]]) -> AsyncIterator[int]:
    """As `served`, but it is told to stop by what it adds to `stops`, from any thread."""
    server = edge_server(edge, tls=context)
    loop = asyncio.get_running_loop()
    stops.append(lambda: loop.call_soon_threadsafe(server.stop))
    async with listened_to(server) as port:
        yield port


@pytest.fixture(params=[asyncio.new_event_loop, uvloop.new_event_loop])
def stopping(request: pytest.FixtureRequest, context: ssl.SSLContext) -> Iterator[tuple[int, Callable[[], object]]]:
    """The port of a server, and what makes it stop."""
    stops: list[Callable[[], object]] = []
    serve = partial(stoppable, context=context, stops=stops)
    with in_thread(memory_hosting, fill, serve, request.param) as port:
        yield port, stops[0]


@pytest.mark.slow
def test_who_is_about_to_finish_when_the_server_stops_is_answered_once(
    authority: trustme.CA, stopping: tuple[int, Callable[[], object]], monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("server.listeners", "server.doors.http1"):
        monkeypatch.setattr(f"{module}.LAST_CALL_SECONDS", 10)
    port, stop = stopping
    with TlsWire(port, trusting(authority)) as wire:
        wire.begin()
        stop()
        until_refused(port)
        wire.shake_hands()
        wire.get("/a.txt")
        answer = wire.receive()
        assert (answer.body, answer.header("connection")) == (b"0123456789", "close")
        assert wire.at_end()


@pytest.mark.slow
def test_who_does_not_finish_when_the_server_stops_is_not_waited_for(
    stopping: tuple[int, Callable[[], object]],
) -> None:
    port, stop = stopping
    with Wire(port) as silent:
        stop()
        assert silent.at_end()


def until_refused(port: int) -> None:
    """Return once nobody listens there any more."""
    while True:
        try:
            with Wire(port) as wire:
                wire.send(b"this is no TLS")  # one at a time, or there would be too many handshakes
                wire.at_end()
        except ConnectionError:
            return


@pytest.mark.slow
async def test_what_a_client_does_not_take_is_not_encrypted(context: ssl.SSLContext, authority: trustme.CA) -> None:
    async with connected(context, authority) as (peer, transport):
        for _ in range(2):  # read, and then from memory
            peer.send(GET_BIG)
            await until(lambda: transport.get_write_buffer_size() > len(BIG) // 8)
            encrypted = transport._lower.get_write_buffer_size()
            assert encrypted < transport.get_write_buffer_limits()[1] + 2 * PIECE_BYTES
            peer.send(GET)
            assert await peer.answer() == (200, BIG)
            assert await peer.answer() == (200, b"0123456789")
        assert transport.get_write_buffer_size() == 0


@pytest.mark.slow
@pytest.mark.parametrize("last", [b"", b"Connection: close\r\n"])
async def test_a_client_that_takes_nothing_is_dropped(
    context: ssl.SSLContext, authority: trustme.CA, last: bytes
) -> None:
    async with connected(context, authority, WRITING=SHORT, FLUSHING=SHORT) as (peer, _):
        peer.send(GET_BIG[:-2] + last + b"\r\n")
        await until_all_are_closed()


@pytest.mark.slow
async def test_a_slow_client_gets_the_whole_of_the_last_answer(context: ssl.SSLContext, authority: trustme.CA) -> None:
    async with connected(context, authority) as (peer, transport):
        peer.send(GET_BIG[:-2] + b"Connection: close\r\n\r\n")
        await until(lambda: transport.get_write_buffer_size() > len(BIG) // 8)
        assert await peer.answer() == (200, BIG)
        assert await peer.rest() == b""


@pytest.mark.slow
async def test_the_rest_goes_out_before_it_closes(context: ssl.SSLContext, authority: trustme.CA) -> None:
    async with connected(context, authority) as (peer, transport):
        transport.write(bytearray(BIG))
        transport.close()
        transport.close()
        assert transport.is_closing()
        transport.write(b"too late")
        peer.send(GET)  # is not looked at
        assert await peer.rest() == BIG


async def test_nothing_is_sent_once_it_is_over(context: ssl.SSLContext, authority: trustme.CA) -> None:
    async with connected(context, authority) as (peer, transport):
        assert transport.get_extra_info("sslcontext") is context
        assert transport.get_extra_info("ssl_object").server_name == "a.test"
        assert transport.get_extra_info("peername") == peer.writer.get_extra_info("sockname")
        assert transport.get_extra_info("nothing", 1) == 1
        transport.set_write_buffer_limits(2000, 1000)
        assert transport.get_write_buffer_limits() == (1000, 2000)
        transport.pause_reading()
        assert not transport.is_reading()
        transport.resume_reading()
        assert transport.is_reading()
        transport.writelines([b"HTTP/1.1 ", b"", b"200 OK\r\n\r\n"])
        assert await peer.head() == b"HTTP/1.1 200 OK\r\n\r\n"
        transport.write(b"")
        transport.write_eof()
        transport.write_eof()
        transport.write(b"too late")
        assert await peer.rest() == b""
        await until_all_are_closed()
        assert transport.get_extra_info("ssl_object") is None
        transport.write(b"too late")
        transport.write_eof()
        transport.close()
        transport.abort()
        with pytest.raises(AssertionError):
            transport._read(1)


async def test_who_makes_tls_speak_has_to_listen(context: ssl.SSLContext, authority: trustme.CA) -> None:
    async with connected(context, authority) as (peer, transport):
        transport.pause_writing()
        transport._outgoing.write(b"an alert")
        transport.data_received(b"\x17")  # the first byte of a record
        assert await peer.rest() == b""


class Echo(asyncio.Protocol):
    """Says it again."""

    def __init__(self, transport: asyncio.Transport) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.transport.write(data)


async def test_another_protocol_takes_over(context: ssl.SSLContext, authority: trustme.CA) -> None:
    async with connected(context, authority) as (peer, transport):
        before = transport.get_protocol()
        transport.set_protocol(after := Echo(transport))
        assert transport.get_protocol() is after
        peer.send(b"again\r\n\r\n")
        assert await peer.head() == b"again\r\n\r\n"
        transport.set_protocol(before)


async def test_an_end_that_comes_too_late(context: ssl.SSLContext, authority: trustme.CA) -> None:
    async with connected(context, authority) as (_, transport):
        transport._lower.abort()
        transport.write_eof()
        await until_all_are_closed()

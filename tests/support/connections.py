"""Both ends of a connection to an edge that is served in the test's own loop."""

from __future__ import annotations

import asyncio
import gc
import select
import socket
from collections.abc import Callable
from typing import Self

from server.doors.http1 import EdgeProtocol


class Peer:
    """The client's end."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    @classmethod
    async def connect(cls, port: int, receive_buffer: int = 0) -> Self:
        sock = socket.socket()
        sock.setblocking(False)
        if receive_buffer:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", port))
        return cls(*await asyncio.open_connection(sock=sock, limit=4096))

    async def close(self) -> None:
        self.writer.transport.abort()

    def send(self, data: bytes) -> None:
        self.writer.write(data)

    async def head(self) -> bytes:
        async with asyncio.timeout(10):
            return await self.reader.readuntil(b"\r\n\r\n")

    async def answer(self) -> tuple[int, bytes]:
        """The next answer that has a body; the server's clients here never send HEAD."""
        head = await self.head()
        length = int(head.split(b"content-length: ")[1].split(b"\r\n")[0])
        async with asyncio.timeout(10):
            return int(head.split()[1]), await self.reader.readexactly(length)

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        return asyncio.get_running_loop()

    async def until(self, moment: float) -> None:
        """Return when the loop's clock shows `moment`: what is due before has been done by then."""
        reached = asyncio.Event()
        self.loop.call_at(moment, reached.set)
        await reached.wait()

    async def dawdle(self, size: int) -> bytes:
        """So many bytes, at 640 KB a second: less in each half second than the kernel has to be rid of, a third of what
        it buffers, before it asks the server for more."""
        data = b""
        while len(data) < size:
            await self.until(self.loop.time() + 0.05)
            data += await self.reader.read(min(32 * 1024, size - len(data)))
        return data

    async def rest(self) -> bytes:
        """Everything until the connection ends, whichever way it does."""
        data = b""
        async with asyncio.timeout(10):
            try:
                while chunk := await self.reader.read(65536):
                    data += chunk
            except ConnectionResetError:
                pass
        return data


async def until_unconnected(peer: Peer) -> None:
    """Return once the server has reset the connection: the kernel says so without a byte being read."""
    watch = select.poll()
    watch.register(peer.writer.get_extra_info("socket").fileno(), 0)
    assert await asyncio.get_running_loop().run_in_executor(None, watch.poll, 20_000)


def protocols() -> list[EdgeProtocol]:
    """Every open connection of this loop's server."""
    return [found for found in gc.get_objects() if isinstance(found, EdgeProtocol) and found in found.connections]


async def until(condition: Callable[[], bool]) -> None:
    """Return once it holds; what is waited for takes a few turns of the loop, and tells nobody when it happens."""
    async with asyncio.timeout(10):
        while True:
            if condition():
                return
            await asyncio.sleep(0)


async def until_all_are_closed() -> None:
    """Return once the server has no connection."""
    await until(lambda: not protocols())


async def connection() -> EdgeProtocol:
    """The server's end of the only connection, once it is there: accepting takes a turn of the loop or two."""
    for _ in range(1000):
        if found := protocols():
            return found[0]
        await asyncio.sleep(0)
    raise AssertionError("the connection was not accepted")

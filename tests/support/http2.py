"""HTTP/2 by frames, for what no client library would send or show; header blocks by another library than the door's."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass

from hpack import Decoder, Encoder

from server.doors.h2 import frames
from server.doors.h2.frames import MAX_FRAME_BYTES, Code, render_frame
from server.doors.phases import DEADLINES, Phase
from server.edge.request import Request
from tests.support.connections import Peer
from tests.support.hosting import Hosting, memory_hosting, served
from tests.support.wire import Answer

Fields = Iterable[tuple[str | bytes, str | bytes]]

CACHED = bytes(range(256)) * 4096  # which it keeps
WIDE = frames.render_window_update(0, 2**26)
FILES = {"a.txt": b"0123456789", "index.html": b"home", "docs/index.html": b"docs", "cached.bin": CACHED}


@dataclass(frozen=True)
class Frame:
    """One, as it came."""

    kind: int
    flags: int
    stream: int
    payload: bytes

    @property
    def ends_stream(self) -> bool:
        return self.kind in (frames.DATA, frames.HEADERS) and bool(self.flags & frames.END_STREAM)

    @property
    def code(self) -> Code:
        """Of RST_STREAM or GOAWAY."""
        return Code(int.from_bytes(self.payload[:4] if self.kind == frames.RST_STREAM else self.payload[4:8], "big"))


def request(
    path: str = "/a.txt", *fields: tuple[str, str], method: str = "GET", host: str | None = "a.test"
) -> list[tuple[str, str]]:
    """The fields of a request."""
    authority = [] if host is None else [(":authority", host)]
    return [(":method", method), (":scheme", "http"), *authority, (":path", path), *fields]


class H2Peer(Peer):
    """The client's end. Awaiting a frame raises TimeoutError after ten seconds, EOFError at the end."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        super().__init__(reader, writer)
        self.encoder = Encoder()
        self.decoder = Decoder()
        self.seen: list[Frame] = []

    def begin(self, settings: Mapping[int, int] | None = None) -> None:
        """The preface, and a window for the connection that the tests here do not fill."""
        self.send(frames.PREFACE + frames.render_settings(dict(settings or {})) + WIDE)

    def set(self, settings: Mapping[int, int]) -> None:
        """SETTINGS."""
        self.send(frames.render_settings(dict(settings)))

    def frame(self, kind: int, flags: int = 0, stream: int = 0, payload: bytes = b"") -> None:
        self.send(render_frame(kind, flags, stream, payload))

    def block(self, fields: Fields) -> bytes:
        """A header block."""
        return bytes(self.encoder.encode(list(fields)))

    def ask(self, stream: int, fields: Fields | None = None, *, ends: bool = True) -> None:
        """The head of a request."""
        self.send(b"".join(frames.render_headers(stream, self.block(fields or request()), ends=ends)))

    def say(self, stream: int, fields: Fields, body: bytes) -> None:
        """A request with its body, which fits into the window that there is at first."""
        self.ask(stream, fields, ends=not body)
        for start in range(0, len(body), MAX_FRAME_BYTES):
            piece = body[start : start + MAX_FRAME_BYTES]
            last = start + len(piece) == len(body)
            self.frame(frames.DATA, frames.END_STREAM if last else 0, stream, piece)

    async def next(self) -> Frame:
        """The next frame."""
        async with asyncio.timeout(10):
            try:
                head = await self.reader.readexactly(frames.HEAD_BYTES)
                high, low, kind, flags, stream = frames.HEAD.unpack(head)
                payload = await self.reader.readexactly(high << 16 | low)
            except (asyncio.IncompleteReadError, ConnectionResetError) as exc:
                raise EOFError(self.seen[-3:]) from exc
        frame = Frame(kind, flags, stream, payload)
        self.seen.append(frame)
        return frame

    async def seek(self, kind: int, stream: int = 0) -> Frame:
        """The next frame of that kind on that stream; others are passed over."""
        while True:
            frame = await self.next()
            if (frame.kind, frame.stream) == (kind, stream):
                return frame
            if frame.kind == frames.HEADERS:
                self.decoder.decode(frame.payload, raw=True)

    async def seek_any(self, kind: int) -> Frame:
        """The next frame of that kind."""
        while (frame := await self.next()).kind != kind:
            pass
        return frame

    async def response(self, stream: int) -> Answer:
        """What comes back on a stream up to its end; nothing else has to come on others meanwhile."""
        answer, block = None, b""
        while True:
            frame = await self.next()
            if frame.stream != stream:
                assert frame.kind in (frames.SETTINGS, frames.WINDOW_UPDATE, frames.PING, frames.GOAWAY), frame
                continue
            if frame.kind == frames.WINDOW_UPDATE:
                continue
            if frame.kind in (frames.HEADERS, frames.CONTINUATION):
                block += frame.payload
                if frame.flags & frames.END_HEADERS:
                    answer = self.read_answer(block)
            else:
                assert frame.kind == frames.DATA, frame
                assert answer is not None
                answer.body += frame.payload
            if frame.ends_stream and answer is not None:
                return answer

    def read_answer(self, block: bytes) -> Answer:
        """What a header block begins."""
        fields = [(bytes(name).decode(), bytes(value).decode("latin-1")) for name, value in self.read(block)]
        assert fields[0][0] == ":status"
        return Answer(int(fields[0][1]), fields[1:], b"")

    def read(self, block: bytes) -> Iterable[tuple[bytes, bytes]]:
        """The fields of a block."""
        return self.decoder.decode(block, raw=True)

    async def get(self, stream: int, fields: Fields | None = None) -> Answer:
        self.ask(stream, fields)
        return await self.response(stream)

    async def ended(self) -> Code | None:
        """The code of the GOAWAY behind which the connection ends; None if it ends without."""
        code = None
        try:
            while True:
                frame = await self.next()
                if frame.kind == frames.GOAWAY:
                    code = frame.code
        except EOFError:
            return code

    async def was_reset(self, stream: int) -> Code:
        """The code of the RST_STREAM that comes on a stream; the connection has to go on."""
        code = (await self.seek(frames.RST_STREAM, stream)).code
        self.frame(frames.PING, 0, 0, b"go on???")
        assert (await self.seek(frames.PING)).payload == b"go on???"
        return code


async def fill(hosting: Hosting, files: Mapping[str, bytes] = FILES) -> None:
    """A site; its a.txt is in memory."""
    hosting.edge.cache.max_body = len(CACHED)
    await hosting.site("a.test", files)
    await hosting.edge.respond(Request(method="GET", authority="a.test", path="/a.txt"))


@asynccontextmanager
async def h2_connected(
    deadlines: Mapping[Phase, float] = DEADLINES,
    settings: Mapping[int, int] | None = None,
    files: Mapping[str, bytes] = FILES,
    *,
    receive_buffer: int = 0,
) -> AsyncIterator[tuple[Hosting, H2Peer]]:
    """A site whose a.txt is in memory, and a connection to it by prior knowledge."""
    async with memory_hosting() as hosting:
        await fill(hosting, files)
        async with served(hosting.edge, deadlines) as port:
            peer = await H2Peer.connect(port, receive_buffer)
            peer.begin(settings)
            try:
                yield hosting, peer
            finally:
                await peer.close()

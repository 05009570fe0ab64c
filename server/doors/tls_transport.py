"""TLS between a connection and its protocol: each is the protocol of a plain transport, and the transport of the
protocol that speaks HTTP, which is made once the handshake is over.

1. the handshake                  (`_shake_hands`)
2. what the client sends          (`data_received`)
3. what is sent to it             (`write`; `_write_later` what is large, or for a client that does not take it)
4. the end of either direction    (`eof_received`, `write_eof`, `close`, `abort`)

The event loop has such a layer too. Against it a request on an open connection costs a tenth less here, 9.3 µs for
10.5, a handshake 40 µs less, and an idle connection 23 KB, not 47. Besides, what a client does not take stays one thing
that is shared with the cache, and is encrypted when there is room for it; and a client may end its direction and have
the answers that it waits for, as without TLS.
"""

from __future__ import annotations

import asyncio
import ssl
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Any, NoReturn, TypeAlias

from server.doors.handshakes import Handshakes
from server.doors.tls import NamedConnection

PIECE_BYTES = 64 * 1024  # encrypted at a time: as much as the plain transport hands to the kernel without waiting
RECORD_BYTES = 16 * 1024  # that one record carries at most (RFC 8446 §5.1)

Buffer: TypeAlias = bytes | bytearray | memoryview


def _gone(*_: object) -> NoReturn:
    raise AssertionError("the connection has ended")


class TlsTransport(asyncio.Protocol, asyncio.Transport):
    """One connection. When the handshake is over `make_protocol` is called, and its protocol told of the connection; as
    ever, that may have another take its place, so by what was agreed by ALPN (`ssl_object`).

    `write_eof` is to be followed by nothing but `close` or `abort`: what the client sends after it is no longer
    deciphered, and comes to the protocol as it is, so that it can be counted and thrown away.
    """

    __slots__ = (
        "_app", "_app_paused", "_blocked", "_closing", "_context", "_direct", "_encrypt", "_ended", "_ending", "_feed",
        "_handshakes", "_incoming", "_lower", "_make_protocol", "_outgoing", "_queue", "_queued", "_read", "_send",
        "_take", "_talking", "_tls",
    )  # fmt: skip

    def __init__(
        self, context: ssl.SSLContext, handshakes: Handshakes, make_protocol: Callable[[], asyncio.Protocol]
    ) -> None:
        super().__init__()
        self._context = context
        self._handshakes = handshakes
        self._make_protocol = make_protocol
        self._tls: NamedConnection | None = None  # from the first byte to the end
        self._app: asyncio.Protocol | None = None  # from the end of the handshake to that of the connection
        self._talking = False  # what comes is for the protocol
        self._direct = False  # what is written can go out at once
        self._blocked = False  # the plain transport has enough to write
        self._app_paused = False  # and the protocol knows, or that there is something in the queue
        self._closing = False
        self._ending = False  # our direction, behind what is in the queue
        self._ended = False  # it has: close_notify is written
        self._queue: deque[memoryview] = deque()  # to be encrypted
        self._queued = 0  # bytes

    # The handshake

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """There is a connection; TLS takes no memory before the client has said something."""
        self._lower = transport
        self._send = transport.write
        self._handshakes.add(self)

    def _open(self) -> NamedConnection:
        self._incoming = incoming = ssl.MemoryBIO()
        self._outgoing = outgoing = ssl.MemoryBIO()
        tls = self._context.wrap_bio(incoming, outgoing, server_side=True)
        assert isinstance(tls, NamedConnection)
        self._feed, self._take = incoming.write, outgoing.read
        self._read, self._encrypt = tls.bare_read, tls.bare_write
        self._tls = tls
        return tls

    def _shake_hands(self, data: bytes) -> None:
        tls = self._tls or self._open()
        self._feed(data)
        try:
            tls.do_handshake()
        except ssl.SSLWantReadError:
            self._flush()
            return
        except ssl.SSLError:  # the client's fault, be it ever so strange; where there is one, it gets an alert
            self._fail()
            return
        self._handshakes.discard(self)
        self._app = self._make_protocol()
        self._talking = self._direct = True
        self._app.connection_made(self)
        if self._handshakes.stopping:
            self._app.shutdown()  # type: ignore[attr-defined]  # as our protocols have it
        if self._incoming.pending and self._talking:  # what came with the end of the handshake
            self._read_on([])
        if tls.version() != "TLSv1.3":
            self._flush()  # the end of the handshake; in 1.3 only session tickets, which the first answer takes along

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        """Another protocol's turn."""
        assert isinstance(protocol, asyncio.Protocol)
        self._app = protocol

    def get_protocol(self) -> asyncio.BaseProtocol:
        """The one whose turn it is; to be asked by itself only, as before and after there is none."""
        assert self._app is not None
        return self._app

    # What the client sends

    def data_received(self, data: bytes) -> None:
        """Hand the deciphered on, as much as has come whole."""
        if not self._talking:
            self._receive_otherwise(data)
            return
        self._feed(data)
        size = len(data)  # more than a record carries, unless some of it came before; then `plain` is as long
        try:
            plain = self._read(size)
        except ssl.SSLWantReadError:  # a part of a record, or one that is for TLS itself
            self._reply()
            return
        except ssl.SSLError:
            self._fail()
            return
        if 0 < len(plain) < size and not self._incoming.pending:
            self._app.data_received(plain)  # type: ignore[union-attr]  # there is one while talking
        else:
            self._read_on([plain])

    def _read_on(self, chunks: list[bytes]) -> None:
        """There may be more than what has been read, or the end."""
        assert self._app is not None
        assert self._tls is not None
        ended = chunks == [b""]  # what is read at close_notify
        try:
            while not ended and (self._incoming.pending or self._tls.pending()):
                chunks.append(self._read(RECORD_BYTES))
                ended = not chunks[-1]
        except ssl.SSLWantReadError:
            self._reply()
        except ssl.SSLError:  # an answer to what came before it could not be encrypted any more
            self._fail()
            return
        if plain := b"".join(chunks):
            self._app.data_received(plain)
        if ended and self._talking:
            self._talking = False
            if not self._app.eof_received():
                self.close()

    def _receive_otherwise(self, data: bytes) -> None:
        if self._app is None:
            self._shake_hands(data)
        elif self._ending and not self._closing:
            self._app.data_received(data)

    def eof_received(self) -> bool:
        """The client's end, with or without saying so by TLS before: HTTP knows itself what is whole."""
        if self._app is None or self._closing:
            return bool(self._queue)  # which is still to be sent
        if not self._talking and not self._ending:
            return True  # the protocol knows
        self._talking = False
        if self._app.eof_received():
            return True
        self.close()
        return False

    def pause_reading(self) -> None:
        self._lower.pause_reading()

    def resume_reading(self) -> None:
        self._lower.resume_reading()

    def is_reading(self) -> bool:
        return self._lower.is_reading()

    # What is sent to it

    def write(self, data: Buffer) -> None:
        if self._direct and 0 < len(data) <= PIECE_BYTES:
            self._encrypt(data)
            self._send(self._take())
        elif data:
            self._write_later(data)

    def _write_later(self, data: Buffer) -> None:
        if self._app is None or self._closing or self._ending:
            return
        self._queue.append(memoryview(data if isinstance(data, bytes) else bytes(data)))
        self._queued += len(data)
        self._direct = False
        self._pump()

    def _pump(self) -> None:
        """Encrypt what is to be sent, as long as there is room for it."""
        while self._queue and not self._blocked:
            data = self._queue[0]
            if len(data) > PIECE_BYTES:
                self._queue[0] = data[PIECE_BYTES:]
                data = data[:PIECE_BYTES]
            else:
                self._queue.popleft()
            self._queued -= len(data)
            self._encrypt(data)
            self._send(self._take())
        if self._blocked:
            self._pause_app()
            return
        self._direct = not self._ending
        if self._app_paused and self._app is not None:
            self._app_paused = False
            self._app.resume_writing()
        if self._ending and not self._queue:
            self._end_writing()

    def _reply(self) -> None:
        """Send what TLS itself has to say, a refusal to renegotiate for one; but not without end to one who asks and
        asks, and takes nothing."""
        if self._blocked and self._outgoing.pending:
            self.abort()
        else:
            self._flush()

    def _flush(self) -> None:
        """Send what TLS has ready."""
        if self._outgoing.pending and not self._lower.is_closing():
            self._send(self._take())

    def pause_writing(self) -> None:
        """The plain transport has enough."""
        self._blocked = True
        self._direct = False
        self._pause_app()

    def resume_writing(self) -> None:
        """The plain transport has room."""
        self._blocked = False
        self._pump()

    def _pause_app(self) -> None:
        if self._app is not None and not self._app_paused:
            self._app_paused = True
            self._app.pause_writing()

    def get_write_buffer_size(self) -> int:
        """Bytes that the kernel does not have yet, some of them yet to be encrypted."""
        return self._queued + self._lower.get_write_buffer_size()

    def get_write_buffer_limits(self) -> tuple[int, int]:
        return self._lower.get_write_buffer_limits()

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        self._lower.set_write_buffer_limits(high, low)

    # The end

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        """End our direction behind what is written."""
        if not self._closing:
            self._end()

    def close(self) -> None:
        """End the connection behind what is written, without waiting for the client to agree (RFC 8446 §6.1)."""
        if not self._closing:
            self._closing = True
            self._end()

    def _end(self) -> None:
        self._talking = self._direct = False
        self._ending = True
        if not self._queue:
            self._end_writing()

    def _end_writing(self) -> None:
        if not self._ended:
            self._ended = True
            self._say_goodbye()
        if self._closing:
            self._lower.close()
        elif not self._lower.is_closing():
            with suppress(OSError):  # the client may have reset the connection just now
                self._lower.write_eof()

    def _say_goodbye(self) -> None:
        """Write close_notify. OpenSSL goes on to look for the client's, and must not meet anything else."""
        tls = self._tls
        assert tls is not None
        with suppress(ssl.SSLError):
            self._incoming.read()
            tls.unwrap()
        self._flush()

    def _fail(self) -> None:
        """Tell the client by an alert, if TLS has one for it, and end."""
        self._stop()
        self._flush()
        self._lower.close()

    def abort(self) -> None:
        """End the connection now."""
        self._stop()
        self._lower.abort()

    def _stop(self) -> None:
        self._talking = self._direct = False
        self._closing = self._ending = self._ended = True
        self._queue.clear()
        self._queued = 0

    def is_closing(self) -> bool:
        return self._closing or self._lower.is_closing()

    def connection_lost(self, exc: Exception | None) -> None:
        """It has ended. OpenSSL's memory goes at once, whoever still refers to this transport."""
        self._handshakes.discard(self)
        self._stop()
        app, self._app, self._tls = self._app, None, None
        self._feed = self._take = self._read = self._encrypt = _gone
        self._incoming = self._outgoing = ssl.MemoryBIO()
        if app is not None:
            app.connection_lost(exc)

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        if name == "ssl_object":
            return self._tls
        if name == "sslcontext":
            return self._context
        return self._lower.get_extra_info(name, default)

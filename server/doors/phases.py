"""How long a connection may take for what, and how it ends, whatever version of HTTP it speaks."""

from __future__ import annotations

import asyncio
import fcntl
import socket
import struct
import termios
from collections.abc import Mapping
from contextlib import suppress
from enum import Enum

GONE_SECONDS = 2.0  # for the answer under way, when its site is deleted
LAST_CALL_SECONDS = 1.0  # for a request on its way when the server stops; its answer says that it is the last
MAX_DISCARDED_BYTES = 1024 * 1024  # read and thrown away so that a last answer is not lost to a reset


class Phase(Enum):
    """Where a connection is; `server.doors.http1` and `server.doors.h2.connection` say what is when."""

    IDLE = 1
    READING = 2
    SERVING = 3
    WRITING = 4
    FLUSHING = 5
    CLOSING = 6

    __hash__ = object.__hash__  # an enumeration's own is written in Python, and takes ten times as long


DEADLINES: Mapping[Phase, float] = {  # seconds
    Phase.IDLE: 75.0,
    Phase.READING: 10.0,
    Phase.SERVING: float("inf"),
    Phase.WRITING: 60.0,  # without a byte taken, as `count_untaken` sees it; nginx: send_timeout
    Phase.FLUSHING: 60.0,  # likewise
    Phase.CLOSING: 2.0,  # for the client to close; as WRITING while there is something unsent
}


def count_untaken(transport: asyncio.Transport, unsent: int) -> int:
    """Bytes that the client has yet to acknowledge: `unsent`, which the kernel has yet to get, and those that it has
    (SIOCOUTQ, tcp(7)). 0 once it has all of them, for then it sees to the rest.

    Of a connection to a slow client the kernel takes nothing for a long time and then much at once: measured on
    loopback, nothing in 30 s from a client that reads 200 KB a second.
    """
    if not unsent:
        return 0
    sock = transport.get_extra_info("socket")
    queued: int = struct.unpack("i", fcntl.ioctl(sock.fileno(), termios.TIOCOUTQ, bytes(4)))[0]
    return unsent + queued


def end_writing(transport: asyncio.Transport) -> None:
    """Say that nothing more will come, and let the client take what has; where that cannot be said, close."""
    with suppress(OSError):  # the client may have reset the connection just now
        if transport.can_write_eof():
            transport.write_eof()
            return
    transport.close()


def drop(transport: asyncio.Transport) -> None:
    """End the connection by a reset, so that the kernel does not go on holding what the client never takes."""
    sock = transport.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()

"""What a connection of HTTP/1.1 is doing, and for how long it may."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum


class Phase(Enum):
    """Where a connection is; see `server.doors.http1`."""

    IDLE = 1
    READING = 2
    SERVING = 3
    WRITING = 4
    FLUSHING = 5
    CLOSING = 6


DEADLINES: Mapping[Phase, float] = {  # seconds
    Phase.IDLE: 75.0,
    Phase.READING: 10.0,
    Phase.SERVING: float("inf"),
    Phase.WRITING: 30.0,  # without a byte taken
    Phase.FLUSHING: 30.0,  # likewise
    Phase.CLOSING: 2.0,  # for the client to close; as WRITING while there is something unsent
}

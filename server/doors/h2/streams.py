"""One connection's streams, what is to be sent on them, and the windows that say how much of it may be."""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass, field

from server.doors.h2.fields import RequestHead
from server.doors.h2.frames import (
    DATA,
    END_STREAM,
    FIRST_WINDOW,
    MAX_FRAME_BYTES,
    MAX_WINDOW,
    Code,
    ConnectionFault,
    StreamFault,
    render_head,
)
from storage.models import HostedSite

MAX_SENT_FRAME_BYTES = 64 * 1024  # of a payload, where the peer takes larger ones than everybody has to
MAX_GAPS = 16  # that are remembered in the numbers of streams
MAX_RESETS = 256  # likewise, of streams that were reset here and that the peer may still send on


@dataclass(slots=True, eq=False)
class Stream:
    """One that is open, in one direction or in both; what was answered at once never is."""

    number: int
    since: float  # by the loop's clock
    window: int  # bytes that may be sent
    receivable: int = FIRST_WINDOW
    reading: bool = True  # the request has not ended
    answered: bool = False  # it is being answered, or has been
    over: bool = False  # all of the answer has been sent
    head: RequestHead | None = None
    taken: int = 0  # bytes of the request's body
    site: HostedSite | None = None  # that it is for
    task: asyncio.Task[None] | None = None
    unsent: memoryview = field(default_factory=lambda: memoryview(b""))
    ends: bool = False  # behind what is unsent
    moved: float = 0.0  # when the last of it was sent
    room: asyncio.Event = field(default_factory=asyncio.Event)  # all of it has been sent


class Outflow:
    """What waits to be sent on the streams, and how much may be."""

    def __init__(self) -> None:
        self.window = FIRST_WINDOW  # of the connection
        self.first_window = FIRST_WINDOW  # of a stream
        self.max_frame = MAX_FRAME_BYTES
        self._waiting: deque[Stream] = deque()

    def __bool__(self) -> bool:
        return bool(self._waiting)

    def add(self, stream: Stream, data: bytes, *, ends: bool, now: float) -> None:
        """Put `data` behind what has been sent on `stream`; nothing else waits there."""
        stream.unsent, stream.ends, stream.moved = memoryview(data), ends, now
        stream.room.clear()
        self._waiting.append(stream)

    def remove(self, stream: Stream) -> None:
        """Forget what waits there, if anything does."""
        if stream in self._waiting:
            self._waiting.remove(stream)

    def widen(self, stream: Stream | None, increment: int) -> None:
        """Let that much more be sent, on the connection or on a stream. Raises `ConnectionFault`, `StreamFault`."""
        if stream is None:
            self.window += increment
            if self.window > MAX_WINDOW:
                raise ConnectionFault(Code.FLOW_CONTROL_ERROR, "the window of the connection is too large")
        else:
            stream.window += increment
            if stream.window > MAX_WINDOW:
                raise StreamFault(Code.FLOW_CONTROL_ERROR)

    def take(self, most: int, now: float) -> tuple[list[bytes | memoryview], list[Stream]]:
        """Frames of about `most` bytes at the most, a frame of each stream in turn, and the streams of which nothing is
        left unsent."""
        frames: list[bytes | memoryview] = []
        done = []
        stuck = 0  # that have had their turn in vain, one after another
        while stuck < len(self._waiting) and most > 0:
            stream = self._waiting[0]
            # A window may be below zero (§6.9.2), which does not matter to an end with nothing before it.
            size = min(len(stream.unsent), self.max_frame, stream.window, self.window) if stream.unsent else 0
            if size <= 0 and stream.unsent:
                self._waiting.rotate(-1)
                stuck += 1
                continue
            stuck = 0
            frames += self._cut(stream, size, now)
            most -= size
            if stream.unsent:
                self._waiting.rotate(-1)
            else:
                self._waiting.popleft()
                done.append(stream)
        return frames, done

    def _cut(self, stream: Stream, size: int, now: float) -> list[bytes | memoryview]:
        piece, stream.unsent = stream.unsent[:size], stream.unsent[size:]
        stream.window -= size
        self.window -= size
        stream.moved = now
        last = stream.ends and not stream.unsent
        if not size and not last:
            return []
        # Apart, so that the content is not copied before all is put together.
        return [render_head(DATA, END_STREAM if last else 0, stream.number, size), piece]


class Numbers:
    """Which numbers of streams have been used (RFC 9113 §5.1.1)."""

    def __init__(self) -> None:
        self.next = 1
        self._gaps: deque[range] = deque(maxlen=MAX_GAPS)
        self._reset: deque[int] = deque(maxlen=MAX_RESETS)

    @property
    def last(self) -> int:
        """The last that was used; 0 if none was."""
        return self.next - 2 if self.next > 1 else 0

    def use(self, number: int) -> None:
        """Open a stream. Raises `ConnectionFault`."""
        if number % 2 == 0:
            raise ConnectionFault(Code.PROTOCOL_ERROR, "a client's streams have odd numbers")
        if number < self.next:
            gap = any(number in gap for gap in self._gaps)
            code = Code.PROTOCOL_ERROR if gap else Code.STREAM_CLOSED
            raise ConnectionFault(code, f"stream {number} cannot be opened any more")
        if number > self.next:
            self._gaps.append(range(self.next, number, 2))
        self.next = number + 2

    def is_idle(self, number: int) -> bool:
        """Whether it has never been opened, nor closed by one with a higher number."""
        return number >= self.next or number % 2 == 0

    def note_reset(self, number: int) -> None:
        """It was reset here: what the peer sent before it knew has to be borne (§5.1)."""
        self._reset.append(number)

    def was_reset(self, number: int) -> bool:
        """Whether `note_reset` was told of it, lately."""
        return number in self._reset

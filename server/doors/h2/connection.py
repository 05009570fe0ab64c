"""One connection of HTTP/2: its transport, what goes out on it, how long it may take, and how it ends.

The deadlines are those of HTTP/1.1 (`server.doors.phases`):

    READING   the preface, a frame, a header block or a request has begun and is not complete; a request gets a 408
    WRITING   what a stream has to send waits for a window: the stream ends. The kernel takes nothing: the connection
    IDLE      there is no stream: the connection is closed
    CLOSING   the last frames are on their way
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping

from server.doors import phases
from server.doors.h2 import frames
from server.doors.h2.frames import Code
from server.doors.h2.streams import Numbers, Outflow, Stream
from server.doors.head import MAX_HEAD_BYTES, MAX_HEADER_LINES
from server.doors.http1 import EdgeProtocol
from server.doors.phases import LAST_CALL_SECONDS, Phase, drop, end_writing

MAX_STREAMS = 128  # at a time
BURST_BYTES = 256 * 1024  # that are given to the kernel between two looks at whether it takes them
FIELD_OVERHEAD = 32  # of a field in a list's size (RFC 9113 §6.5.2)

SETTINGS = frames.render_settings(
    {
        frames.MAX_CONCURRENT_STREAMS: MAX_STREAMS,
        frames.MAX_HEADER_LIST_SIZE: MAX_HEAD_BYTES + FIELD_OVERHEAD * MAX_HEADER_LINES,
        frames.NO_RFC7540_PRIORITIES: 1,
    }
)
SETTINGS_ACK = frames.render_frame(frames.SETTINGS, frames.ACK, 0)


class Http2Connection(asyncio.Protocol, ABC):
    """One connection, which another protocol has accepted and found to be of HTTP/2."""

    deadlines: Mapping[Phase, float]

    def __init__(self, predecessor: EdgeProtocol) -> None:
        self.loop = predecessor.loop
        self.transport = predecessor.transport
        self.connections = predecessor.connections
        self.streams: dict[int, Stream] = {}
        self.numbers = Numbers()
        self.outflow = Outflow()
        self.out: list[bytes | memoryview] = []  # frames to be written at the end of the turn
        self.paused = False  # the kernel takes no more for now
        self.last = False  # no further stream is served
        self._served = frames.MAX_WINDOW  # the last stream that is, as far as the peer has been told
        self.closing = False
        self._deaf = False  # the peer says nothing more
        self._warned = False  # the peer knows that the connection will end
        self._untaken = 0
        self._moved = self._since = self.idle_since = self.loop.time()
        self._timer: asyncio.TimerHandle | None = None
        self._due = 0.0

    def begin(self, data: bytes = b"") -> None:
        """Take the transport over, on which `data` has come."""
        self.connections.add(self)  # type: ignore[arg-type]  # uvicorn only calls `shutdown` of its members
        self.transport.set_protocol(self)
        self.transport.write(SETTINGS)
        self.await_rest()
        if data:
            self.data_received(data)

    def connection_lost(self, exc: Exception | None) -> None:
        self.closing = True
        self.connections.discard(self)
        if self._timer is not None:
            self._timer.cancel()
        for stream in list(self.streams.values()):
            self.forget(stream)

    def eof_received(self) -> bool:
        """The peer has nothing more to say. It still gets the answers that it waits for, if the transport can and they
        need no more room than it has given."""
        self.last = self._deaf = True
        return bool(self.streams) and not self._is_stuck() and self.transport.get_extra_info("ssl_object") is None

    def _is_stuck(self) -> bool:
        return self._deaf and bool(self.outflow) and not self.paused

    # What a subclass knows.

    @property
    @abstractmethod
    def begins(self) -> bool:
        """Whether something has begun to come whose end is awaited, requests apart."""

    @abstractmethod
    def answer(self, stream: Stream) -> None:
        """The request on `stream` has come, or its answer does not depend on the rest of it."""

    @abstractmethod
    def time_out(self, stream: Stream) -> None:
        """The request on `stream` has not come in time."""

    # Frames out.

    def flush(self) -> None:
        """Write what there is to be written."""
        while self.outflow and not self.paused:
            pieces, done = self.outflow.take(BURST_BYTES, self.loop.time())
            self.out += pieces
            for stream in done:
                if stream.ends:
                    self.finish(stream)
                else:
                    stream.room.set()
            if not pieces:
                break
            self.write()
        if self.out:
            self.write()
        if self._is_stuck() or (self.last and not self.streams):
            self.finish_connection()
        elif self.outflow:
            self._watch(self.deadlines[Phase.WRITING])

    def write(self) -> None:
        """Give the kernel the frames that there are."""
        out, self.out = self.out, []
        self.transport.write(b"".join(out))

    def pause_writing(self) -> None:
        """The peer is not read either until it takes what it has asked for."""
        self.paused = True
        self.transport.pause_reading()
        self._watch(self.deadlines[Phase.WRITING])

    def resume_writing(self) -> None:
        self.paused = False
        self._since = now = self.loop.time()  # nor could anything come before
        for stream in self.streams.values():
            if stream.answered:
                stream.moved = now
            else:
                stream.since = now
        self.transport.resume_reading()
        self.flush()

    def finish(self, stream: Stream) -> None:
        """All of the answer has been sent. What may be left of the request is of no use (RFC 9113 §8.1), but is borne
        for a moment."""
        stream.task = None  # which has done its part, and has a little left to do
        stream.over = True
        if stream.reading:
            self.loop.call_later(self.deadlines[Phase.CLOSING], self._cut, [stream], Code.NO_ERROR)
        else:
            self.forget(stream)

    def reset(self, number: int, code: Code) -> None:
        """End a stream here and now."""
        self.out.append(frames.render_reset(number, code))
        self.numbers.note_reset(number)
        stream = self.streams.get(number)
        if stream is not None:
            self.forget(stream)

    def forget(self, stream: Stream) -> None:
        """It has ended."""
        self.streams.pop(stream.number, None)
        self.outflow.remove(stream)
        self.idle_since = self.loop.time()
        if stream.task is not None:
            stream.task.cancel()

    # The end.

    def fail(self, code: Code, detail: str) -> None:
        """The peer has broken a rule."""
        self._say_end(code, detail)
        self.finish_connection()

    def _say_end(self, code: Code, detail: str = "") -> None:
        """Say which stream is the last that is served. Whoever has been told of one is told of none that came behind it
        (§6.8): he may have sent that again elsewhere."""
        self._served = min(self._served, self.numbers.last)
        self.out.append(frames.render_goaway(self._served, code, detail))

    def shutdown(self) -> None:
        """The server stops: finish what is being answered. A request on its way may still come (§6.8)."""
        if self._warned or self.closing:
            return
        self._warned = True
        self.transport.write(frames.render_goaway(frames.MAX_WINDOW, Code.NO_ERROR))
        self.loop.call_later(LAST_CALL_SECONDS, self._say_last)

    def _say_last(self) -> None:
        if self.last or self.closing:
            return
        self._warned = self.last = True
        self._say_end(Code.NO_ERROR)
        self.flush()

    def site_gone(self, domains: Collection[str]) -> None:
        """End; what is being answered has a moment to finish, and all the time it needs if it is of a site that
        stays."""
        gone = [each for each in self.streams.values() if each.site is not None and each.site.domain in domains]
        if gone:
            self.loop.call_later(phases.GONE_SECONDS, self._cut, gone, Code.CANCEL)
        self._say_last()

    def _cut(self, streams: list[Stream], code: Code) -> None:
        for stream in streams:
            if self.streams.get(stream.number) is stream:
                self.reset(stream.number, code)
        if not self.closing:
            self.flush()

    def finish_connection(self) -> None:
        """Close once the peer has taken what was written."""
        if self.closing:
            return
        if self.out:
            self.write()
        self.closing = True
        for stream in list(self.streams.values()):
            self.forget(stream)
        if self.paused:
            self.transport.resume_reading()
        self._untaken = self._count_untaken()
        self._watch(self.deadlines[Phase.WRITING if self._untaken else Phase.CLOSING])
        end_writing(self.transport)

    # Deadlines.

    def await_rest(self) -> None:
        """Something has begun to come."""
        self._since = self.loop.time()
        self._watch(self.deadlines[Phase.READING])

    def await_request(self, stream: Stream) -> None:
        """A request has begun to come on `stream`."""
        self._watch(self.deadlines[Phase.READING])

    def _watch(self, seconds: float) -> None:
        """Look at what is late then, or sooner. Most deadlines never come, so those that move are left to be found."""
        due = self.loop.time() + seconds
        if self._timer is not None:
            if self._due <= due:
                return
            self._timer.cancel()
        self._timer = self.loop.call_at(due, self._on_timer)
        self._due = due

    def _on_timer(self) -> None:
        self._timer = None
        now = self.loop.time()
        untaken = self._count_untaken()
        if untaken != self._untaken or not untaken:
            self._untaken, self._moved = untaken, now
        elif now >= self._moved + self.deadlines[Phase.WRITING]:
            drop(self.transport)
            return
        if self.closing:
            self._look_at_closing(untaken)
            return
        due = self._next_deadline(now)
        if not self.closing:
            self._watch(max(0.0, due - now))
            self.flush()

    def _count_untaken(self) -> int:
        return phases.count_untaken(self.transport, self.transport.get_write_buffer_size())

    def _look_at_closing(self, untaken: int) -> None:
        if untaken:
            self._watch(self.deadlines[Phase.WRITING])
        elif self.transport.is_closing():  # and not closed yet: the peer has gone, or does not take the rest
            drop(self.transport)
        else:
            self.transport.close()

    def _next_deadline(self, now: float) -> float:
        """When to look again; what is late by now is ended."""
        reading, writing = self.deadlines[Phase.READING], self.deadlines[Phase.WRITING]
        if self.paused:
            reading = float("inf")  # who is not read cannot be late
        due = now + writing  # in any case: what is being answered takes as long as it takes
        if self.begins:
            due = min(due, self._since + reading)
            if now >= self._since + reading:
                self.fail(Code.NO_ERROR, "a frame or a header block did not come in time")
        for stream in list(self.streams.values()):
            if not stream.answered:
                due = min(due, stream.since + reading)
                if now >= stream.since + reading:
                    self.time_out(stream)
            elif stream.unsent and not self.paused:
                due = min(due, stream.moved + writing)
                if now >= stream.moved + writing:
                    self.reset(stream.number, Code.CANCEL)
        if not self.streams and not self._untaken:
            idle = self.idle_since + self.deadlines[Phase.IDLE]
            if now >= idle:
                self.fail(Code.NO_ERROR, "there was no request for a while")
            return idle if not self.begins else due
        return due

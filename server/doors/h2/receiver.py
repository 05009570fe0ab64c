"""Frames in: what a peer says, held to the rules of RFC 9113.

Whoever breaks a rule for the connection is told so and left; whoever breaks one for a stream loses that. All that a
peer can have us do for little is counted against a budget: resets, and frames that ask for an answer or for nothing.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import ClassVar

from server.doors.h2 import frames
from server.doors.h2.connection import SETTINGS_ACK, Http2Connection
from server.doors.h2.frames import FIRST_WINDOW, Code, ConnectionFault, StreamFault
from server.doors.h2.hpack import MAX_LIST_BYTES
from server.doors.h2.streams import MAX_SENT_FRAME_BYTES, Stream
from server.doors.head import MAX_DRAIN_BYTES
from server.doors.http1 import EdgeProtocol
from server.doors.phases import MAX_DISCARDED_BYTES, drop

BUDGET = 1000  # of what is cheap for a peer and not for us
BUDGET_SECONDS = 10.0  # after which it is there anew
RESET_COST = 5
SMALL_INCREMENT = 256  # bytes of a window: what it lets through is mostly the heads of frames
MAX_BLOCK_BYTES = MAX_LIST_BYTES
MAX_CONTINUATIONS = 16  # of a header block
PRIORITY_BYTES = 5


@dataclass(slots=True)
class _Block:
    """A header block whose end has not come."""

    number: int
    ends: bool  # the stream, on the peer's side
    fragments: list[bytes] = field(default_factory=list)
    size: int = 0


class Http2Receiver(Http2Connection):
    """A connection that reads. What a header block means is its subclass' part."""

    def __init__(self, predecessor: EdgeProtocol) -> None:
        super().__init__(predecessor)
        self._rest = b""  # of a frame, or of the preface
        self._begun = False  # the preface has come
        self._settled = False  # the peer's settings have come
        self._block: _Block | None = None
        self._receivable = FIRST_WINDOW
        self._budget, self._budget_until = BUDGET, 0.0
        self._discarded = 0

    @property
    def begins(self) -> bool:
        return not self._settled or bool(self._rest) or self._block is not None

    @abstractmethod
    def on_block(self, number: int, block: bytes, *, ends: bool) -> None:
        """A header block has come whole. Raises `ConnectionFault`, `StreamFault`."""

    @abstractmethod
    def answer_again(self, number: int, block: bytes, place: bytes) -> bool:
        """Answer the next stream, all of which is in this header block, if that has come before; `place` is `number` as
        it stands in a frame."""

    @abstractmethod
    def limit_table(self, size: int) -> None:
        """The peer's decoder has that many bytes for its dynamic table."""

    def data_received(self, data: bytes) -> None:
        if self.closing:
            self._discarded += len(data)
            if self._discarded > MAX_DISCARDED_BYTES:
                drop(self.transport)
            return
        if self._rest:
            data = self._rest + data
        try:
            self.read(data)
        except ConnectionFault as fault:
            self.fail(fault.code, fault.detail)
            return
        self.flush()

    def read(self, data: bytes) -> None:
        """Do what the whole frames in `data` say, and keep the rest. Raises `ConnectionFault`."""
        position, end = 0, len(data)
        if not self._begun:
            position = self._begin_at(data)
            if position < 0:
                self.keep(data, anew=False)
                return
        unpack = frames.HEAD.unpack_from
        while end - position >= frames.HEAD_BYTES:
            high, low, kind, flags, number = unpack(data, position)
            start = position + frames.HEAD_BYTES
            if high or low > frames.MAX_FRAME_BYTES:
                raise ConnectionFault(Code.FRAME_SIZE_ERROR, "a frame is larger than 16384 bytes")
            if start + low > end:
                break
            position = start + low
            if (
                flags == frames.END_HEADERS | frames.END_STREAM
                and kind == frames.HEADERS
                and number == self.numbers.next
                and self._block is None
                and self.answer_again(number, data[start:position], data[start - 4 : start])
            ):
                continue
            self.on_frame(kind, flags, number & frames.MAX_WINDOW, data[start:position])
        self.keep(data[position:] if position < end else b"", anew=position > 0)

    def keep(self, rest: bytes, *, anew: bool) -> None:
        """Keep the beginning of a frame until its end has come; `anew`: what was kept has ended before it."""
        if rest and (not self.begins or (anew and self._settled and self._block is None)):
            self.await_rest()
        self._rest = rest

    def _begin_at(self, data: bytes) -> int:
        """Where the frames begin: behind the preface; -1 if not all of that has come. Raises `ConnectionFault`."""
        if not frames.PREFACE.startswith(data[: len(frames.PREFACE)]):
            raise ConnectionFault(Code.PROTOCOL_ERROR, "the connection does not begin as HTTP/2 does")
        self._begun = len(data) >= len(frames.PREFACE)
        return len(frames.PREFACE) if self._begun else -1

    def on_frame(self, kind: int, flags: int, number: int, payload: bytes) -> None:
        """Do what a frame says. Raises `ConnectionFault`."""
        if self._block is not None and (kind != frames.CONTINUATION or number != self._block.number):
            raise ConnectionFault(Code.PROTOCOL_ERROR, "a header block is interrupted")
        if not self._settled and (kind != frames.SETTINGS or flags & frames.ACK):
            raise ConnectionFault(Code.PROTOCOL_ERROR, "the first frame has to be SETTINGS")
        handle = self.HANDLERS.get(kind)
        if handle is None:
            if kind == frames.PUSH_PROMISE:
                raise ConnectionFault(Code.PROTOCOL_ERROR, "clients promise nothing")
            self.spend(1)  # an extension that is not known here (§4.1)
            return
        frames.check_form(kind, number, len(payload))
        try:
            handle(self, flags, number, payload)
        except StreamFault as fault:
            self.spend(RESET_COST)
            self.reset(number, fault.code)

    def spend(self, cost: int) -> None:
        """Count what a peer can have for little. Raises `ConnectionFault` if it has had too much of it."""
        now = self.loop.time()
        if now >= self._budget_until:
            self._budget, self._budget_until = BUDGET, now + BUDGET_SECONDS
        self._budget -= cost
        if self._budget < 0:
            raise ConnectionFault(Code.ENHANCE_YOUR_CALM, "too many frames lead to nothing")

    def _on_data(self, flags: int, number: int, payload: bytes) -> None:
        self._receive(len(payload))
        content = frames.strip_padding(payload) if flags & frames.PADDED else payload
        stream = self.streams.get(number)
        if stream is None or not stream.reading:
            if self.numbers.is_idle(number):
                raise ConnectionFault(Code.PROTOCOL_ERROR, f"stream {number} is not open")
            self.spend(1)
            if self.numbers.was_reset(number):
                return
            if stream is None:
                raise ConnectionFault(Code.STREAM_CLOSED, f"stream {number} is closed")
            raise StreamFault(Code.STREAM_CLOSED)
        stream.receivable -= len(payload)
        stream.taken += len(content)
        if flags & frames.END_STREAM:
            self.end_request(stream)
        elif not content:
            self.spend(1)
        else:
            self._take_on(stream)

    def _receive(self, size: int) -> None:
        """Bodies are taken as they come, and nothing of them is kept: the window never gets so small that a frame is
        too large for it."""
        self._receivable -= size
        if self._receivable < FIRST_WINDOW // 2:
            self.out.append(frames.render_window_update(0, FIRST_WINDOW - self._receivable))
            self._receivable = FIRST_WINDOW

    def _take_on(self, stream: Stream) -> None:
        """Part of a body has come. If it is too long to be read, the answer comes now. What follows then is thrown
        away, up to a limit: there are clients that look for an answer only when they have said all."""
        length = None if stream.head is None else stream.head.length
        if length is not None and stream.taken > length:
            raise StreamFault(Code.PROTOCOL_ERROR)
        if not stream.answered and stream.taken > MAX_DRAIN_BYTES:
            self.answer(stream)
        if stream.taken > MAX_DISCARDED_BYTES:
            if stream.over or stream.receivable < 0:
                self.reset(stream.number, Code.NO_ERROR)
        elif stream.receivable < FIRST_WINDOW // 2:
            self.out.append(frames.render_window_update(stream.number, FIRST_WINDOW - stream.receivable))
            stream.receivable = FIRST_WINDOW

    def end_request(self, stream: Stream) -> None:
        """All of a request has come. Raises `StreamFault`."""
        stream.reading = False
        if stream.head is not None and stream.head.length not in (None, stream.taken):  # RFC 9113 §8.1.1
            raise StreamFault(Code.PROTOCOL_ERROR)
        if not stream.answered:
            self.answer(stream)
        elif stream.over:
            self.forget(stream)

    def _on_headers(self, flags: int, number: int, payload: bytes) -> None:
        if flags & frames.PADDED:
            payload = frames.strip_padding(payload)
        if flags & frames.HAS_PRIORITY:
            if len(payload) < PRIORITY_BYTES:
                raise ConnectionFault(Code.FRAME_SIZE_ERROR, "HEADERS ends within its priority")
            self._check_priority(number, payload)
            payload = payload[PRIORITY_BYTES:]
        ends = bool(flags & frames.END_STREAM)
        if flags & frames.END_HEADERS:
            self.on_block(number, payload, ends=ends)
        else:
            self.await_rest()
            self._block = _Block(number, ends, [payload], len(payload))

    def _on_continuation(self, flags: int, _number: int, payload: bytes) -> None:
        block = self._block
        if block is None:
            raise ConnectionFault(Code.PROTOCOL_ERROR, "there is no header block to continue")
        block.fragments.append(payload)
        block.size += len(payload)
        if len(block.fragments) > MAX_CONTINUATIONS + 1 or block.size > MAX_BLOCK_BYTES:
            raise ConnectionFault(Code.ENHANCE_YOUR_CALM, "a header block is too large")
        if flags & frames.END_HEADERS:
            self._block = None
            self.on_block(block.number, b"".join(block.fragments), ends=block.ends)

    def _on_priority(self, _flags: int, number: int, payload: bytes) -> None:
        self.spend(1)
        if len(payload) != PRIORITY_BYTES:
            if self.numbers.is_idle(number):  # which cannot be reset
                raise ConnectionFault(Code.FRAME_SIZE_ERROR, f"PRIORITY has {len(payload)} bytes")
            raise StreamFault(Code.FRAME_SIZE_ERROR)
        self._check_priority(number, payload)

    def _check_priority(self, number: int, payload: bytes) -> None:
        """Priorities are ignored (§5.3), save that a stream cannot depend on itself (RFC 7540 §5.3.1)."""
        if frames.read_number(payload) == number:
            raise ConnectionFault(Code.PROTOCOL_ERROR, f"stream {number} depends on itself")

    def _on_reset(self, _flags: int, number: int, _payload: bytes) -> None:
        if self.numbers.is_idle(number):
            raise ConnectionFault(Code.PROTOCOL_ERROR, f"stream {number} is not open")
        stream = self.streams.get(number)
        if stream is None:
            self.spend(1)
        else:
            self.spend(RESET_COST)
            self.forget(stream)

    def _on_settings(self, flags: int, _number: int, payload: bytes) -> None:
        self.spend(1)
        for setting, value in frames.read_settings(flags, payload):
            if setting == frames.INITIAL_WINDOW_SIZE:
                self._resize_windows(value)
            elif setting == frames.MAX_FRAME_SIZE:
                self.outflow.max_frame = min(value, MAX_SENT_FRAME_BYTES)
            elif setting == frames.HEADER_TABLE_SIZE:
                self.limit_table(value)
        self._settled = True
        if not flags & frames.ACK:
            self.out.append(SETTINGS_ACK)

    def _resize_windows(self, size: int) -> None:
        """For streams that there are, too (§6.9.2)."""
        change = size - self.outflow.first_window
        self.outflow.first_window = size
        for stream in self.streams.values():
            try:
                self.outflow.widen(stream, change)
            except StreamFault:
                raise ConnectionFault(Code.FLOW_CONTROL_ERROR, "the window of a stream is too large") from None

    def _on_ping(self, flags: int, _number: int, payload: bytes) -> None:
        self.spend(1)
        if not flags & frames.ACK:
            self.out.append(frames.render_frame(frames.PING, frames.ACK, 0, payload))

    def _on_goaway(self, _flags: int, _number: int, payload: bytes) -> None:
        """The peer will not take streams of ours, which it would not get in any case."""
        self.spend(1)
        if len(payload) < 8:
            raise ConnectionFault(Code.FRAME_SIZE_ERROR, f"GOAWAY has {len(payload)} bytes")

    def _on_window_update(self, _flags: int, number: int, payload: bytes) -> None:
        increment = frames.read_number(payload)
        stream = self.streams.get(number)
        if number and stream is None:
            if self.numbers.is_idle(number):
                raise ConnectionFault(Code.PROTOCOL_ERROR, f"stream {number} is not open")
            return  # it has ended meanwhile
        if not increment:
            if stream is None:
                raise ConnectionFault(Code.PROTOCOL_ERROR, "a window is widened by nothing")
            raise StreamFault(Code.PROTOCOL_ERROR)
        if increment < SMALL_INCREMENT and self.outflow:
            self.spend(1)  # what waits goes out in frames that are mostly head
        self.outflow.widen(stream, increment)

    HANDLERS: ClassVar[dict[int, Callable[..., None]]] = {
        frames.DATA: _on_data,
        frames.HEADERS: _on_headers,
        frames.PRIORITY: _on_priority,
        frames.RST_STREAM: _on_reset,
        frames.SETTINGS: _on_settings,
        frames.PING: _on_ping,
        frames.GOAWAY: _on_goaway,
        frames.WINDOW_UPDATE: _on_window_update,
        frames.CONTINUATION: _on_continuation,
    }

"""HTTP/2 frames (RFC 9113 §4 and §6): from bytes to what they say, and back. Pure.

What breaks a rule for the connection is a `ConnectionFault`, what breaks one for a stream alone a `StreamFault`, each
with the code that the peer is told.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import IntEnum
from struct import Struct

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"  # what a client begins with (§3.4)

HEAD = Struct(">BHBBI")  # length in two parts, kind, flags, stream with a reserved bit
HEAD_BYTES = 9
MAX_FRAME_BYTES = 16 * 1024  # of a payload: what everybody has to take, and all that we do
MAX_WINDOW = 2**31 - 1
FIRST_WINDOW = 65_535  # bytes, of a connection and, unless it is said otherwise, of a stream
RESERVED = 0x80000000  # in a stream's or a window's number, to be ignored

DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)

END_STREAM = ACK = 0x01
END_HEADERS = 0x04
PADDED = 0x08
HAS_PRIORITY = 0x20

ENABLE_PUSH, MAX_CONCURRENT_STREAMS, INITIAL_WINDOW_SIZE, MAX_FRAME_SIZE, MAX_HEADER_LIST_SIZE = range(2, 7)
HEADER_TABLE_SIZE = 1
ENABLE_CONNECT_PROTOCOL, NO_RFC7540_PRIORITIES = 8, 9

_SETTING = Struct(">HI")
_NUMBER = Struct(">I")
_NUMBERS = Struct(">II")


class Code(IntEnum):
    """Of errors (§7)."""

    NO_ERROR = 0
    PROTOCOL_ERROR = 1
    INTERNAL_ERROR = 2
    FLOW_CONTROL_ERROR = 3
    STREAM_CLOSED = 5
    FRAME_SIZE_ERROR = 6
    REFUSED_STREAM = 7
    CANCEL = 8
    COMPRESSION_ERROR = 9
    ENHANCE_YOUR_CALM = 11


class ConnectionFault(Exception):
    """The connection ends; `detail` tells the peer what is wrong."""

    def __init__(self, code: Code, detail: str) -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail


class StreamFault(Exception):
    """One stream ends."""

    def __init__(self, code: Code) -> None:
        super().__init__(code.name)
        self.code = code


# Kind → whether it is of a stream (None: either way), and how long its payload is (None: that varies).
_FORMS: dict[int, tuple[bool | None, int | None]] = {
    DATA: (True, None),
    HEADERS: (True, None),
    PRIORITY: (True, None),  # a wrong length is the stream's fault alone (§6.3)
    RST_STREAM: (True, 4),
    SETTINGS: (False, None),
    PING: (False, 8),
    GOAWAY: (False, None),
    WINDOW_UPDATE: (None, 4),
    CONTINUATION: (True, None),
}

# Setting → (least, most, what a value beyond is); the others have none (§6.5.2, RFC 8441 §3, RFC 9218 §2.1).
_BOUNDS: dict[int, tuple[int, int, Code]] = {
    ENABLE_PUSH: (0, 1, Code.PROTOCOL_ERROR),
    INITIAL_WINDOW_SIZE: (0, MAX_WINDOW, Code.FLOW_CONTROL_ERROR),
    MAX_FRAME_SIZE: (MAX_FRAME_BYTES, 2**24 - 1, Code.PROTOCOL_ERROR),
    ENABLE_CONNECT_PROTOCOL: (0, 1, Code.PROTOCOL_ERROR),
    NO_RFC7540_PRIORITIES: (0, 1, Code.PROTOCOL_ERROR),
}


def check_form(kind: int, stream: int, length: int) -> None:
    """Whether a frame of a known kind may be on this stream and of this length. Raises `ConnectionFault`."""
    of_stream, exact = _FORMS[kind]
    if of_stream is not None and of_stream != bool(stream):
        raise ConnectionFault(Code.PROTOCOL_ERROR, f"a frame of kind {kind} is on stream {stream}")
    if exact is not None and length != exact:
        raise ConnectionFault(Code.FRAME_SIZE_ERROR, f"a frame of kind {kind} has {length} bytes")


def strip_padding(payload: bytes) -> bytes:
    """Of a frame with the flag PADDED. Raises `ConnectionFault`."""
    if not payload or payload[0] >= len(payload):
        raise ConnectionFault(Code.PROTOCOL_ERROR, "the padding is longer than its frame")
    return payload[1 : len(payload) - payload[0]]


def read_number(payload: bytes) -> int:
    """The first 31 bits behind a reserved one."""
    number: int = _NUMBER.unpack_from(payload)[0]
    return number & MAX_WINDOW


def read_settings(flags: int, payload: bytes) -> Iterator[tuple[int, int]]:
    """(setting, value) of each, in order. Raises `ConnectionFault`."""
    if len(payload) % _SETTING.size or (flags & ACK and payload):
        raise ConnectionFault(Code.FRAME_SIZE_ERROR, f"SETTINGS has {len(payload)} bytes")
    for setting, value in _SETTING.iter_unpack(payload):
        least, most, code = _BOUNDS.get(setting, (0, value, Code.NO_ERROR))
        if not least <= value <= most:
            raise ConnectionFault(code, f"setting {setting} cannot be {value}")
        yield setting, value


def render_head(kind: int, flags: int, stream: int, length: int) -> bytes:
    """The head of a frame."""
    return HEAD.pack(length >> 16, length & 0xFFFF, kind, flags, stream)


def render_start(kind: int, flags: int, length: int) -> bytes:
    """The head of a frame up to its stream's number, which takes four bytes more."""
    return render_head(kind, flags, 0, length)[:-4]


def render_frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    """A whole frame."""
    return render_head(kind, flags, stream, len(payload)) + payload


def render_headers(stream: int, block: bytes, *, ends: bool) -> list[bytes]:
    """HEADERS and, of a long block, CONTINUATION; `ends`: nothing follows on the stream."""
    parts = [block[start : start + MAX_FRAME_BYTES] for start in range(0, len(block), MAX_FRAME_BYTES)]
    flags = END_STREAM if ends else 0
    if len(parts) == 1:
        return [render_frame(HEADERS, flags | END_HEADERS, stream, block)]
    middle = [render_frame(CONTINUATION, 0, stream, part) for part in parts[1:-1]]
    first, last = (
        render_frame(HEADERS, flags, stream, parts[0]),
        render_frame(CONTINUATION, END_HEADERS, stream, parts[-1]),
    )
    return [first, *middle, last]


def render_settings(settings: dict[int, int]) -> bytes:
    """SETTINGS."""
    return render_frame(SETTINGS, 0, 0, b"".join(_SETTING.pack(*item) for item in settings.items()))


def render_reset(stream: int, code: Code) -> bytes:
    """RST_STREAM."""
    return render_frame(RST_STREAM, 0, stream, _NUMBER.pack(code))


def render_window_update(stream: int, increment: int) -> bytes:
    """WINDOW_UPDATE."""
    return render_frame(WINDOW_UPDATE, 0, stream, _NUMBER.pack(increment))


def render_goaway(last: int, code: Code, detail: str = "") -> bytes:
    """GOAWAY; `last` is the last stream that is, or may have been, served."""
    return render_frame(GOAWAY, 0, 0, _NUMBERS.pack(last, code) + detail.encode("ascii", "replace"))

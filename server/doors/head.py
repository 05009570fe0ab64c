"""The strict reader of HTTP/1.1 messages (RFC 9112). Pure.

1. `find_head_end`  where the head ends, or a refusal as soon as it can no longer end well
2. `parse_head`     request line, header fields, framing: everything ambiguous is refused
3. `Drain`          the body, which a static site has no use for, read past so that it never becomes the next request
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from server.edge.request import MAX_TARGET_BYTES, Refusal
from server.memo import Memo

MAX_HEAD_BYTES = 32 * 1024  # request line and header lines together
MAX_HEADER_LINES = 100
MAX_DRAIN_BYTES = 64 * 1024  # a longer body is not read; the connection closes after the answer
MAX_CHUNK_LINE_BYTES = 256

# Most lines are the same for many visitors, and a visitor's next head has nearly all lines of the last one.
MAX_KEPT_LINE_BYTES = 256
KEPT_LINE_OVERHEAD = 350  # measured: what a line of the memo takes besides its text and the parts of it
_kept_lines: Memo[bytes, tuple[bytes, bytes]] = Memo(4 * 1024 * 1024)

_NEVER_AGAIN = frozenset({b"cookie", b"if-modified-since", b"if-none-match", b"if-range", b"range", b"referer"})

ABOUT_MESSAGE = frozenset({b"connection", b"content-length", b"expect", b"transfer-encoding"})
_NOT_IN_TRAILER = frozenset({b"content-length", b"transfer-encoding", b"host", b"trailer"})  # RFC 9110 §6.5.1

_TOKEN = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]++"
_REQUEST_LINE = re.compile(rb"(" + _TOKEN + rb") ([\x21-\x7e\x80-\xff]++) HTTP/(\d)\.(\d)")
_HEADER_LINE = re.compile(rb"(" + _TOKEN + rb"):[ \t]*+([\t\x20-\x7e\x80-\xff]*+)")
_GLIMPSE = re.compile(rb"(" + _TOKEN + rb")(?: ([\x21-\x7e\x80-\xff]++)(?: (HTTP/\d\.\d)(?=\r\n))?)?")
_STRAY = re.compile(rb"(?<!\r)\n|\r(?!\n|\Z)")  # a bare LF, or a CR that is not at the end and has no LF behind it
_DIGITS = re.compile(rb"\d{1,18}")
_TOKEN_ONLY = re.compile(_TOKEN)
_QUOTED = rb'"(?:[\t \x21\x23-\x5b\x5d-\x7e\x80-\xff]|\\[\t\x20-\x7e\x80-\xff])*"'
_CHUNK_LINE = re.compile(
    rb"([0-9A-Fa-f]{1,16}+)(?:[ \t]*+;[ \t]*+"
    + _TOKEN
    + rb"(?:[ \t]*+=[ \t]*+(?:"
    + _TOKEN
    + rb"|"
    + _QUOTED
    + rb"))?)*"
)


@dataclass(frozen=True, slots=True)
class Head:
    """A well-formed head. Header names in lower case, values without white space around."""

    method: bytes
    target: bytes
    version: str  # "1.0" or "1.1"
    headers: list[tuple[bytes, bytes]]
    body: Drain | None  # None: there is none
    keep_alive: bool
    expects_continue: bool


def find_head_end(buffer: bytearray, start: int) -> int:
    """The index behind the empty line that ends the head at the start of `buffer`, or -1 if it has not come yet.

    `start` is how much an earlier call has seen. Raises `Refusal` for what no further byte can mend.
    """
    end = buffer.find(b"\r\n\r\n", max(0, start - 3))
    seen = len(buffer) if end < 0 else end
    stop = seen if end < 0 else end + 2
    # Counting costs a tenth of searching, and finds as many of each exactly where nothing is stray.
    if not (buffer.count(b"\r", 0, stop) == buffer.count(b"\n", 0, stop) == buffer.count(b"\r\n", 0, stop)) and (
        _STRAY.search(buffer, max(0, start - 1), stop)
    ):
        raise Refusal(400, "a line of the request ends in a bare CR or LF")
    if seen > MAX_TARGET_BYTES:
        line = buffer.find(b"\r\n", 0, seen)
        # Leave room for the method and the version around the target.
        if (seen if line < 0 else line) > MAX_TARGET_BYTES + 64:
            raise Refusal(414, f"the request target is longer than {MAX_TARGET_BYTES} bytes")
        if seen > MAX_HEAD_BYTES:
            raise Refusal(431, f"the headers are larger than {MAX_HEAD_BYTES} bytes")
    return -1 if end < 0 else end + 4


def glimpse(buffer: bytearray) -> tuple[bytes, bytes, bytes]:
    """(method, target, protocol) of a message that is refused, as far as its first line goes; b"-" for the rest."""
    found = _GLIMPSE.match(buffer, 0, MAX_TARGET_BYTES)
    if found is None:
        return b"-", b"-", b"-"
    method, target, protocol = found.groups(default=b"-")
    return method, target, protocol


def parse_head(data: bytes) -> Head:
    """The head in `data`, which ends before its empty line. Raises `Refusal` (400, 431, 501, 505)."""
    lines = data.split(b"\r\n")
    line = _REQUEST_LINE.fullmatch(lines[0])
    if line is None:
        raise Refusal(400, "the request line is malformed")
    method, target, major, minor = line.groups()
    if major != b"1":
        raise Refusal(505, "this listener speaks HTTP/1.1 and HTTP/1.0")
    headers = parse_header_lines(lines[1:])
    version = "1.0" if minor == b"0" else "1.1"  # a higher minor version is served as ours (RFC 9110 §2.5)
    about_message = [header for header in headers if header[0] in ABOUT_MESSAGE]
    options = {
        token.strip().lower() for name, value in about_message if name == b"connection" for token in value.split(b",")
    }
    return Head(
        method=method,
        target=target,
        version=version,
        headers=headers,
        body=_framing(about_message, version),
        keep_alive=version == "1.1" and b"close" not in options,
        # RFC 9110 §10.1.1: in HTTP/1.0 nobody waits for a go-ahead, whatever the field says.
        expects_continue=version == "1.1"
        and any(name == b"expect" and value.lower() == b"100-continue" for name, value in about_message),
    )


def parse_header_lines(lines: list[bytes]) -> list[tuple[bytes, bytes]]:
    """The header fields of `lines`: names in lower case, values without white space around. Raises `Refusal`."""
    if len(lines) > MAX_HEADER_LINES:
        raise Refusal(431, f"there are more than {MAX_HEADER_LINES} header lines")
    find = _kept_lines.get
    return [find(text) or _parse_and_keep(text) for text in lines]


def _parse_and_keep(text: bytes) -> tuple[bytes, bytes]:
    header = _parse_header_line(text)
    if len(text) <= MAX_KEPT_LINE_BYTES and header[0] not in _NEVER_AGAIN:
        _kept_lines.keep(text, header, 2 * len(text) + KEPT_LINE_OVERHEAD)
    return header


def _parse_header_line(text: bytes) -> tuple[bytes, bytes]:
    found = _HEADER_LINE.fullmatch(text)
    if found is None:
        raise Refusal(400, "a header line is malformed")
    return found[1].lower(), found[2].rstrip(b" \t")


def _framing(headers: list[tuple[bytes, bytes]], version: str) -> Drain | None:
    """How the body is delimited (RFC 9112 §6.3). Whatever two readers could take in two ways is refused."""
    lengths = [value for name, value in headers if name == b"content-length"]
    codings = [value for name, value in headers if name == b"transfer-encoding"]
    if codings:
        if lengths or len(codings) > 1 or version == "1.0":
            raise Refusal(400, "the length of the body is ambiguous")
        coding = codings[0].lower()
        if coding == b"chunked":
            return Drain(None)
        # With chunked last, once, another coding before it is well-formed and only not supported (§6.1).
        tokens = [token.strip(b" \t") for token in coding.split(b",")]
        if tokens[-1] == b"chunked" and tokens.count(b"chunked") == 1 and all(map(_TOKEN_ONLY.fullmatch, tokens)):
            raise Refusal(501, "the only transfer coding understood is chunked")
        raise Refusal(400, "the transfer coding is malformed")
    if not lengths:
        return None
    if len(lengths) > 1 or not _DIGITS.fullmatch(lengths[0]):
        raise Refusal(400, "the Content-Length is malformed")
    return Drain(int(lengths[0])) if int(lengths[0]) else None


class Drain:
    """Reads past a body of `length` bytes, or past a chunked one (None)."""

    def __init__(self, length: int | None) -> None:
        self._chunked = length is None
        self._left = length or 0  # of the length, or of the chunk with the CRLF behind it
        self._last = False  # the last chunk has come; trailer lines follow
        self._taken = 0

    @property
    def too_long(self) -> bool:
        """Whether reading on is not worth it: answer and close."""
        return self._taken + self._left > MAX_DRAIN_BYTES

    def feed(self, buffer: bytearray) -> bool:
        """Take what belongs to the body off the front of `buffer`; True once all of it has come. Raises `Refusal`."""
        if not self._chunked:
            if self.too_long:  # though it be here already: how bytes arrive does not decide what is read
                return False
            self._take(buffer, self._left)
            return self._left == 0
        while not self.too_long:
            if self._left:
                if not self._feed_chunk(buffer):
                    return False
            elif (line := self._line(buffer)) is None:
                return False
            elif self._last:
                if not line:
                    return True
                if _parse_header_line(line)[0] in _NOT_IN_TRAILER:
                    raise Refusal(400, "a trailer line may not say how the message is framed or routed")
            else:
                self._begin_chunk(line)
        return False

    def _feed_chunk(self, buffer: bytearray) -> bool:
        """Data of the chunk under way and the CRLF behind it; False if more has to come."""
        if self._left > 2:
            self._take(buffer, self._left - 2)
        if self._left > 2 or len(buffer) < 2:
            if self._left <= 2 and buffer and buffer[:1] != b"\r":
                raise Refusal(400, "a chunk is longer than it says")
            return False
        if buffer[:2] != b"\r\n":
            raise Refusal(400, "a chunk is longer than it says")
        self._take(buffer, 2)
        return True

    def _begin_chunk(self, line: bytes) -> None:
        found = _CHUNK_LINE.fullmatch(line)
        if found is None:
            raise Refusal(400, "a chunk's size line is malformed")
        size = int(found[1], 16)
        self._left = size + 2 if size else 0
        self._last = size == 0

    def _line(self, buffer: bytearray) -> bytes | None:
        """The next line, without its end; None if it has not all come."""
        end = buffer.find(b"\r\n", 0, MAX_CHUNK_LINE_BYTES)
        if _STRAY.search(buffer, 0, end if end >= 0 else min(len(buffer), MAX_CHUNK_LINE_BYTES)):
            raise Refusal(400, "a line of the body ends in a bare CR or LF")
        if end < 0:
            if len(buffer) >= MAX_CHUNK_LINE_BYTES:
                raise Refusal(400, "a line of the chunked body is too long")
            return None
        line = bytes(buffer[:end])
        del buffer[: end + 2]
        self._taken += end + 2
        return line

    def _take(self, buffer: bytearray, most: int) -> None:
        count = min(most, len(buffer))
        del buffer[:count]
        self._left -= count
        self._taken += count

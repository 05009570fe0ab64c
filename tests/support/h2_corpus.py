"""Requests of HTTP/1.1 as HTTP/2 says them, as far as it can."""

from __future__ import annotations

from dataclasses import dataclass

from server.doors.h2.frames import FIRST_WINDOW
from server.doors.head import Head, find_head_end, parse_head
from server.edge.request import Refusal, split_target

Fields = list[tuple[bytes, bytes]]

# What a message says of itself in HTTP/1.1 alone, or where HTTP/2 has a way of its own.
_ABOUT_CONNECTIONS = frozenset({b"connection", b"keep-alive", b"proxy-connection", b"upgrade", b"te"})


@dataclass(frozen=True)
class Message:
    """The fields of a request, and its body."""

    fields: Fields
    body: bytes

    @property
    def method(self) -> str:
        return self.fields[0][1].decode()


def translate(stream: bytes, scheme: bytes = b"http") -> list[Message] | None:
    """The messages of a connection; None if one cannot be said, or ends the connection before another."""
    messages: list[Message] = []
    buffer = bytearray(stream)
    while buffer:
        try:
            end = find_head_end(buffer, 0)
            head = parse_head(bytes(buffer[: max(0, end - 4)]))
        except Refusal:
            return None
        body = _body(buffer, end, head)
        message = None if body is None else translate_head(head, body, scheme)
        if message is None or (not head.keep_alive and buffer):
            return None
        messages.append(message)
    return messages


def _body(buffer: bytearray, end: int, head: Head) -> bytes | None:
    """Take head and body off `buffer`; None if the body is not there, is chunked, or is too long."""
    names = [name for name, _ in head.headers]
    if b"transfer-encoding" in names or head.expects_continue:
        return None  # how much of it comes is a matter of time
    length = int(dict(head.headers).get(b"content-length", b"0"))
    body = bytes(buffer[end : end + length])
    del buffer[: end + length]
    return body if len(body) == length <= FIRST_WINDOW else None


def translate_head(head: Head, body: bytes, scheme: bytes = b"http") -> Message | None:
    """One message; None if it cannot be said."""
    hosts = [value for name, value in head.headers if name == b"host"]
    if head.version != "1.1" or len(hosts) != 1:
        return None
    authority, target = hosts[0], head.target
    if target[:1] != b"/" and target != b"*":
        try:
            named, path, query = split_target(target)
        except Refusal:
            return None
        assert named is not None, "it has the form of a URL"
        authority, target = named, path + (b"?" + query if query else b"")
    fields = [
        (b":method", head.method),
        (b":scheme", scheme),
        (b":authority", authority),
        (b":path", target),
    ]
    rest = [header for header in head.headers if header[0] != b"host" and header[0] not in _ABOUT_CONNECTIONS]
    return Message([*fields, *rest], body)

"""The header fields of a request in HTTP/2 (RFC 9113 §8.2, §8.3): what they ask for, or why nobody has to know. Pure.

What is malformed in the sense of §8.1.1 ends its stream, without a page; what is only too much, or what HTTP/1.1 could
have said too, is refused with the page that it gets there.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import chain

from server.doors.h2.frames import Code, StreamFault
from server.doors.head import MAX_HEAD_BYTES, MAX_HEADER_LINES
from server.edge.request import Refusal

LINE_OVERHEAD = 4  # what a field's line has in HTTP/1.1 beside name and value

_NAME = re.compile(rb"[!#$%&'*+\-.^_`|~0-9a-z]+")  # a token without upper case (§8.2.1)
_METHOD = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_SCHEME = re.compile(rb"[A-Za-z][A-Za-z0-9+.-]*")
_LENGTH = re.compile(rb"[0-9]{1,18}")
_VALUE = bytes({0x09, *range(0x20, 0x7F), *range(0x80, 0x100)})

_PSEUDO = frozenset({b":method", b":scheme", b":authority", b":path"})
_OF_CONNECTIONS = frozenset({b"connection", b"keep-alive", b"proxy-connection", b"transfer-encoding", b"upgrade"})

# Fields that nearly every request has; others have their names looked at each time.
_USUAL = frozenset(
    b"""accept accept-encoding accept-language authorization cache-control cookie dnt host if-modified-since
    if-none-match origin pragma priority purpose range referer save-data sec-ch-ua sec-ch-ua-mobile sec-ch-ua-platform
    sec-fetch-dest sec-fetch-mode sec-fetch-site sec-fetch-user sec-gpc upgrade-insecure-requests user-agent""".split()
)


@dataclass(frozen=True, slots=True)
class RequestHead:
    """What a request asks for. `headers` have lower-case names, and Host in the place of :authority."""

    method: bytes
    target: bytes
    headers: list[tuple[bytes, bytes]]
    length: int | None  # of its body, in bytes, as it says
    expects_continue: bool


def _malformed() -> StreamFault:
    return StreamFault(Code.PROTOCOL_ERROR)


def read_request_head(fields: Iterable[tuple[bytes, bytes]]) -> RequestHead:
    """Raises `StreamFault` if it is malformed."""
    pseudo: dict[bytes, bytes] = {}
    headers: list[tuple[bytes, bytes]] = []
    for name, value in fields:
        _check_value(value)
        if name[:1] == b":":
            if headers or name in pseudo or name not in _PSEUDO:
                raise _malformed()
            pseudo[name] = value
        else:
            _check_name(name, value)
            headers.append((name, value))
    method, target = _target(pseudo)
    headers = _with_host(pseudo.get(b":authority"), headers)
    return RequestHead(method, target, headers, _length(headers), _expects_continue(headers))


def check_size(head: RequestHead) -> None:
    """The limits of HTTP/1.1; raises `Refusal` (431). A cookie may come in crumbs, which are no lines of their own
    (§8.2.3)."""
    headers = head.headers
    lines = len(headers)
    if lines > MAX_HEADER_LINES:
        crumbs = sum(name == b"cookie" for name, _ in headers)
        if lines - max(0, crumbs - 1) > MAX_HEADER_LINES:
            raise Refusal(431, f"there are more than {MAX_HEADER_LINES} header lines")
    if len(head.target) + sum(map(len, chain.from_iterable(headers))) + LINE_OVERHEAD * lines > MAX_HEAD_BYTES:
        raise Refusal(431, f"the headers are larger than {MAX_HEAD_BYTES} bytes")


def check_trailers(fields: Iterable[tuple[bytes, bytes]]) -> None:
    """Raises `StreamFault` if they are malformed (§8.1). Nobody reads them."""
    for name, value in fields:
        _check_value(value)
        _check_name(name, value)


def _check_value(value: bytes) -> None:
    if value.translate(None, _VALUE) or value[:1] in (b" ", b"\t") or value[-1:] in (b" ", b"\t"):
        raise _malformed()


def _check_name(name: bytes, value: bytes) -> None:
    if name in _USUAL:
        return
    if not _NAME.fullmatch(name) or name in _OF_CONNECTIONS or (name == b"te" and value.lower() != b"trailers"):
        raise _malformed()


def _target(pseudo: dict[bytes, bytes]) -> tuple[bytes, bytes]:
    """The method, and the target as HTTP/1.1 has it."""
    method, scheme, path = (pseudo.get(name) for name in (b":method", b":scheme", b":path"))
    if method is None or not _METHOD.fullmatch(method):
        raise _malformed()
    if method == b"CONNECT":  # names nothing but a host (§8.5), which is refused where targets are read
        if scheme is not None or path is not None or not pseudo.get(b":authority"):
            raise _malformed()
        return method, pseudo[b":authority"]
    if scheme is None or not _SCHEME.fullmatch(scheme) or not path or (path[:1] != b"/" and path != b"*"):
        raise _malformed()
    return method, path


def _with_host(authority: bytes | None, headers: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    if authority is None:
        return headers
    rest = []
    for header in headers:
        if header[0] != b"host":
            rest.append(header)
        elif header[1].lower() != authority.lower():  # §8.3.1
            raise _malformed()
    return [(b"host", authority), *rest]


def _length(headers: list[tuple[bytes, bytes]]) -> int | None:
    lengths = [value for name, value in headers if name == b"content-length"]
    if not lengths:
        return None
    if len(lengths) > 1 or not _LENGTH.fullmatch(lengths[0]):
        raise _malformed()
    return int(lengths[0])


def _expects_continue(headers: list[tuple[bytes, bytes]]) -> bool:
    return any(name == b"expect" and value.lower() == b"100-continue" for name, value in headers)

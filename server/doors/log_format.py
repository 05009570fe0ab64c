"""Lines of the access log, in pieces that are worked out long before they are written. Pure.

A line is `peer + second + millis + request + sender`. "json" is an object a line, its times in UTC to the millisecond;
"combined" is what Apache's httpd and nginx call so.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

_MILLIS = tuple(b"%03d" % number for number in range(1000))
_NO_MILLIS = (b"",) * 1000
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


@dataclass(frozen=True, slots=True)
class LogFormat:
    """How each piece is written.

    `peer` takes an address; `second`, seconds since the epoch; `request`, method, target, version, status, bytes of the
    body, and the site's id or b""; `sender`, the fields Host, Referer and User-Agent as sent, b"" for those that are
    absent. `millis` has what stands for each of a second's thousandths.
    """

    peer: Callable[[str], bytes]
    second: Callable[[int], bytes]
    request: Callable[[bytes, bytes, bytes, int, int, bytes], bytes]
    sender: Callable[[bytes, bytes, bytes], bytes]
    millis: Sequence[bytes]


def _json_peer(address: str) -> bytes:
    return b'{"remote":%b,"time":"' % _json_text(address.encode("ascii", "replace"))


def _json_second(time: int) -> bytes:
    return f"{datetime.fromtimestamp(time, UTC):%Y-%m-%dT%H:%M:%S.}".encode("ascii")


def _json_request(method: bytes, target: bytes, version: bytes, status: int, size: int, site: bytes) -> bytes:
    return b'Z","method":%b,"target":%b,"protocol":"%b","status":%d,"bytes":%d,"site":"%b"' % (
        _json_text(method),
        _json_text(target),
        version,
        status,
        size,
        site,
    )


def _json_sender(host: bytes, referer: bytes, user_agent: bytes) -> bytes:
    if _is_plain(host + referer + user_agent):
        return b',"host":"%b","referer":"%b","user_agent":"%b"}\n' % (host, referer, user_agent)
    return b',"host":%b,"referer":%b,"user_agent":%b}\n' % (
        _json_text(host),
        _json_text(referer),
        _json_text(user_agent),
    )


def _json_text(value: bytes) -> bytes:
    """A JSON string of what a visitor sent."""
    if _is_plain(value):
        return b'"%b"' % value
    return json.dumps(value.decode("utf-8", "replace")).encode("ascii")


def _is_plain(value: bytes) -> bool:
    """Whether it stands for itself in a string, as nearly all do. Header fields and targets hold no other controls."""
    return value.isascii() and b'"' not in value and b"\\" not in value and b"\t" not in value


def _combined_peer(address: str) -> bytes:
    return b"%b - - [" % address.encode("ascii", "replace")


def _combined_second(time: int) -> bytes:
    moment = datetime.fromtimestamp(time, UTC)
    return f"{moment:%d}/{_MONTHS[moment.month - 1]}/{moment:%Y:%H:%M:%S} +0000] ".encode("ascii")


def _combined_request(method: bytes, target: bytes, version: bytes, status: int, size: int, site: bytes) -> bytes:
    return b'"%b %b %b" %d %d' % (_escaped(method), _escaped(target), version, status, size)


def _combined_sender(host: bytes, referer: bytes, user_agent: bytes) -> bytes:
    return b' "%b" "%b"\n' % (_escaped(referer) or b"-", _escaped(user_agent) or b"-")


def _escaped(value: bytes) -> bytes:
    """As httpd and nginx do, so that no visitor writes a line of his own."""
    if _is_plain(value):
        return value
    return b"".join(
        b"\\x%02X" % octet if octet in b'"\\' or octet < 0x20 or octet > 0x7E else b"%c" % octet for octet in value
    )


FORMATS = {
    "json": LogFormat(_json_peer, _json_second, _json_request, _json_sender, _MILLIS),
    "combined": LogFormat(_combined_peer, _combined_second, _combined_request, _combined_sender, _NO_MILLIS),
}

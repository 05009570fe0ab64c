"""Lines of the access log, in pieces that are worked out long before they are written. Pure.

A line is `peer + second + millis + request + sender`. "json" is an object a line, its times in UTC to the millisecond;
"combined" is what Apache's httpd and nginx call so. Whatever visitors send is quoted, so that none breaks a line or an
object, and cut, so that none fills a disk with little effort.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache

MAX_FIELD_BYTES = 1024  # of Host, Referer and User-Agent, each, before quoting
KEPT_PEERS = 4096  # addresses whose words are kept, since most open several connections
UNKNOWN = b"-"  # for a method, target or protocol of which nothing is known

_PLAIN = bytes(set(range(0x20, 0x7F)) - set(b'"\\'))
_MARKED = bytes(octet if octet in _PLAIN else 0x20 for octet in range(256))  # whatever is not plain is another then
_MILLIS = tuple(b"%03d" % number for number in range(1000))
_NO_MILLIS = (b"",) * 1000
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


@dataclass(frozen=True, slots=True)
class LogFormat:
    """How each piece is written.

    `peer` takes an address; `second`, seconds since the epoch; `around`, method, protocol, status, bytes of the body,
    and the site's id or b"": it gives what stands before and behind the target, which is written by `target`;
    `around_agent`, the fields Host and Referer as sent, b"" for one that is absent: it gives what stands before and
    behind the user agent, which is written by `agent`. `millis` has what stands for each of a second's thousandths. A
    target in which there is nothing to quote is written as it is, whatever the format.
    """

    peer: Callable[[str], bytes]
    second: Callable[[int], bytes]
    around: Callable[[bytes, bytes, int, int, bytes], tuple[bytes, bytes]]
    target: Callable[[bytes], bytes]
    around_agent: Callable[[bytes, bytes], tuple[bytes, bytes]]
    agent: Callable[[bytes], bytes]
    millis: Sequence[bytes]

    def request(self, method: bytes, target: bytes, protocol: bytes, status: int, size: int, site: bytes) -> bytes:
        """The whole of the second piece."""
        before, behind = self.around(method, protocol, status, size, site)
        return before + self.target(target) + behind

    def sender(self, host: bytes, referer: bytes, user_agent: bytes) -> bytes:
        """The whole of the last piece."""
        before, behind = self.around_agent(host, referer)
        return before + self.agent(user_agent) + behind


@lru_cache(KEPT_PEERS)
def _json_peer(address: str) -> bytes:
    return b'{"remote":%b,"time":"' % _json_text(address.encode("ascii", "replace"))


def _json_second(time: int) -> bytes:
    return datetime.fromtimestamp(time, UTC).strftime("%Y-%m-%dT%H:%M:%S.").encode("ascii")


def _json_around(method: bytes, protocol: bytes, status: int, size: int, site: bytes) -> tuple[bytes, bytes]:
    before = b'Z","method":%b,"target":"' % _json_text(method)
    return before, b'","protocol":"%b","status":%d,"bytes":%d,"site":"%b"' % (protocol, status, size, site)


def _json_target(target: bytes) -> bytes:
    return target if _is_plain(target) else _json_text(target)[1:-1]


def _json_around_agent(host: bytes, referer: bytes) -> tuple[bytes, bytes]:
    host, referer = _json_text(host[:MAX_FIELD_BYTES]), _json_text(referer[:MAX_FIELD_BYTES])
    return b',"host":%b,"referer":%b,"user_agent":"' % (host, referer), b'"}\n'


def _json_agent(user_agent: bytes) -> bytes:
    return _json_target(user_agent[:MAX_FIELD_BYTES])


def _json_text(value: bytes) -> bytes:
    """A JSON string of what a visitor sent."""
    if _is_plain(value):
        return b'"%b"' % value
    return json.dumps(value.decode("utf-8", "replace")).encode("ascii")


def _is_plain(value: bytes) -> bool:
    """Whether it stands for itself in a string, as nearly all do."""
    return value.translate(_MARKED) == value


@lru_cache(KEPT_PEERS)
def _combined_peer(address: str) -> bytes:
    return b"%b - - [" % (address.encode("ascii", "replace") or UNKNOWN)


def _combined_second(time: int) -> bytes:
    moment = datetime.fromtimestamp(time, UTC)
    return moment.strftime(f"%d/{_MONTHS[moment.month - 1]}/%Y:%H:%M:%S +0000] ").encode("ascii")


def _combined_around(method: bytes, protocol: bytes, status: int, size: int, site: bytes) -> tuple[bytes, bytes]:
    return b'"%b ' % _escaped(method), b' %b" %d %d' % (protocol, status, size)


def _combined_around_agent(host: bytes, referer: bytes) -> tuple[bytes, bytes]:
    return b' "%b" "' % _combined_agent(referer), b'"\n'


def _combined_agent(user_agent: bytes) -> bytes:
    return _escaped(user_agent[:MAX_FIELD_BYTES]) or UNKNOWN


def _escaped(value: bytes) -> bytes:
    """As httpd and nginx do, so that no visitor writes a line of his own."""
    if _is_plain(value):
        return value
    return b"".join(b"%c" % octet if octet in _PLAIN else b"\\x%02X" % octet for octet in value)


FORMATS = {
    "json": LogFormat(
        peer=_json_peer,
        second=_json_second,
        around=_json_around,
        target=_json_target,
        around_agent=_json_around_agent,
        agent=_json_agent,
        millis=_MILLIS,
    ),
    "combined": LogFormat(
        peer=_combined_peer,
        second=_combined_second,
        around=_combined_around,
        target=_escaped,
        around_agent=_combined_around_agent,
        agent=_combined_agent,
        millis=_NO_MILLIS,
    ),
}

"""What an answer may depend on.

A door turns what arrived into a `Request` with `read_request`; serving code never sees a header list. A field that is
not here cannot change an answer, and so needs no place in a cache key or in Vary.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import quote

MAX_TARGET_BYTES = 8 * 1024

# Header → field. A repeated field is joined with a comma (RFC 9110 §5.2); one that may not repeat is then no longer
# valid syntax, which its reader ignores or refuses as its section says.
FIELDS = {
    b"if-match": "if_match",
    b"if-none-match": "if_none_match",
    b"if-modified-since": "if_modified_since",
    b"if-unmodified-since": "if_unmodified_since",
    b"if-range": "if_range",
    b"range": "range",
    b"cookie": "cookie",
    b"accept": "accept",
    b"accept-language": "accept_language",
    b"sec-fetch-dest": "sec_fetch_dest",
    b"origin": "origin",
    b"accept-encoding": "accept_encoding",
    b"want-repr-digest": "want_repr_digest",
}

_ABSOLUTE = re.compile(rb"[A-Za-z][A-Za-z0-9+.-]*://([^/?#]*)(.*)", re.DOTALL)
_NOT_ASCII = re.compile(r"[^\x00-\x7f]+")
_VISIBLE = re.compile(rb"[!\"$-~\x80-\xff]+")  # without "#": a fragment is never sent (RFC 9112 §3.2)


class Refusal(Exception):
    """A request that is answered with an error page; `detail` tells its sender what is wrong."""

    def __init__(self, status: int, detail: str) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One request. `path` begins with "/" and is still percent-encoded, or is "*"."""

    method: str
    authority: str | None  # as sent; None where HTTP/1.0 names no host
    path: str
    query: str = ""  # without the "?"
    server_name: str | None = None  # that the TLS handshake asked for; None without TLS or without a name
    if_match: str | None = None
    if_none_match: str | None = None
    if_modified_since: str | None = None
    if_unmodified_since: str | None = None
    if_range: str | None = None
    range: str | None = None
    cookie: str | None = None
    accept: str | None = None
    accept_language: str | None = None
    sec_fetch_dest: str | None = None
    origin: str | None = None
    accept_encoding: str | None = None
    want_repr_digest: str | None = None


def split_target(target: bytes) -> tuple[bytes | None, bytes, bytes]:
    """(authority if in absolute-form, path, query) of a request target (RFC 9112 §3.2), all ASCII. Raises `Refusal`."""
    if len(target) > MAX_TARGET_BYTES:
        raise Refusal(414, f"the request target is longer than {MAX_TARGET_BYTES} bytes")
    if not _VISIBLE.fullmatch(target):
        raise Refusal(400, "the request target has a character that has to be percent-encoded")
    if not target.isascii():
        target = _encode_octets(target)
    authority = None
    if target[:1] != b"/" and (absolute := _ABSOLUTE.fullmatch(target)):
        # A user name in a URL is obsolete and was never part of the host (RFC 9110 §4.2.4).
        authority, target = absolute[1].rpartition(b"@")[2], absolute[2]
    path, _, query = target.partition(b"?")
    if authority is not None:
        path = path or b"/"
    if path[:1] != b"/" and target != b"*":
        raise Refusal(400, "the request target is neither a path nor an absolute URL")
    return authority, path, query


def _encode_octets(target: bytes) -> bytes:
    """Some clients send octets above 127 as they are. They are UTF-8, or else Latin-1, from before it was common."""
    try:
        text = target.decode()
    except UnicodeDecodeError:
        text = target.decode("latin-1")
    return _NOT_ASCII.sub(lambda found: quote(found[0]), text).encode("ascii")


def read_request(
    method: str,
    target: bytes,
    version: str,
    headers: Iterable[tuple[bytes, bytes]],
    server_name: str | None = None,
) -> Request:
    """The request of a head; header names in lower case, `version` as in ASGI's scope ("1.0", "1.1", "2"). In HTTP/2
    Host stands for :authority too. Raises `Refusal` (400, 414)."""
    authority, path, query = split_target(target)
    if path == b"*" and method in ("GET", "HEAD"):
        raise Refusal(400, f'the target "*" is not for {method}')
    hosts: list[bytes] = []
    fields: dict[str, str] = {}
    for name, value in headers:
        if name == b"host":
            hosts.append(value.strip(b" \t"))
        elif field := FIELDS.get(name):
            text = value.decode("latin-1").strip(" \t")
            comma = "; " if field == "cookie" else ", "  # RFC 9113 §8.2.3: HTTP/2 splits cookies
            fields[field] = f"{fields[field]}{comma}{text}" if field in fields else text
    # RFC 9112 §3.2: HTTP/1.1 has to name one host, even beside an absolute-form target, which then replaces it. So does
    # HTTP/2 (RFC 9113 §8.3.1).
    if len(hosts) > 1 or (not hosts and version != "1.0"):
        raise Refusal(400, "the request has to have one Host header")
    if authority is None and hosts:
        authority = hosts[0]
    return Request(
        method=method,
        authority=None if authority is None else authority.decode("latin-1"),
        path=path.decode("ascii"),
        query=query.decode("ascii"),
        server_name=server_name,
        **fields,
    )

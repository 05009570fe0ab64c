"""A quick reader of the heads that browsers send, which knows its limits.

llhttp, through httptools, takes a head apart several times faster than `server.doors.head`. It is laxer in some things
and says less of what it saw, so what it took is trusted only where nothing is left in doubt: each line is one of the
fields below, in this spelling, and no line is folded, repeated, or ended by half a line end. Whatever else comes, even
if it is well-formed, is for the strict reader. `tests/doors/test_quick.py` holds the two against each other.
"""

from __future__ import annotations

from collections.abc import Mapping

from httptools import HttpParserError, HttpParserUpgrade, HttpRequestParser

# Those that say nothing about how the message is framed. Each in one spelling, so that none can come twice.
_NAMES = """
    Accept Accept-Charset Accept-Encoding Accept-Language Cache-Control Connection Cookie DNT Host If-Modified-Since
    If-None-Match Origin Pragma Priority Purpose Referer Save-Data Sec-Fetch-Dest Sec-Fetch-Mode Sec-Fetch-Site
    Sec-Fetch-User Sec-GPC TE Upgrade-Insecure-Requests User-Agent X-Forwarded-For X-Forwarded-Host X-Forwarded-Proto
    X-Requested-With sec-ch-ua sec-ch-ua-mobile sec-ch-ua-platform
"""
FIELDS = frozenset(name.encode("ascii") for name in _NAMES.split())


_REQUEST_LINE = b"GET / HTTP/1.1\r\n"  # any: that of the head is known by its bytes


class QuickReader:
    """One worker's."""

    def __init__(self) -> None:
        self._fields: dict[bytes, bytes] = {}
        self._parser = self._make()

    def read(self, raw: bytes) -> Mapping[bytes, bytes] | None:
        """The fields in what is behind the request line of one whole head, until the next call; None: let the strict
        reader look."""
        fields = self._fields
        fields.clear()
        try:
            self._parser.feed_data(_REQUEST_LINE + raw)
        except (HttpParserError, HttpParserUpgrade):
            self._parser = self._make()
            return None
        if (
            len(fields) + 1 == raw.count(b"\r\n") == raw.count(b"\n") == raw.count(b"\r")
            and FIELDS.issuperset(fields)
            and raw.endswith(b"\r\n\r\n")
        ):
            return fields
        self._parser = self._make()  # it may be waiting for the rest of something
        return None

    def _make(self) -> HttpRequestParser:
        return HttpRequestParser(_Callbacks(self._fields))


class _Callbacks:
    """What the parser calls. A method of a built-in type costs it no step of the interpreter."""

    def __init__(self, fields: dict[bytes, bytes]) -> None:
        self.on_header = fields.__setitem__

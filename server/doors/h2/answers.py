"""Answers in the frames of HTTP/2, by what is asked for: the counterpart of `server.doors.answers` and its tables.

A header block that has come before on its connection, and between the two no other that changed the dynamic table, says
what it said before. So what it asks for is kept by its bytes (`Asking`), and answered from the same kind of tables.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, MutableMapping
from itertools import chain
from typing import Any

from server.doors.answers import MANNER_OVERHEAD, MAX_LINES_BYTES, Answers
from server.doors.h2.fields import RequestHead, check_size
from server.doors.h2.frames import DATA, END_HEADERS, END_STREAM, HEADERS, MAX_FRAME_BYTES, render_start
from server.doors.h2.hpack import render_date, render_fields, render_status
from server.doors.journal import Journal, Moment
from server.doors.senders import NOBODY, Manner, Sender
from server.doors.shapes import is_text
from server.doors.tables import Answer, Table
from server.edge.cache import Entry
from server.edge.edge import Edge
from server.edge.request import MAX_TARGET_BYTES, Refusal
from server.edge.response import Representation, Response

MAX_FIELDS_BYTES = 8 * 1024  # of an answer that is kept: a longer header block might not fit in one frame
START_BYTES = 5  # of a frame, before the number of its stream

# Requests with other fields than these are looked at each time, or else answers do not depend on them.
_DECISIVE = frozenset(
    {
        b"content-length",
        b"expect",
        b"if-match",
        b"if-modified-since",
        b"if-range",
        b"if-unmodified-since",
        b"range",
        b"want-repr-digest",
    }
)


class FramedAnswer(Answer):
    """HEADERS and DATA, all but the number of the stream: it comes behind `whole` and, if there is a body, again behind
    `block`, which goes on with the start of DATA; then comes the body."""

    __slots__ = ("block",)

    body: bytes  # never a file

    def _render_head(self, response: Response) -> bytes:
        return render_block(response)

    def renew(self, moment: Moment) -> None:
        self.moment = moment
        block = self.head + render_date(moment.http_date)
        size = len(self.body)
        self.whole = render_start(HEADERS, END_HEADERS | (0 if size else END_STREAM), len(block))
        # Of a longer body the frames are cut when they are sent.
        self.block = block + render_start(DATA, END_STREAM, size) if 0 < size <= MAX_FRAME_BYTES else block

    @property
    def fields(self) -> bytes:
        """The header block."""
        return self.block[:-START_BYTES] if 0 < len(self.body) <= MAX_FRAME_BYTES else self.block


def render_block(response: Response) -> bytes:
    """The header block of a response."""
    return render_status(response.status) + render_fields(response.headers)


class Asking:
    """What a header block asks for: which host, in which manner, the request line, the validator, and what the log says
    of the sender, who is whoever asked last."""

    __slots__ = ("authority", "etag", "line", "log", "manner", "sender")

    def __init__(self, authority: bytes, manner: Manner, line: bytes, etag: bytes | None, log: bytes) -> None:
        self.authority = authority
        self.manner = manner
        self.line = line
        self.etag = etag
        self.log = log
        self.sender: Sender = NOBODY


class FramedAnswers(Answers):
    """One worker's, for HTTP/2."""

    protocol = "HTTP/2.0"
    answer = FramedAnswer

    def __init__(self, edge: Edge, journal: Journal) -> None:
        super().__init__(edge, journal, sends_files=False)

    def _keep(
        self, table: Table, answers: MutableMapping[Any, Answer], key: Hashable, entry: Entry, line: bytes
    ) -> Answer | None:
        stored = entry.value
        if isinstance(stored, Representation) and sum(map(len, chain(*stored.headers))) > MAX_FIELDS_BYTES:
            return None
        return super()._keep(table, answers, key, entry, line)

    def meet_head(self, head: RequestHead) -> Asking | None:
        """What it asks for, if that can be looked up."""
        if head.method != b"GET" or len(head.target) > MAX_TARGET_BYTES:
            return None
        fields = _fields_once(head)
        if fields is None:
            return None
        try:
            check_size(head)
        except Refusal:
            return None
        authority = fields.get(b"host")
        if authority is None:
            return None
        etag = fields.get(b"if-none-match")
        if etag is not None and not is_text(etag):
            return None
        log = self.journal.format.sender(authority, fields.get(b"referer", b""), fields.get(b"user-agent", b""))
        return Asking(authority, self._manner_of(fields), b"GET %b HTTP/2.0" % head.target, etag, log)

    def _manner_of(self, fields: Mapping[bytes, bytes]) -> Manner:
        coding, origin = fields.get(b"accept-encoding"), fields.get(b"origin")
        # Octets that neither can have stand for what is not there, and between them.
        key = b"%b\r%b" % (b"\n" if coding is None else coding, b"\n" if origin is None else origin)
        manner = self._manners.get(key)
        if manner is None:
            named = {b"Accept-Encoding": coding, b"Origin": origin}
            manner = Manner(key, {name: value for name, value in named.items() if value is not None}, closes=False)
            if len(key) <= MAX_LINES_BYTES:
                self._manners.keep(key, manner, 3 * len(key) + MANNER_OVERHEAD)
        return manner


def _fields_once(head: RequestHead) -> dict[bytes, bytes] | None:
    """By name; None if one decides more than can be looked up, or is there twice where that matters."""
    fields = dict(head.headers)
    if not _DECISIVE.isdisjoint(fields) and (
        _DECISIVE.intersection(fields) != {b"if-modified-since"} or b"if-none-match" not in fields
    ):
        return None  # If-Modified-Since does not count beside If-None-Match (RFC 9110 §13.1.3)
    if len(fields) < len(head.headers):
        names = [name for name, _ in head.headers if name != b"cookie"]
        if len(names) > len(set(names)):
            return None
    return fields

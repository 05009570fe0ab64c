"""Answers that are known by the bytes of the request that they are for.

A head is two parts: the request line, and the lines behind it. What those lines mean is a `Sender`: the site, the
codings, the validators. All senders who are served alike share a table: request line → `Answer`. A table belongs to one
version of one site; an answer leaves it when what it shows leaves the edge's memory.
"""

from __future__ import annotations

import re
from dataclasses import replace

from server.doors.head import parse_header_lines
from server.doors.http1 import render_head
from server.doors.journal import Journal, Moment, Tally
from server.edge.cache import Entry
from server.edge.codings import Coding, acceptable
from server.edge.conditions import finish
from server.edge.edge import Edge, normal_host
from server.edge.paths import decode_path, encode_path
from server.edge.request import Refusal, Request
from server.edge.response import Representation
from server.memo import Memo
from storage.models import HostedSite

Table = dict[bytes, "Answer"]

SMALL_BODY_BYTES = 32 * 1024  # below, one piece is cheaper to write than two
MAX_PATH_CHARACTERS = 1024  # of a request that is kept
MAX_SENDER_BYTES = 4096  # of the lines of a sender who is kept
MAX_SENDERS_BYTES = 16 * 1024 * 1024
MAX_TABLES_BYTES = 4 * 1024 * 1024
ANSWER_OVERHEAD = 900  # measured: an answer's objects, beside its texts
SENDER_OVERHEAD = 700
TABLE_OVERHEAD = 600

_NOTHING: Table = {}
_QUERY = re.compile(rb"[!\"$-~]*+ HTTP/1\.1\r\n")  # and the rest of the line: what `split_target` lets through

# Requests with these are no matter of looking up. If-Modified-Since does not count beside If-None-Match (RFC 9110
# §13.1.3); alone it is a matter of comparing.
_UNUSUAL = frozenset(
    {b"content-length", b"expect", b"if-match", b"if-range", b"if-unmodified-since", b"range", b"transfer-encoding"}
)
_READ = _UNUSUAL | {
    b"accept-encoding",
    b"connection",
    b"host",
    b"if-modified-since",
    b"if-none-match",
    b"referer",
    b"user-agent",
}
_KEEP_ALIVE = re.compile(rb"keep-alive", re.IGNORECASE)


class Answer:
    """What one request line gets: all of it but the time.

    `not_modified` is the head of its 304, for who has `etag`. Those who ask for it with any query get it too, unless
    the answer `repeats_query`.
    """

    __slots__ = (
        "body",
        "entry",
        "etag",
        "head",
        "log",
        "moment",
        "not_modified",
        "not_modified_log",
        "not_modified_tally",
        "repeats_query",
        "tally",
        "whole",
    )

    def __init__(self, entry: Entry, stored: Representation, line: bytes, site_id: str, journal: Journal) -> None:
        method, target, version = line.rstrip().split(b" ")
        asked = Request(method=method.decode("ascii"), authority=None, path="/")
        response = finish(stored, asked)
        assert isinstance(response.body, bytes)
        self.entry = entry
        self.head, self.body = render_head(response), response.body
        self.tally = Tally(site_id, response.status, len(response.body))
        self.log = journal.format.request(
            method, target, version, response.status, len(response.body), site_id.encode()
        )
        self.repeats_query = stored.location is not None
        self.etag = stored.etag
        if stored.etag is not None:
            unchanged = finish(stored, replace(asked, if_none_match=stored.etag.decode("ascii")))
            self.not_modified = render_head(unchanged)
            self.not_modified_tally = Tally(site_id, 304, 0)
            self.not_modified_log = journal.format.request(method, target, version, 304, 0, site_id.encode())
        self.moment: Moment | None = None
        self.whole = b""

    def renew(self, moment: Moment) -> None:
        """Make it one of this second."""
        self.moment = moment
        self.whole = b"%b%b\r\n%b" % (self.head, moment.date, self.body)

    @property
    def size(self) -> int:
        """Bytes that it takes without its body, and with the copies of it that are made for each second."""
        copies = len(self.body) if len(self.body) <= SMALL_BODY_BYTES else 0
        return ANSWER_OVERHEAD + 4 * len(self.head) + copies


class Sender:
    """What the lines behind a request line mean.

    `table` is what its requests are answered from as of `revision`; `answers` is the same, or nothing where a request
    has conditions, which have to be looked at first.
    """

    __slots__ = ("accept_encoding", "answers", "etag", "host", "log", "raw", "revision", "table")

    def __init__(self, raw: bytes, host: str, accept_encoding: str | None, etag: bytes | None, log: bytes) -> None:
        self.raw = raw
        self.host = host
        self.accept_encoding = accept_encoding
        self.log = log
        self.etag = etag  # of If-None-Match
        self.revision = -2
        self.table = self.answers = _NOTHING


class Answers:
    """One worker's senders and tables."""

    def __init__(self, edge: Edge, journal: Journal) -> None:
        self.edge = edge
        self.journal = journal
        self._senders: Memo[bytes, Sender] = Memo(MAX_SENDERS_BYTES)
        self._tables: Memo[tuple[str, int, frozenset[Coding]], Table] = Memo(MAX_TABLES_BYTES)

    def find_sender(self, raw: bytes) -> Sender | None:
        """The sender of these header lines, the empty one included; None if the door is not for such a request."""
        sender = self._senders.get(raw)
        if sender is None:
            sender = _read_sender(raw, self.journal)
            if sender is not None and sender.etag is None and len(raw) <= MAX_SENDER_BYTES:
                self._senders.keep(raw, sender, 3 * len(raw) + SENDER_OVERHEAD)
        return sender

    def settle(self, sender: Sender) -> bool:
        """Bring `sender`'s table up to the edge's revision; False if that is not known here yet."""
        revision = self.edge.revision
        if sender.revision == revision:
            return True
        if revision < 0:
            return False
        site = self.edge.find_site_nowait(sender.host)
        if site is None:
            return False
        sender.table = self._table(site, sender.accept_encoding)
        sender.answers = sender.table if sender.etag is None else _NOTHING
        sender.revision = revision
        return True

    def remember(self, request: Request) -> None:
        """Keep what `request`, just answered from memory, has got, if every such request gets it."""
        site = None if request.authority is None else self.edge.find_site_nowait(normal_host(request.authority))
        if site is None:
            return
        if request.method not in ("GET", "HEAD") or len(request.path) > MAX_PATH_CHARACTERS:
            return
        table = self._table(site, request.accept_encoding)
        line = f"{request.method} {request.path} HTTP/1.1\r\n".encode("ascii")
        if line in table:
            return
        path = decode_path(request.path)
        if encode_path(path) != request.path:  # not as browsers write it: of other ways there is no end
            return
        entry = self.edge.find_entry(site, path, request.accept_encoding)
        if entry is None:
            return
        stored = entry.value
        if not isinstance(stored, Representation) or not isinstance(stored.body, bytes):
            return
        answer = table[line] = Answer(entry, stored, line, site.id, self.journal)
        self.edge.cache.enlist(entry, table, line, answer.size + len(line))

    def _table(self, site: HostedSite, accept_encoding: str | None) -> Table:
        key = site.id, site.version, acceptable(accept_encoding)
        table = self._tables.get(key)
        if table is None:
            table = {}
            self._tables.keep(key, table, TABLE_OVERHEAD)
        return table


def _read_sender(raw: bytes, journal: Journal) -> Sender | None:
    """The meaning of header lines if the strict reader accepts them and they ask for nothing unusual."""
    lines = raw.split(b"\r\n")
    if lines[-2:] != [b"", b""] or b"" in lines[:-2]:  # not one head, and all of it
        return None
    found: dict[bytes, bytes] = {}
    try:
        for name, value in parse_header_lines(lines[:-2]):
            if name in _READ:
                if name in _UNUSUAL or name in found:
                    return None
                found[name] = value
        authority = found.get(b"host")
        if authority is None or _KEEP_ALIVE.fullmatch(found.get(b"connection", b"keep-alive")) is None:
            return None
        host = normal_host(authority.decode("latin-1"))
    except Refusal:
        return None  # in words it is refused where all of the request is read
    etag = found.get(b"if-none-match")
    if etag is None and b"if-modified-since" in found:
        return None
    coding = found.get(b"accept-encoding")
    log = journal.format.sender(authority, found.get(b"referer", b""), found.get(b"user-agent", b""))
    return Sender(raw, host, None if coding is None else coding.decode("latin-1"), etag, log)

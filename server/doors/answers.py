"""Answers that are known by the bytes of the request that they are for.

A head is two parts: the request line, and the lines behind it. Of those, some differ from request to request, or tell
one visitor from another, and say nothing about which answer it is: `Answers.meet` cuts them out. What the others mean
is a `Sender`: the site, the codings. All senders who are served alike share a table: request line → `Answer`. A table
belongs to one version of one site; an answer leaves it when what it shows leaves the edge's memory.
"""

from __future__ import annotations

import re
from collections.abc import Hashable, Mapping, MutableMapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any
from weakref import ref

from server.doors.head import parse_header_lines
from server.doors.journal import Journal
from server.doors.quick import QuickReader
from server.doors.tables import MAX_TABLES_BYTES, Answer, Table, Tables
from server.edge.cache import Entry
from server.edge.conditions import finish
from server.edge.decision import normal_host
from server.edge.edge import Edge
from server.edge.paths import decode_path, encode_path
from server.edge.request import MAX_TARGET_BYTES, Refusal, Request
from server.edge.response import Representation, Response
from server.memo import Memo
from storage.models import HostedSite

MAX_PATH_CHARACTERS = 1024  # of a request that is kept
MAX_SENDER_BYTES = 4096  # of the lines of a sender who is kept
MAX_SENDER_LINES = 90  # with those that are cut out, fewer than `server.doors.head` allows
MAX_SENDERS_BYTES = 8 * 1024 * 1024
MAX_HOSTS_BYTES = 16 * 1024 * 1024
NO_ANSWERS: Mapping[bytes, Any] = MappingProxyType({})
SENDER_OVERHEAD = 700
HOST_OVERHEAD = 1000  # with what is left of a table that was given up
MAX_LINE_BYTES = len(b"GET  HTTP/1.1") + MAX_TARGET_BYTES  # a longer one is refused

# A line whose path has nothing to decode; and its query.
_PLAIN_LINE = re.compile(rb"GET (/[A-Za-z0-9/._~!$&'()*+,;=:@-]*+)(\?[!\"$-~]*+)?+ HTTP/(?:1\.1|2\.0)")

_TEXT = bytes(range(0x20, 0x7F))  # in the value of a field that is taken as it is

# Cut out. The names as browsers write them; a field of that name that is written otherwise, or is there again, stays,
# and is read with the rest.
_USER_AGENT = b"\r\nUser-Agent: "
_COOKIE = b"\r\nCookie: "
_REFERER = b"\r\nReferer: "
_IF_NONE_MATCH = b"\r\nIf-None-Match: "
_IF_MODIFIED_SINCE = b"\r\nIf-Modified-Since: "

# Requests with these are no matter of looking up. If-Modified-Since does not count beside If-None-Match (RFC 9110
# §13.1.3); alone it is a matter of comparing.
_UNUSUAL = frozenset(
    {
        b"content-length",
        b"expect",
        b"if-match",
        b"if-modified-since",
        b"if-none-match",
        b"if-range",
        b"if-unmodified-since",
        b"range",
        b"transfer-encoding",
        b"want-repr-digest",
    }
)
_UNUSUAL_AS_SENT = frozenset({b"If-Modified-Since", b"If-None-Match"})  # of those that the quick reader takes
_READ = {
    name.lower(): name
    for name in (
        b"Accept-Encoding",
        b"Connection",
        b"Host",
        b"Origin",
        b"Referer",
        b"User-Agent",
    )
}


class Sender:
    """What the lines behind a request line mean, without those that are cut out.

    `table` is what its requests are answered from as of `revision`; `answers` are those of it.
    """

    __slots__ = (
        "accept_encoding", "answers", "authority", "host", "lines", "origin", "referer", "revision", "table",
        "user_agent",
    )  # fmt: skip

    def __init__(
        self,
        lines: bytes,
        host: str,
        accept_encoding: str | None,
        authority: bytes,
        referer: bytes | None,
        user_agent: bytes | None,
    ) -> None:
        self.lines = lines
        self.host = host
        self.accept_encoding = accept_encoding
        self.authority = authority  # as sent
        self.referer = referer
        self.user_agent = user_agent
        self.origin: str | None = None  # nor where the host does not ask for it
        self.revision = -2
        self.table: Table | None = None
        self.answers: Mapping[bytes, Answer] = NO_ANSWERS

    def again(self) -> Sender:
        """As it was when it was first met."""
        again = Sender(self.lines, self.host, self.accept_encoding, self.authority, self.referer, self.user_agent)
        again.origin = self.origin
        return again


NOBODY = Sender(b"", "", None, b"", None, None)


def cut_conditions(lines: bytes) -> tuple[bytes, bytes | None] | None:
    """Header lines, which begin with the end of the request line and end with the empty one, without If-None-Match and,
    beside it, If-Modified-Since; and the former's value, not yet known to be well-formed. None if the latter may not
    be."""
    lines, etag = _cut(lines, _IF_NONE_MATCH)
    if etag is not None:
        lines, date = _cut(lines, _IF_MODIFIED_SINCE)
        if date is not None and not is_text(date):
            return None
    return lines, etag


def is_text(value: bytes) -> bool:
    """Whether it can be the value of a field without a closer look."""
    return not value.translate(None, _TEXT)


def _cut(lines: bytes, mark: bytes) -> tuple[bytes, bytes | None]:
    """`lines` without the first that begins with `mark`, and what that has behind it."""
    before, found, rest = lines.partition(mark)  # which costs half of what `find` does
    if not found:
        return lines, None
    value, end, behind = rest.partition(b"\r\n")
    return before + end + behind, value


class Answers:
    """One worker's senders and tables, for one version of HTTP."""

    protocol = "HTTP/1.1"
    answer: type[Answer] = Answer

    def __init__(self, edge: Edge, journal: Journal) -> None:
        self._plain_line = b"GET %%b %b" % self.protocol.encode("ascii")
        self.edge = edge
        self.journal = journal
        self._senders: Memo[bytes, Sender] = Memo(MAX_SENDERS_BYTES)
        self._reader = QuickReader()
        self._revision = -1  # that _current is of
        self._current: Memo[tuple[str, str | None, str | None], Table] = Memo(MAX_HOSTS_BYTES)
        self._tables = Tables(edge.cache)
        # Of those who say their origin where that matters. Anybody can make up many, and should push out nobody else.
        self._tables_by_origin = Tables(edge.cache, MAX_TABLES_BYTES // 4)

    def meet(self, lines: bytes, last: Sender) -> tuple[Sender, bytes] | None:
        """Whose header lines these are, from `cut_conditions`, and what the log says of him; None if the door is not
        for such a request. `last` is who was met before, likely the same."""
        lines, user_agent = _cut(lines, _USER_AGENT)
        lines, cookie = _cut(lines, _COOKIE)
        lines, referer = _cut(lines, _REFERER)
        sender = last if lines == last.lines else self._senders.get(lines)
        if sender is None:
            sender = self._read_sender(lines)
            if sender is None or self.settle(sender) is None:
                return None  # nor is it kept: of hosts that nobody has there is no end
            self._keep_sender(sender)
        if cookie is not None and not is_text(cookie):
            return None
        settled = self.settle(sender)
        if settled is None:
            return None
        if user_agent is None:
            user_agent = settled.user_agent or b""
        elif settled.user_agent is not None or not is_text(user_agent):
            return None  # two of them, or a value that is to be looked at
        if referer is None:
            referer = settled.referer or b""
        elif settled.referer is not None or not is_text(referer):
            return None
        return settled, self.journal.format.sender(settled.authority, referer.strip(b" \t"), user_agent.strip(b" \t"))

    def _keep_sender(self, sender: Sender) -> None:
        if len(sender.lines) <= MAX_SENDER_BYTES:
            self._senders.keep(sender.lines, sender, 3 * len(sender.lines) + SENDER_OVERHEAD)

    def settle(self, sender: Sender) -> Sender | None:
        """`sender` with its table brought up to the edge's revision, or who takes its place where its host has come to
        be at another domain; None if that is not known here yet."""
        revision = self.edge.revision
        known = sender.table
        if sender.revision == revision and known is not None and not known.retired:
            return sender
        if revision < 0:
            return None
        table = self._current_table(sender, revision)
        if table is None:
            return None
        if known is not None and known.site.domain != table.site.domain:
            # Connections that go on with the old one have not been noted as visitors of this site.
            sender = sender.again()
            self._keep_sender(sender)
        sender.table = table
        sender.answers = table.answers
        sender.revision = revision
        return sender

    def _current_table(self, sender: Sender, revision: int) -> Table | None:
        if revision != self._revision:
            self._revision = revision
            self._current.clear()
        key = sender.host, sender.accept_encoding, sender.origin
        table = self._current.get(key)
        if table is None or table.retired:
            site = self.edge.find_site_nowait(sender.host, sender.origin)
            if site is None:
                return None
            table = self._table(site, sender.accept_encoding, sender.origin)
            texts = len(sender.accept_encoding or "") + len(sender.origin or "")
            self._current.keep(key, table, HOST_OVERHEAD + 2 * texts)
        return table

    def find_unlisted(self, table: Table, line: bytes) -> Answer | None:
        """What answers a line that has a query which does not matter, or whose path is missing."""
        found = _PLAIN_LINE.fullmatch(line)
        if found is None or len(line) > MAX_LINE_BYTES:
            return None
        path, query = found.groups()
        if query is not None:
            answer = table.answers.get(self._plain_line % path)
            if answer is not None:
                return None if answer.repeats_query else answer
        text = path.decode("ascii")
        if "//" in text or "/." in text:
            return None
        index = None if table.index is None else table.index()
        if index is None:
            index = self.edge.find_plain_index(table.site)
            if index is None:
                return None
            table.index = ref(index)
        if index.may_answer(text):
            return None
        name = index.find_page(text)
        return table.missing.get(name) or self._show_missing(table, name, line)

    def log_for(self, answer: Answer, line: bytes) -> bytes:
        """What the log says where `answer` is that of another line than its own, from `find_unlisted`."""
        before, behind = answer.around
        return before + self.journal.format.target(line[4:-9]) + behind

    def _show_missing(self, table: Table, name: str | None, line: bytes) -> Answer | None:
        entry = self.edge.find_missing_entry(table.site, name, table.accept_encoding)
        if entry is None:
            return None
        answer = self._keep(table, table.missing, name, entry, line)
        if name is None and answer is not None:
            table.missing[None] = answer  # our own page is in no cache: it counts as a part of the table
        return answer

    def remember(self, request: Request) -> None:
        """Keep what `request`, just answered from memory, has got, if every such request gets it."""
        if request.authority is None:
            return
        host = normal_host(request.authority)
        origin = request.origin if self.edge.reads_origin(host) else None
        site = self.edge.find_site_nowait(host, origin)
        if site is None:
            return
        if request.method not in ("GET", "HEAD") or len(request.path) > MAX_PATH_CHARACTERS:
            return
        table = self._table(site, request.accept_encoding, origin)
        line = f"{request.method} {request.path} {self.protocol}".encode("ascii")
        if line in table.answers:
            return
        path = decode_path(request.path)
        if encode_path(path) != request.path:  # not as browsers write it: of other ways there is no end
            return
        entry = self.edge.find_entry(site, path, request)
        if entry is not None:
            self._keep(table, table.answers, line, entry, line)

    def _keep(
        self, table: Table, answers: MutableMapping[Any, Answer], key: Hashable, entry: Entry, line: bytes
    ) -> Answer | None:
        stored = entry.value
        if not isinstance(stored, Representation) or not isinstance(stored.body, bytes):
            return None
        asked = Request(method=line.partition(b" ")[0].decode("ascii"), authority=None, path="/")
        answer = self._render(table, entry, finish(stored, asked), line)
        answer.repeats_query = stored.location is not None
        if stored.etag is not None:
            answer.etag = stored.etag
            asked = replace(asked, if_none_match=stored.etag.decode("ascii"))
            answer.unchanged = self._render(table, entry, finish(stored, asked), line)
        self.edge.cache.enlist(entry, answers, key, answer, answer.size + len(line))
        return answer

    def _render(self, table: Table, entry: Entry, response: Response, line: bytes) -> Answer:
        assert isinstance(response.body, bytes)
        method, target, protocol = line.split(b" ")
        log_format, site_id = self.journal.format, table.site.id
        around = log_format.around(method, protocol, response.status, len(response.body), site_id.encode("ascii"))
        return self.answer(entry, response, around[0] + log_format.target(target) + around[1], around, site_id)

    def _table(self, site: HostedSite, accept_encoding: str | None, origin: str | None) -> Table:
        tables = self._tables if origin is None else self._tables_by_origin
        return tables.of(site, accept_encoding, origin)

    def _read_sender(self, lines: bytes) -> Sender | None:
        """The meaning of header lines that ask for nothing unusual."""
        raw = lines[2:]
        if raw.count(b"\r\n") > MAX_SENDER_LINES:
            return None
        fields = self._reader.read(raw)
        if fields is None:
            fields = _read_strictly(raw)
            if fields is None:
                return None
        find = fields.get
        authority = find(b"Host")
        if authority is None or find(b"Connection", b"keep-alive").lower() != b"keep-alive":
            return None
        if not _UNUSUAL_AS_SENT.isdisjoint(fields):
            return None
        try:
            host = normal_host(authority.decode("latin-1"))
        except Refusal:
            return None  # in words it is refused where all of the request is read
        coding = find(b"Accept-Encoding")
        origin = find(b"Origin") if self.edge.reads_origin(host) else None
        sender = Sender(lines, host, _text(coding), authority, find(b"Referer"), find(b"User-Agent"))
        sender.origin = _text(origin)
        return sender


def _text(field: bytes | None) -> str | None:
    return None if field is None else field.decode("latin-1")


def _read_strictly(raw: bytes) -> Mapping[bytes, bytes] | None:
    """The fields that matter here, in the spelling of the quick reader; None if there are others that do."""
    if not raw.endswith(b"\r\n\r\n"):
        return None
    try:
        # Two heads in one are refused like any line that is empty.
        headers = parse_header_lines(raw[:-4].split(b"\r\n"))
    except Refusal:
        return None
    found: dict[bytes, bytes] = {}
    for lower, value in headers:
        if lower in _UNUSUAL:
            return None
        name = _READ.get(lower)
        if name is not None:
            if name in found:
                return None
            found[name] = value
    return found

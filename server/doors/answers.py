"""Answers that are known by the bytes of the request that they are for.

A head is two parts: the request line, and the lines behind it. Of those, some differ from request to request, or tell
one visitor or one host from another, and say nothing about what an answer looks like: `Answers.meet` cuts them out.
What the others mean is a `Manner`. With the host, that makes a `Sender`: the site, and the table of all who are served
alike there: request line → `Answer`, and request line and conditions → the `Answer` to who has what he asks for. A
table belongs to one version of one site; an answer leaves it when what it shows leaves the edge's memory.
"""

from __future__ import annotations

import re
from collections.abc import Hashable, Mapping, MutableMapping
from dataclasses import replace
from typing import Any
from weakref import ref

from server.doors.head import parse_header_lines
from server.doors.journal import Journal
from server.doors.quick import QuickReader
from server.doors.senders import NOTHING, Manner, Met, Sender
from server.doors.shapes import (
    COOKIE,
    HOST,
    IF_MODIFIED_SINCE,
    IF_NONE_MATCH,
    RANGE,
    REFERER,
    USER_AGENT,
    Names,
    is_text,
)
from server.doors.tables import MAX_TABLES_BYTES, SMALL_BODY_BYTES, Answer, Table, Tables
from server.edge.cache import Depends, Entry
from server.edge.codings import Coding
from server.edge.conditions import finish
from server.edge.decision import normal_host
from server.edge.edge import Edge
from server.edge.paths import decode_path, encode_path
from server.edge.request import MAX_TARGET_BYTES, Refusal, Request
from server.edge.response import Representation, Response
from server.memo import Memo
from storage.models import Blob, HostedSite

MAX_PATH_CHARACTERS = 1024  # of a request that is kept
MAX_LINES_BYTES = 4096  # of the lines that are kept, for all or for a connection
MAX_LINES = 90  # with those that are cut out, fewer than `server.doors.head` allows
MAX_MANNERS_BYTES = 8 * 1024 * 1024
MAX_SENDERS_BYTES = 12 * 1024 * 1024
MAX_HEADS_BYTES = 12 * 1024 * 1024  # 11,000 as browsers send them
MANNER_OVERHEAD = 500
HEAD_OVERHEAD = 300
CONDITIONS_OVERHEAD = 250
SENDER_OVERHEAD = 700  # with what is left of a table that was given up
MAX_LINE_BYTES = len(b"GET  HTTP/1.1") + MAX_TARGET_BYTES  # a longer one is refused

# A line whose path has nothing to decode, nor to quote in a log; and its query. It ends with the protocol.
_PLAIN_LINE = rb"GET (/[A-Za-z0-9/._~!$&'()*+,;=:@-]*+)(\?[!\"$-~]*+)? %b"

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


def cut_conditions(lines: bytes) -> tuple[bytes, bytes | None, bytes | None] | None:
    """Header lines, which begin with the end of the request line and end with the empty one, without If-None-Match,
    beside it If-Modified-Since, and Range; and the values of the first and the last, of which the former is not yet
    known to be well-formed. None if another may not be."""
    lines, etag = _cut(lines, IF_NONE_MATCH)
    if etag is not None:
        lines, date = _cut(lines, IF_MODIFIED_SINCE)
        if date is not None and not is_text(date):
            return None
    lines, span = _cut(lines, RANGE)
    if span is not None and not is_text(span):
        return None
    return lines, etag, span


def _cut(lines: bytes, mark: bytes) -> tuple[bytes, bytes | None]:
    """`lines` without the first that begins with `mark`, and what that has behind it."""
    before, found, rest = lines.partition(mark)  # which costs half of what `find` does
    if not found:
        return lines, None
    value, end, behind = rest.partition(b"\r\n")
    return before + end + behind, value


class Answers:
    """One worker's manners, senders and tables, for one version of HTTP."""

    protocol = "HTTP/1.1"
    answer: type[Answer] = Answer

    def __init__(self, edge: Edge, journal: Journal, *, sends_files: bool = True) -> None:
        """`sends_files`: whoever answers from the tables can send a body from its file."""
        protocol = self.protocol.encode("ascii")
        self._plain_line = b"GET %%b %b" % protocol
        self._match_plain_line = re.compile(_PLAIN_LINE % re.escape(protocol)).fullmatch
        self.edge = edge
        self._revision_cell = edge.revision_cell
        self.journal = journal
        self._sends_files = sends_files
        self._reader = QuickReader()
        self._manners: Memo[bytes, Manner] = Memo(MAX_MANNERS_BYTES)
        # By whole lines without conditions, for who sends them on another connection too, as browsers do, or by turns
        # with others', as proxies do. It has only manners and senders of the two memos, so that those bound them.
        self.heads: Memo[bytes, Met] = Memo(MAX_HEADS_BYTES)
        self._senders: Memo[tuple[bytes, frozenset[Coding], str | None], Sender] = Memo(MAX_SENDERS_BYTES)
        self._tables = Tables(edge.cache)
        # Of those who say their origin where that matters. Anybody can make up many, and should push out nobody else.
        self._tables_by_origin = Tables(edge.cache, MAX_TABLES_BYTES // 4)

    def meet(self, lines: bytes, last: Manner) -> tuple[Manner, Sender, Names] | None:
        """Whose header lines these are, from `cut_conditions`, and what he says of himself; None if the door is not for
        such a request. `last` is what was met before, likely the same."""
        lines, user_agent = _cut(lines, USER_AGENT)
        lines, cookie = _cut(lines, COOKIE)
        lines, referer = _cut(lines, REFERER)
        lines, authority = _cut(lines, HOST)
        manner = last if lines == last.lines else self._manners.get(lines)
        if manner is None:
            manner = self._read_manner(lines)
            if manner is None:
                return None
            if len(lines) <= MAX_LINES_BYTES and self._manners.keep(lines, manner, 3 * len(lines) + MANNER_OVERHEAD):
                self.heads.clear()
        # A value that is to be looked at, or two of one name, are for others.
        if not is_text(b"".join(filter(None, (user_agent, cookie, referer, authority)))):
            return None
        if authority is None:
            authority = manner.authority
        elif manner.authority is not None:
            return None
        if user_agent is None:
            user_agent = manner.user_agent or b""
        elif manner.user_agent is not None:
            return None
        if referer is None:
            referer = manner.referer or b""
        elif manner.referer is not None:
            return None
        if authority is None:
            return None
        authority = authority.strip(b" \t")
        sender = self.find_sender(authority, manner)
        if sender is None:
            return None
        return manner, sender, (authority, referer.strip(b" \t"), user_agent.strip(b" \t"))

    def keep_met(self, lines: bytes, met: Met) -> None:
        """Keep whom these lines without conditions were seen from in `heads`."""
        if len(lines) <= MAX_LINES_BYTES:
            self.heads.keep(lines, met, len(lines) + len(met[2]) + HEAD_OVERHEAD)

    def find_sender(self, authority: bytes, manner: Manner) -> Sender | None:
        """Whoever asks this host (as sent) in this manner; None if the host is not known here yet."""
        key = authority, manner.codings, manner.origin
        sender = self._senders.get(key)
        if sender is not None and self.confirm(sender):
            return sender
        revision = self.edge.catch_up_nowait()
        if revision < 0:
            return None
        try:
            host = normal_host(authority.decode("latin-1"))
        except Refusal:
            return None  # in words it is refused where all of the request is read
        origin = manner.origin if self.edge.reads_origin(host) else None
        site = self.edge.find_site_nowait(host, origin)
        if site is None:
            return None  # nor is it kept: of hosts that nobody has there is no end
        sender = Sender(host, self._table(site, manner.accept_encoding, origin), revision)
        texts = 2 * len(authority) + len(manner.origin or "")
        if self._senders.keep(key, sender, SENDER_OVERHEAD + 2 * texts):
            self.heads.clear()
        return sender

    def confirm(self, sender: Sender) -> bool:
        """Whether he is served from his table, whatever has changed since the last time."""
        table = sender.table
        if table is None or table.retired:
            return False
        if sender.revision != self._revision_cell[0]:
            revision = self.edge.catch_up_nowait()
            if revision < 0 or self.edge.find_site_nowait(sender.host, table.origin) is not table.site:
                return False
            sender.revision = revision
        return True

    def look_up(self, table: Table, line: bytes, etag: bytes | None) -> tuple[Answer, bytes] | None:
        """What answers a request line with this validator, not yet known to be well-formed, and what the log says of
        it; None if it is not known here."""
        answer = table.answers.get(line)
        target = None
        if answer is None:
            found = self._find_unlisted(table, line)
            if found is None:
                return None
            answer, target = found
        if etag is not None:
            if answer.etag == etag:
                answer = answer.unchanged
                assert answer is not None
            elif answer.etag is not None or not is_text(etag):
                return None
        if target is None:
            return answer, answer.log
        before, behind = answer.around
        return answer, before + target + behind

    def _find_unlisted(self, table: Table, line: bytes) -> tuple[Answer, bytes] | None:
        """What answers a line that has a query which does not matter, or whose path is missing; and the target as the
        log has it."""
        match = self._match_plain_line
        found = match(line)
        if found is None or len(line) > MAX_LINE_BYTES:
            return None
        path, query = found.groups()
        target = path  # there is nothing to quote
        if query is not None:
            target = self.journal.format.target(path + query)
            answer = table.answers.get(self._plain_line % path)
            if answer is not None:
                return None if answer.repeats_query else (answer, target)
        text = path.decode("ascii")
        if "//" in text or "/." in text:
            return None
        kept = table.index
        index = None if kept is None else kept()
        if index is None:
            index = self.edge.find_plain_index(table.site)
            if index is None:
                return None
            table.index = ref(index)
        if index.may_answer(text):
            return None
        name = index.find_page(text)
        answer = table.missing.get(name) or self._show_missing(table, name, line)
        return None if answer is None else (answer, target)

    def _show_missing(self, table: Table, name: str | None, line: bytes) -> Answer | None:
        entry = self.edge.find_missing_entry(table.site, name, table.accept_encoding)
        if entry is None:
            return None
        answer = self._keep(table, table.missing, name, entry, line)
        if name is None and answer is not None:
            self._tables_of(table.origin).show_own_page(table, answer)
        return answer

    def remember(self, request: Request) -> None:
        """Keep what `request`, just answered from memory, has got, if every such request gets it."""
        if request.authority is None or request.method not in ("GET", "HEAD"):
            return
        host = normal_host(request.authority)
        origin = request.origin if self.edge.reads_origin(host) else None
        site = self.edge.find_site_nowait(host, origin)
        if site is None:
            return
        if len(request.path) > MAX_PATH_CHARACTERS:
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

    def remember_conditions(self, table: Table, line: bytes, conditions: bytes, etag: bytes) -> None:
        """Have a request line with `conditions`, lines with `etag` in them, known by the bytes of both, if those are
        what browsers send who have what they ask for: of other ways to say so there is no end."""
        answer = table.answers.get(line)
        if answer is None or answer.unchanged is None or answer.etag != etag:
            return
        tag = IF_NONE_MATCH + etag
        usual = {tag}
        for name, value in answer.stored.headers:
            if name == b"last-modified":
                date = IF_MODIFIED_SINCE + value
                usual |= {tag + date, date + tag}
        if conditions in usual:
            size = CONDITIONS_OVERHEAD + len(line) + len(conditions)
            self.edge.cache.enlist(answer.entry, table.answers, line + conditions, answer.unchanged, size)

    def keep_part(self, table: Table, answer: Answer, line: bytes, field: bytes) -> Answer:
        """Have the 206 for this Range, which there is, at hand. The line is one that `table` has."""
        asked = Request(method="GET", authority=None, path="/", range=field.decode("ascii"))
        part = self._render(table, answer.entry, answer.stored, finish(answer.stored, asked), line)
        answer.kept_part = part
        return part

    def _keep(
        self, table: Table, answers: MutableMapping[Any, Answer], key: Hashable, entry: Entry, line: bytes
    ) -> Answer | None:
        stored = self._as_sent(entry.value)
        if stored is None:
            return None
        asked = Request(method=line.partition(b" ")[0].decode("ascii"), authority=None, path="/")
        answer = self._render(table, entry, stored, finish(stored, asked), line)
        answer.repeats_query = stored.location is not None
        if stored.etag is not None:
            answer.etag = stored.etag
            asked = replace(asked, if_none_match=stored.etag.decode("ascii"))
            answer.unchanged = self._render(table, entry, stored, finish(stored, asked), line)
        self.edge.cache.enlist(entry, answers, key, answer, answer.size + len(line))
        return answer

    def _as_sent(self, stored: Representation | Depends) -> Representation | None:
        """With a large body as its file, if there is one: sending that is cheaper than writing what memory has."""
        if not isinstance(stored, Representation) or (isinstance(stored.body, Blob) and not self._sends_files):
            return None
        body, digest = stored.body, stored.digest
        if not self._sends_files or isinstance(body, Blob) or len(body) <= SMALL_BODY_BYTES or digest is None:
            return stored
        reader = self.edge.open_file(digest)
        if reader is None:
            return stored
        reader.close_nowait()
        if reader.size != len(body):  # damaged since it was read
            return stored
        return replace(stored, body=Blob(digest=digest, size=len(body)))

    def _render(self, table: Table, entry: Entry, stored: Representation, response: Response, line: bytes) -> Answer:
        method, target, protocol = line.split(b" ")
        log_format, site_id = self.journal.format, table.site.id
        around = log_format.around(method, protocol, response.status, response.size, site_id.encode("ascii"))
        log = around[0] + log_format.target(target) + around[1]
        return self.answer(entry, stored, response, log, around, site_id)

    def _table(self, site: HostedSite, accept_encoding: str | None, origin: str | None) -> Table:
        return self._tables_of(origin).of(site, accept_encoding, origin)

    def _tables_of(self, origin: str | None) -> Tables:
        return self._tables if origin is None else self._tables_by_origin

    def _read_manner(self, lines: bytes) -> Manner | None:
        """The meaning of header lines that ask for nothing unusual."""
        raw = lines[2:]
        if raw.count(b"\r\n") > MAX_LINES:
            return None
        fields = self._reader.read(raw) if raw != b"\r\n" else NOTHING
        if fields is None:
            fields = _read_strictly(raw)
            if fields is None:
                return None
        connection = fields.get(b"Connection", b"keep-alive").lower()
        if connection not in (b"keep-alive", b"close") or not _UNUSUAL_AS_SENT.isdisjoint(fields):
            return None
        return Manner(lines, fields, closes=connection == b"close")


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

"""Answers in the words of HTTP, in tables by the request lines that they are for.

A table belongs to one version of a site, and to whoever accepts the same codings. An answer is charged to the entry of
the edge's cache that it shows, and leaves its table with that; a table that is let go to make room for others takes its
answers along, so that an entry pays for no more of them than can be found.
"""

from __future__ import annotations

import re
from typing import TypeAlias
from weakref import ref

from server.doors.http1 import render_head
from server.doors.journal import Moment, Tally
from server.edge.cache import LRU, Entry, ResponseCache
from server.edge.codings import Coding, acceptable
from server.edge.conditions import finish
from server.edge.path_index import PathIndex
from server.edge.request import Request
from server.edge.response import Body, Parts, Representation, Response, Span
from storage.models import HostedSite

# Below, one piece is cheaper to write than two, or than to be sent from its file: of one file of 31 KB at a time the
# latter saves a tenth, but of 2,000 by turns, which do not all stay open, it takes more than twice as long.
SMALL_BODY_BYTES = 32 * 1024
MAX_TABLES_BYTES = 16 * 1024 * 1024
ANSWER_OVERHEAD = 900  # measured: an answer's objects, beside its texts
PART_OVERHEAD = 400  # what a 206 has in its head that the 200 has not, and the field
TABLE_OVERHEAD = 1000  # measured, likewise

_ONE_RANGE = re.compile(rb"bytes=(\d{1,18}+)-(\d{1,18}+)?")


class Answer:
    """What one request line gets: all of it but the time.

    `unchanged` is its 304, for who has `etag`. Who asks for the same path with a query gets it too, unless it
    `repeats_query`. Of a file, `kept_field` is the Range that was asked for last, and `kept_part` its 206 once that is
    asked for again: players and whoever looks for the end of a file begin with the same one.
    """

    __slots__ = (
        "_part_head",
        "around", "body", "entry", "etag", "head", "is_small", "kept_field", "kept_part", "log", "moment",
        "repeats_query", "span", "stored", "tally", "unchanged", "whole",
    )  # fmt: skip

    def __init__(
        self,
        entry: Entry,
        stored: Representation,
        response: Response,
        log: bytes,
        around: tuple[bytes, bytes],
        site_id: str,
    ) -> None:
        """`response` shows `stored`, which may be the entry's with its body as a file; `log` is what the log says of
        it, `around` what that has before and behind the target."""
        self.entry = entry
        self.stored = stored
        self.head = self._render_head(response)
        self.body = response.body
        self.span = None if isinstance(response.body, bytes) else span_of(response.body)  # where it is a file
        # One that is not kept in memory may be of any size: the cache may be too small for any body.
        self.is_small = isinstance(response.body, bytes) and response.size <= SMALL_BODY_BYTES
        self.log = log
        self.around = around
        self.tally = Tally(site_id, response.status, response.size, remembered=True)
        self.etag: bytes | None = None
        self.unchanged: Answer | None = None
        self.repeats_query = False
        self.moment: Moment | None = None
        self.kept_field: bytes | None = None
        self.kept_part: Answer | None = None
        self._part_head: tuple[bytes, bytes] | None = None
        self.whole = b""  # of this moment; without the body unless it is small: then that is written behind it

    def _render_head(self, response: Response) -> bytes:
        """All of the head but the time."""
        return render_head(response)

    def renew(self, moment: Moment) -> None:
        """Make it one of this second."""
        self.moment = moment
        self.whole = b"%b%b\r\n%b" % (self.head, moment.date, self._small_body)

    @property
    def _small_body(self) -> bytes:
        return self.body if self.is_small and isinstance(self.body, bytes) else b""

    def part(self, field: bytes) -> tuple[bytes, Body] | None:
        """The head and the body of a 206 for a Range, if that asks for one part in the usual words, which there is."""
        found = _ONE_RANGE.fullmatch(field)
        if found is None:
            return None
        first, last = found.groups()
        size = self.stored.size
        start, stop = int(first), size if last is None else min(int(last) + 1, size)
        if start >= stop:
            return None
        if self._part_head is None:
            self._part_head = _split_part_head(self.stored)
        before, behind = self._part_head
        head = b"%b%d%b%d-%d/%d\r\n" % (before, stop - start, behind, start, stop - 1, size)
        body = self.body
        part = body[start:stop] if isinstance(body, bytes) else Parts(body.blob, (Span(start, stop),), stop - start)
        return head, part

    @property
    def size(self) -> int:
        """Bytes that it takes without its body, and with the copy of it that is made for each second; also those of
        the part that may be kept."""
        copied = len(self._small_body)
        unchanged = self.unchanged.size if self.unchanged is not None else 0
        own = ANSWER_OVERHEAD + 3 * len(self.head) + 2 * len(self.log)
        part = 0 if self.span is None else own + PART_OVERHEAD
        return own + copied + unchanged + part


def span_of(body: Body) -> Span:
    """Where the body is, that is one span."""
    assert isinstance(body, Parts)
    [span] = body.parts
    assert isinstance(span, Span)
    return span


def _split_part_head(stored: Representation) -> tuple[bytes, bytes]:
    """What the head of a 206 has before its Content-Length, and from there to the Content-Range, which ends it."""
    first = finish(stored, Request(method="GET", authority=None, path="/", range="bytes=0-0"))
    before, length, behind = render_head(first).partition(b"\r\ncontent-length: 1\r\n")
    span = b"\r\ncontent-range: bytes 0-0/%d\r\n" % stored.size
    assert length, "`finish` puts it there"
    assert behind.endswith(span), "and this last"
    return before + length[:-3], b"\r\n" + behind.removesuffix(span) + b"\r\ncontent-range: bytes "


class Table:
    """The answers of one version of a site to senders who accept the same codings, and where that matters are of the
    same origin.

    `index` tells what is missing, and `missing` has what is shown then, by the error page's name. Once it is `retired`,
    another table is asked in its place.
    """

    __slots__ = ("accept_encoding", "answers", "index", "missing", "origin", "retired", "site")

    def __init__(self, site: HostedSite, accept_encoding: str | None, origin: str | None = None) -> None:
        self.site = site
        self.accept_encoding = accept_encoding
        self.origin = origin
        self.answers: dict[bytes, Answer] = {}
        self.index: ref[PathIndex] | None = None  # the edge decides how many are kept
        self.missing: dict[str | None, Answer] = {}
        self.retired = False

    @property
    def size(self) -> int:
        """Bytes that it takes without the answers that are charged to what they show, as all are but our own page."""
        own = self.missing.get(None)
        size = TABLE_OVERHEAD + len(self.accept_encoding or "") + len(self.origin or "")
        return size if own is None else size + own.size


_Key: TypeAlias = tuple[str, int, frozenset[Coding], str | None]


def _key(site: HostedSite, accept_encoding: str | None, origin: str | None) -> _Key:
    return site.key, site.version, acceptable(accept_encoding), origin


class Tables:
    """Those of one worker, the least recently made or asked for given up first."""

    def __init__(self, cache: ResponseCache, max_bytes: int = MAX_TABLES_BYTES) -> None:
        """`cache` has what the answers show."""
        self._cache = cache
        self._tables: LRU[_Key, Table] = LRU(max_bytes, lambda table: table.size, lambda _, table: self._retire(table))

    def of(self, site: HostedSite, accept_encoding: str | None, origin: str | None = None) -> Table:
        """The one for who asks this version of `site` with this Accept-Encoding and, where it matters, this Origin."""
        key = _key(site, accept_encoding, origin)
        table = self._tables.get(key)
        if table is None:
            table = self._tables[key] = Table(site, accept_encoding, origin)
        table.site = site  # the same version, perhaps read anew
        return table

    def show_own_page(self, table: Table, answer: Answer) -> None:
        """`answer` is our own page for whatever is missing there, which is in no cache: it counts with the table."""
        key = _key(table.site, table.accept_encoding, table.origin)
        if self._tables.get(key) is table:  # and so the last that has to go
            table.missing[None] = answer
            self._tables[key] = table

    def _retire(self, table: Table) -> None:
        table.retired = True
        table.accept_encoding = table.index = None
        for answers in (table.answers, table.missing):
            for answer in answers.values():
                self._cache.delist(answer.entry, answers)
            answers.clear()

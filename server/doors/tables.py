"""Answers in the words of HTTP, in tables by the request lines that they are for.

A table belongs to one version of a site, and to whoever accepts the same codings. An answer is charged to the entry of
the edge's cache that it shows, and leaves its table with that; a table that is let go to make room for others takes its
answers along, so that an entry pays for no more of them than can be found.
"""

from __future__ import annotations

from weakref import ref

from server.doors.http1 import render_head
from server.doors.journal import Moment, Tally
from server.edge.cache import LRU, Entry, ResponseCache
from server.edge.codings import Coding, acceptable
from server.edge.path_index import PathIndex
from server.edge.response import Response
from storage.models import HostedSite

SMALL_BODY_BYTES = 32 * 1024  # below, one piece is cheaper to write than two
MAX_TABLES_BYTES = 16 * 1024 * 1024
ANSWER_OVERHEAD = 900  # measured: an answer's objects, beside its texts
TABLE_OVERHEAD = 2600  # with the answer that is our own page for what is missing


class Answer:
    """What one request line gets: all of it but the time.

    `unchanged` is its 304, for who has `etag`. Who asks for the same path with a query gets it too, unless it
    `repeats_query`.
    """

    __slots__ = (
        "around", "body", "entry", "etag", "head", "log", "moment", "repeats_query", "tally", "unchanged", "whole"
    )  # fmt: skip

    def __init__(self, entry: Entry, response: Response, log: bytes, around: tuple[bytes, bytes], site_id: str) -> None:
        """`log` is what the log says of it, `around` what that has before and behind the target."""
        assert isinstance(response.body, bytes)
        self.entry = entry
        self.head = self._render_head(response)
        self.body = response.body
        self.log = log
        self.around = around
        self.tally = Tally(site_id, response.status, len(response.body), remembered=True)
        self.etag: bytes | None = None
        self.unchanged: Answer | None = None
        self.repeats_query = False
        self.moment: Moment | None = None
        self.whole = b""  # of this moment; without the body if that is large, which is then written behind it

    def _render_head(self, response: Response) -> bytes:
        """All of the head but the time."""
        return render_head(response)

    def renew(self, moment: Moment) -> None:
        """Make it one of this second."""
        self.moment = moment
        body = self.body if len(self.body) <= SMALL_BODY_BYTES else b""
        self.whole = b"%b%b\r\n%b" % (self.head, moment.date, body)

    @property
    def size(self) -> int:
        """Bytes that it takes without its body, and with the copy of it that is made for each second."""
        copied = len(self.body) if len(self.body) <= SMALL_BODY_BYTES else 0
        unchanged = self.unchanged.size if self.unchanged is not None else 0
        return ANSWER_OVERHEAD + 2 * len(self.head) + 2 * len(self.log) + copied + unchanged


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
        """Bytes that it takes without the answers, which are charged to what they show."""
        return TABLE_OVERHEAD + len(self.accept_encoding or "") + len(self.origin or "")


class Tables:
    """Those of one worker, the least recently made or asked for given up first."""

    def __init__(self, cache: ResponseCache, max_bytes: int = MAX_TABLES_BYTES) -> None:
        """`cache` has what the answers show."""
        self._cache = cache
        self._tables: LRU[tuple[str, int, frozenset[Coding], str | None], Table] = LRU(
            max_bytes, lambda table: table.size, lambda _, table: self._retire(table)
        )

    def of(self, site: HostedSite, accept_encoding: str | None, origin: str | None = None) -> Table:
        """The one for who asks this version of `site` with this Accept-Encoding and, where it matters, this Origin."""
        key = site.key, site.version, acceptable(accept_encoding), origin
        table = self._tables.get(key)
        if table is None:
            table = self._tables[key] = Table(site, accept_encoding, origin)
        return table

    def _retire(self, table: Table) -> None:
        table.retired = True
        table.accept_encoding = table.index = None
        for answers in (table.answers, table.missing):
            for answer in answers.values():
                self._cache.delist(answer.entry, answers)
            answers.clear()

"""The edge: from a `Request` to a `Response`.

`respond_nowait` answers from memory or says None; `respond` may ask the stores. Both use the same pure functions:

1. the host → a site            (`router`)
2. the path → a representation  (`library`)
3. what this request gets of it (`conditions.finish`)
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Collection

from server.edge.cache import Entry, ResponseCache
from server.edge.changes import Follower, Node
from server.edge.conditions import finish, http_date
from server.edge.decision import answer_to_method, host_of
from server.edge.library import Library
from server.edge.path_index import PathIndex
from server.edge.paths import decode_path
from server.edge.preview_access import NO_PREVIEWS, Previews, mark
from server.edge.request import Refusal, Request
from server.edge.response import (
    NOT_ALLOWED,
    Parts,
    Representation,
    Response,
    page,
    refusal_page,
    stamp,
)
from server.edge.router import Lookup, Router
from server.edge.visits import Visit, Visits, unnoted
from server.edge.widget_host import WidgetHost
from storage.blobs import BlobReader, BlobStore, FileReader
from storage.errors import Corrupt, Unavailable
from storage.metadata import EdgeMetadata
from storage.models import Change, Digest, HostedSite

STORE_SECONDS = 5.0  # for all that an answer needs of the stores: a database that hangs must not hold visitors

logger = logging.getLogger("spacelane.edge")

NO_SITE = page(404, "There is no site here. If it is yours, bind this domain to a space.")
AWAY = page(503, "The site cannot be read just now. Please try again in a moment.")
BROKEN = page(500, "The file is damaged in storage. The operator has been told.")


class Edge:
    """One worker's edge. Knows the stores by their contracts and changes by the log, and is never told anything."""

    def __init__(
        self,
        metadata: EdgeMetadata,
        blobs: BlobStore,
        node: Node,
        *,
        cache_bytes: int,
        clock: Callable[[], float] = time.time,
        applied: Callable[[int], None] = lambda revision: None,
        patience: float = STORE_SECONDS,
        previews: Previews = NO_PREVIEWS,
        widget_hosts: Collection[str] = (),
        widget_base: str = "",
    ) -> None:
        """`clock` gives seconds since the epoch; `applied` is told each revision that this worker has reached;
        `patience` is how many seconds the stores have for an answer; `previews` says where those are; `widget_hosts`
        are the platform's own, and `widget_base` is the URL of one of them as pages name it."""
        self.visits = Visits()
        self._checking: set[asyncio.Task[None]] = set()
        self._metadata = metadata
        self._node = node
        # Never behind `revision`, but for moments if a restored copy of the store is started on beside this worker.
        self.revision_cell = node.revision_cell
        self._patience = patience
        self._blobs = blobs
        self._clock = clock
        self._previews = previews
        self.cache = ResponseCache(cache_bytes)
        self._library = Library(metadata, blobs, self.cache, clock, widget_base)
        self._widgets = WidgetHost(metadata, self.cache, widget_hosts, clock)
        self._router = Router(metadata, previews.platform_domains, platform=self._widgets.sites)
        self.follower = Follower(metadata, node, self._apply, self._forget, applied)
        self._date: tuple[int, bytes] = (-1, b"")

    def respond_nowait(
        self, request: Request, can_send: Callable[[Parts], bool] = lambda parts: False
    ) -> Response | None:
        """The answer if memory knows it and has its body, or `can_send` that."""
        found = self._find_nowait(request)
        if found is None or (isinstance(found[0].body, Parts) and not can_send(found[0].body)):
            return None
        self.cache.stats.hits += 1
        return self._stamp(*found)

    async def respond(self, request: Request, visit: Visit = unnoted) -> tuple[Response, BlobReader | None]:
        """The answer, always. Where its body is `Parts`, the open blob to read them from, which the caller closes.

        `visit` is told the site as soon as it is known, so that one which goes meanwhile is not missed.
        """
        self.cache.stats.misses += 1
        site = None
        try:
            async with asyncio.timeout(self._patience):
                site = await self._find_site(request)
                if site is not None:
                    visit(site)
                stored = await self._find(site, request)
            response = finish(stored, request)
            reader = await self._blobs.open(response.body.blob.digest) if isinstance(response.body, Parts) else None
        except Refusal as refusal:
            response, reader = finish(refusal_page(refusal), request), None
        except (Unavailable, TimeoutError) as exc:
            logger.warning("the store is unavailable: %s", exc)
            response, reader = finish(AWAY, request), None
        except Corrupt as exc:
            logger.error("a stored file is damaged: %s", exc)
            response, reader = finish(BROKEN, request), None
        return self._stamp(response, site), reader

    def site_of(self, request: Request) -> HostedSite | None:
        """The site that `request`, just answered from memory, is for."""
        try:
            host = host_of(request)
        except Refusal:
            return None
        site = Lookup.UNKNOWN if host is None else self._router.find_nowait(host)
        return None if site is Lookup.UNKNOWN else site

    # What a door that knows requests again by their bytes needs besides.

    @property
    def revision(self) -> int:
        """That everything answered now is of; -1 if the node has seen a later one."""
        applied = self.follower.revision
        return applied if self._node.revision <= applied else -1

    def catch_up_nowait(self) -> int:
        """The revision, once what has changed is known, if that is to be had without waiting; -1 if not."""
        self._is_current()
        return self.revision

    def find_site_nowait(self, host: str, origin: str | None = None) -> HostedSite | None:
        """The site of a host (from `normal_host`), if there is one and it is known without asking; in the version for
        pages of `origin`, if `reads_origin(host)`. Not that of a preview: who may see it, and what its answers say, is
        settled with each request."""
        site = self._router.find_nowait(host)
        if site is Lookup.UNKNOWN or site is None or site.preview is not None:
            return None
        return self._widgets.site_for(site, origin) if self.reads_origin(host) else site

    def reads_origin(self, host: str) -> bool:
        """Whether answers of this host depend on the origin of the page that asks."""
        return host in self._widgets.sites

    def find_entry(self, site: HostedSite, path: str, request: Request) -> Entry | None:
        """What is kept for a path (from `decode_path`) if it depends on nothing of `request` but Accept-Encoding and,
        if `reads_origin` of its host, Origin."""
        return self._shelf(site).find_entry(site, path, request)

    def find_missing_entry(self, site: HostedSite, name: str | None, accept_encoding: str | None) -> Entry | None:
        """What is kept for every path that is missing where `name` is the error page (None: ours)."""
        return self._library.find_missing_entry(site, name, accept_encoding)

    def find_plain_index(self, site: HostedSite) -> PathIndex | None:
        """What a site has, if that alone decides what is missing, and if it is known."""
        return self._library.find_plain_index(site)

    def open_file(self, digest: Digest) -> FileReader | None:
        """A blob, if it is a file, and can be opened."""
        return self._blobs.open_nowait(digest)

    def clock(self) -> float:
        """Seconds since the epoch."""
        return self._clock()

    def refuse(self, refusal: Refusal) -> Response:
        """The page for what could not be read as a request."""
        stored = refusal_page(refusal)
        return self._stamp(Response(stored.status, stored.headers, stored.body))

    def _apply(self, change: Change) -> None:
        self._router.apply(change)
        self._widgets.apply(change)
        if change.freed:
            # Whoever asks now for what has gone is told so before the connection ends.
            asyncio.get_running_loop().call_soon(self.visits.free, change.freed)

    def _forget(self) -> None:
        self._router.clear()
        self._widgets.clear()
        if self.visits:
            task = asyncio.create_task(self._check_visits())
            self._checking.add(task)
            task.add_done_callback(self._checking.discard)

    async def _check_visits(self) -> None:
        """Find out which sites have gone, where the log has not been read."""
        gone = []
        for domain, site_id in self.visits.sites():
            if domain in self._widgets.sites:
                continue
            await asyncio.sleep(0)  # a look-up holds the loop, and there may be many
            try:
                site = await self._metadata.find_site([domain])
            except Unavailable:
                site = None  # a connection too many is closed rather than one too few
            if site is None or site.id != site_id:
                gone.append(domain)
        self.visits.free(gone)

    def _stamp(self, response: Response, site: HostedSite | None = None) -> Response:
        now = int(self._clock())
        if now != self._date[0]:
            self._date = (now, http_date(now))
        if site is None:
            return stamp(response, self._date[1])
        if site.preview is not None:
            response = mark(response, site.preview)
        return stamp(response, self._date[1], site.id)

    def _is_current(self) -> bool:
        return not self.follower.behind or self.follower.catch_up_nowait()

    def _find_nowait(self, request: Request) -> tuple[Response, HostedSite | None] | None:
        if not self._is_current():
            return None
        site: HostedSite | None = None
        try:
            host = host_of(request)
            found = None if host is None else self._router.find_nowait(host)
            if found is Lookup.UNKNOWN:
                return None
            site = found
            stored = self._stored_nowait(site, request)
        except Refusal as refusal:
            stored = refusal_page(refusal)
        return None if stored is None else (finish(stored, request), site)

    async def _find_site(self, request: Request) -> HostedSite | None:
        if self.follower.behind:
            await self.follower.catch_up()
        host = host_of(request)
        site = None if host is None else await self._router.find(host)
        if site is not None:
            self.follower.tell(site.version)  # which may be ahead of the change log as it was applied here
        return site

    async def _find(self, site: HostedSite | None, request: Request) -> Representation:
        stored = self._stored_nowait(site, request)
        if stored is not None or site is None:
            return stored or NO_SITE
        return await self._shelf(site).find(site, decode_path(request.path), request)

    def _stored_nowait(self, site: HostedSite | None, request: Request) -> Representation | None:
        if request.path == "*":
            return answer_to_method(request.method) or NOT_ALLOWED
        if site is None:
            return NO_SITE
        path = decode_path(request.path)
        if site.preview is not None:
            refused = self._previews.admit(site.id, site.preview, path, request, self._clock())
            if refused is not None:
                return refused
        return self._shelf(site).find_nowait(site, path, request)

    def _shelf(self, site: HostedSite) -> Library | WidgetHost:
        return self._widgets if site.domain in self._widgets.sites else self._library

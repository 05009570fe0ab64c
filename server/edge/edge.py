"""The edge: from a `Request` to a `Response`.

`respond_nowait` answers from memory or says None; `respond` may ask the stores. Both use the same pure functions:

1. the host → a site            (`router`)
2. the path → a representation  (`paths`, kept in `cache`)
3. what this request gets of it (`conditions.finish`)
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Hashable
from functools import lru_cache

from server.edge.cache import ResponseCache
from server.edge.changes import Follower, Node
from server.edge.conditions import finish, http_date
from server.edge.flights import Flights
from server.edge.hosts import HostError, parse_authority
from server.edge.media_types import content_type
from server.edge.paths import Found, Redirect, candidates, decode_path, last_change, resolve
from server.edge.request import Refusal, Request
from server.edge.response import (
    OPTIONS,
    Page,
    Parts,
    Representation,
    Response,
    error_representation,
    file_representation,
    page,
    redirect,
    stamp,
)
from server.edge.router import Lookup, Router
from storage.blobs import BlobReader, BlobStore
from storage.errors import Corrupt, Unavailable
from storage.metadata import EdgeMetadata
from storage.models import Blob, File, HostedSite, Millis

logger = logging.getLogger("spacelane.edge")

NO_SITE = page(404, "There is no site here. If it is yours, bind this domain to a space.")
NO_FILE = page(404, "There is nothing at this address.")
AWAY = page(503, "The site cannot be read just now. Please try again in a moment.")
BROKEN = page(500, "The file is damaged in storage. The operator has been told.")
NOT_ALLOWED = page(405, "This site can be read, and nothing else: use GET or HEAD.")

_parse_authority = lru_cache(maxsize=4096)(parse_authority)


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
    ) -> None:
        """`clock` gives seconds since the epoch; `applied` is told each revision that this worker has reached."""
        self._metadata = metadata
        self._blobs = blobs
        self._clock = clock
        self._router = Router(metadata)
        self._loads: Flights[Hashable, Representation] = Flights()
        self.cache = ResponseCache(cache_bytes)
        self.follower = Follower(metadata, node, self._router.apply, self._router.clear, applied)
        self._date: tuple[int, bytes] = (-1, b"")

    def respond_nowait(self, request: Request) -> Response | None:
        """The answer if memory has it whole, else None."""
        if self.follower.behind:
            return None
        try:
            host = _host(request)
            site = None if host is None else self._router.find_nowait(host)
            if site is Lookup.UNKNOWN:
                return None
            stored = self._stored_nowait(site, request)
        except Refusal as refusal:
            stored = _refusal_page(refusal)
        if stored is None:
            return None
        response = finish(stored, request)
        return None if isinstance(response.body, Parts) else self._stamp(response)

    async def respond(self, request: Request) -> tuple[Response, BlobReader | None]:
        """The answer, always. Where its body is `Parts`, the open blob to read them from, which the caller closes."""
        try:
            response = finish(await self._find(request), request)
            reader = await self._blobs.open(response.body.blob.digest) if isinstance(response.body, Parts) else None
        except Refusal as refusal:
            response, reader = finish(_refusal_page(refusal), request), None
        except Unavailable as exc:
            logger.warning("the store is unavailable: %s", exc)
            response, reader = finish(AWAY, request), None
        except Corrupt as exc:
            logger.error("a stored file is damaged: %s", exc)
            response, reader = finish(BROKEN, request), None
        return self._stamp(response), reader

    def refuse(self, refusal: Refusal) -> Response:
        """The page for what could not be read as a request."""
        stored = _refusal_page(refusal)
        return self._stamp(Response(stored.status, stored.headers, stored.body))

    def _stamp(self, response: Response) -> Response:
        now = int(self._clock())
        if now != self._date[0]:
            self._date = (now, http_date(now))
        return stamp(response, self._date[1])

    async def _find(self, request: Request) -> Representation:
        if self.follower.behind:
            await self.follower.catch_up()
        host = _host(request)
        site = None if host is None else await self._router.find(host)
        stored = self._stored_nowait(site, request)
        if stored is not None or site is None:
            return stored or NO_SITE
        path = decode_path(request.path)
        return await self._loads.join((site.site.id, site.version, path), lambda: self._load(site, path))

    def _stored_nowait(self, site: HostedSite | None, request: Request) -> Representation | None:
        if request.path == "*":
            return OPTIONS if request.method == "OPTIONS" else NOT_ALLOWED
        if site is None:
            return NO_SITE
        path = decode_path(request.path)
        if request.method == "OPTIONS":
            return OPTIONS
        if request.method not in ("GET", "HEAD"):
            return NOT_ALLOWED
        return self.cache.get((site.site.id, site.version, path))

    async def _load(self, site: HostedSite, path: str) -> Representation:
        """The representation of `path`, by one look-up of names and at most one read; kept if it fits."""
        wanted = candidates(path, site.site)
        files = await self._metadata.find_files(site.site.space_id, wanted.names(), site.files_revision)
        key = (site.site.id, site.version, path)
        match resolve(path, wanted, files):
            case Found(file):
                return await self._load_file(key, file, last_change(wanted, files, site.site))
            case Redirect(location, status):
                stored = redirect(status, location)
                self.cache.put(key, stored)
                return stored
            case missing:
                # Not kept by path: a scan of paths that do not exist would push out the pages that do.
                return NO_FILE if missing.page is None else await self._load_error_page(site, missing.page)

    async def _load_file(self, key: Hashable, file: File, modified: Millis) -> Representation:
        blob, body = await self._body(file)
        # A second change within one second is dated in the next one (`MetadataStore.put_files`); Last-Modified may not
        # lie in the future (RFC 9110 §8.8.2.1), so until then it says less and is not kept.
        now = int(self._clock())
        date = http_date(min(modified // 1000, now))
        stored = file_representation(blob, body, content_type(file.path), modified, date)
        if modified // 1000 <= now:
            self.cache.put(key, stored)
        return stored

    async def _load_error_page(self, site: HostedSite, file: File) -> Representation:
        key = (site.site.id, site.version, "404", file.path)
        stored = self.cache.get(key)
        if stored is None:
            blob, body = await self._body(file)
            stored = error_representation(blob, body, content_type(file.path))
            self.cache.put(key, stored)
        return stored

    async def _body(self, file: File) -> tuple[Blob, bytes | Blob]:
        blob = Blob(digest=file.digest, size=file.size)
        return blob, blob if blob.size > self.cache.max_body else await self._blobs.read(blob.digest)


def _host(request: Request) -> str | None:
    if request.authority is None or request.path == "*":
        return None
    try:
        host = _parse_authority(request.authority)
    except HostError as exc:
        raise Refusal(400, f"the Host is malformed: {exc}") from None
    if request.server_name is not None and request.server_name != host:
        raise Refusal(421, "this connection was made for another host")
    return host


def _refusal_page(refusal: Refusal) -> Page:
    return page(refusal.status, f"Sorry, {refusal.detail}.")

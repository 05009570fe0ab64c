"""From a site and a path to a representation: names, rules, reads, and what of it is kept.

1. the site's rules            (`site_rules`)
2. the names that could answer (`paths.candidates`, one look-up)
3. the file, or what a rule of `_redirects` makes of the request
4. the headers: the site's `_headers`, and Vary for what the rules read

All of it is done once for a version of the site, a path, and the inputs that the site's rules read for that path.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Hashable
from dataclasses import replace

from server.edge import header_rules
from server.edge.cache import LRU, Depends, Entry, ResponseCache
from server.edge.codings import IDENTITY, acceptable, choose, rank
from server.edge.conditions import http_date
from server.edge.flights import Flights
from server.edge.media_types import content_type
from server.edge.path_index import MAX_NAMES, PathIndex
from server.edge.paths import Candidates, Found, Missing, Redirect, Resolution, candidates, last_change, resolve
from server.edge.redirects import Outcome, match
from server.edge.request import Request
from server.edge.response import (
    Content,
    Representation,
    error_representation,
    file_representation,
    page,
    redirect,
    varying,
)
from server.edge.site_rules import RuleBook, SiteRules
from server.edge.visitor import NO_INPUTS, Inputs, Visitor, is_navigation
from storage.blobs import BlobStore
from storage.errors import Corrupt, Unavailable
from storage.metadata import EdgeMetadata
from storage.models import Blob, Digest, File, HostedSite, Millis

logger = logging.getLogger("spacelane.edge")

MISSES_BEFORE_INDEX = 32  # in one version of a site, before it is worth knowing all that it has
NAMES_AT_ONCE = 1000  # some 2 ms of a query in the event loop
MAX_INDEX_BYTES = 32 * 1024 * 1024
MAX_COUNTED = 10_000  # versions

NO_FILE = page(404, "There is nothing at this address.")


class Library:
    """What one worker's sites answer."""

    def __init__(
        self, metadata: EdgeMetadata, blobs: BlobStore, cache: ResponseCache, clock: Callable[[], float]
    ) -> None:
        self._metadata = metadata
        self._blobs = blobs
        self._cache = cache
        self._clock = clock
        self._rules = RuleBook(metadata, blobs)
        self._loads: Flights[Hashable, Representation] = Flights()
        # By version of a site: how often something was missing, and where that was often, what is there.
        self._misses: LRU[tuple[str, int], int] = LRU(MAX_COUNTED)
        self._indexes: LRU[tuple[str, int], PathIndex] = LRU(MAX_INDEX_BYTES, lambda index: index.size)
        self._indexing: set[asyncio.Task[None]] = set()

    def find_nowait(self, site: HostedSite, path: str, request: Request) -> Representation | None:
        """The answer to GET of `path` (from `decode_path`) if it is kept."""
        kept = self._kept((site.id, site.version, path), path, request)
        if kept is None:
            kept = self._find_missing_nowait(site, path, request)
        if kept is None:
            self._cache.stats.misses += 1
        else:
            self._cache.stats.hits += 1
        return kept

    def find_entry(self, site: HostedSite, path: str, accept_encoding: str | None) -> Entry | None:
        """What is kept for `path` if it depends on nothing else of a request but this."""
        return self._find_coded((site.id, site.version, path), accept_encoding)

    def _find_coded(self, key: tuple[Hashable, ...], accept_encoding: str | None) -> Entry | None:
        entry = self._cache.find(key)
        if entry is not None and isinstance(entry.value, Depends):
            if not entry.value.codings:
                return None
            entry = self._cache.find((*key, choose(accept_encoding, entry.value.codings)))
        return entry

    def find_missing_entry(self, site: HostedSite, name: str | None, accept_encoding: str | None) -> Entry | None:
        """What is kept for all that is missing where `name` is the error page."""
        if name is None:
            return Entry(NO_FILE, 0)
        return self._find_coded((site.id, site.version, 404, name), accept_encoding)

    def find_plain_index(self, site: HostedSite) -> PathIndex | None:
        """The index of a site whose answers do not depend on rules, if it has been worth making."""
        index = self._indexes.get((site.id, site.version))
        if index is None or (rules := self._rules.find_nowait(site)) is None:
            return None
        return index if rules.redirects is None and rules.headers is None else None

    def _find_missing_nowait(self, site: HostedSite, path: str, request: Request) -> Representation | None:
        """The error for a path that is missing for certain."""
        index = self._indexes.get((site.id, site.version))
        if index is None or index.may_answer(path) or (rules := self._rules.find_nowait(site)) is None:
            return None
        inputs, outcome = _consult(rules, path, request, _visitor(path, request), exists=False)
        if outcome is not None:
            return None
        name = index.find_page(path)
        stored = NO_FILE if name is None else self._kept((site.id, site.version, 404, name), path, request)
        if stored is None:
            return None
        stored = _with_headers(site, rules, path, name, stored)
        return replace(stored, headers=varying(stored.headers, inputs.vary))

    async def find(self, site: HostedSite, path: str, request: Request) -> Representation:
        """The answer to GET of `path`. Raises `Corrupt`, `Unavailable`."""
        rules = self._rules.find_nowait(site) or await self._rules.find(site)
        # Who asks the same shares a load; where rules read more of a request than its path, all that they might read.
        # Not Accept-Encoding itself: there are as many of those as clients care to write.
        asked = request if rules.redirects is not None else (path, acceptable(request.accept_encoding))
        key = (site.id, site.version, asked)
        return await self._loads.join(key, lambda: self._load(site, rules, path, request))

    async def _load(self, site: HostedSite, rules: SiteRules, path: str, request: Request) -> Representation:
        wanted, found, modified = await self._resolve(site, rules, path)
        visitor = _visitor(path, request)
        inputs, outcome = _consult(rules, path, request, visitor, exists=_exists(found, wanted))
        if outcome is not None:
            stored, keep = await self._follow(site, rules, path, request, outcome)
        elif isinstance(found, Found):
            stored, keep = await self._show(site, rules, path, request, found.file, modified), True
        elif isinstance(found, Redirect):
            stored, keep = redirect(found.status, found.location), True
        else:
            # Not kept by path: a scan of paths that do not exist would push out the pages that do.
            stored, keep = await self._miss(site, rules, path, request, found.page), False
            self._note_missing(site)
        stored = replace(stored, headers=varying(stored.headers, inputs.vary))
        if keep and (stored.modified or 0) <= self._clock():
            key: tuple[Hashable, ...] = (site.id, site.version, path)
            if inputs:
                self._cache.put(key, Depends(inputs))
                key = (*key, visitor.key(inputs))
            self._keep(key, stored)
        return stored

    def _kept(self, key: tuple[Hashable, ...], path: str, request: Request) -> Representation | None:
        kept = self._cache.get(key)
        while isinstance(kept, Depends):
            if kept.codings:
                key = (*key, choose(request.accept_encoding, kept.codings))
            else:
                key = (*key, _visitor(path, request).key(kept.inputs))
            kept = self._cache.get(key)
        return kept

    def _keep(self, key: tuple[Hashable, ...], stored: Representation) -> None:
        if stored.codings:
            self._cache.put(key, Depends(codings=stored.codings))
            key = (*key, stored.coding)
        self._cache.put(key, stored)

    async def _resolve(self, site: HostedSite, rules: SiteRules, path: str) -> tuple[Candidates, Resolution, Millis]:
        """The names, which of them answers, and when that last changed."""
        wanted = candidates(path, site)
        files = await self._metadata.find_files(site.space_id, wanted.names(), site.files_revision)
        modified = max(last_change(wanted, files, site), rules.changed_at)
        return wanted, resolve(path, wanted, files), modified

    async def _follow(
        self, site: HostedSite, rules: SiteRules, path: str, request: Request, outcome: Outcome
    ) -> tuple[Representation, bool]:
        """What a rule gives, and whether it may be kept by path: not if it is one of any number of paths or queries."""
        written_out = outcome.rule.pattern.path is not None
        if outcome.location is not None:
            query = request.query if outcome.passes_query else None
            stored, same = _redirected(outcome.status, outcome.location, query)
            return stored, written_out and same
        assert outcome.target is not None
        wanted, found, modified = await self._resolve(site, rules, outcome.target)
        if isinstance(found, Redirect):  # one hop: the folder's index is shown where it was asked for
            wanted, found, modified = await self._resolve(site, rules, outcome.target + "/")
        if outcome.status == 200:
            if isinstance(found, Found):
                return await self._show(site, rules, path, request, found.file, modified), written_out
            missing = found.page if isinstance(found, Missing) else None
            return await self._miss(site, rules, path, request, missing), False
        file = found.file if isinstance(found, Found) else None
        if isinstance(found, Missing) and _exists(found, wanted):
            file = found.page
        return await self._miss(site, rules, path, request, file, outcome.status), False

    async def _show(
        self, site: HostedSite, rules: SiteRules, path: str, request: Request, file: File, modified: Millis
    ) -> Representation:
        """The 200 for a file. A second change within one second is dated in the next one (`MetadataStore.put_files`);
        Last-Modified may not lie in the future (RFC 9110 §8.8.2.1), so until then it says less and is not kept."""
        content = await self._content(file, request.accept_encoding)
        date = http_date(min(modified // 1000, int(self._clock())))
        stored = file_representation(content, modified, date)
        return _with_headers(site, rules, path, file.path, stored)

    async def _miss(
        self, site: HostedSite, rules: SiteRules, path: str, request: Request, file: File | None, status: int = 404
    ) -> Representation:
        """An error: the site's own page, which is kept for all paths that lack something, or ours."""
        if file is None:
            ours = NO_FILE if status == 404 else page(status, "This address is no longer in use.")
            return _with_headers(site, rules, path, None, ours)
        key = (site.id, site.version, status, file.path)
        stored = self._kept(key, path, request)
        if stored is None:
            stored = error_representation(await self._content(file, request.accept_encoding), status)
            self._keep(key, stored)
        return _with_headers(site, rules, path, file.path, stored)

    def _note_missing(self, site: HostedSite) -> None:
        key = site.id, site.version
        count = self._misses[key] = self._misses.get(key, 0) + 1
        if count == MISSES_BEFORE_INDEX:
            task = asyncio.create_task(self._make_index(site))
            self._indexing.add(task)
            task.add_done_callback(self._indexing.discard)

    async def _make_index(self, site: HostedSite) -> None:
        names: list[str] = []
        try:
            while len(names) <= MAX_NAMES:
                after = names[-1] if names else ""
                piece = await self._metadata.list_paths(
                    site.space_id, site.prefix, site.files_revision, after, NAMES_AT_ONCE
                )
                names += piece
                if len(piece) < NAMES_AT_ONCE:
                    # In a thread, so that others are served meanwhile.
                    index = await asyncio.to_thread(PathIndex, site, names)
                    if index.size <= MAX_INDEX_BYTES:
                        self._indexes[site.id, site.version] = index
                    return
                await asyncio.sleep(0)
        except Unavailable as exc:
            logger.warning("the store is unavailable: %s", exc)
            self._misses.pop((site.id, site.version), None)

    async def _content(self, file: File, accept_encoding: str | None) -> Content:
        """The coding of `file` that this Accept-Encoding gets, read if it is to be kept.

        A damaged variant is left out: the file itself is there to make up for it.
        """
        blobs = {IDENTITY: Blob(digest=file.digest, size=file.size)}
        blobs |= {variant.coding: Blob(digest=variant.digest, size=variant.size) for variant in file.variants}
        while True:
            codings = rank({coding: blob.size for coding, blob in blobs.items()})
            blob = blobs[coding := choose(accept_encoding, codings)]
            try:
                body = blob if blob.size > self._cache.max_body else await self._read(blob.digest)
            except Corrupt as exc:
                if coding == IDENTITY:
                    raise
                logger.error("a stored variant is damaged: %s", exc)
                del blobs[coding]
            else:
                varied = codings if file.variants else ()
                return Content(content_type(file.path), blob, body, coding, varied)

    async def _read(self, digest: Digest) -> bytes:
        kept = self._cache.find_body(digest)
        return await self._blobs.read(digest) if kept is None else kept


def _visitor(path: str, request: Request) -> Visitor:
    navigation = is_navigation(path, request.sec_fetch_dest, request.accept)
    return Visitor(request.query, request.cookie, request.accept_language, navigation)


def _exists(found: Resolution, wanted: Candidates) -> bool:
    """Whether a file answers the path, be it with an error because it is the error page."""
    return not isinstance(found, Missing) or (found.page is not None and found.page.path in wanted.files)


def _consult(
    rules: SiteRules, path: str, request: Request, visitor: Visitor, *, exists: bool
) -> tuple[Inputs, Outcome | None]:
    """What the rules read to judge `path`, whoever asks, and what they make of this request."""
    if rules.redirects is None:
        return NO_INPUTS, None
    outcome = match(
        rules.redirects,
        path,
        request.query,
        cookies=request.cookie,
        accept_language=request.accept_language,
        navigation=visitor.navigation,
        forced_only=exists,
    )
    return rules.redirects.inputs_for(path, forced_only=exists), outcome


def _redirected(status: int, location: str, query: str | None) -> tuple[Representation, bool]:
    """A redirect to `location`, and whether it may be kept for every query. `query`: the one that `location` ends in,
    None if it passes none on."""
    if query is not None and "#" not in location:
        # The query is appended as the answer is sent, so that its page is the same whether it was kept or not.
        return redirect(status, location.removesuffix(f"?{query}")), query == ""
    stored = redirect(status, location)
    headers = (*stored.headers, (b"location", location.encode("ascii")))
    return replace(stored, location=None, headers=headers), query is None


def _with_headers(
    site: HostedSite, rules: SiteRules, path: str, name: str | None, stored: Representation
) -> Representation:
    """`stored` with what the site's `_headers` say of `path`; `name`: that of the file shown."""
    if rules.headers is None:
        return stored
    served = None if name is None else "/" + name.removeprefix(site.prefix).lstrip("/")
    return replace(stored, headers=header_rules.apply(rules.headers, path, served, stored.status, stored.headers))

"""From a site and a path to a representation: what was decided, with its content, and what of it is kept.

1. the site's rules               (`site_rules`)
2. what answers                   (`decision.decide`)
3. its content, in one coding     (read here)
4. the answer with its headers    (`decision.represent`, `decision.dress`)

All of it is done once for a version of the site, a path, and the inputs that the site's rules read for that path.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Hashable
from dataclasses import replace

from server.edge.cache import LRU, Depends, Entry, ResponseCache
from server.edge.codings import IDENTITY, Coding, acceptable, choose
from server.edge.decision import (
    NO_FILE,
    Answer,
    Failed,
    answer_to_method,
    consult,
    decide,
    describe,
    dress,
    edits_for,
    edits_of,
    represent,
    visitor_of,
)
from server.edge.flights import Flights
from server.edge.injection import read_tagged
from server.edge.media_types import is_subresource
from server.edge.path_index import MAX_NAMES, PathIndex
from server.edge.request import Request
from server.edge.response import Content, Representation
from server.edge.rule_files import SiteRules
from server.edge.site_rules import RuleBook
from storage.blobs import BlobStore
from storage.errors import Corrupt, Unavailable
from storage.metadata import EdgeMetadata
from storage.models import Digest, File, HostedSite

logger = logging.getLogger("spacelane.edge")

MISSES_BEFORE_INDEX = 32  # in one version of a site, before it is worth knowing all that it has
MISSES_BEFORE_SMALL_INDEX = 2  # where that is at most
MAX_SMALL_NAMES = 256
MISSES_IF_LARGE = 32 * MISSES_BEFORE_INDEX  # where it was too much the last time
NAMES_AT_ONCE = 1000  # some 2 ms of a query in the event loop
MAX_INDEX_BYTES = 32 * 1024 * 1024
MAX_COUNTED = 10_000  # versions


class Library:
    """What one worker's sites answer."""

    def __init__(
        self,
        metadata: EdgeMetadata,
        blobs: BlobStore,
        cache: ResponseCache,
        clock: Callable[[], float],
        widget_base: str = "",
    ) -> None:
        """`widget_base` is the URL of the widget's host, for pages that have its tag."""
        self._metadata = metadata
        self._blobs = blobs
        self._cache = cache
        self._clock = clock
        self._widget_base = widget_base
        self._rules = RuleBook(metadata, blobs)
        self._loads: Flights[Hashable, Representation] = Flights()
        # By version of a site: how often something was missing, and where that was often, what is there.
        self._misses: LRU[tuple[str, int], int] = LRU(MAX_COUNTED)
        self._indexes: LRU[tuple[str, int], PathIndex] = LRU(MAX_INDEX_BYTES, lambda index: index.size)
        self._large: LRU[str, None] = LRU(MAX_COUNTED)  # sites that had too much to know it all
        self._indexing: set[asyncio.Task[None]] = set()

    def find_nowait(self, site: HostedSite, path: str, request: Request) -> Representation | None:
        """The answer to `request` of `path` (from `decode_path`) if it is kept, or does not depend on any file."""
        settled = answer_to_method(request.method)
        if settled is not None:
            return settled
        kept = self._kept((site.key, site.version, path), path, request)
        if kept is None:
            kept = self._find_missing_nowait(site, path, request)
        return kept

    def find_entry(self, site: HostedSite, path: str, request: Request) -> Entry | None:
        """What is kept for `path` if it depends on nothing of `request` but its Accept-Encoding."""
        return self._cache.find_coded((site.key, site.version, path), request.accept_encoding)

    def find_missing_entry(self, site: HostedSite, name: str | None, accept_encoding: str | None) -> Entry | None:
        """What is kept for all that is missing where `name` is the error page."""
        if name is None:
            return Entry(NO_FILE, 0)
        return self._cache.find_coded((site.key, site.version, 404, name), accept_encoding)

    def find_plain_index(self, site: HostedSite) -> PathIndex | None:
        """The index of a site whose answers do not depend on rules, if it has been worth making."""
        index = self._indexes.get((site.key, site.version))
        if index is None or (rules := self._rules.find_nowait(site)) is None:
            return None
        return index if rules.redirects is None and rules.headers is None else None

    def _find_missing_nowait(self, site: HostedSite, path: str, request: Request) -> Representation | None:
        """The error for a path that is missing for certain."""
        index = self._indexes.get((site.key, site.version))
        if index is None or index.may_answer(path) or (rules := self._rules.find_nowait(site)) is None:
            return None
        inputs, outcome = consult(rules, path, request, exists=False)
        if outcome is not None:
            return None
        name = index.find_page(path)
        stored = NO_FILE if name is None else self._kept((site.key, site.version, 404, name), path, request)
        return None if stored is None else dress(stored, edits_for(site, rules, path, name, 404), inputs)

    async def find(self, site: HostedSite, path: str, request: Request) -> Representation:
        """The answer to GET of `path`. Raises `Corrupt`, `Unavailable`, `Refusal` (not uploaded yet)."""
        rules = self._rules.find_nowait(site) or await self._rules.find(site)
        # Who asks the same shares a load; where rules read more of a request than its path, all that they might read.
        # Not Accept-Encoding itself: there are as many of those as clients care to write.
        asked = request if rules.redirects is not None else (path, acceptable(request.accept_encoding))
        key = (site.key, site.version, asked)
        return await self._loads.join(key, lambda: self._load(site, rules, path, request))

    async def _load(self, site: HostedSite, rules: SiteRules, path: str, request: Request) -> Representation:
        decision = await decide(self._metadata, site, rules, path, request)
        stored = await self._represent(site, path, request, decision.answer)
        stored = dress(stored, edits_of(site, rules, path, decision.answer), decision.inputs)
        if decision.may_be_kept(stored, self._clock()):
            key: tuple[Hashable, ...] = (site.key, site.version, path)
            if decision.inputs:
                self._cache.put(key, Depends(decision.inputs))
                key = (*key, visitor_of(path, request).key(decision.inputs))
            self._cache.put_coded(key, stored)
        elif isinstance(decision.answer, Failed) and decision.outcome is None and site.preview is None:
            self._note_missing(site)
        return stored

    def _kept(self, key: tuple[Hashable, ...], path: str, request: Request) -> Representation | None:
        kept = self._cache.get(key)
        while isinstance(kept, Depends):
            if kept.codings:
                key = (key, choose(request.accept_encoding, kept.codings))
            else:
                key = (*key, visitor_of(path, request).key(kept.inputs))
            kept = self._cache.get(key)
        return kept

    async def _represent(self, site: HostedSite, path: str, request: Request, answer: Answer) -> Representation:
        """`answer` with its content. A site's error page is kept once for all paths that lack something."""
        file = answer.file
        if file is None:
            return represent(answer, None, self._clock())
        key = (site.key, site.version, answer.status, file.path)
        stored = self._kept(key, path, request) if isinstance(answer, Failed) else None
        if stored is None:
            stored = represent(answer, await self._read(site, file, request.accept_encoding), self._clock())
            if isinstance(answer, Failed):
                self._cache.put_coded(key, stored)
        return stored

    async def _read(self, site: HostedSite, file: File, accept_encoding: str | None) -> Content:
        """The coding of `file` that this Accept-Encoding gets, read if it is to be kept. A damaged variant is left out.

        Raises `Corrupt` if the file itself is damaged, `Unavailable`.
        """
        tagged = await read_tagged(self._read_body, site, file, self._widget_base)
        if tagged is not None:
            return tagged.content(accept_encoding)
        damaged: set[Coding] = set()
        while True:
            content = describe(file, accept_encoding, damaged)
            if content.blob.size > self._cache.max_body:
                return content
            try:
                return replace(content, body=await self._read_body(content.blob.digest))
            except Corrupt as exc:
                if content.coding == IDENTITY:
                    raise
                logger.error("a stored variant is damaged: %s", exc)
                damaged.add(content.coding)

    async def _read_body(self, digest: Digest) -> bytes:
        kept = self._cache.find_body(digest)
        return await self._blobs.read(digest) if kept is None else kept

    def _note_missing(self, site: HostedSite) -> None:
        key = site.key, site.version
        count = self._misses[key] = self._misses.get(key, 0) + 1
        wanted = MISSES_IF_LARGE if site.id in self._large else MISSES_BEFORE_INDEX
        whole = count % wanted == 0
        if (whole or count == MISSES_BEFORE_SMALL_INDEX) and key not in self._indexes and not self._indexing:
            task = asyncio.create_task(self._make_index(site, MAX_NAMES if whole else MAX_SMALL_NAMES))
            self._indexing.add(task)
            task.add_done_callback(self._indexing.discard)

    async def _make_index(self, site: HostedSite, most: int) -> None:
        """If the site has fewer files than `most`."""
        try:
            names = await self._list_names(site, site.files_revision, most)
            # Just before the activation was the tree whose files it has removed.
            lost = [] if site.skew_revision is None else await self._list_names(site, site.skew_revision - 1, most)
            if names is not None and lost is not None:
                # In a thread, so that others are served meanwhile.
                index = await asyncio.to_thread(PathIndex, site, names, filter(is_subresource, lost))
                if index.size <= MAX_INDEX_BYTES:
                    self._indexes[site.key, site.version] = index
                    self._large.pop(site.id, None)
                    return
            if most == MAX_NAMES:
                self._large[site.id] = None
        except Unavailable as exc:
            logger.warning("the store is unavailable: %s", exc)
            self._misses.pop((site.key, site.version), None)

    async def _list_names(self, site: HostedSite, revision: int, most: int) -> list[str] | None:
        """Of all files below the site's prefix then; None if there are `most` or more."""
        names: list[str] = []
        limit = min(most, NAMES_AT_ONCE)
        while len(names) < most:
            after = names[-1] if names else ""
            piece = await self._metadata.list_paths(site.space_id, site.prefix, revision, after, limit)
            names += piece
            if len(piece) < limit:
                return names
            await asyncio.sleep(0)
        return None

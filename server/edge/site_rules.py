"""A site's rule files, `_redirects` and `_headers`: read and compiled once for each content, not for each request.

What a site's files are is kept by its version; what they compile to, by their digest, bounded in bytes.
"""

from __future__ import annotations

from server.edge.cache import LRU
from server.edge.flights import Flights
from server.edge.rule_files import (
    HEADERS,
    REDIRECTS,
    Compiled,
    SiteRules,
    Sources,
    compile_file,
    find_sources,
    site_rules,
)
from storage.blobs import BlobStore
from storage.metadata import EdgeMetadata
from storage.models import Digest, HostedSite

MAX_VERSIONS = 50_000
MAX_COMPILED_BYTES = 64 * 1024 * 1024
RULE_BYTES = 2048  # that a short rule takes: measured 1.9 KB
CHARACTER_BYTES = 16  # that a character of long ones takes: measured 11 in `_headers`, 15 in `_redirects`


class RuleBook:
    """The rules of every site that one worker serves."""

    def __init__(self, metadata: EdgeMetadata, blobs: BlobStore) -> None:
        self._metadata = metadata
        self._blobs = blobs
        self._sources: LRU[tuple[str, int], Sources] = LRU(MAX_VERSIONS)
        self._compiled: LRU[tuple[str, Digest], Compiled] = LRU(MAX_COMPILED_BYTES, _cost)
        self._compiling: Flights[tuple[str, Digest], Compiled] = Flights()
        self._finding: Flights[tuple[str, int], Sources] = Flights()

    def find_nowait(self, site: HostedSite) -> SiteRules | None:
        """The rules if they are at hand, else None."""
        sources = self._sources.get((site.key, site.version))
        if sources is None:
            return None
        redirects, headers = self._kept(REDIRECTS, sources.redirects), self._kept(HEADERS, sources.headers)
        if (redirects is None) is not (sources.redirects is None) or (headers is None) is not (sources.headers is None):
            return None
        return site_rules(redirects, headers, sources.changed_at)

    async def find(self, site: HostedSite) -> SiteRules:
        """The rules. Raises `Corrupt`, `Unavailable`."""
        key = site.key, site.version
        sources = self._sources.get(key)
        if sources is None:
            sources = self._sources[key] = await self._finding.join(key, lambda: find_sources(self._metadata, site))
        redirects = await self._compile(REDIRECTS, sources.redirects)
        return site_rules(redirects, await self._compile(HEADERS, sources.headers), sources.changed_at)

    def _kept(self, kind: str, digest: Digest | None) -> Compiled | None:
        return None if digest is None else self._compiled.get((kind, digest))

    async def _compile(self, kind: str, digest: Digest | None) -> Compiled | None:
        if digest is None:
            return None
        key = kind, digest
        kept = self._compiled.get(key)
        if kept is None:
            kept = await self._compiling.join(key, lambda: compile_file(self._blobs, kind, digest))
            if _cost(kept) <= MAX_COMPILED_BYTES:
                self._compiled[key] = kept
        return kept


def _cost(compiled: Compiled) -> int:
    return RULE_BYTES * (1 + len(compiled.rules) + len(compiled.problems)) + CHARACTER_BYTES * compiled.length

"""A site's rule files, `_redirects` and `_headers`: read and compiled once for each content, not for each request.

What a site's files are is kept by its version; what they compile to, by their digest, bounded in bytes.
"""

from __future__ import annotations

from dataclasses import dataclass

from server.edge.cache import LRU
from server.edge.flights import Flights
from server.edge.header_rules import HeaderRules
from server.edge.redirects import Redirects
from server.edge.rule_files import HEADERS, REDIRECTS, Compiled, compile_file, rule_files
from storage.blobs import BlobStore
from storage.metadata import EdgeMetadata
from storage.models import Digest, HostedSite, Millis

MAX_VERSIONS = 50_000
MAX_COMPILED_BYTES = 64 * 1024 * 1024
RULE_BYTES = 2048  # that a compiled rule takes: measured 1.9 KB


@dataclass(frozen=True, slots=True)
class SiteRules:
    """What a site's files compile to; None where there is no such file. `changed_at`: the later of them (0: never)."""

    redirects: Redirects | None = None
    headers: HeaderRules | None = None
    changed_at: Millis = 0


@dataclass(frozen=True, slots=True)
class _Sources:
    redirects: Digest | None
    headers: Digest | None
    changed_at: Millis


class RuleBook:
    """The rules of every site that one worker serves."""

    def __init__(self, metadata: EdgeMetadata, blobs: BlobStore) -> None:
        self._metadata = metadata
        self._blobs = blobs
        self._sources: LRU[tuple[str, int], _Sources] = LRU(MAX_VERSIONS)
        self._compiled: LRU[tuple[str, Digest], Compiled] = LRU(MAX_COMPILED_BYTES, _cost)
        self._compiling: Flights[tuple[str, Digest], Compiled] = Flights()
        self._finding: Flights[tuple[str, int], _Sources] = Flights()

    def find_nowait(self, site: HostedSite) -> SiteRules | None:
        """The rules if they are at hand, else None."""
        sources = self._sources.get((site.id, site.version))
        if sources is None:
            return None
        redirects, headers = self._kept(REDIRECTS, sources.redirects), self._kept(HEADERS, sources.headers)
        if (redirects is None) is not (sources.redirects is None) or (headers is None) is not (sources.headers is None):
            return None
        return _site_rules(redirects, headers, sources.changed_at)

    async def find(self, site: HostedSite) -> SiteRules:
        """The rules. Raises `Corrupt`, `Unavailable`."""
        key = site.id, site.version
        sources = self._sources.get(key)
        if sources is None:
            sources = self._sources[key] = await self._finding.join(key, lambda: self._find_sources(site))
        redirects = await self._compile(REDIRECTS, sources.redirects)
        return _site_rules(redirects, await self._compile(HEADERS, sources.headers), sources.changed_at)

    def _kept(self, kind: str, digest: Digest | None) -> Compiled | None:
        return None if digest is None else self._compiled.get((kind, digest))

    async def _find_sources(self, site: HostedSite) -> _Sources:
        kinds = rule_files(site.prefix)
        found = await self._metadata.find_files(site.space_id, kinds, site.files_revision)
        # A file that is gone changed something when it went.
        changes = [file.modified_at if file.removed_at is None else file.removed_at for file in found.values()]
        live = {kinds[path]: file.digest for path, file in found.items() if file.to_revision is None}
        return _Sources(live.get(REDIRECTS), live.get(HEADERS), max(changes, default=0))

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


def _site_rules(redirects: Compiled | None, headers: Compiled | None, changed_at: Millis) -> SiteRules:
    assert redirects is None or isinstance(redirects, Redirects)
    assert headers is None or isinstance(headers, HeaderRules)
    return SiteRules(redirects, headers, changed_at)


def _cost(compiled: Compiled) -> int:
    return RULE_BYTES * (1 + len(compiled.rules) + len(compiled.problems))

"""From a host to its site: bounded, filled on first use, told of every change.

Sites are kept by the domain they are registered at, so a wildcard's takes one place however many hosts it answers for;
previews by their host. Domains that nobody has are kept apart, so a scan of random hosts evicts no site, and previews
that do not exist apart from them: any change may make one. One load runs a host at a time. What was loading while a
change arrived is loaded again: nothing older than the last change applied is ever kept.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from enum import Enum
from types import MappingProxyType
from typing import Literal, TypeAlias

from server.edge.cache import LRU
from server.edge.flights import Flights
from server.edge.hosted import find_hosted
from server.edge.hosts import lookup_names
from server.edge.preview_hosts import parse_preview
from storage.metadata import EdgeMetadata
from storage.models import Change, HostedSite

MAX_SITES = 50_000
MAX_MISSES = 10_000


class Lookup(Enum):
    """What `find_nowait` says when it does not know."""

    UNKNOWN = 0


Unknown: TypeAlias = Literal[Lookup.UNKNOWN]


class Router:
    """Hosts as `parse_authority` gives them."""

    def __init__(
        self,
        metadata: EdgeMetadata,
        platform_domains: Sequence[str] = (),
        *,
        platform: Mapping[str, HostedSite] = MappingProxyType({}),
        max_sites: int = MAX_SITES,
        max_misses: int = MAX_MISSES,
    ) -> None:
        """Previews are below `platform_domains`; `platform` has the platform's own hosts, which the store does not
        know."""
        self._metadata = metadata
        self._platform = platform
        self._platform_domains = platform_domains
        self._max_misses = max_misses
        self._sites: LRU[str, HostedSite] = LRU(max_sites, on_evict=self._unlink)
        self._misses: LRU[str, None] = LRU(max_misses)
        self._preview_misses: LRU[str, None] = LRU(max_misses)
        # Names in _sites, by the space, and of previews also by the domain of the site.
        self._names_of: defaultdict[str, set[str]] = defaultdict(set)
        self._previews_of: defaultdict[str, set[str]] = defaultdict(set)
        self._flights: Flights[str, HostedSite | None] = Flights()
        self._epoch = 0

    def find_nowait(self, host: str) -> HostedSite | None | Unknown:
        """The site, None where it is known that there is none, or that it has to be asked for."""
        site = self._sites.get(host) or self._platform.get(host)
        if site is not None:
            return site
        for domain in lookup_names(host):
            site = self._sites.get(domain)
            if site is not None:
                return site
            if domain not in self._misses:
                return None if host in self._preview_misses else Lookup.UNKNOWN
        return None

    async def find(self, host: str) -> HostedSite | None:
        """The site or None. Raises `Unavailable`; then nothing that is known is lost."""
        known = self.find_nowait(host)
        if known is not Lookup.UNKNOWN:
            return known
        return await self._flights.join(host, lambda: self._load(host))

    async def _load(self, host: str) -> HostedSite | None:
        epoch = -1
        site = None
        while epoch != self._epoch:  # a change came while we waited: what we read may be from before it
            epoch = self._epoch
            site = await find_hosted(self._metadata, host, self._platform_domains)
        if site is not None and site.preview is not None:
            self._keep(host, site)
            self._previews_of[site.domain].add(host)
        elif site is None and parse_preview(host, self._platform_domains):
            self._preview_misses[host] = None
        else:
            self._note(host, site)
        return site

    def _note(self, host: str, site: HostedSite | None) -> None:
        """Keep the site that answers for `host`, and that no domain before its does."""
        for domain in lookup_names(host):
            if site is not None and site.domain == domain:
                self._keep(domain, site)
                break
            self._misses[domain] = None

    def _keep(self, name: str, site: HostedSite) -> None:
        self._sites[name] = site
        self._names_of[site.space_id].add(name)

    def apply(self, change: Change) -> None:
        """Forget what `change` may have made untrue."""
        self._epoch += 1
        if self._preview_misses:
            self._preview_misses = LRU(self._max_misses)
        if change.space_id is not None:
            for name in tuple(self._names_of.get(change.space_id, ())):
                self._forget(name)
        for domain in change.hosts:
            self._forget(domain)
            for name in tuple(self._previews_of.get(domain, ())):
                self._forget(name)
            self._misses.pop(domain, None)

    def clear(self) -> None:
        """Forget everything."""
        self._epoch += 1
        self._sites.clear()
        self._misses.clear()
        self._preview_misses.clear()
        self._names_of.clear()
        self._previews_of.clear()

    def _forget(self, name: str) -> None:
        site = self._sites.pop(name, None)
        if site is not None:
            self._unlink(name, site)

    def _unlink(self, name: str, site: HostedSite) -> None:
        _discard(self._names_of, site.space_id, name)
        if site.preview is not None:
            _discard(self._previews_of, site.domain, name)


def _discard(names_of: dict[str, set[str]], key: str, name: str) -> None:
    names = names_of.get(key)
    if names is not None:
        names.discard(name)
        if not names:
            del names_of[key]

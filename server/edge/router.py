"""From a host to its site: bounded, filled on first use, told of every change.

Sites are kept by the domain they are registered at, so a wildcard's takes one place however many hosts it answers for;
domains that nobody has are kept apart, so a scan of random hosts evicts no site. One load runs a host at a time. What
was loading while a change arrived is loaded again: nothing older than the last change applied is ever kept.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from enum import Enum
from types import MappingProxyType
from typing import Literal, TypeAlias

from server.edge.cache import LRU
from server.edge.flights import Flights
from server.edge.hosts import lookup_names
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
        *,
        platform: Mapping[str, HostedSite] = MappingProxyType({}),
        max_sites: int = MAX_SITES,
        max_misses: int = MAX_MISSES,
    ) -> None:
        """`platform` has the platform's own hosts, which the store does not know."""
        self._metadata = metadata
        self._platform = platform
        self._sites: LRU[str, HostedSite] = LRU(max_sites, on_evict=self._unlink)
        self._misses: LRU[str, None] = LRU(max_misses)
        self._domains_of: defaultdict[str, set[str]] = defaultdict(set)  # space → domains in _sites
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
                return Lookup.UNKNOWN
        return None

    async def find(self, host: str) -> HostedSite | None:
        """The site or None. Raises `Unavailable`; then nothing that is known is lost."""
        known = self.find_nowait(host)
        if known is not Lookup.UNKNOWN:
            return known
        return await self._flights.join(host, lambda: self._load(host))

    async def _load(self, host: str) -> HostedSite | None:
        domains = lookup_names(host)
        epoch = -1
        site = None
        while epoch != self._epoch:  # a change came while we waited: what we read may be from before it
            epoch = self._epoch
            site = await self._metadata.find_site(domains)
        for domain in domains:
            if site is not None and site.domain == domain:
                self._sites[domain] = site
                self._domains_of[site.space_id].add(domain)
                break
            self._misses[domain] = None
        return site

    def apply(self, change: Change) -> None:
        """Forget what `change` may have made untrue."""
        self._epoch += 1
        if change.space_id is not None:
            for domain in self._domains_of.pop(change.space_id, ()):
                self._sites.pop(domain, None)
        for domain in change.hosts:
            site = self._sites.pop(domain, None)
            if site is not None:
                self._unlink(domain, site)
            self._misses.pop(domain, None)

    def clear(self) -> None:
        """Forget everything."""
        self._epoch += 1
        self._sites.clear()
        self._misses.clear()
        self._domains_of.clear()

    def _unlink(self, domain: str, site: HostedSite) -> None:
        domains = self._domains_of.get(site.space_id)
        if domains is not None:
            domains.discard(domain)
            if not domains:
                del self._domains_of[site.space_id]

"""From a host to its site: bounded, filled on first use, told of every change.

Sites and misses are kept apart, so that a scan of random hosts evicts no site. One load runs a host at a time. What was
loading while a change arrived is loaded again: nothing older than the last change applied is ever kept.
"""

from __future__ import annotations

from collections import defaultdict
from enum import Enum
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

    def __init__(self, metadata: EdgeMetadata, *, max_sites: int = MAX_SITES, max_misses: int = MAX_MISSES) -> None:
        self._metadata = metadata
        self._sites: LRU[str, HostedSite] = LRU(max_sites, on_evict=self._unlink)
        self._misses: LRU[str, None] = LRU(max_misses)
        self._hosts_of: defaultdict[str, set[str]] = defaultdict(set)  # space → hosts in _sites
        self._flights: Flights[str, HostedSite | None] = Flights()
        self._epoch = 0

    def find_nowait(self, host: str) -> HostedSite | None | Unknown:
        """The site, None where it is known that there is none, or that it has to be asked for."""
        site = self._sites.get(host)
        if site is not None:
            return site
        return None if host in self._misses else Lookup.UNKNOWN

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
            site = await self._metadata.find_site(lookup_names(host))
        if site is None:
            self._misses[host] = None
        else:
            self._sites[host] = site
            self._hosts_of[site.site.space_id].add(host)
        return site

    def apply(self, change: Change) -> None:
        """Forget what `change` may have made untrue."""
        self._epoch += 1
        if change.space_id is not None:
            for host in self._hosts_of.pop(change.space_id, ()):
                self._sites.pop(host, None)
        for domain in change.hosts:
            if domain.startswith("*."):
                self._forget_below(domain[1:])
            else:
                self._forget(domain)

    def clear(self) -> None:
        """Forget everything."""
        self._epoch += 1
        self._sites.clear()
        self._misses.clear()
        self._hosts_of.clear()

    def _forget(self, host: str) -> None:
        site = self._sites.pop(host, None)
        if site is not None:
            self._unlink(host, site)
        self._misses.pop(host, None)

    def _forget_below(self, suffix: str) -> None:
        for host in [host for host in (*self._sites, *self._misses) if host.endswith(suffix)]:
            self._forget(host)

    def _unlink(self, host: str, site: HostedSite) -> None:
        hosts = self._hosts_of.get(site.site.space_id)
        if hosts is not None:
            hosts.discard(host)
            if not hosts:
                del self._hosts_of[site.site.space_id]

"""Which connections have served which sites, so that they end when the site does.

A connection is noted when it first serves a site, so a request costs nothing more. Memory is bounded by the number of
open connections: one that has served very many sites, as a proxy's may, is told of every site that goes.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from typing import Protocol, TypeAlias

from storage.models import HostedSite

VISIT = "spacelane.visit"  # in an ASGI scope's extensions: a `Visit`, where the server's connections can be ended

Visit: TypeAlias = Callable[[HostedSite], None]  # told whose site a request is for, before anything of it is read

MAX_SITES = 1000  # of one connection, that are noted


def unnoted(site: HostedSite) -> None:
    """A `Visit` of nobody."""


class Connection(Protocol):
    """A visitor's, compared by identity."""

    def site_gone(self, domains: Collection[str]) -> None:
        """The sites that were at these domains are gone: end, if need be in the midst of what shows one of them."""
        ...


class Visits:
    """One worker's."""

    def __init__(self) -> None:
        self._sites: dict[str, tuple[str, set[Connection]]] = {}  # by domain: the site's id, and who has served it
        self._domains: dict[Connection, set[str]] = {}
        self._everywhere: set[Connection] = set()

    def __bool__(self) -> bool:
        return bool(self._domains)

    def add(self, site: HostedSite, connection: Connection) -> None:
        """Note that it serves `site`; again is harmless."""
        if connection in self._everywhere:
            return
        domains = self._domains.get(connection)
        if domains is None:
            domains = self._domains[connection] = set()
        elif site.domain in domains:
            return
        if len(domains) >= MAX_SITES:
            self.remove(connection)
            self._domains[connection] = set()
            self._everywhere.add(connection)
            return
        domains.add(site.domain)
        self._sites.setdefault(site.domain, (site.id, set()))[1].add(connection)

    def remove(self, connection: Connection) -> None:
        """It is closed; harmless if it was never noted."""
        self._everywhere.discard(connection)
        for domain in self._domains.pop(connection, ()):
            visitors = self._sites[domain][1]
            visitors.discard(connection)
            if not visitors:
                del self._sites[domain]

    def free(self, domains: Collection[str]) -> None:
        """The sites of `domains` are gone: tell those who have served them."""
        told = set(self._everywhere)
        for domain in domains:
            told.update(self._sites.get(domain, ("", set()))[1])
        for connection in told:
            connection.site_gone(domains)

    def sites(self) -> Iterator[tuple[str, str]]:
        """(domain, site's id) of all that are noted now."""
        yield from [(domain, site_id) for domain, (site_id, _) in self._sites.items()]

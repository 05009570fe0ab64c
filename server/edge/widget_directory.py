"""From a site_id to its widget: bounded, filled on first use, told of every change.

Those that nobody has are kept apart, so that a scan of random site_ids drops no widget. What was loading while a change
arrived is loaded again.

A door keeps answers by the origin that they are for. `version_of` tells it when those of an origin are no longer true:
it moves with each change of a widget that is for the origin, and with no other's.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from server.edge.cache import LRU
from server.edge.flights import Flights
from server.edge.router import Lookup, Unknown
from server.edge.widgets import HostedWidget, domains_of

MAX_WIDGETS_BYTES = 32 * 1024 * 1024
WIDGET_OVERHEAD = 700  # bytes: the object, its texts' heads, its place
MAX_MISSES = 10_000
MAX_DOMAINS = 50_000


class WidgetDirectory:
    """`load` finds a widget in the store; it raises `Unavailable`."""

    def __init__(
        self,
        load: Callable[[str], Awaitable[HostedWidget | None]],
        *,
        max_bytes: int = MAX_WIDGETS_BYTES,
        max_misses: int = MAX_MISSES,
        max_domains: int = MAX_DOMAINS,
    ) -> None:
        self._load_widget = load
        self._widgets: LRU[str, HostedWidget] = LRU(max_bytes, _cost, on_evict=lambda _, widget: self._move(widget))
        self._misses: LRU[str, None] = LRU(max_misses)
        self._flights: Flights[str, HostedWidget | None] = Flights()
        self._epoch = 0
        self._moves = 0
        self._versions: LRU[str, int] = LRU(max_domains, on_evict=self._forget_version)
        self._floor = 0  # at least the version of each domain that `_versions` has lost

    def find_nowait(self, site_id: str) -> HostedWidget | None | Unknown:
        """The widget, None where it is known that there is none, or that it has to be asked for."""
        widget = self._widgets.get(site_id)
        if widget is not None:
            return widget
        return None if site_id in self._misses else Lookup.UNKNOWN

    async def find(self, site_id: str) -> HostedWidget | None:
        """The widget or None. Raises `Unavailable`; then nothing that is known is lost."""
        known = self.find_nowait(site_id)
        if known is not Lookup.UNKNOWN:
            return known
        return await self._flights.join(site_id, lambda: self._load(site_id))

    def version_of(self, origin: str | None) -> int:
        """Of what widgets answer to pages of `origin`; without one, of what no change touches."""
        if origin is None:
            return 0
        return max([self._floor, *(self._versions.get(domain, 0) for domain in domains_of(origin))])

    def forget(self, site_id: str) -> None:
        """A change may have made untrue what is known of it."""
        self._epoch += 1
        widget = self._widgets.pop(site_id, None)
        if widget is not None:
            self._move(widget)
        self._misses.pop(site_id, None)

    def clear(self) -> None:
        """Forget everything."""
        self._epoch += 1
        self._widgets.clear()
        self._misses.clear()
        self._versions.clear()
        self._moves += 1
        self._floor = self._moves

    async def _load(self, site_id: str) -> HostedWidget | None:
        epoch = -1
        widget = None
        while epoch != self._epoch:  # a change came while we waited: what we read may be from before it
            epoch = self._epoch
            widget = await self._load_widget(site_id)
        if widget is None:
            self._misses[site_id] = None
        else:
            self._widgets[site_id] = widget
        return widget

    def _move(self, widget: HostedWidget) -> None:
        """No news of one that is not known here would reach the answers that show it."""
        self._moves += 1
        self._versions[widget.domain] = self._moves

    def _forget_version(self, _: str, version: int) -> None:
        self._floor = max(self._floor, version)


def _cost(widget: HostedWidget) -> int:
    return WIDGET_OVERHEAD + len(widget.body)

"""The platform's own hosts for the site widget: as the library answers for sites, from the same cache.

1. `/widget.js`               the script, for every page
2. `/v1/{site_id}/config`     what the script goes by, for pages of the site's domain
3. `/v1/{site_id}/sessions`   where the script reports that a visitor has opened it

What is kept is kept by its content, so a change leaves nothing to be purged: the next request for a configuration that
has changed asks for another content.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Hashable, Iterable
from dataclasses import replace
from pathlib import Path

from server.compression import BEST
from server.edge.cache import Entry, ResponseCache
from server.edge.decision import NO_FILE, answer_to_method
from server.edge.made import Made, make
from server.edge.media_types import content_type
from server.edge.request import Request
from server.edge.response import Representation, made_representation
from server.edge.router import Lookup
from server.edge.sessions import SessionDesk
from server.edge.widget_directory import WidgetDirectory
from server.edge.widgets import (
    CONFIG_TYPE,
    FOREIGN,
    METHODS,
    SCRIPT_CACHING,
    SCRIPT_PATH,
    HostedWidget,
    Resource,
    domains_of,
    hosted,
    not_allowed,
    open_to,
    open_to_all,
    options,
    parse_route,
)
from storage.metadata import EdgeMetadata
from storage.models import Change, HostedSite

SCRIPT = Path(__file__).parent.parent / "widget" / "widget.js"

SITE_ID = "widget"  # in the log and the metrics; no site of the store has such an id

AT_ONCE_BYTES = 4096  # of a configuration, that are compressed in the event loop: some 0.3 ms

_SCRIPT_KEY = ("widget", "script")


class WidgetHost:
    """One worker's. Each of `hosts` is a site of the platform's, which is in no space: `sites` has them."""

    def __init__(
        self, metadata: EdgeMetadata, cache: ResponseCache, hosts: Iterable[str], clock: Callable[[], float]
    ) -> None:
        self.sites = {host: _platform_site(host) for host in hosts}
        self._metadata = metadata
        self._cache = cache
        self._directory = WidgetDirectory(self._load)
        self._sessions = SessionDesk(metadata, clock)
        self._script: Made | None = None

    def site_for(self, site: HostedSite, origin: str | None) -> HostedSite:
        """`site`, one of `sites`, in the version that pages of `origin` see."""
        return replace(site, revision=self._directory.version_of(origin))

    def find_nowait(self, site: HostedSite, path: str, request: Request) -> Representation | None:
        """The answer to `request`, for `path` (from `decode_path`), if no store has to be asked."""
        route = parse_route(path)
        if route is None:
            settled = answer_to_method(request.method)
            if settled is not None or path != SCRIPT_PATH:
                return settled or NO_FILE
            return self._kept(_SCRIPT_KEY, request)
        site_id, resource = route
        if request.method != "OPTIONS" and request.method not in METHODS[resource]:
            return not_allowed(resource)
        widget = self._directory.find_nowait(site_id)
        if widget is Lookup.UNKNOWN:
            return None
        settled = _judge(widget, resource, request)
        if settled is not None or widget is None or resource == "sessions":
            return settled
        return self._kept(_key(widget, request.origin), request)

    async def find(self, site: HostedSite, path: str, request: Request) -> Representation:
        """The answer where `find_nowait` has none. Raises `Unavailable`."""
        route = parse_route(path)
        if route is None:
            return await self._show_script(request)
        site_id, resource = route
        widget = await self._directory.find(site_id)
        settled = _judge(widget, resource, request)
        if settled is not None:
            return settled
        assert widget is not None, "judged"
        if resource == "sessions":
            return await self._sessions.add(widget, request)
        if len(widget.body) > AT_ONCE_BYTES:
            made = await asyncio.to_thread(make, CONFIG_TYPE, widget.body)
        else:
            made = make(CONFIG_TYPE, widget.body)
        stored = open_to(made_representation(made.content(request.accept_encoding)), request.origin)
        self._cache.put_coded(_key(widget, request.origin), stored)
        return stored

    def find_entry(self, site: HostedSite, path: str, request: Request) -> Entry | None:
        """What is kept for GET of `path` if every such request of `request.origin` gets it, as long as `site_for` gives
        the same version."""
        route = parse_route(path)
        if route is None:
            return self._cache.find_coded(_SCRIPT_KEY, request.accept_encoding) if path == SCRIPT_PATH else None
        site_id, resource = route
        widget = self._directory.find_nowait(site_id)
        # Without an origin there is no version that would move.
        if (
            request.origin is None
            or not isinstance(widget, HostedWidget)
            or _judge(widget, resource, request) is not None
        ):
            return None
        return self._cache.find_coded(_key(widget, request.origin), request.accept_encoding)

    def apply(self, change: Change) -> None:
        """Forget what `change` may have made untrue."""
        if change.widget is not None:
            self._directory.forget(change.widget)

    def clear(self) -> None:
        """Forget everything."""
        self._directory.clear()

    async def _load(self, site_id: str) -> HostedWidget | None:
        widget = await self._metadata.find_widget(site_id)
        return None if widget is None else hosted(widget)

    async def _show_script(self, request: Request) -> Representation:
        if self._script is None:
            self._script = await asyncio.to_thread(_make_script)
        content = self._script.content(request.accept_encoding)
        stored = open_to_all(made_representation(content, SCRIPT_CACHING))
        self._cache.put_coded(_SCRIPT_KEY, stored)
        return stored

    def _kept(self, key: Hashable, request: Request) -> Representation | None:
        entry = self._cache.find_coded(key, request.accept_encoding)
        return entry.value if entry is not None and isinstance(entry.value, Representation) else None


def _judge(widget: HostedWidget | None, resource: Resource, request: Request) -> Representation | None:
    """What is answered without a look at the widget's contents; None where that is needed."""
    if widget is None:
        return NO_FILE
    origin = request.origin
    if origin is not None and widget.domain not in domains_of(origin):
        return FOREIGN
    if request.method == "OPTIONS":
        return options(resource, origin)
    # Who tells of a session has to be a page, and pages say which they are when they post (Fetch, "Origin header").
    return FOREIGN if resource == "sessions" and origin is None else None


def _key(widget: HostedWidget, origin: str | None) -> Hashable:
    return ("widget", widget.site_id, widget.digest, origin)


def _make_script() -> Made:
    return make(content_type(SCRIPT.name), SCRIPT.read_bytes(), BEST)


def _platform_site(host: str) -> HostedSite:
    return HostedSite(
        id=SITE_ID,
        space_id="",
        domain=host,
        prefix="",
        index="",
        not_found="",
        revision=0,
        created_at=0,
        settings_at=None,
        files_revision=0,
        variants_revision=0,
    )

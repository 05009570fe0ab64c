"""Sessions that the widget reports from visitors' pages: judged, counted, then handed to the store.

Whoever can load a page can report sessions of its site, so they are bounded: as many a minute for a site as people
could open, and no more writes at once than leave the store to others.
"""

from __future__ import annotations

from collections.abc import Callable

from server.edge.cache import LRU
from server.edge.decision import NO_FILE
from server.edge.request import Refusal, Request
from server.edge.response import Representation
from server.edge.visitor import Visitor
from server.edge.widgets import BUSY, TOO_MANY, HostedWidget, accepted, open_to
from storage.errors import Invalid, NotFound
from storage.metadata import EdgeMetadata

MAX_A_MINUTE = 600  # of a site, by way of one worker
MAX_AT_ONCE = 16  # writes of one worker
MAX_COUNTED = 10_000  # sites


class SessionDesk:
    """One worker's."""

    def __init__(self, metadata: EdgeMetadata, clock: Callable[[], float]) -> None:
        self._metadata = metadata
        self._clock = clock
        self._counts: LRU[str, tuple[int, int]] = LRU(MAX_COUNTED)  # by site_id: the minute, and how many in it
        self._writing = 0

    async def add(self, widget: HostedWidget, request: Request) -> Representation:
        """Take in the session that a page of `request.origin`, which is allowed, reports. Raises `Refusal` (400),
        `Unavailable`."""
        assert request.origin is not None, "judged"
        page = read_page(request)
        minute = int(self._clock() // 60)
        counted, count = self._counts.get(widget.site_id, (minute, 0))
        count = count + 1 if counted == minute else 1
        if count > MAX_A_MINUTE:
            return open_to(TOO_MANY, request.origin)
        if self._writing >= MAX_AT_ONCE:
            return open_to(BUSY, request.origin)
        self._counts[widget.site_id] = (minute, count)
        self._writing += 1
        try:
            await self._metadata.add_session(widget.site_id, page)
        except NotFound:  # deleted just now
            return NO_FILE
        except Invalid as exc:
            raise Refusal(400, f"{exc.field} {exc}") from exc
        finally:
            self._writing -= 1
        return accepted(request.origin)


def read_page(request: Request) -> str:
    """The path of the page that a report is from, "" if it does not say. Raises `Refusal` (400)."""
    page = Visitor(request.query).parameters.get("page", "")
    if page and not page.startswith("/"):
        raise Refusal(400, "page has to be the path of a page")
    return page

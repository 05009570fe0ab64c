"""Sessions of widgets, and what is still to be done for widgets that were deleted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from sqlalchemy import bindparam, delete, select, update

from storage import audit, widget_edits
from storage.errors import NotFound
from storage.models import Millis, Page, PageQuery
from storage.sql.database import Verbs, whole
from storage.sql.rows import PURGE, SESSION, WIDGET
from storage.sql.tables import widget_purges, widget_secrets, widget_sessions, widgets
from storage.widgets import Purge, WidgetSession

_of_widget = widget_sessions.c.widget_id == bindparam("widget")
_by_id = select(widget_sessions.c.id).where(_of_widget)
_BEYOND = delete(widget_sessions).where(
    _of_widget,
    widget_sessions.c.id
    <= _by_id.order_by(widget_sessions.c.id.desc()).offset(bindparam("most")).limit(1).scalar_subquery(),
)
_FIRST = delete(widget_sessions).where(
    widget_sessions.c.id.in_(_by_id.order_by(widget_sessions.c.id).limit(bindparam("most")))
)
# A deletion of the widget waits until the session is kept, and its purge finds it.
_OPEN = (
    select(*WIDGET.columns).where(widgets.c.site_id == bindparam("site_id")).with_for_update(read=True, key_share=True)
)


class PurgeVerbs(Verbs):
    @whole
    async def add_session(self, site_id: str, page: str, transcript: str = "") -> WidgetSession:
        async with self._database.transaction() as transaction:
            rows = await transaction.rows(_OPEN, {"site_id": site_id})
            if not rows:
                raise NotFound("widget", site_id)
            session = widget_edits.make_session(WIDGET.value(rows[0]), page, transcript, transaction.now)
            await transaction.insert(widget_sessions, SESSION.values(session))
            await transaction.execute(_BEYOND, {"widget": session.widget_id, "most": widget_edits.MAX_SESSIONS})
            return session

    async def list_sessions(self, widget_id: str, query: PageQuery) -> Page[WidgetSession]:
        return await SESSION.list_page(self._database, query, widget_sessions.c.widget_id == widget_id)

    async def list_purges(self, due: Millis, limit: int) -> Sequence[Purge]:
        order = (widget_purges.c.due_at, widget_purges.c.id)
        part = select(*PURGE.columns).where(widget_purges.c.due_at <= due).order_by(*order).limit(limit)
        return [PURGE.value(row) for row in await self._database.rows(part)]

    @whole
    async def claim_purge(self, purge: Purge, until: Millis) -> Purge | None:
        same = (widget_purges.c.id == purge.id, widget_purges.c.due_at == purge.due_at)
        async with self._database.transaction() as transaction:
            if not await transaction.execute(update(widget_purges).where(*same).values(due_at=until)):
                return None
            return replace(purge, due_at=until)

    @whole
    async def purge_sessions(self, purge: Purge, limit: int) -> int:
        async with self._database.transaction() as transaction:
            gone = await transaction.execute(_FIRST, {"widget": purge.widget_id, "most": limit})
            counted = widget_purges.c.sessions + gone
            await transaction.execute(
                update(widget_purges).where(widget_purges.c.id == purge.id).values(sessions=counted)
            )
            return gone

    @whole
    async def save_purge(self, purge: Purge) -> None:
        kept = {name: getattr(purge, name) for name in ("due_at", "attempts", "outcomes")}
        async with self._database.transaction() as transaction:
            await transaction.execute(update(widget_purges).where(widget_purges.c.id == purge.id).values(kept))

    @whole
    async def finish_purge(self, purge: Purge) -> None:
        async with self._database.transaction() as transaction:
            there = await PURGE.find(transaction, widget_purges.c.id == purge.id)
            if there is not None and await transaction.execute(
                delete(widget_purges).where(widget_purges.c.id == purge.id)
            ):
                await transaction.execute(delete(widget_secrets).where(widget_secrets.c.widget_id == purge.widget_id))
                transaction.record(audit.purged(there))

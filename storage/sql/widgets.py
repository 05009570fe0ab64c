"""Widgets, the sites of the Sites API: their configurations and secrets."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from sqlalchemy import delete, func, or_, select, tuple_, update

from storage import audit, edits, widget_edits
from storage.sql.database import Change, Transaction, Verbs, whole
from storage.sql.dialects import insert_into, position_of
from storage.sql.quotas import check_quota
from storage.sql.rows import PURGE, SECRET, SITE, WIDGET, WORKSPACE, has_meta
from storage.sql.sites import stamp_settings
from storage.sql.tables import sites, widget_names, widget_purges, widget_secrets, widgets
from storage.widgets import NewWidget, Secret, SecretKind, Widget, WidgetList, folded


class WidgetVerbs(Verbs):
    async def find_widget_by_id(self, widget_id: str) -> Widget | None:
        return await WIDGET.find(self._database, widgets.c.id == widget_id)

    async def list_widgets(self, workspace_id: str, *, q: str = "", limit: int = 25, offset: int = 0) -> WidgetList:
        where = [widgets.c.workspace_id == workspace_id]
        if wanted := folded(q):
            looked_in = (widgets.c.folded_name, widgets.c.domain)
            where.append(or_(*(position_of(column, wanted) > 0 for column in looked_in)))
        counted = await self._database.rows(select(func.count().label("total")).select_from(widgets).where(*where))
        part = select(*WIDGET.columns).where(*where).order_by(widgets.c.id.desc()).limit(limit).offset(offset)
        items = tuple(WIDGET.value(row) for row in await self._database.rows(part))
        return WidgetList(items=items, total=counted[0].total)

    @whole
    async def create_widget(self, new: NewWidget) -> Widget:
        async with self._database.change() as change:
            await WORKSPACE.get(change, new.workspace_id)
            widget = widget_edits.make_widget(new, change.revision, change.now)
            await change.insert(widget_names, {"site_id": widget.site_id})
            await change.insert(widgets, WIDGET.values(widget))
            await check_quota(change, edits.WIDGETS, widget.workspace_id)
            await _put_secrets(change, widget, new.secrets)
            change.record(audit.credentials_changed(audit.created(widget), new.secrets))
            await _tell(change, "widget.create", widget, widget)
            return widget

    @whole
    async def update_widget(
        self,
        widget_id: str,
        edit: Callable[[Widget], Widget],
        secrets: Mapping[SecretKind, str | None] | None = None,
    ) -> Widget:
        async with self._database.change() as change:
            old = await WIDGET.get(change, widget_id)
            widget = widget_edits.edit_widget(old, edit, change.revision, change.now)
            await change.update(widgets, WIDGET.values(widget))
            await _put_secrets(change, widget, secrets or {})
            change.record(audit.credentials_changed(audit.updated(old, widget), secrets or {}))
            await _tell(change, "widget.update", old, widget)
            return widget

    @whole
    async def delete_widget(self, widget_id: str) -> None:
        async with self._database.change() as change:
            widget = await WIDGET.get(change, widget_id)
            await change.execute(delete(widgets).where(widgets.c.id == widget_id))
            await _remove_secret(change, widget_id, "data_connection")
            await change.insert(widget_purges, PURGE.values(widget_edits.make_purge(widget, change.now)))
            change.record(audit.deleted(widget))
            await _tell(change, "widget.delete", widget, widget)

    async def find_secret(self, widget_id: str, kind: SecretKind) -> Secret | None:
        return await SECRET.find(self._database, widget_secrets.c.widget_id == widget_id, widget_secrets.c.kind == kind)

    async def list_secrets(self, after: tuple[str, str], limit: int) -> Sequence[Secret]:
        place = (widget_secrets.c.widget_id, widget_secrets.c.kind)
        part = select(*SECRET.columns).where(tuple_(*place) > tuple_(*after)).order_by(*place).limit(limit)
        return [SECRET.value(row) for row in await self._database.rows(part)]

    @whole
    async def replace_secret(self, secret: Secret, sealed: str) -> bool:
        same = [widget_secrets.c[name] == getattr(secret, name) for name in ("widget_id", "kind", "sealed")]
        async with self._database.transaction() as transaction:
            return await transaction.execute(update(widget_secrets).where(*same).values(sealed=sealed)) > 0


async def _put_secrets(change: Change, widget: Widget, secrets: Mapping[SecretKind, str | None]) -> None:
    for kind, sealed in secrets.items():
        if sealed is None:
            await _remove_secret(change, widget.id, kind)
            continue
        secret = Secret(workspace_id=widget.workspace_id, widget_id=widget.id, kind=kind, sealed=sealed)
        adding = insert_into(change.dialect, widget_secrets).values(SECRET.values(secret))
        await change.execute(
            adding.on_conflict_do_update(index_elements=["widget_id", "kind"], set_={"sealed": sealed})
        )


async def _remove_secret(transaction: Transaction, widget_id: str, kind: SecretKind) -> None:
    own = (widget_secrets.c.widget_id == widget_id, widget_secrets.c.kind == kind)
    await transaction.execute(delete(widget_secrets).where(*own))


async def _tell(change: Change, kind: str, old: Widget, new: Widget) -> None:
    """Log it, and have the workspace's sites move along whose pages gain or lose its tag."""
    domains = widget_edits.tagged_domains(old, new)
    own = (sites.c.workspace_id == new.workspace_id, sites.c.domain.in_(domains), *has_meta(sites, edits.TAGGED))
    rows = await change.rows(select(*SITE.columns).where(*own).order_by(sites.c.domain)) if domains else ()
    for row in rows:
        site = await stamp_settings(change, replace(SITE.value(row), revision=change.revision))
        await change.update(sites, SITE.values(site))
    change.log(kind, [row.domain for row in rows], widget=new.site_id)

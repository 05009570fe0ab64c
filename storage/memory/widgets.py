"""Widgets, the sites of the Sites API, in memory."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from storage import audit, edits, widget_edits
from storage.audit import Act
from storage.edits import Quota
from storage.errors import Conflict, NotFound
from storage.memory.nouns import get, page
from storage.models import Millis, Page, PageQuery, Site
from storage.widgets import NewWidget, Purge, Secret, SecretKind, Widget, WidgetList, WidgetSession, folded
from storage.workspaces import Workspace


class WidgetVerbs:
    """Those verbs of `MemoryMetadata`, over its attributes."""

    _clock: Callable[[], Millis]
    _sites: dict[str, Site]
    _widgets: dict[str, Widget]
    _widget_names: set[str]
    _secrets: dict[tuple[str, SecretKind], Secret]
    _sessions: dict[str, WidgetSession]
    _purges: dict[str, Purge]
    _require_workspace: Callable[[str], Workspace]
    _check_quota: Callable[[Quota, str, int], None]
    _stamp_settings: Callable[[Site, Millis], Site]
    _next_revision: Callable[[], int]
    _record: Callable[[Act], None]
    _log: Callable[..., None]

    async def find_widget(self, site_id: str) -> Widget | None:
        return next((widget for widget in self._widgets.values() if widget.site_id == site_id), None)

    async def find_widget_by_id(self, widget_id: str) -> Widget | None:
        return self._widgets.get(widget_id)

    async def find_widget_for_domain(self, workspace_id: str, domain: str) -> Widget | None:
        return next((each for each in self._own(workspace_id) if each.domain == domain), None)

    async def list_widgets(self, workspace_id: str, *, q: str = "", limit: int = 25, offset: int = 0) -> WidgetList:
        wanted = folded(q)
        found = [each for each in self._own(workspace_id) if wanted in folded(each.business_name) + "\0" + each.domain]
        found.sort(key=lambda widget: widget.id, reverse=True)
        return WidgetList(items=tuple(found[offset : offset + limit]), total=len(found))

    async def create_widget(self, new: NewWidget) -> Widget:
        self._require_workspace(new.workspace_id)
        widget = widget_edits.make_widget(new, self._next_revision(), self._clock())
        if widget.site_id in self._widget_names:
            raise Conflict("widget", "site_id", widget.site_id)
        self._refuse_taken(widget)
        self._check_quota(edits.WIDGETS, new.workspace_id, self._count_widgets(new.workspace_id) + 1)
        self._widgets[widget.id] = widget
        self._widget_names.add(widget.site_id)
        self._put_secrets(widget, new.secrets)
        self._record(audit.credentials_changed(audit.created(widget), new.secrets))
        self._tell("widget.create", widget, widget)
        return widget

    async def update_widget(
        self,
        widget_id: str,
        edit: Callable[[Widget], Widget],
        secrets: Mapping[SecretKind, str | None] | None = None,
    ) -> Widget:
        old = get(self._widgets, "widget", widget_id)
        widget = widget_edits.edit_widget(old, edit, self._next_revision(), self._clock())
        self._refuse_taken(widget)
        self._widgets[widget_id] = widget
        self._put_secrets(widget, secrets or {})
        self._record(audit.credentials_changed(audit.updated(old, widget), secrets or {}))
        self._tell("widget.update", old, widget)
        return widget

    async def delete_widget(self, widget_id: str) -> None:
        widget = get(self._widgets, "widget", widget_id)
        del self._widgets[widget_id]
        self._secrets.pop((widget_id, "data_connection"), None)
        purge = widget_edits.make_purge(widget, self._clock())
        self._purges[purge.id] = purge
        self._record(audit.deleted(widget))
        self._tell("widget.delete", widget, widget)

    # Secrets.

    async def find_secret(self, widget_id: str, kind: SecretKind) -> Secret | None:
        return self._secrets.get((widget_id, kind))

    async def list_secrets(self, after: tuple[str, str], limit: int) -> Sequence[Secret]:
        return [secret for place, secret in sorted(self._secrets.items()) if place > after][:limit]

    async def replace_secret(self, secret: Secret, sealed: str) -> bool:
        place = (secret.widget_id, secret.kind)
        if self._secrets.get(place) != secret:
            return False
        self._secrets[place] = replace(secret, sealed=sealed)
        return True

    # Sessions.

    async def add_session(self, site_id: str, page: str, transcript: str = "") -> WidgetSession:
        widget = await self.find_widget(site_id)
        if widget is None:
            raise NotFound("widget", site_id)
        session = widget_edits.make_session(widget, page, transcript, self._clock())
        self._sessions[session.id] = session
        for id in self._session_ids(widget.id)[: -widget_edits.MAX_SESSIONS]:
            del self._sessions[id]
        return session

    async def list_sessions(self, widget_id: str, query: PageQuery) -> Page[WidgetSession]:
        return page((each for each in self._sessions.values() if each.widget_id == widget_id), query)

    # Purges.

    async def list_purges(self, due: Millis, limit: int) -> Sequence[Purge]:
        there = sorted(self._purges.values(), key=lambda purge: (purge.due_at, purge.id))
        return [purge for purge in there if purge.due_at <= due][:limit]

    async def claim_purge(self, purge: Purge, until: Millis) -> Purge | None:
        there = self._purges.get(purge.id)
        if there is None or there.due_at != purge.due_at:
            return None
        self._purges[purge.id] = claimed = replace(there, due_at=until)
        return claimed

    async def purge_sessions(self, purge: Purge, limit: int) -> int:
        gone = self._session_ids(purge.widget_id)[:limit]
        for id in gone:
            del self._sessions[id]
        if there := self._purges.get(purge.id):
            self._purges[purge.id] = replace(there, sessions=there.sessions + len(gone))
        return len(gone)

    async def save_purge(self, purge: Purge) -> None:
        if there := self._purges.get(purge.id):
            self._purges[purge.id] = replace(purge, sessions=there.sessions)

    async def finish_purge(self, purge: Purge) -> None:
        there = self._purges.pop(purge.id, None)
        if there is not None:
            for place in [place for place in self._secrets if place[0] == purge.widget_id]:
                del self._secrets[place]
            self._record(audit.purged(there))

    # What they share.

    def _own(self, workspace_id: str) -> list[Widget]:
        return [widget for widget in self._widgets.values() if widget.workspace_id == workspace_id]

    def _count_widgets(self, workspace_id: str) -> int:
        return len(self._own(workspace_id))

    def _session_ids(self, widget_id: str) -> list[str]:
        return sorted(session.id for session in self._sessions.values() if session.widget_id == widget_id)

    def _refuse_taken(self, widget: Widget) -> None:
        if any(each.domain == widget.domain and each.id != widget.id for each in self._own(widget.workspace_id)):
            raise Conflict("widget", "domain", widget.domain)

    def _put_secrets(self, widget: Widget, secrets: Mapping[SecretKind, str | None]) -> None:
        for kind, sealed in secrets.items():
            if sealed is None:
                self._secrets.pop((widget.id, kind), None)
            else:
                self._secrets[widget.id, kind] = Secret(
                    workspace_id=widget.workspace_id, widget_id=widget.id, kind=kind, sealed=sealed
                )

    def _tell(self, kind: str, old: Widget, new: Widget) -> None:
        domains = widget_edits.tagged_domains(old, new)
        hosted = [
            site
            for site in self._sites.values()
            if site.workspace_id == new.workspace_id
            and site.domain in domains
            and edits.matches_meta(site.meta, edits.TAGGED)
        ]
        for site in hosted:
            self._sites[site.id] = self._stamp_settings(replace(site, revision=self._next_revision()), self._clock())
        self._log(kind, tuple(sorted(site.domain for site in hosted)), widget=new.site_id)

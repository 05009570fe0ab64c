"""The part of a metadata store's contract that is about widgets, the sites of the Sites API; see `storage.metadata`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from storage.models import Millis, Page, PageQuery
from storage.widgets import NewWidget, Purge, Secret, SecretKind, Widget, WidgetList, WidgetSession


class WidgetMetadata(Protocol):
    """A change of a widget names it in the change log and, where its own workspace has a site at the widget's domain
    whose pages gain or lose the widget's tag by it, that site: its `revision` and `settings_at` move along."""

    async def create_widget(self, new: NewWidget) -> Widget:
        """Raises `NotFound` (workspace), `Conflict` (site_id: any workspace's, of all time; domain: this
        workspace's), `QuotaExceeded`, `Invalid` (text that UTF-8 cannot carry; more than 64 KiB of JSON)."""
        ...

    async def find_widget_by_id(self, widget_id: str) -> Widget | None: ...

    async def list_widgets(self, workspace_id: str, *, q: str = "", limit: int = 25, offset: int = 0) -> WidgetList:
        """The latest first. `q` keeps those whose business name or domain has it somewhere, in any case."""
        ...

    async def update_widget(
        self,
        widget_id: str,
        edit: Callable[[Widget], Widget],
        secrets: Mapping[SecretKind, str | None] | None = None,
    ) -> Widget:
        """Give it the domain, business name and settings of what `edit`, a pure function, makes of it as it is then.

        `secrets` take the place of those of the same kind; None removes one. Raises `NotFound`, `Conflict` (domain),
        `Invalid` as `create_widget` does, and whatever `edit` does; then nothing was written.
        """
        ...

    async def delete_widget(self, widget_id: str) -> None:
        """It stops at once. Its data connection's credentials go along; its sessions, and its OAuth connections, which
        are to be revoked first, are left to a `Purge` that is due at once. Raises `NotFound`."""
        ...

    # Secrets. Reading and replacing them is no change that concerns anybody.

    async def find_secret(self, widget_id: str, kind: SecretKind) -> Secret | None:
        """Of a deleted widget too, as long as its purge needs it."""
        ...

    async def list_secrets(self, after: tuple[str, str], limit: int) -> Sequence[Secret]:
        """All workspaces', by (widget_id, kind), behind that place."""
        ...

    async def replace_secret(self, secret: Secret, sealed: str) -> bool:
        """Keep it in another form, if it is still there as it was."""
        ...

    # Sessions.

    async def list_sessions(self, widget_id: str, query: PageQuery) -> Page[WidgetSession]:
        """By id, which is by time; of a deleted widget too, as long as they are there."""
        ...

    # Purges.

    async def list_purges(self, due: Millis, limit: int) -> Sequence[Purge]:
        """Those that are due by then, the longest due first."""
        ...

    async def claim_purge(self, purge: Purge, until: Millis) -> Purge | None:
        """Have it be due at `until`, and be the one who works on it until then; None if somebody else came first."""
        ...

    async def purge_sessions(self, purge: Purge, limit: int) -> int:
        """Remove some of the widget's sessions, at most `limit`, and count them in the purge; how many."""
        ...

    async def save_purge(self, purge: Purge) -> None:
        """Keep its `due_at`, `attempts` and `outcomes`; harmless if it is over."""
        ...

    async def finish_purge(self, purge: Purge) -> None:
        """Remove it and what is left of the widget's secrets; the audit log tells what was done. Harmless if it is
        over."""
        ...

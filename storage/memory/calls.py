"""What is kept of calls, in memory: the audit log, and the answers of calls that may be repeated."""

from __future__ import annotations

from collections.abc import Callable, Collection
from copy import copy
from dataclasses import replace
from typing import Self

from storage import audit
from storage.audit import Act
from storage.calls import Actor, Attempt, AuditEntry
from storage.memory.nouns import page
from storage.models import Millis, Page, PageQuery


class MemoryCalls:
    """The part of `MemoryMetadata` that notes who did what."""

    def __init__(self, clock: Callable[[], Millis]) -> None:
        self._clock = clock
        self._actor = audit.SYSTEM
        self._audit: dict[str, AuditEntry] = {}
        self._attempts: dict[str, dict[str, Attempt]] = {}  # by workspace, by scope

    def acting(self, actor: Actor) -> Self:
        """All that is kept is shared: it is in collections that are changed and never replaced."""
        same = copy(self)
        same._actor = actor
        return same

    async def list_audit(
        self,
        workspace_id: str,
        query: PageQuery,
        *,
        kind: str | None = None,
        object_id: str | None = None,
        action: str | None = None,
        spaces: Collection[str] | None = None,
    ) -> Page[AuditEntry]:
        return page(
            (
                entry
                for entry in self._audit.values()
                if entry.workspace_id == workspace_id
                and kind in (None, entry.kind)
                and object_id in (None, entry.object_id)
                and action in (None, entry.action)
                and (spaces is None or entry.space_id in spaces)
            ),
            query,
        )

    async def forget_audit(self, before: Millis) -> int:
        old = [entry.id for entry in self._audit.values() if entry.created_at < before]
        for id in old:
            del self._audit[id]
        return len(old)

    async def begin_attempt(self, workspace_id: str, scope: str, new: Attempt, *, since: Millis) -> Attempt:
        attempts = self._attempts.setdefault(workspace_id, {})
        there = attempts.get(scope)
        if there is None or there.started_at <= since:
            there = attempts[scope] = new
        return there

    async def end_attempt(self, workspace_id: str, scope: str, id: str, status: int, answer: str) -> None:
        if attempt := self._find_attempt(workspace_id, scope, id):
            self._attempts[workspace_id][scope] = replace(attempt, status=status, answer=answer)

    async def forget_attempt(self, workspace_id: str, scope: str, id: str) -> None:
        if self._find_attempt(workspace_id, scope, id):
            del self._attempts[workspace_id][scope]

    async def forget_attempts(self, before: Millis, keep: int) -> int:
        removed = 0
        for attempts in self._attempts.values():
            latest = sorted(attempts, key=lambda scope: attempts[scope].started_at, reverse=True)
            for place, scope in enumerate(latest):
                if place >= keep or attempts[scope].started_at < before:
                    del attempts[scope]
                    removed += 1
        return removed

    def _find_attempt(self, workspace_id: str, scope: str, id: str) -> Attempt | None:
        attempt = self._attempts.get(workspace_id, {}).get(scope)
        return attempt if attempt and attempt.id == id else None

    def _record(self, act: Act) -> None:
        entry = audit.entry(act, self._actor, self._clock())
        self._audit[entry.id] = entry

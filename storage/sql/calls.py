"""What is kept of calls: the audit log of what they changed, and the answers of those that may be repeated."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from sqlalchemy import ColumnElement, Delete, and_, bindparam, delete, func, select, update

from storage.calls import Attempt, AuditEntry
from storage.models import Millis, Page, PageQuery
from storage.sql.database import Verbs, whole
from storage.sql.dialects import insert_into
from storage.sql.rows import ATTEMPT, AUDIT
from storage.sql.tables import attempts, audit

_AT_ONCE = 5_000  # rows that are removed in one write, while which all others wait

_OLD_AUDIT = delete(audit).where(
    audit.c.id.in_(select(audit.c.id).where(audit.c.created_at < bindparam("before")).limit(_AT_ONCE))
)

_of_attempt = and_(attempts.c.workspace_id == bindparam("of_workspace"), attempts.c.scope == bindparam("of_scope"))
_own_attempt = and_(_of_attempt, attempts.c.id == bindparam("of_id"))

# A scope is a digest, so that no two workspaces have the same.
_OLD_ATTEMPTS = delete(attempts).where(
    attempts.c.scope.in_(select(attempts.c.scope).where(attempts.c.started_at < bindparam("before")).limit(_AT_ONCE))
)
_CROWDED = select(attempts.c.workspace_id).group_by(attempts.c.workspace_id).having(func.count() > bindparam("keep"))
_BEYOND = (
    select(attempts.c.scope)
    .where(attempts.c.workspace_id == bindparam("workspace"))
    .order_by(attempts.c.started_at.desc(), attempts.c.scope)
    .offset(bindparam("keep"))
    .limit(_AT_ONCE)
)


class CallVerbs(Verbs):
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
        where: list[ColumnElement[bool]] = [audit.c.workspace_id == workspace_id]
        for column, wanted in ((audit.c.kind, kind), (audit.c.object_id, object_id), (audit.c.action, action)):
            if wanted is not None:
                where.append(column == wanted)
        if spaces is not None:
            where.append(audit.c.space_id.in_(spaces))
        return await AUDIT.list_page(self._database, query, *where)

    async def forget_audit(self, before: Millis) -> int:
        return await self._remove(_OLD_AUDIT, {"before": before})

    @whole
    async def begin_attempt(self, workspace_id: str, scope: str, new: Attempt, *, since: Millis) -> Attempt:
        named = {"of_workspace": workspace_id, "of_scope": scope}
        async with self._database.transaction() as transaction:
            await transaction.execute(delete(attempts).where(_of_attempt, attempts.c.started_at <= since), named)
            row = {"workspace_id": workspace_id, "scope": scope, **ATTEMPT.values(new)}
            adding = insert_into(transaction.dialect, attempts).values(row)
            # Writes nothing new over one that is there, but answers with it, and waits for one that is being written.
            there = adding.on_conflict_do_update(index_elements=["workspace_id", "scope"], set_={"scope": scope})
            return ATTEMPT.value((await transaction.rows(there.returning(*ATTEMPT.columns)))[0])

    @whole
    async def end_attempt(self, workspace_id: str, scope: str, id: str, status: int, answer: str) -> None:
        named = {"of_workspace": workspace_id, "of_scope": scope, "of_id": id}
        async with self._database.transaction() as transaction:
            await transaction.execute(update(attempts).where(_own_attempt).values(status=status, answer=answer), named)

    @whole
    async def forget_attempt(self, workspace_id: str, scope: str, id: str) -> None:
        named = {"of_workspace": workspace_id, "of_scope": scope, "of_id": id}
        async with self._database.transaction() as transaction:
            await transaction.execute(delete(attempts).where(_own_attempt), named)

    async def forget_attempts(self, before: Millis, keep: int) -> int:
        removed = await self._remove(_OLD_ATTEMPTS, {"before": before})
        for row in await self._database.rows(_CROWDED, {"keep": keep}):
            beyond = delete(attempts).where(attempts.c.scope.in_(_BEYOND))
            removed += await self._remove(beyond, {"workspace": row.workspace_id, "keep": keep})
        return removed

    @whole
    async def _remove(self, removing: Delete, parameters: Mapping[str, object]) -> int:
        async with self._database.transaction() as transaction:
            return await transaction.execute(removing, parameters)

"""What is forgotten: deployments that nobody will go back to, and what files held before.

Looked for first, without keeping anybody waiting, and judged again by the statement that deletes: what was due may have
been activated meanwhile. No transaction touches more than some tens of thousands of rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate, takewhile

from sqlalchemy import BigInteger, ColumnElement, and_, bindparam, delete, exists, func, or_, select, update

from storage import audit, edits
from storage.models import Deployment, Millis
from storage.sql.database import Verbs, whole
from storage.sql.dialects import is_among
from storage.sql.rows import DEPLOYMENT
from storage.sql.sources import PATHS, paths_json
from storage.sql.tables import deployments, files

_AT_ONCE = 1000  # deployments, spaces
_ROWS_AT_ONCE = 20_000  # deleted in one transaction, if one deployment alone has no more
_PATHS_AT_ONCE = 2000

_before = bindparam("before", type_=BigInteger())
_others = deployments.alias("others")


def _count_others(is_ahead: ColumnElement[bool]) -> ColumnElement[int]:
    """How many deployments of the same space are ahead."""
    counted = select(func.count()).where(_others.c.space_id == deployments.c.space_id, is_ahead)
    return counted.correlate(deployments).scalar_subquery()


_is_due = and_(
    func.coalesce(deployments.c.activated_at, deployments.c.created_at) < _before,
    _count_others(_others.c.id > deployments.c.id) >= bindparam("keep", type_=BigInteger()),
    or_(deployments.c.revision.is_(None), _count_others(_others.c.revision > deployments.c.revision) >= 2),
)
_DUE = select(*DEPLOYMENT.columns).where(_is_due).order_by(deployments.c.id).limit(_AT_ONCE)
_STILL_DUE = select(*DEPLOYMENT.columns).where(_is_due, is_among(deployments.c.id, select(PATHS.c.path)))
_DELETE = delete(deployments).where(is_among(deployments.c.id, select(PATHS.c.path)))

_newer = files.alias("newer")
_is_superseded = exists().where(
    _newer.c.space_id == files.c.space_id,
    _newer.c.path == files.c.path,
    _newer.c.from_revision > files.c.from_revision,
)
_is_past = and_(files.c.removed_at < _before, files.c.digest != "")
_SPACES_WITH_PAST = (
    select(files.c.space_id)
    .distinct()
    .where(files.c.space_id > bindparam("after"), _is_past)
    .order_by(files.c.space_id)
    .limit(_AT_ONCE)
)
_in_space = files.c.space_id == bindparam("space")
_PATHS_WITH_PAST = (
    select(files.c.path)
    .distinct()
    .where(_in_space, files.c.path > bindparam("after"), _is_past)
    .order_by(files.c.path)
    .limit(_PATHS_AT_ONCE)
)
_of_paths = and_(_in_space, is_among(files.c.path, select(PATHS.c.path)), _is_past)
_FORGET_SUPERSEDED = delete(files).where(_of_paths, _is_superseded)
# The last of a path stays: Last-Modified of what it uncovered when it went is by its end.
_FORGET_LAST = update(files).where(_of_paths, ~_is_superseded).values(digest="", size=0)


class RetentionVerbs(Verbs):
    @whole
    async def delete_deployment(self, deployment_id: str) -> None:
        async with self._database.change() as change:
            deployment = await DEPLOYMENT.get(change, deployment_id)
            edits.refuse_deletion(deployment)
            await change.execute(_DELETE, {"paths": paths_json([deployment_id])})
            change.record(audit.deleted(deployment))
            change.log("deployment.delete", space_id=deployment.space_id)

    async def forget_deployments(self, keep: int, before: Millis) -> int:
        forgotten = 0
        parameters = {"keep": keep, "before": before}
        while due := [DEPLOYMENT.value(row) for row in await self._database.rows(_DUE, parameters)]:
            while due:
                now, due = _split(due)
                forgotten += await self._forget([deployment.id for deployment in now], keep, before)
        return forgotten

    @whole
    async def _forget(self, ids: Sequence[str], keep: int, before: Millis) -> int:
        async with self._database.change() as change:
            parameters = {"keep": keep, "before": before, "paths": paths_json(ids)}
            due = [DEPLOYMENT.value(row) for row in await change.rows(_STILL_DUE, parameters)]
            await change.execute(_DELETE, {"paths": paths_json([deployment.id for deployment in due])})
            for deployment in due:
                change.record(audit.deleted(deployment))
            for space_id in sorted({deployment.space_id for deployment in due}):
                change.log("deployment.delete", space_id=space_id)
            return len(due)

    async def forget_history(self, before: Millis) -> int:
        forgotten = 0
        after = ""
        while spaces := await self._database.rows(_SPACES_WITH_PAST, {"after": after, "before": before}):
            for space in spaces:
                forgotten += await self._forget_in(space.space_id, before)
            after = spaces[-1].space_id
        return forgotten

    async def _forget_in(self, space_id: str, before: Millis) -> int:
        forgotten = 0
        parameters = {"space": space_id, "before": before, "after": ""}
        while paths := [row.path for row in await self._database.rows(_PATHS_WITH_PAST, parameters)]:
            forgotten += await self._forget_paths(space_id, before, paths)
            parameters["after"] = paths[-1]
        return forgotten

    @whole
    async def _forget_paths(self, space_id: str, before: Millis, paths: Sequence[str]) -> int:
        async with self._database.transaction() as transaction:
            parameters = {"space": space_id, "before": before, "paths": paths_json(paths)}
            return sum([await transaction.execute(each, parameters) for each in (_FORGET_SUPERSEDED, _FORGET_LAST)])


def _split(due: list[Deployment]) -> tuple[list[Deployment], list[Deployment]]:
    """As many as one transaction may delete, at least one; and the rest."""
    sums = accumulate(deployment.file_count for deployment in due)
    count = max(1, sum(1 for _ in takewhile(lambda rows: rows <= _ROWS_AT_ONCE, sums)))
    return due[:count], due[count:]

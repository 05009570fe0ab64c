"""How files of a space begin and end. A source of files is any selectable with path, digest and size.

1. what is live at a path of the source with other content ends
2. what the source has and is not live begins
3. the workspace comes to possess the contents

What is looked up for each row of a source is a scalar subquery, not a join: it is one seek in an index whatever a
planner believes of tables that it has not measured yet. With joins, a second publish of 10,000 files took a minute.

A row that ends and the one that follows it in the same revision share the moment; see `storage.clock.stamp` for which.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from sqlalchemy import (
    BigInteger,
    BindParameter,
    ColumnElement,
    FromClause,
    Insert,
    ScalarSelect,
    Update,
    and_,
    bindparam,
    case,
    func,
    insert,
    literal,
    or_,
    select,
    true,
    update,
)

from storage import edits
from storage.clock import stamp
from storage.models import Millis
from storage.sql.database import Change, Transaction
from storage.sql.dialects import insert_into, is_among
from storage.sql.quotas import check_space_quota, within_quota
from storage.sql.tables import files, spaces, workspace_blobs

T = TypeVar("T")

_space: BindParameter[str] = bindparam("space")
_revision = bindparam("revision", type_=BigInteger())
_now = bindparam("now", type_=BigInteger())

_LIVE = literal(-1, BigInteger())  # stands for the `to_revision` of a row that has none

_IS_LIVE = and_(files.c.space_id == _space, files.c.to_revision.is_(None))


def is_below(path: ColumnElement[str], folder: str) -> ColumnElement[bool]:
    """Whether it is in `folder` or a folder of it. "0" is the character after "/"."""
    return and_(path >= f"{folder}/", path < f"{folder}0") if folder else true()


def end_where(*where: ColumnElement[bool]) -> Update:
    """End the live rows of which `where` is true."""
    ending = update(files).where(_IS_LIVE, *where)
    return ending.values(to_revision=_revision, removed_at=stamped(files.c.modified_at))


def stamped(earlier: ColumnElement[Millis]) -> ColumnElement[Millis]:
    """`storage.clock.stamp(now, earlier)`; `earlier` may be null."""
    next_second = earlier - earlier % 1000 + 1000
    return case((next_second > _now, next_second), else_=_now)


def newest(value: ColumnElement[T], path: ColumnElement[str], source: FromClause) -> ScalarSelect[T]:
    """`value` of the newest row of `path`, a column of `source`; null if there is none."""
    at_path = select(value).where(files.c.space_id == _space, files.c.path == path)
    return at_path.order_by(files.c.from_revision.desc()).limit(1).correlate(source).scalar_subquery()


def _end_replaced(source: FromClause) -> Update:
    live_digest = newest(case((files.c.to_revision.is_(None), files.c.digest)), source.c.path, source)
    return end_where(is_among(files.c.path, select(source.c.path).where(live_digest != source.c.digest)))


def _begin(source: FromClause) -> Insert:
    last = select(
        *source.c,
        newest(func.coalesce(files.c.to_revision, _LIVE), source.c.path, source).label("to_revision"),
        newest(files.c.removed_at, source.c.path, source).label("removed_at"),
    ).subquery("last")
    begun = select(
        _space.label("space_id"),
        last.c.path,
        _revision.label("from_revision"),
        last.c.digest,
        last.c.size,
        case((last.c.to_revision == _revision, last.c.removed_at), else_=stamped(last.c.removed_at)),
    ).where(or_(last.c.to_revision.is_(None), last.c.to_revision != _LIVE))
    return insert(files).from_select(["space_id", "path", "from_revision", "digest", "size", "modified_at"], begun)


async def prepare(change: Change, space_id: str) -> dict[str, Any]:
    """The parameters that the statements here need. Files change in a later second than any setting did."""
    rows = await change.rows(select(spaces.c.settings_at).where(spaces.c.id == space_id))
    return {"space": space_id, "revision": change.revision, "now": stamp(change.now, rows[0].settings_at)}


async def end_files(change: Change, ending: Update, parameters: Mapping[str, Any]) -> int:
    """Carry out an `end_where`, which leaves its paths without a file. How many it ended."""
    ended = await change.execute(ending, parameters)
    change.new_files -= ended
    return ended


async def begin_files(change: Change, source: FromClause, parameters: Mapping[str, Any]) -> int:
    """Steps 1 and 2; `parameters` are the source's and those of `prepare`. How many rows that wrote."""
    ended = await change.execute(_end_replaced(source), parameters)
    begun = await change.execute(_begin(source), parameters)
    change.new_files += begun - ended
    return ended + begun


async def possess(
    transaction: Transaction, workspace_id: str, source: FromClause, parameters: Mapping[str, Any]
) -> None:
    """Step 3. Raises `QuotaExceeded`."""
    contents = (
        select(
            bindparam("workspace").label("workspace_id"),
            source.c.digest,
            func.max(source.c.size),
            _now.label("uploaded_at"),
        )
        .where(true())  # without a WHERE, SQLite would take ON CONFLICT for a join's ON
        .group_by(source.c.digest)
    )
    adding = insert_into(transaction.dialect, workspace_blobs).from_select(
        ["workspace_id", "digest", "size", "uploaded_at"], contents
    )
    again = adding.on_conflict_do_update(
        index_elements=["workspace_id", "digest"], set_={"uploaded_at": adding.excluded.uploaded_at}
    )
    async with within_quota(transaction, edits.BYTES, workspace_id):
        await transaction.execute(again, {"workspace": workspace_id, "now": transaction.now, **parameters})


async def finish(change: Change, space_id: str, kind: str) -> None:
    """Files of the space have changed. Raises `QuotaExceeded`."""
    if change.new_files > 0:
        await check_space_quota(change, edits.FILES, space_id)
    await change.execute(update(spaces).where(spaces.c.id == space_id).values(revision=change.revision))
    change.log(kind, space_id=space_id)

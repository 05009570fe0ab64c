"""How files of a space begin and end. A source of files is any selectable with path, digest and size.

1. what is live at a path of the source with other content is kept, as a row that ends
2. what the source has and is not live begins, in the place of that or in a row of its own
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
    cast,
    func,
    insert,
    select,
    true,
    update,
)

from storage import edits
from storage.clock import stamp
from storage.models import Millis
from storage.sql.database import Change, Transaction
from storage.sql.dialects import greater_of, insert_into, is_among
from storage.sql.quotas import check_space_quota, within_quota
from storage.sql.tables import files, spaces, workspace_blobs

T = TypeVar("T")

_space: BindParameter[str] = bindparam("space")
_revision = bindparam("revision", type_=BigInteger())
_now = bindparam("now", type_=BigInteger())

_BEGUN = ("space_id", "path", "from_revision", "digest", "size", "modified_at")  # columns of a row that has no end

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
    next_second = (earlier // 1000 + 1) * 1000
    return greater_of(_now, func.coalesce(next_second, 0))


def live(value: ColumnElement[T], path: ColumnElement[str], source: FromClause) -> ScalarSelect[T]:
    """`value` of the live row of `path`, a column of `source`; null if there is none."""
    return select(value).where(_IS_LIVE, files.c.path == path).correlate(source).scalar_subquery()


def ended(value: ColumnElement[T], path: ColumnElement[str], source: FromClause) -> ScalarSelect[T]:
    """The same of the row of `path` that ended last."""
    at_path = select(value).where(files.c.space_id == _space, files.c.path == path, files.c.to_revision.is_not(None))
    return at_path.order_by(files.c.to_revision.desc()).limit(1).correlate(source).scalar_subquery()


def _keep_replaced(source: FromClause) -> Insert:
    """Rows for what is live with other content, as it is when it ends."""
    other = select(files.c.id).where(_IS_LIVE, files.c.path == source.c.path, files.c.digest != source.c.digest)
    # The condition is true: it has SQLite read a manifest by path, and not out of the index of its digests.
    replaced = select(other.correlate(source).scalar_subquery()).where(source.c.size >= 0)
    kept = select(
        *(files.c[name] for name in _BEGUN),
        _revision.label("to_revision"),
        stamped(files.c.modified_at).label("removed_at"),
    ).where(is_among(files.c.id, replaced))
    return insert(files).from_select([*_BEGUN, "to_revision", "removed_at"], kept)


def _begin(source: FromClause, dialect: str) -> Insert:
    """New live rows; and the live rows that are there with the new content in place of the old."""
    begun = select(
        cast(_space, files.c.space_id.type).label("space_id"),
        source.c.path,
        _revision.label("from_revision"),
        source.c.digest,
        source.c.size,
        stamped(ended(files.c.removed_at, source.c.path, source)),
    ).where(true())  # without a WHERE, SQLite would take ON CONFLICT for a join's ON
    beginning = insert_into(dialect, files).from_select(_BEGUN, begun)
    new = beginning.excluded
    return beginning.on_conflict_do_update(
        index_elements=["space_id", "path"],
        index_where=files.c.to_revision.is_(None),
        set_={
            "from_revision": new.from_revision,
            "digest": new.digest,
            "size": new.size,
            "modified_at": stamped(files.c.modified_at),
        },
        where=files.c.digest != new.digest,
    )


async def prepare(change: Change, space_id: str) -> dict[str, Any]:
    """The parameters that the statements here need. Files change in a later second than any setting did."""
    rows = await change.rows(select(spaces.c.settings_at).where(spaces.c.id == space_id))
    return {"space": space_id, "revision": change.revision, "now": stamp(change.now, rows[0].settings_at)}


async def end_files(change: Change, ending: Update, parameters: Mapping[str, Any]) -> int:
    """Carry out an `end_where`, which leaves its paths without a file. How many it ended."""
    count = await change.execute(ending, parameters)
    change.new_files -= count
    return count


async def begin_files(change: Change, source: FromClause, parameters: Mapping[str, Any]) -> int:
    """Steps 1 and 2; `parameters` are the source's and those of `prepare`. How many files that began."""
    replaced = await change.execute(_keep_replaced(source), parameters)
    begun = await change.execute(_begin(source, change.dialect), parameters)
    change.new_files += begun - replaced
    return begun


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

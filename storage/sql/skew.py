"""Skew protection: for a while, what an activation has removed may still be shown.

The window is a space's. Which files it is about, their rows tell: those that ended at its revision, as long as nothing
newer is at their path. A file that is taken down gets a row that ends as it begins, and is that newer one.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import BigInteger, ColumnElement, bindparam, exists, insert, select, update

from storage.models import Digest, Millis
from storage.sql.database import Change, Verbs, whole
from storage.sql.publish import stamped
from storage.sql.tables import files, spaces

_AT_ONCE = 500  # windows that end in one change

_OVER = (
    select(spaces.c.id)
    .where(spaces.c.skew_ends_at <= bindparam("now", type_=BigInteger()))
    .order_by(spaces.c.skew_ends_at)
    .limit(_AT_ONCE)
)

_newer = files.alias("newer")
_WINDOW = select(spaces.c.skew_revision).where(spaces.c.id == bindparam("space")).scalar_subquery()
_IS_SHOWN = [
    files.c.space_id == bindparam("space"),
    files.c.to_revision == _WINDOW,
    ~exists()
    .where(
        _newer.c.space_id == files.c.space_id,
        _newer.c.path == files.c.path,
        _newer.c.from_revision > files.c.from_revision,
    )
    .correlate(files),
]


class SkewVerbs(Verbs):
    @whole
    async def end_skew(self) -> int:
        now = {"now": self._database.now()}
        if not await self._database.rows(_OVER, now):  # asked first without keeping anybody waiting
            return 0
        async with self._database.change() as change:
            over = [row.id for row in await change.rows(_OVER, now)]
            for space_id in over:
                change.log("skew.end", space_id=space_id)
            if over:
                ended = update(spaces).where(spaces.c.id.in_(over))
                none = {"skew_revision": None, "skew_ends_at": None}
                await change.execute(ended.values(variants_revision=change.latest, **none))
            return len(over)


async def begin_skew(change: Change, space_id: str, removed: int, skew: Millis) -> None:
    """An activation has removed so many files: a window of `skew` for them, in place of the one before."""
    opens = bool(removed and skew)
    window = {
        "skew_revision": change.revision if opens else None,
        "skew_ends_at": change.now + skew if opens else None,
    }
    await change.execute(update(spaces).where(spaces.c.id == space_id).values(window))


async def list_shown(change: Change, space_id: str, where: ColumnElement[bool], limit: int) -> dict[str, Digest]:
    """The first of those, of which `where` is true, that only the window shows: contents by path."""
    statement = select(files.c.path, files.c.digest).where(*_IS_SHOWN, where).order_by(files.c.path).limit(limit)
    return {row.path: row.digest for row in await change.rows(statement, {"space": space_id})}


async def take_down(change: Change, where: ColumnElement[bool], parameters: Mapping[str, Any]) -> int:
    """End the window for those of which `where` is true; `parameters` as of `publish.prepare`. How many."""
    revision, moment = bindparam("revision", type_=BigInteger()), stamped(files.c.removed_at)
    ended = select(
        files.c.space_id,
        files.c.path,
        revision.label("from_revision"),
        files.c.digest,
        files.c.size,
        moment.label("modified_at"),
        revision.label("to_revision"),
        moment.label("removed_at"),
    ).where(*_IS_SHOWN, where)
    names = [column.name for column in ended.selected_columns]
    return await change.execute(insert(files).from_select(names, ended), parameters)

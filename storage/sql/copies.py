"""Copies and moves within a space: rows out of rows, in the database, however many there are.

1. what is at the path: one file, or all below it
2. refuse what would not fit
3. begin the copies, as any publish does
4. a move: end the originals, save those whose path a copy now has

Steps 3 and 4 read what *was* live when the change began. A folder may move into the one it is in, and then paths of
originals and of copies overlap.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    FromClause,
    and_,
    bindparam,
    exists,
    func,
    literal,
    or_,
    select,
)

from storage import audit, edits
from storage.errors import NotFound
from storage.sql.database import Change, Verbs, whole
from storage.sql.dialects import octets_of
from storage.sql.publish import begin_files, end_files, end_where, finish, is_below, prepare
from storage.sql.rows import SPACE
from storage.sql.tables import files

_revision = bindparam("revision", type_=BigInteger())


class CopyVerbs(Verbs):
    @whole
    async def copy_files(self, space_id: str, path: str, destination: str, *, move: bool = False) -> int:
        async with self._database.change() as change:
            space = await SPACE.get(change, space_id)
            is_original, count = await _find_originals(change, space_id, path, destination)
            parameters = await prepare(change, space_id)
            written = await begin_files(change, _copies(path, destination, is_original), parameters)
            if move:
                ending = end_where(is_original, files.c.from_revision < _revision, ~_is_copy(path, destination))
                written += await end_files(change, ending, parameters)
            if written:
                change.record(audit.files_copied(space, path, destination, count, move=move))
                await finish(change, space_id, "files.move" if move else "files.copy")
            return count


async def _find_originals(
    change: Change, space_id: str, path: str, destination: str
) -> tuple[ColumnElement[bool], int]:
    """Which rows are copied, and how many; raises what `copy_files` promises."""
    for is_folder, where in ((False, files.c.path == path), (True, is_below(files.c.path, path))):
        slashes = func.length(files.c.path) - func.length(func.replace(files.c.path, "/", ""))
        facts = select(
            func.count().label("number"),
            func.max(octets_of(files.c.path)).label("octets"),
            func.max(slashes).label("slashes"),
        ).where(files.c.space_id == space_id, files.c.to_revision.is_(None), where)
        (row,) = await change.rows(facts)
        if row.number:
            edits.refuse_copy(path, destination, row.octets, row.slashes, is_folder=is_folder)
            return where, int(row.number)
    raise NotFound("file", path)


def _was_live(rows: FromClause) -> ColumnElement[bool]:
    """Whether a row was live when the change began: what it has begun is not yet, what it has ended still is."""
    ended = rows.c.to_revision
    return and_(
        rows.c.space_id == bindparam("space"),
        rows.c.from_revision < _revision,
        or_(ended.is_(None), ended == _revision),
    )


def _copies(path: str, destination: str, is_original: ColumnElement[bool]) -> FromClause:
    """A source of files (see `publish`)."""
    copied: ColumnElement[str] = literal(destination) + func.substr(files.c.path, len(path) + 1)
    copies = select(copied.label("path"), files.c.digest, files.c.size).where(_was_live(files), is_original)
    # Where an original is replaced by a copy, what is kept of it is there beside it for a moment.
    return copies.distinct().subquery("source")


def _is_copy(path: str, destination: str) -> ColumnElement[bool]:
    """Whether the path of a row of `files` is one that a copy has: whether there was an original for it."""
    original = files.alias("original")
    came_from: ColumnElement[str] = literal(path) + func.substr(files.c.path, len(destination) + 1)
    there = exists().where(_was_live(original), original.c.path == came_from).correlate(files)
    return and_(or_(files.c.path == destination, is_below(files.c.path, destination)), there)

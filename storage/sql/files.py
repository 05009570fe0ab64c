"""Files: publishing, and listing what is live."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from sqlalchemy import ColumnElement, Select, Subquery, case, false, func, or_, select

from storage import audit, edits
from storage.models import Blob, Digest, Entry, File, Page, PageQuery
from storage.sql.database import Verbs, whole
from storage.sql.dialects import is_among, position_of
from storage.sql.publish import begin_files, end_files, end_where, finish, is_below, possess, prepare
from storage.sql.rows import FILE, SPACE, Reader, after, direction
from storage.sql.skew import list_shown, take_down
from storage.sql.sources import FILES, PATHS, files_json, paths_json
from storage.sql.tables import files


async def find_live(reader: Reader, space_id: str, path: str) -> File | None:
    return await FILE.find(reader, *_is_live(space_id), files.c.path == path)


class FileVerbs(Verbs):
    @whole
    async def put_files(self, space_id: str, files: Mapping[str, Blob], *, delete: Collection[str] = ()) -> int:
        async with self._database.change() as change:
            space = await SPACE.get(change, space_id)
            parameters = await prepare(change, space_id)
            told = audit.first({*files, *delete})
            before = await _digests(change, space_id, told)
            written = 0
            if ended := set(delete) - files.keys():
                written += await end_files(change, _END_NAMED, {**parameters, "paths": paths_json(ended)})
            for piece in files_json(files):
                written += await begin_files(change, FILES, {**parameters, "files": piece})
                await possess(change, space.workspace_id, FILES, {"files": piece})
            if not written:
                return space.revision
            after = {**before, **{path: files[path].digest for path in told if path in files}}
            after = {path: digest for path, digest in after.items() if path not in ended}
            verb = "put" if files else "delete"
            change.record(audit.files_changed(verb, space, before, after, len({*files, *delete})))
            await finish(change, space_id, "files.put")
            return change.revision

    @whole
    async def delete_tree(self, space_id: str, path: str, *, recursive: bool = True) -> int:
        async with self._database.change() as change:
            space = await SPACE.get(change, space_id)
            where = files.c.path == path
            if recursive:
                where = or_(where, is_below(files.c.path, path))
            told = select(files.c.path, files.c.digest).where(*_is_live(space_id), where)
            rows = await change.rows(told.order_by(files.c.path).limit(audit.MAX_PATHS))
            before = {row.path: row.digest for row in rows}
            before |= await list_shown(change, space_id, where, audit.MAX_PATHS)
            parameters = await prepare(change, space_id)
            count = await take_down(change, where, parameters) + await end_files(change, end_where(where), parameters)
            before = {path: before[path] for path in audit.first(before)}
            if count:
                change.record(audit.files_changed("delete", space, before, {}, count))
                await finish(change, space_id, "files.delete")
            return count

    async def find_file(self, space_id: str, path: str) -> File | None:
        return await find_live(self._database, space_id, path)

    async def list_files(self, space_id: str, folder: str, *, recursive: bool, query: PageQuery) -> Page[Entry]:
        entries = (_list_below if recursive else _list_level)(space_id, folder).subquery("entries")
        statement = (
            select(entries)
            .where(*_after(entries, query))
            .order_by(direction(entries.c.path, query), entries.c.is_directory)
            .limit(query.take + 1)
        )
        rows = await self._database.rows(statement)
        return edits.cut_page([_entry(row) for row in rows], query.take, edits.entry_position)


_END_NAMED = end_where(is_among(files.c.path, select(PATHS.c.path)))


async def _digests(reader: Reader, space_id: str, paths: Collection[str]) -> dict[str, Digest]:
    """What is live at a few paths."""
    rows = await reader.rows(select(files.c.path, files.c.digest).where(*_is_live(space_id), files.c.path.in_(paths)))
    return {row.path: row.digest for row in rows}


def _is_live(space_id: str) -> list[ColumnElement[bool]]:
    return [files.c.space_id == space_id, files.c.to_revision.is_(None)]


def _list_below(space_id: str, folder: str) -> Select[Any]:
    return select(
        files.c.path,
        false().label("is_directory"),
        files.c.size,
        files.c.modified_at.label("updated_at"),
        files.c.digest,
    ).where(*_is_live(space_id), is_below(files.c.path, folder))


def _list_level(space_id: str, folder: str) -> Select[Any]:
    """Everything below `folder`, grouped by its first segment there."""
    start = len(folder) + 1 if folder else 0
    slash = position_of(func.substr(files.c.path, start + 1), "/")
    path = case((slash > 0, func.substr(files.c.path, 1, start + slash - 1)), else_=files.c.path).label("path")
    is_directory = (slash > 0).label("is_directory")
    inner = select(path, is_directory, files.c.size, files.c.modified_at, files.c.digest)
    below = inner.where(*_is_live(space_id), is_below(files.c.path, folder)).subquery("below")
    return select(
        below.c.path,
        below.c.is_directory,
        func.max(below.c.size).label("size"),
        func.max(below.c.modified_at).label("updated_at"),
        func.max(below.c.digest).label("digest"),
    ).group_by(below.c.path, below.c.is_directory)


def _after(entries: Subquery, query: PageQuery) -> list[ColumnElement[bool]]:
    """What keeps a listing's rest. The folder of its name follows a file."""
    if query.after is None or query.after.endswith("/"):
        return after(entries.c.path, edits.after_path(query))
    # A range by itself, for which there is an index, and what is not to be in it.
    reach = entries.c.path <= query.after if query.descending else entries.c.path >= query.after
    return [reach, or_(entries.c.path != query.after, entries.c.is_directory)]


def _entry(row: Any) -> Entry:
    if row.is_directory:
        return Entry(path=row.path, is_directory=True, size=0, updated_at=row.updated_at, digest=None)
    return Entry(path=row.path, is_directory=False, size=row.size, updated_at=row.updated_at, digest=row.digest)

"""What the edge asks. Each question is one statement, built once, so that SQLAlchemy compiles it once."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

from sqlalchemy import bindparam, func, select, true, tuple_

from storage.models import DEFAULT_INDEX, DEFAULT_NOT_FOUND, Change, File, HostedSite
from storage.sql.database import Verbs
from storage.sql.rows import FILE
from storage.sql.sources import PATHS, paths_json
from storage.sql.tables import changes, files, sites, spaces, store_state

_REVISION = select(store_state.c.revision)

_CHANGES = (
    select(changes.c.revision, changes.c.kind, changes.c.hosts, changes.c.space_id)
    .where(changes.c.revision > bindparam("since"))
    .order_by(changes.c.revision)
    .limit(bindparam("most"))
)

_SITES = (
    select(
        *(sites.c[name] for name in ("id", "space_id", "domain", "prefix", "revision", "created_at", "settings_at")),
        func.coalesce(sites.c.named_index, DEFAULT_INDEX).label("index"),
        func.coalesce(sites.c.named_not_found, DEFAULT_NOT_FOUND).label("not_found"),
        spaces.c.revision.label("files_revision"),
    )
    .join_from(sites, spaces, sites.c.space_id == spaces.c.id)
    .where(sites.c.domain.in_(bindparam("domains", expanding=True)))
)

_newest = (
    select(*FILE.columns)
    .where(
        files.c.space_id == bindparam("space"),
        files.c.path == PATHS.c.path,
        files.c.from_revision <= bindparam("revision"),
    )
    .order_by(files.c.from_revision.desc())
    .limit(1)
    .lateral("newest")
)
_older = files.alias("older")
_newest_revision = (
    select(func.max(_older.c.from_revision))
    .where(
        _older.c.space_id == bindparam("space"),
        _older.c.path == PATHS.c.path,
        _older.c.from_revision <= bindparam("revision"),
    )
    .correlate(PATHS)
    .scalar_subquery()
)

# One or two seeks in the primary key for each path, however many files the space and versions the path has. SQLite has
# no LATERAL; PostgreSQL might plan the other form as a scan of the space.
_FILES = {
    "postgresql": select(_newest).select_from(PATHS.join(_newest, true())),
    "sqlite": select(*FILE.columns).where(
        files.c.space_id == bindparam("space"),
        tuple_(files.c.path, files.c.from_revision).in_(select(PATHS.c.path, _newest_revision)),
    ),
}


class EdgeVerbs(Verbs):
    async def get_revision(self) -> int:
        rows = await self._database.edge.rows(_REVISION)
        return int(rows[0].revision)

    async def list_changes(self, since: int, limit: int = 1000) -> Sequence[Change]:
        rows = await self._database.edge.rows(_CHANGES, {"since": since, "most": limit})
        return [Change(**row._mapping) for row in rows]

    async def find_site(self, domains: Sequence[str]) -> HostedSite | None:
        rows = await self._database.edge.rows(_SITES, {"domains": domains})
        found = {row.domain: row for row in rows}
        row = next((found[domain] for domain in domains if domain in found), None)
        return None if row is None else HostedSite(**row._mapping)

    async def find_files(self, space_id: str, paths: Collection[str], revision: int) -> Mapping[str, File]:
        parameters = {"space": space_id, "paths": paths_json(paths), "revision": revision}
        rows = await self._database.edge.rows(_FILES[self._database.dialect], parameters)
        return {row.path: _as_of(FILE.value(row), revision) for row in rows}


def _as_of(file: File, revision: int) -> File:
    if file.to_revision is not None and file.to_revision > revision:
        return replace(file, to_revision=None, removed_at=None)
    return file

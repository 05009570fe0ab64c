"""What the edge asks. Each question is one statement, built once, so that SQLAlchemy compiles it once."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

from sqlalchemy import BindParameter, ColumnElement, FromClause, Row, Table, and_, bindparam, case, func, or_, select

from storage.edits import TAGGED
from storage.models import DEFAULT_INDEX, DEFAULT_NOT_FOUND, Change, File, HostedSite, Variant
from storage.sql.database import Verbs
from storage.sql.dialects import is_among
from storage.sql.rows import FILE, WIDGET, has_meta
from storage.sql.sources import PATHS, paths_json
from storage.sql.tables import changes, files, sites, spaces, store_state, variants, widgets
from storage.widgets import Widget

_REVISION = select(store_state.c.revision)

_CHANGES = (
    select(changes).where(changes.c.revision > bindparam("since")).order_by(changes.c.revision).limit(bindparam("most"))
)

# Of a `HostedSite`, what is its own.
SITE_COLUMNS = (
    *(sites.c[name] for name in ("id", "space_id", "domain", "prefix", "revision", "created_at", "settings_at")),
    func.coalesce(sites.c.named_index, DEFAULT_INDEX).label("index"),
    func.coalesce(sites.c.named_not_found, DEFAULT_NOT_FOUND).label("not_found"),
)

_SITES = (
    select(
        *SITE_COLUMNS,
        spaces.c.revision.label("files_revision"),
        spaces.c.variants_revision,
        case((sites.c.skew_protection, spaces.c.skew_revision)).label("skew_revision"),
        widgets.c.site_id.label("widget"),
    )
    .join_from(sites, spaces, sites.c.space_id == spaces.c.id)
    .outerjoin(
        widgets,
        and_(
            widgets.c.workspace_id == sites.c.workspace_id,
            widgets.c.domain == sites.c.domain,
            *has_meta(sites, TAGGED),
        ),
    )
    .where(sites.c.domain.in_(bindparam("domains", expanding=True)))
)

_WIDGET = select(*WIDGET.columns).where(widgets.c.site_id == bindparam("site_id"))
_WIDGET_FOR_DOMAIN = select(*WIDGET.columns).where(
    widgets.c.workspace_id == bindparam("workspace"), widgets.c.domain == bindparam("domain")
)

_asked: BindParameter[int] = bindparam("revision")
_one = files.alias("one")


def _row(is_live: bool) -> ColumnElement[int]:
    """The number of a path's live row, or of the last that ended, of those that had begun by then."""
    ends = _one.c.to_revision.is_(None) if is_live else _one.c.to_revision.is_not(None)
    found = select(_one.c.id).where(
        _one.c.space_id == bindparam("space"), _one.c.path == PATHS.c.path, ends, _one.c.from_revision <= _asked
    )
    return found.order_by(_one.c.to_revision.desc()).limit(1).correlate(PATHS).scalar_subquery()


# Of each path the newest row that had begun: two seeks at most, but for what has begun since.
_NEWEST = func.coalesce(_row(is_live=True), _row(is_live=False))

_FILE_FIELDS = tuple(FILE.field_names)
VARIANT = [getattr(variants.c, name).label(f"variant_{name}") for name in ("coding", "digest", "size")]
_workspace = select(spaces.c.workspace_id).where(spaces.c.id == bindparam("space")).scalar_subquery()


def of_workspace(table: Table) -> ColumnElement[bool]:
    """Whether a row of `table` is of the workspace that has the space of the parameter `space`."""
    return table.c.workspace_id == _workspace


def with_variants(source: FromClause, digest: ColumnElement[str]) -> FromClause:
    """`source` with each row once for each variant of its content, which VARIANT tells, or once without any."""
    same = and_(of_workspace(variants), variants.c.source_digest == digest)
    return source.outerjoin(variants, and_(same, variants.c.digest.is_not(None)))


# By their numbers, so that no planner comes to read the space's other files, or other versions.
_FILES = (
    select(*FILE.columns, *VARIANT)
    .select_from(with_variants(files, files.c.digest))
    .where(is_among(files.c.id, select(_NEWEST).select_from(PATHS)))
)


_PATHS_BELOW = (
    select(files.c.path)
    .where(
        files.c.space_id == bindparam("space"),
        files.c.path > bindparam("after"),
        files.c.path < bindparam("end"),
        files.c.from_revision <= bindparam("revision"),
        or_(files.c.to_revision.is_(None), files.c.to_revision > bindparam("revision")),
    )
    .order_by(files.c.path)
    .limit(bindparam("most"))
)
_LAST = "\U0010ffff"  # sorts behind every path, in UTF-8 as in code points


class EdgeVerbs(Verbs):
    async def get_revision(self) -> int:
        rows = await self._database.edge.rows(_REVISION)
        return int(rows[0].revision)

    async def list_changes(self, since: int, limit: int = 1000) -> Sequence[Change]:
        return _changes(await self._database.edge.rows(_CHANGES, {"since": since, "most": limit}))

    def list_changes_nowait(self, since: int, limit: int = 1000) -> Sequence[Change] | None:
        rows = self._database.edge.rows_nowait(_CHANGES, {"since": since, "most": limit})
        return None if rows is None else _changes(rows)

    async def find_site(self, domains: Sequence[str]) -> HostedSite | None:
        rows = await self._database.edge.rows(_SITES, {"domains": domains})
        found = {row.domain: row for row in rows}
        row = next((found[domain] for domain in domains if domain in found), None)
        return None if row is None else HostedSite(**row._mapping)

    async def find_files(self, space_id: str, paths: Collection[str], revision: int) -> Mapping[str, File]:
        parameters = {"space": space_id, "paths": paths_json(paths), "revision": revision}
        rows = await self._database.edge.rows(_FILES, parameters)
        found: dict[str, File] = {}
        for row in rows:
            file = found.get(row.path) or _file(row, revision)
            found[row.path] = file if row.variant_digest is None else add_variant(file, row)
        return found

    async def list_paths(self, space_id: str, folder: str, revision: int, after: str, limit: int) -> Sequence[str]:
        # Behind "folder/" comes "folder0", the next character.
        bounds = {"after": max(after, f"{folder}/"), "end": f"{folder}0"} if folder else {"after": after, "end": _LAST}
        parameters = {"space": space_id, "revision": revision, "most": limit, **bounds}
        return [row.path for row in await self._database.edge.rows(_PATHS_BELOW, parameters)]

    async def find_widget(self, site_id: str) -> Widget | None:
        rows = await self._database.edge.rows(_WIDGET, {"site_id": site_id})
        return WIDGET.value(rows[0]) if rows else None

    async def find_widget_for_domain(self, workspace_id: str, domain: str) -> Widget | None:
        rows = await self._database.edge.rows(_WIDGET_FOR_DOMAIN, {"workspace": workspace_id, "domain": domain})
        return WIDGET.value(rows[0]) if rows else None


def _changes(rows: Sequence[Row[Any]]) -> Sequence[Change]:
    return [Change(**row._mapping) for row in rows]


def _file(row: Row[Any], revision: int) -> File:
    """As it stood at `revision`, without variants."""
    file = File(**{name: getattr(row, name) for name in _FILE_FIELDS})
    if file.to_revision is not None and file.to_revision > revision:
        return replace(file, to_revision=None, removed_at=None)
    return file


def add_variant(file: File, row: Row[Any]) -> File:
    """`file` with the variant that `row` tells of."""
    variant = Variant(coding=row.variant_coding, digest=row.variant_digest, size=row.variant_size)
    return replace(file, variants=tuple(sorted((*file.variants, variant), key=lambda one: one.coding)))

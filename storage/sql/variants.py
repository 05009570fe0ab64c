"""Variants: what became of contents in other codings, a workspace at a time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from sqlalchemy import BindParameter, and_, bindparam, exists, not_, select, true, tuple_, update

from storage.models import CODINGS, Blob, Coding, Digest, Uncoded
from storage.sql.database import Change, Verbs, whole
from storage.sql.dialects import insert_into, is_among
from storage.sql.rows import WORKSPACE
from storage.sql.sources import PATHS, TRIES, paths_json, tries_json
from storage.sql.tables import files, spaces, variants

_workspace: BindParameter[str] = bindparam("workspace")

# Live files by content, out of the index of that.
_SPACES = (
    select(spaces.c.id)
    .where(
        spaces.c.workspace_id == _workspace,
        spaces.c.id.in_(
            select(files.c.space_id).where(
                is_among(files.c.digest, select(PATHS.c.path)), files.c.to_revision.is_(None)
            )
        ),
    )
    .order_by(spaces.c.id)
)

_TRIED = {
    coding: exists().where(
        variants.c.workspace_id == spaces.c.workspace_id,
        variants.c.source_digest == files.c.digest,
        variants.c.coding == coding,
    )
    for coding in CODINGS
}

_UNCODED = (
    select(
        spaces.c.workspace_id,
        files.c.from_revision.label("revision"),
        files.c.path,
        files.c.digest,
        files.c.size,
        *[tried.label(coding) for coding, tried in _TRIED.items()],
    )
    .join_from(files, spaces, files.c.space_id == spaces.c.id)
    .where(
        tuple_(files.c.from_revision, files.c.path) > tuple_(bindparam("revision"), bindparam("path")),
        files.c.to_revision.is_(None),
        not_(and_(*_TRIED.values())),
    )
    .order_by(files.c.from_revision, files.c.path)
    .limit(bindparam("most"))
)


class VariantVerbs(Verbs):
    @whole
    async def put_variants(self, workspace_id: str, contents: Mapping[Digest, Mapping[Coding, Blob | None]]) -> None:
        async with self._database.change() as change:
            await WORKSPACE.get(change, workspace_id)
            change.keep()
            gained = await _add(change, workspace_id, contents)
            parameters = {"workspace": workspace_id, "paths": paths_json(gained)}
            moved = [row.id for row in await change.rows(_SPACES, parameters)] if gained else []
            for space_id in moved:
                change.log("variants", space_id=space_id)
            if moved:
                move = update(spaces).where(spaces.c.id.in_(select(PATHS.c.path)))
                await change.execute(move.values(variants_revision=change.latest), {"paths": paths_json(moved)})

    async def list_uncoded(self, after: tuple[int, str], limit: int) -> Sequence[Uncoded]:
        revision, path = after
        rows = await self._database.rows(_UNCODED, {"revision": revision, "path": path, "most": limit})
        return [
            Uncoded(
                workspace_id=row.workspace_id,
                revision=row.revision,
                path=row.path,
                digest=row.digest,
                size=row.size,
                tried=frozenset(coding for coding in CODINGS if getattr(row, coding)),
            )
            for row in rows
        ]


async def _add(
    change: Change, workspace_id: str, contents: Mapping[Digest, Mapping[Coding, Blob | None]]
) -> set[Digest]:
    """The contents that have a variant more than before."""
    new = select(
        _workspace.label("workspace_id"), TRIES.c.source_digest, TRIES.c.coding, TRIES.c.digest, TRIES.c.size
    ).where(true())  # without a WHERE, SQLite would take ON CONFLICT for a join's ON
    adding = insert_into(change.dialect, variants).from_select([column.name for column in variants.c], new)
    adding = adding.on_conflict_do_nothing()
    rows = await change.rows(
        adding.returning(variants.c.source_digest, variants.c.digest),
        {"workspace": workspace_id, "tries": tries_json(contents)},
    )
    return {row.source_digest for row in rows if row.digest is not None}

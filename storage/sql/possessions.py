"""What workspaces possess, how they let go of it, and what is still referred to.

Once a day every content is asked for here. No index by content alone exists for that: it would cost every publish, and
take as much room as the files' rows do. Instead a question names thousands of contents at once and the tables are read
through from end to end.
"""

from __future__ import annotations

from collections.abc import Collection, Set

from sqlalchemy import (
    BigInteger,
    BindParameter,
    Column,
    and_,
    bindparam,
    delete,
    exists,
    select,
    union_all,
)

from storage.models import Blob, Digest, Millis
from storage.sql.database import Change, Verbs, whole
from storage.sql.publish import possess
from storage.sql.rows import WORKSPACE, Reader
from storage.sql.sources import FILES, PATHS, files_json, paths_json
from storage.sql.tables import deployment_files, deployments, files, spaces, variants, workspace_blobs, workspaces

_AT_ONCE = 5_000  # possessions that are judged in one question

_workspace: BindParameter[str] = bindparam("workspace")
_before = bindparam("before", type_=BigInteger())

# Every column by which a row refers to a content, possession aside.
REFERENCES: tuple[Column[str], ...] = (files.c.digest, deployment_files.c.digest, variants.c.digest)

_named = select(PATHS.c.path)  # the contents that a question names

_USED = union_all(
    *(select(column.label("digest")).where(column.in_(_named)) for column in REFERENCES),
    select(workspace_blobs.c.digest).where(
        workspace_blobs.c.digest.in_(_named), workspace_blobs.c.uploaded_at >= _before
    ),
)

_OLD = (
    select(workspace_blobs.c.digest)
    .where(
        workspace_blobs.c.workspace_id == _workspace,
        workspace_blobs.c.uploaded_at < _before,
        workspace_blobs.c.digest > bindparam("after"),
    )
    .order_by(workspace_blobs.c.digest)
    .limit(_AT_ONCE)
)

# By the workspace's own files and deployments: what others have is none of its business.
_OWN = union_all(
    select(files.c.digest)
    .join_from(spaces, files, files.c.space_id == spaces.c.id)
    .where(spaces.c.workspace_id == _workspace, files.c.digest.in_(_named)),
    select(deployment_files.c.digest)
    .join_from(deployments, deployment_files, deployment_files.c.deployment_id == deployments.c.id)
    .where(deployments.c.workspace_id == _workspace, deployment_files.c.digest.in_(_named)),
)

_RELEASE = delete(workspace_blobs).where(
    workspace_blobs.c.workspace_id == _workspace,
    workspace_blobs.c.uploaded_at < _before,
    workspace_blobs.c.digest.in_(_named),
)

_is_orphan = and_(
    variants.c.workspace_id == _workspace,
    ~exists()
    .where(
        workspace_blobs.c.workspace_id == variants.c.workspace_id, workspace_blobs.c.digest == variants.c.source_digest
    )
    .correlate(variants),
)
_ORPHANS = select(variants.c.source_digest).where(_is_orphan).limit(1)

_WORKSPACES = (
    select(workspaces.c.id).where(workspaces.c.id > bindparam("after")).order_by(workspaces.c.id).limit(_AT_ONCE)
)


class PossessionVerbs(Verbs):
    async def put_blob(self, workspace_id: str, blob: Blob) -> None:
        await self.put_blobs(workspace_id, [blob])

    @whole
    async def put_blobs(self, workspace_id: str, blobs: Collection[Blob]) -> None:
        async with self._database.transaction() as transaction:
            await WORKSPACE.get(transaction, workspace_id)
            for piece in files_json({blob.digest: blob for blob in blobs}):
                await possess(transaction, workspace_id, FILES, {"files": piece})

    async def find_used_blobs(self, digests: Collection[Digest], *, possessed_since: Millis = 0) -> Set[Digest]:
        parameters = {"paths": paths_json(digests), "before": possessed_since}
        return {row.digest for row in await self._database.rows(_USED, parameters)}

    async def release_blobs(self, before: Millis) -> int:
        released = 0
        after = ""
        while ids := [row.id for row in await self._database.rows(_WORKSPACES, {"after": after})]:
            for workspace_id in ids:
                released += await self._release(workspace_id, before)
            after = ids[-1]
        return released

    async def _release(self, workspace_id: str, before: Millis) -> int:
        released = 0
        old: list[Digest] = []
        while True:
            parameters = {"workspace": workspace_id, "before": before, "after": old[-1] if old else ""}
            old = [row.digest for row in await self._database.rows(_OLD, parameters)]
            # Asked first without keeping anybody waiting: most of what is old is in use.
            unused = await _unused(self._database, workspace_id, old)
            if unused or (not old and await self._database.rows(_ORPHANS, {"workspace": workspace_id})):
                released += await self._let_go(workspace_id, before, unused)
            if not old:
                return released

    @whole
    async def _let_go(self, workspace_id: str, before: Millis, digests: Collection[Digest]) -> int:
        """Of those that are unused still, now that no other write is under way; and of variants without a source."""
        async with self._database.change() as change:
            change.keep()
            return await _let_go(change, workspace_id, before, digests)


async def _let_go(change: Change, workspace_id: str, before: Millis, digests: Collection[Digest]) -> int:
    unused = await _unused(change, workspace_id, digests)
    parameters = {"workspace": workspace_id, "before": before, "paths": paths_json(unused)}
    released = await change.execute(_RELEASE, parameters) if unused else 0
    await change.execute(delete(variants).where(_is_orphan), {"workspace": workspace_id})
    return released


async def _unused(reader: Reader, workspace_id: str, digests: Collection[Digest]) -> set[Digest]:
    """Those of `digests` that nothing of the workspace refers to."""
    if not digests:
        return set()
    rows = await reader.rows(_OWN, {"workspace": workspace_id, "paths": paths_json(digests)})
    return set(digests) - {row.digest for row in rows}

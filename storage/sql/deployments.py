"""Deployments: a manifest kept until it is activated, and after, for rollback."""

from __future__ import annotations

import sys
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

from sqlalchemy import Select, and_, bindparam, case, func, insert, or_, select

from storage import audit, edits
from storage.models import Blob, Deployment, Digest, Millis, NewDeployment, Page, PageQuery
from storage.sql.database import Change, Verbs, whole
from storage.sql.dialects import is_among
from storage.sql.publish import begin_files, end_files, end_where, ended, finish, is_below, live, prepare
from storage.sql.rows import DEPLOYMENT, SPACE
from storage.sql.skew import begin_skew
from storage.sql.sources import FILES, PATHS, files_json, paths_json
from storage.sql.tables import deployment_files, deployments, files, spaces, workspace_blobs

_AT_ONCE = 10_000  # rows, the making of which keeps everybody else waiting for some ten milliseconds

_READ_AT_ONCE = 5000  # rows, of which values are made within some ten milliseconds

_of_deployment = deployment_files.c.deployment_id == bindparam("deployment")

_KEEP = insert(deployment_files).from_select(
    ["deployment_id", "path", "digest", "size"],
    select(bindparam("deployment").label("deployment_id"), FILES.c.path, FILES.c.digest, FILES.c.size),
)

_MANIFEST = (
    select(deployment_files.c.path, deployment_files.c.digest, deployment_files.c.size)
    .where(_of_deployment)
    .subquery("source")
)

# One size a digest: who makes a manifest sees to it.
_NAMED = (
    select(
        deployment_files.c.digest,
        func.min(deployment_files.c.path).label("path"),
        func.min(deployment_files.c.size).label("size"),
    )
    .where(_of_deployment, is_among(deployment_files.c.digest, select(PATHS.c.path)))
    .group_by(deployment_files.c.digest)
)

_known_size = (
    select(workspace_blobs.c.size)
    .where(
        workspace_blobs.c.workspace_id == deployments.c.workspace_id,
        workspace_blobs.c.digest == deployment_files.c.digest,
    )
    .scalar_subquery()
)
_manifest_files = deployment_files.join(deployments, deployments.c.id == deployment_files.c.deployment_id)
_MISSING = (
    select(deployment_files.c.digest)
    .distinct()
    .select_from(_manifest_files)
    .where(_of_deployment, _known_size.is_(None), deployment_files.c.digest > bindparam("after"))
    .order_by(deployment_files.c.digest)
    .limit(_AT_ONCE)
)
_known = and_(
    workspace_blobs.c.workspace_id == deployments.c.workspace_id, workspace_blobs.c.digest == deployment_files.c.digest
)
# How many contents are missing, and the first path of a content that is there with another size.
_FAULTS = (
    select(
        func.count(case((workspace_blobs.c.digest.is_(None), deployment_files.c.digest)).distinct()).label("missing"),
        func.min(case((workspace_blobs.c.size != deployment_files.c.size, deployment_files.c.path))).label("path"),
    )
    .select_from(_manifest_files.outerjoin(workspace_blobs, _known))
    .where(_of_deployment)
)

_READ_MANIFEST = (
    select(deployment_files.c.path, deployment_files.c.digest, deployment_files.c.size)
    .where(_of_deployment, deployment_files.c.path > bindparam("after"))
    .order_by(deployment_files.c.path)
    .limit(bindparam("most"))
)
# As of a revision, so that what is read in pieces is a whole.
_READ_TREE = (
    select(files.c.path, files.c.digest, files.c.size)
    .where(
        files.c.space_id == bindparam("space"),
        files.c.path > bindparam("after"),
        files.c.from_revision <= bindparam("revision"),
        or_(files.c.to_revision.is_(None), files.c.to_revision > bindparam("revision")),
    )
    .order_by(files.c.path)
    .limit(bindparam("most"))
)
_SPACE_REVISION = select(spaces.c.revision).where(spaces.c.id == bindparam("space"))

_changed = func.coalesce(
    live(files.c.from_revision, deployment_files.c.path, deployment_files),
    ended(files.c.to_revision, deployment_files.c.path, deployment_files),
)
_CHANGED_SINCE = select(func.min(deployment_files.c.path).label("path")).where(
    _of_deployment, _changed > bindparam("base")
)

_is_dropped = (
    select(deployment_files.c.path)
    .where(_of_deployment, deployment_files.c.path == files.c.path)
    .correlate(files)
    .scalar_subquery()
    .is_(None)
)


class DeploymentVerbs(Verbs):
    @whole
    async def create_deployment(self, new: NewDeployment) -> Deployment:
        async with self._database.change() as change:
            space = await SPACE.get(change, new.space_id)
            deployment = edits.make_deployment(new, space, change.now)
            await change.insert(deployments, DEPLOYMENT.values(deployment))
            for piece in files_json(new.files):
                await change.execute(_KEEP, {"deployment": deployment.id, "files": piece})
            _refuse_size((await change.rows(_FAULTS, {"deployment": deployment.id}))[0].path)
            change.record(audit.created(deployment))
            change.log("deployment.create")
            return deployment

    async def find_deployment(self, deployment_id: str) -> Deployment | None:
        return await DEPLOYMENT.find(self._database, deployments.c.id == deployment_id)

    async def list_deployments(self, space_id: str, query: PageQuery) -> Page[Deployment]:
        return await DEPLOYMENT.list_page(self._database, query, deployments.c.space_id == space_id)

    async def find_deployment_blobs(
        self, deployment_id: str, digests: Collection[Digest]
    ) -> Mapping[Digest, tuple[str, Blob]]:
        rows = await self._database.rows(_NAMED, {"deployment": deployment_id, "paths": paths_json(digests)})
        return {row.digest: (row.path, Blob(digest=row.digest, size=row.size)) for row in rows}

    async def list_missing(self, deployment_id: str) -> Sequence[Digest]:
        missing: list[Digest] = []
        more = True
        while more:
            after = missing[-1] if missing else ""
            rows = await self._database.rows(_MISSING, {"deployment": deployment_id, "after": after})
            missing += [row.digest for row in rows]
            more = len(rows) == _AT_ONCE
        return missing

    async def read_manifest(self, deployment_id: str) -> Mapping[str, Blob]:
        return await self._read_blobs(_READ_MANIFEST, {"deployment": deployment_id}, sys.maxsize)

    async def read_tree(self, space_id: str, limit: int) -> Mapping[str, Blob]:
        rows = await self._database.rows(_SPACE_REVISION, {"space": space_id})
        if not rows:
            return {}
        return await self._read_blobs(_READ_TREE, {"space": space_id, "revision": rows[0].revision}, limit)

    async def _read_blobs(self, statement: Select[Any], parameters: Mapping[str, Any], limit: int) -> dict[str, Blob]:
        """In pieces: making values of many rows would keep everybody else waiting."""
        blobs: dict[str, Blob] = {}
        after = ""
        while most := min(_READ_AT_ONCE, limit - len(blobs)):
            rows = await self._database.rows(statement, {**parameters, "after": after, "most": most})
            blobs |= {row.path: Blob(digest=row.digest, size=row.size) for row in rows}
            if len(rows) < most:
                break
            after = rows[-1].path
        return blobs

    @whole
    async def activate_deployment(self, deployment_id: str, *, skew: Millis = 0) -> Deployment:
        async with self._database.change() as change:
            deployment = await DEPLOYMENT.get(change, deployment_id)
            space = await SPACE.get(change, deployment.space_id)
            if deployment.revision == space.revision:
                return deployment
            await _refuse(change, deployment)
            parameters = {**await prepare(change, space.id), "deployment": deployment_id}
            removed = 0
            if deployment.mode == "replace":
                dropping = end_where(is_below(files.c.path, deployment.prefix), _is_dropped)
                removed = await end_files(change, dropping, parameters)
            await begin_files(change, _MANIFEST, parameters)
            await begin_skew(change, space.id, removed, skew)
            activated = replace(deployment, revision=change.revision, activated_at=change.now)
            await change.update(deployments, DEPLOYMENT.values(activated))
            change.record(audit.updated(deployment, activated, "activate"))
            await finish(change, space.id, "deployment.activate")
            return activated


async def _refuse(change: Change, deployment: Deployment) -> None:
    """Raises what `activate_deployment` promises."""
    faults = (await change.rows(_FAULTS, {"deployment": deployment.id}))[0]
    if faults.missing:
        raise edits.missing_content(faults.missing)
    _refuse_size(faults.path)
    if edits.must_match_base(deployment):
        named = {"deployment": deployment.id, "space": deployment.space_id, "base": deployment.base}
        if path := (await change.rows(_CHANGED_SINCE, named))[0].path:
            raise edits.changed_meanwhile(path, deployment.base)


def _refuse_size(path: str | None) -> None:
    """A size that a manifest gives is believed until its content is there: what is served says it in Content-Length."""
    if path:
        raise edits.wrong_size(path)

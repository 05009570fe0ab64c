"""What the edge asks to show a deployment that need not be live. Each question is one statement, as in `edge`."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from sqlalchemy import Row, Select, and_, bindparam, select

from storage.models import File, HostedSite
from storage.previews import Preview
from storage.sql.database import Verbs
from storage.sql.edge import SITE_COLUMNS, VARIANT, add_variant, of_workspace, with_variants
from storage.sql.sources import PATHS, paths_json
from storage.sql.tables import deployment_files, deployments, sites, spaces, workspace_blobs

_LAST = "~"  # sorts behind every digit of an id


def _begins(column: Any, start: str) -> Any:
    return and_(column >= bindparam(start), column < bindparam(f"{start}_end"))


_DEPLOYED = (
    select(
        *SITE_COLUMNS,
        spaces.c.variants_revision,
        sites.c.previews,
        deployments.c.id.label("deployment_id"),
        deployments.c.mode,
        deployments.c.prefix.label("deployed_prefix"),
        deployments.c.base,
        deployments.c.created_at.label("deployed_at"),
    )
    .join_from(deployments, spaces, deployments.c.space_id == spaces.c.id)
    .join(sites, sites.c.space_id == spaces.c.id)
    .where(_begins(deployments.c.id, "deployment"))
    .order_by(deployments.c.id, sites.c.id)
    .limit(1)
)
# Apart, so that each is a seek in an index: by the domain, or in those of the space's sites.
_BY_DOMAIN: Select[Any] = _DEPLOYED.where(sites.c.domain == bindparam("domain"))
_BY_ID: Select[Any] = _DEPLOYED.where(_begins(sites.c.id, "site"))

_possessed = deployment_files.join(deployments, deployments.c.id == deployment_files.c.deployment_id).outerjoin(
    workspace_blobs,
    and_(of_workspace(workspace_blobs), workspace_blobs.c.digest == deployment_files.c.digest),
)
_FILES = (
    select(
        deployment_files.c.path,
        deployment_files.c.digest,
        workspace_blobs.c.size,
        deployments.c.created_at,
        deployments.c.base,
        *VARIANT,
    )
    .select_from(with_variants(_possessed, deployment_files.c.digest))
    .where(
        deployment_files.c.deployment_id == bindparam("deployment"),
        deployments.c.space_id == bindparam("space"),
        deployment_files.c.path.in_(select(PATHS.c.path)),
    )
)


class PreviewVerbs(Verbs):
    async def find_preview(
        self, deployment: str, *, domain: str | None = None, site: str | None = None
    ) -> HostedSite | None:
        start = f"deployment_{deployment}"
        parameters = {"deployment": start, "deployment_end": start + _LAST}
        if domain is not None:
            rows = await self._database.edge.rows(_BY_DOMAIN, {**parameters, "domain": domain})
        else:
            start = f"site_{site}"
            rows = await self._database.edge.rows(_BY_ID, {**parameters, "site": start, "site_end": start + _LAST})
        return _hosted(rows[0]) if rows else None

    async def find_deployed_files(
        self, space_id: str, deployment_id: str, paths: Collection[str]
    ) -> Mapping[str, File | None]:
        parameters = {"space": space_id, "deployment": deployment_id, "paths": paths_json(paths)}
        found: dict[str, File | None] = {}
        for row in await self._database.edge.rows(_FILES, parameters):
            file = found.get(row.path) or _file(row)
            found[row.path] = file if file is None or row.variant_digest is None else add_variant(file, row)
        return found


def _hosted(row: Row[Any]) -> HostedSite:
    preview = Preview(
        deployment_id=row.deployment_id,
        replaces=row.deployed_prefix if row.mode == "replace" else None,
        private=row.previews == "private",
    )
    return HostedSite(
        **{column.name: getattr(row, column.name) for column in SITE_COLUMNS if column.name != "created_at"},
        created_at=max(row.created_at, row.deployed_at),
        files_revision=row.base,
        variants_revision=row.variants_revision,
        preview=preview,
    )


def _file(row: Row[Any]) -> File | None:
    """Without variants; None while the workspace does not possess the content, whoever else does."""
    if row.size is None:
        return None
    return File(path=row.path, digest=row.digest, size=row.size, modified_at=row.created_at, from_revision=row.base)

"""Spaces."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from sqlalchemy import delete, select

from storage import audit, edits
from storage.models import NewSpace, Page, PageQuery, Space, SpacePatch
from storage.sql.database import Verbs, whole
from storage.sql.rows import SPACE, WORKSPACE, has_meta
from storage.sql.tables import sites, spaces


class SpaceVerbs(Verbs):
    @whole
    async def create_space(self, new: NewSpace) -> Space:
        async with self._database.change() as change:
            await WORKSPACE.get(change, new.workspace_id)
            space = edits.make_space(new, change.revision, change.now)
            await change.insert(spaces, {**SPACE.values(space), "settings_at": 0})
            change.record(audit.created(space))
            change.log("space.create")
            return space

    async def find_space(self, space_id: str) -> Space | None:
        return await SPACE.find(self._database, spaces.c.id == space_id)

    async def find_space_by_alias(self, workspace_id: str, alias: str) -> Space | None:
        return await SPACE.find(self._database, spaces.c.workspace_id == workspace_id, spaces.c.alias == alias)

    async def list_spaces(
        self,
        workspace_id: str,
        query: PageQuery,
        *,
        contact_id: str | None = None,
        meta: Mapping[str, str] | None = None,
        among: Collection[str] | None = None,
    ) -> Page[Space]:
        where = [spaces.c.workspace_id == workspace_id, *has_meta(spaces, meta)]
        if contact_id is not None:
            where.append(spaces.c.contact_id == contact_id)
        if among is not None:
            where.append(spaces.c.id.in_(among))
        return await SPACE.list_page(self._database, query, *where)

    @whole
    async def update_space(self, space_id: str, patch: SpacePatch) -> Space:
        async with self._database.change() as change:
            old = await SPACE.get(change, space_id)
            space = edits.patch_space(old, patch, change.now)
            await change.update(spaces, SPACE.values(space))
            change.record(audit.updated(old, space))
            change.log("space.update")
            return space

    @whole
    async def delete_space(self, space_id: str) -> None:
        async with self._database.change() as change:
            space = await SPACE.get(change, space_id)
            domains = select(sites.c.domain).where(sites.c.space_id == space_id).order_by(sites.c.domain)
            hosts = [row.domain for row in await change.rows(domains)]
            # The foreign keys take along its sites, files, history and deployments.
            await change.execute(delete(spaces).where(spaces.c.id == space_id))
            change.record(audit.deleted(space, domains=audit.first(hosts), domainCount=len(hosts)))
            change.log("space.delete", hosts, space_id)

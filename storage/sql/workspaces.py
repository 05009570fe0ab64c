"""Workspaces, and what they have."""

from __future__ import annotations

from storage import audit, edits
from storage.models import Page, PageQuery
from storage.sql.database import Verbs, whole
from storage.sql.dialects import insert_into
from storage.sql.quotas import measure
from storage.sql.rows import WORKSPACE
from storage.sql.tables import workspaces
from storage.workspaces import Usage, Workspace, WorkspacePatch


class WorkspaceVerbs(Verbs):
    @whole
    async def put_workspace(self, workspace_id: str, name: str) -> Workspace:
        async with self._database.transaction() as transaction:
            workspace = edits.make_workspace({"name": name}, transaction.now, workspace_id)
            adding = insert_into(transaction.dialect, workspaces).values(WORKSPACE.values(workspace))
            if await transaction.execute(adding.on_conflict_do_nothing()):
                transaction.record(audit.created(workspace))
            return await WORKSPACE.get(transaction, workspace_id)

    @whole
    async def create_workspace(self, new: WorkspacePatch) -> Workspace:
        async with self._database.transaction() as transaction:
            workspace = edits.make_workspace(new, transaction.now)
            await transaction.insert(workspaces, WORKSPACE.values(workspace))
            transaction.record(audit.created(workspace))
            return workspace

    async def find_workspace(self, workspace_id: str) -> Workspace | None:
        return await WORKSPACE.find(self._database, workspaces.c.id == workspace_id)

    async def find_workspace_by_alias(self, alias: str) -> Workspace | None:
        return await WORKSPACE.find(self._database, workspaces.c.alias == alias)

    async def list_workspaces(self, query: PageQuery) -> Page[Workspace]:
        return await WORKSPACE.list_page(self._database, query)

    @whole
    async def update_workspace(self, workspace_id: str, patch: WorkspacePatch) -> Workspace:
        async with self._database.transaction() as transaction:
            old = await WORKSPACE.get(transaction, workspace_id)
            workspace = edits.patch_workspace(old, patch, transaction.now)
            await transaction.update(workspaces, WORKSPACE.values(workspace))
            transaction.record(audit.updated(old, workspace))
            return workspace

    async def measure_workspace(self, workspace_id: str) -> Usage:
        return Usage(
            sites=await measure(self._database, edits.SITES, workspace_id),
            files=await measure(self._database, edits.FILES, workspace_id),
            bytes=await measure(self._database, edits.BYTES, workspace_id),
            widgets=await measure(self._database, edits.WIDGETS, workspace_id),
        )

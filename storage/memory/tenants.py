"""Workspaces and their keys, in memory."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from storage import audit, edits
from storage.errors import Conflict, NotFound
from storage.memory.calls import MemoryCalls
from storage.memory.nouns import get, page
from storage.memory.variants import Variants
from storage.models import Digest, Key, Millis, NewKey, Page, PageQuery
from storage.workspaces import Workspace, WorkspacePatch


class MemoryTenants(MemoryCalls):
    """The part of `MemoryMetadata` that knows who there is."""

    def __init__(self, clock: Callable[[], Millis]) -> None:
        super().__init__(clock)
        self._workspaces: dict[str, Workspace] = {}
        self._possessions: dict[str, dict[Digest, int]] = {}  # by workspace: content → size
        self._variants: dict[str, Variants] = {}  # by workspace
        self._keys: dict[str, Key] = {}

    async def put_workspace(self, workspace_id: str, name: str) -> Workspace:
        if workspace_id not in self._workspaces:
            made = self._keep_workspace(edits.make_workspace({"name": name}, self._clock(), workspace_id))
            self._record(audit.created(made))
        return self._workspaces[workspace_id]

    async def create_workspace(self, new: WorkspacePatch) -> Workspace:
        made = self._keep_workspace(edits.make_workspace(new, self._clock()))
        self._record(audit.created(made))
        return made

    async def find_workspace(self, workspace_id: str) -> Workspace | None:
        return self._workspaces.get(workspace_id)

    async def find_workspace_by_alias(self, alias: str) -> Workspace | None:
        return next((each for each in self._workspaces.values() if each.alias == alias), None)

    async def list_workspaces(self, query: PageQuery) -> Page[Workspace]:
        return page(self._workspaces.values(), query)

    async def update_workspace(self, workspace_id: str, patch: WorkspacePatch) -> Workspace:
        old = get(self._workspaces, "workspace", workspace_id)
        workspace = self._keep_workspace(edits.patch_workspace(old, patch, self._clock()))
        self._record(audit.updated(old, workspace))
        return workspace

    async def create_key(self, new: NewKey) -> Key:
        self._require_workspace(new.workspace_id)
        key = edits.make_key(new, self._clock())
        if await self.find_key_by_hash(key.secret_hash):
            raise Conflict("key", "secret_hash", key.secret_hash)
        self._keys[key.id] = key
        self._record(audit.created(key))
        return key

    async def find_key(self, key_id: str) -> Key | None:
        return self._keys.get(key_id)

    async def find_key_by_hash(self, secret_hash: str) -> Key | None:
        return next((key for key in self._keys.values() if key.secret_hash == secret_hash), None)

    async def list_keys(self, workspace_id: str, query: PageQuery) -> Page[Key]:
        return page((key for key in self._keys.values() if key.workspace_id == workspace_id), query)

    async def revoke_key(self, key_id: str) -> Key:
        key = get(self._keys, "key", key_id)
        if key.revoked_at is not None:
            return key
        self._keys[key_id] = revoked = replace(key, revoked_at=self._clock())
        self._record(audit.updated(key, revoked, "revoke"))
        return revoked

    async def touch_key(self, key_id: str, used_at: Millis) -> None:
        if key := self._keys.get(key_id):
            self._keys[key_id] = replace(key, last_used_at=used_at)

    def _keep_workspace(self, workspace: Workspace) -> Workspace:
        others = {each.alias for each in self._workspaces.values() if each.id != workspace.id}
        if workspace.alias is not None and workspace.alias in others:
            raise Conflict("workspace", "alias", workspace.alias)
        self._possessions.setdefault(workspace.id, {})
        self._variants.setdefault(workspace.id, Variants())
        self._workspaces[workspace.id] = workspace
        return workspace

    def _require_workspace(self, workspace_id: str) -> Workspace:
        if workspace_id not in self._workspaces:
            raise NotFound("workspace", workspace_id)
        return self._workspaces[workspace_id]

    def _check_quota(self, quota: edits.Quota, workspace_id: str, after: int) -> None:
        edits.check_quota(quota, self._workspaces[workspace_id], after)

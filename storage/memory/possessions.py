"""What workspaces possess, in memory, and how they let go of it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Set

from storage import edits
from storage.errors import NotFound
from storage.memory.tree import Tree
from storage.memory.variants import Variants
from storage.models import Blob, Deployment, Digest, Millis, Space
from storage.workspaces import Workspace


class PossessionVerbs:
    """Those verbs of `MemoryMetadata`, over its attributes."""

    _clock: Callable[[], Millis]
    _workspaces: dict[str, Workspace]
    _spaces: dict[str, Space]
    _trees: dict[str, Tree]  # by space
    _deployments: dict[str, Deployment]
    _manifests: dict[str, Mapping[str, Blob]]  # by deployment
    _variants: dict[str, Variants]  # by workspace
    _possessions: dict[str, dict[Digest, int]]  # by workspace: content → size
    _uploaded_at: dict[tuple[str, Digest], Millis]  # by workspace and content

    def _check_bytes(self, workspace_id: str, blobs: Iterable[Blob]) -> None:
        """Raises `QuotaExceeded` if the workspace may not possess them too."""
        possessed = self._possessions[workspace_id]
        after = sum((possessed | {blob.digest: blob.size for blob in blobs}).values())
        if after > sum(possessed.values()):
            edits.check_quota(edits.BYTES, self._workspaces[workspace_id], after)

    async def put_blob(self, workspace_id: str, blob: Blob) -> None:
        await self.put_blobs(workspace_id, [blob])

    async def put_blobs(self, workspace_id: str, blobs: Collection[Blob]) -> None:
        if workspace_id not in self._workspaces:
            raise NotFound("workspace", workspace_id)
        self._check_bytes(workspace_id, blobs)
        self._possess(workspace_id, blobs)

    async def release_blobs(self, before: Millis) -> int:
        released = 0
        for workspace_id, possessed in self._possessions.items():
            used = self._used(workspace_id)
            for digest in list(possessed):
                if digest not in used and self._uploaded_at[workspace_id, digest] < before:
                    del possessed[digest], self._uploaded_at[workspace_id, digest]
                    released += 1
            self._variants[workspace_id].keep(possessed)
        return released

    async def find_used_blobs(self, digests: Collection[Digest], *, possessed_since: Millis = 0) -> Set[Digest]:
        used = {digest for (_, digest), at in self._uploaded_at.items() if at >= possessed_since}
        for workspace_id, variants in self._variants.items():
            used |= {*self._used(workspace_id), *variants.digests()}
        return used & set(digests)

    def _possess(self, workspace_id: str, blobs: Collection[Blob]) -> None:
        self._possessions[workspace_id].update((blob.digest, blob.size) for blob in blobs)
        self._uploaded_at.update(((workspace_id, blob.digest), self._clock()) for blob in blobs)

    def _used(self, workspace_id: str) -> set[Digest]:
        """By a file, live or ended, or a deployment of the workspace."""

        def digests() -> Iterator[Digest]:
            for space in self._spaces.values():
                if space.workspace_id == workspace_id:
                    yield from self._trees[space.id].digests()
            for deployment in self._deployments.values():
                if deployment.workspace_id == workspace_id:
                    yield from (blob.digest for blob in self._manifests[deployment.id].values())

        return set(digests())

"""Reading and forgetting deployments and what files held before, in memory."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping

from storage import audit, edits
from storage.audit import Act
from storage.memory.nouns import get
from storage.memory.tree import Tree
from storage.models import Blob, Deployment, Digest, Millis, Space


class DeploymentVerbs:
    """Those verbs of `MemoryMetadata`, over its attributes."""

    _spaces: dict[str, Space]
    _trees: dict[str, Tree]  # by space
    _deployments: dict[str, Deployment]
    _manifests: dict[str, Mapping[str, Blob]]  # by deployment
    _record: Callable[[Act], None]
    _log: Callable[..., None]

    async def find_deployment_blobs(
        self, deployment_id: str, digests: Collection[Digest]
    ) -> Mapping[Digest, tuple[str, Blob]]:
        last_first = sorted(self._manifests.get(deployment_id, {}).items(), reverse=True)
        return {blob.digest: (path, blob) for path, blob in last_first if blob.digest in digests}

    async def read_manifest(self, deployment_id: str) -> Mapping[str, Blob]:
        return self._manifests.get(deployment_id, {})

    async def read_tree(self, space_id: str, limit: int) -> Mapping[str, Blob]:
        live = self._trees[space_id].list_live("") if space_id in self._trees else []
        return {file.path: Blob(digest=file.digest, size=file.size) for file in live[:limit]}

    async def delete_deployment(self, deployment_id: str) -> None:
        deployment = get(self._deployments, "deployment", deployment_id)
        edits.refuse_deletion(deployment)
        self._forget(deployment)
        self._log("deployment.delete", space_id=deployment.space_id)

    async def forget_deployments(self, keep: int, before: Millis) -> int:
        forgotten = 0
        for space_id in sorted(self._spaces):
            own = [each for each in self._deployments.values() if each.space_id == space_id]
            latest = sorted(own, key=lambda each: each.id)[-keep:] if keep else []
            active = sorted((each for each in own if each.revision), key=lambda each: each.revision or 0)[-2:]
            due = [
                each
                for each in own
                if each not in latest and each not in active and (each.activated_at or each.created_at) < before
            ]
            for deployment in due:
                self._forget(deployment)
            if due:
                self._log("deployment.delete", space_id=space_id)
            forgotten += len(due)
        return forgotten

    async def forget_history(self, before: Millis) -> int:
        return sum(tree.forget(before) for tree in self._trees.values())

    def _forget(self, deployment: Deployment) -> None:
        del self._deployments[deployment.id], self._manifests[deployment.id]
        self._record(audit.deleted(deployment))

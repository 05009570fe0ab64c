"""Previews and skew protection in memory."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import replace

from storage.memory.tree import Tree
from storage.memory.variants import Variants
from storage.models import Blob, Deployment, Digest, File, HostedSite, Millis, Site
from storage.previews import Preview


class PreviewVerbs:
    """Those verbs of `MemoryMetadata`, over its attributes."""

    _clock: Callable[[], Millis]
    _sites: dict[str, Site]
    _trees: dict[str, Tree]  # by space
    _deployments: dict[str, Deployment]
    _manifests: dict[str, Mapping[str, Blob]]  # by deployment
    _variants: dict[str, Variants]  # by workspace
    _variants_revisions: dict[str, int]  # by space; absent: 0
    _possessions: dict[str, dict[Digest, int]]  # by workspace: content → size
    _windows: dict[str, tuple[int, Millis]]  # by space: the activation, and when its window is over
    _next_revision: Callable[[], int]
    _log: Callable[..., None]

    async def find_preview(
        self, deployment: str, *, domain: str | None = None, site: str | None = None
    ) -> HostedSite | None:
        found = [
            (deployed.id, each.id)
            for deployed in self._deployments.values()
            for each in self._sites.values()
            if deployed.id.startswith(f"deployment_{deployment}") and each.space_id == deployed.space_id
            if (each.id.startswith(f"site_{site}") if domain is None else each.domain == domain)
        ]
        if not found:
            return None
        first, its_site = min(found)
        return self._previewed(self._deployments[first], self._sites[its_site])

    def _previewed(self, deployment: Deployment, site: Site) -> HostedSite:
        preview = Preview(
            deployment_id=deployment.id,
            replaces=deployment.prefix if deployment.mode == "replace" else None,
            private=site.previews == "private",
        )
        hosted = HostedSite.of(site, deployment.base, self._variants_revisions.get(site.space_id, 0))
        return replace(hosted, created_at=max(site.created_at, deployment.created_at), preview=preview)

    async def find_deployed_files(
        self, space_id: str, deployment_id: str, paths: Collection[str]
    ) -> Mapping[str, File | None]:
        deployment = self._deployments.get(deployment_id)
        if deployment is None or deployment.space_id != space_id:
            return {}
        manifest = self._manifests[deployment_id]
        return {path: self._deployed(deployment, path, manifest[path]) for path in paths if path in manifest}

    def _deployed(self, deployment: Deployment, path: str, blob: Blob) -> File | None:
        size = self._possessions[deployment.workspace_id].get(blob.digest)
        if size is None:
            return None
        return File(
            path=path,
            digest=blob.digest,
            size=size,
            modified_at=deployment.created_at,
            from_revision=deployment.base,
            variants=self._variants[deployment.workspace_id].of(blob.digest),
        )

    async def end_skew(self) -> int:
        over = [space_id for space_id, (_, ends_at) in self._windows.items() if ends_at <= self._clock()]
        latest = self._next_revision() + len(over) - 1
        for space_id in over:
            del self._windows[space_id]
            self._variants_revisions[space_id] = latest
            self._log("skew.end", space_id=space_id)
        return len(over)

    def _begin_skew(self, space_id: str, removed: int, skew: Millis) -> None:
        """An activation, at the next revision, removes so many files."""
        self._windows.pop(space_id, None)
        if removed and skew:
            self._windows[space_id] = (self._next_revision(), self._clock() + skew)

    def _shown(self, space_id: str, path: str, *, recursive: bool) -> list[File]:
        """Those at `path` or, if `recursive`, below it that only the window shows."""
        if space_id not in self._windows:
            return []
        ended = self._trees[space_id].list_ended(path, self._windows[space_id][0])
        return [file for file in ended if recursive or file.path == path]

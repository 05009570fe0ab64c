"""What it takes of a store to decide on an answer."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Protocol

from storage.models import File


class FileFinder(Protocol):
    """Finds files by their paths."""

    async def find_files(self, space_id: str, paths: Collection[str], revision: int) -> Mapping[str, File]:
        """For each of `paths`, the newest row that had begun at `revision`, if there is one.

        A row that had ended by then (`to_revision` ≤ `revision`) is a tombstone: it says when the path was removed. One
        that ended later is returned as it stood: `to_revision` and `removed_at` None. Each has the variants that the
        space's workspace has of its content now.
        """
        ...

    async def find_deployed_files(
        self, space_id: str, deployment_id: str, paths: Collection[str]
    ) -> Mapping[str, File | None]:
        """What the manifest of a deployment of the space has at each of `paths`: a file that has been there since the
        deployment was created, as large as its content is, with its variants; None while the workspace lacks that."""
        ...

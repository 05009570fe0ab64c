"""Copies and moves within a space, in memory."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping

from storage import edits
from storage.errors import NotFound
from storage.memory.tree import Tree
from storage.models import Blob, Space


class CopyVerbs:
    """Those verbs of `MemoryMetadata`, over its attributes."""

    _spaces: dict[str, Space]
    _trees: dict[str, Tree]  # by space
    _publish: Callable[[Space, Mapping[str, Blob], Collection[str]], bool]
    _log: Callable[..., None]

    async def copy_files(self, space_id: str, path: str, destination: str, *, move: bool = False) -> int:
        if space_id not in self._spaces:
            raise NotFound("space", space_id)
        copies, originals = edits.plan_copy(self._trees[space_id].list_at(path), path, destination)
        if self._publish(self._spaces[space_id], copies, originals if move else ()):
            self._log("files.move" if move else "files.copy", space_id=space_id)
        return len(copies)

"""Copies and moves within a space, in memory."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping

from storage import audit, edits
from storage.audit import Act
from storage.memory.nouns import get
from storage.memory.tree import Tree
from storage.models import Blob, Space


class CopyVerbs:
    """Those verbs of `MemoryMetadata`, over its attributes."""

    _spaces: dict[str, Space]
    _trees: dict[str, Tree]  # by space
    _publish: Callable[[Space, Mapping[str, Blob], Collection[str]], bool]
    _record: Callable[[Act], None]
    _log: Callable[..., None]

    async def copy_files(self, space_id: str, path: str, destination: str, *, move: bool = False) -> int:
        space = get(self._spaces, "space", space_id)
        copies, originals = edits.plan_copy(self._trees[space_id].list_at(path), path, destination)
        if self._publish(space, copies, originals if move else ()):
            self._record(audit.files_copied(space, path, destination, len(copies), move=move))
            self._log("files.move" if move else "files.copy", space_id=space_id)
        return len(copies)

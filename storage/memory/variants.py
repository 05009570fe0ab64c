"""Variants in memory: what became of contents in other codings, a workspace at a time."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterator, Mapping, Sequence

from storage.errors import NotFound
from storage.memory.tree import Tree
from storage.models import CODINGS, Blob, Change, Coding, Digest, Space, Uncoded, Variant


class Variants:
    """One workspace's."""

    def __init__(self) -> None:
        self._tries: dict[Digest, dict[Coding, Blob | None]] = {}

    def add(self, contents: Mapping[Digest, Mapping[Coding, Blob | None]]) -> set[Digest]:
        """Remember what is new of `contents`; those that have a variant more than before."""
        gained = set()
        for source, tries in contents.items():
            known = self._tries.setdefault(source, {})
            new = {coding: blob for coding, blob in tries.items() if coding not in known}
            known.update(new)
            if any(new.values()):
                gained.add(source)
        return gained

    def of(self, source: Digest) -> tuple[Variant, ...]:
        """By coding."""
        tries = sorted(self._tries.get(source, {}).items())
        return tuple(Variant(coding=coding, digest=blob.digest, size=blob.size) for coding, blob in tries if blob)

    def keep(self, sources: Container[Digest]) -> None:
        """Forget what others have become."""
        self._tries = {source: tries for source, tries in self._tries.items() if source in sources}

    def digests(self) -> Iterator[Digest]:
        """Of all variants."""
        return (blob.digest for tries in self._tries.values() for blob in tries.values() if blob)

    def tried(self, source: Digest) -> frozenset[Coding]:
        """The codings it has been tried in, to whatever end."""
        return frozenset(self._tries.get(source, ()))


class VariantVerbs:
    """Those verbs of `MemoryMetadata`, over its attributes."""

    _announce: Callable[[int], None]
    _changes: list[Change]
    _spaces: dict[str, Space]
    _trees: dict[str, Tree]  # by space
    _variants: dict[str, Variants]  # by workspace
    _variants_revisions: dict[str, int]  # by space; absent: 0

    async def put_variants(self, workspace_id: str, contents: Mapping[Digest, Mapping[Coding, Blob | None]]) -> None:
        if workspace_id not in self._variants:
            raise NotFound("workspace", workspace_id)
        gained = self._variants[workspace_id].add(contents)
        moved = sorted(
            space.id
            for space in self._spaces.values()
            if space.workspace_id == workspace_id
            and any(file.digest in gained for file in self._trees[space.id].list_live(""))
        )
        for space_id in moved:
            self._changes.append(Change(revision=len(self._changes) + 1, kind="variants", space_id=space_id))
        if moved:
            self._variants_revisions.update(dict.fromkeys(moved, len(self._changes)))
            self._announce(len(self._changes))

    async def list_uncoded(self, after: tuple[int, str], limit: int) -> Sequence[Uncoded]:
        files = [
            Uncoded(
                workspace_id=space.workspace_id,
                revision=file.from_revision,
                path=file.path,
                digest=file.digest,
                size=file.size,
                tried=self._variants[space.workspace_id].tried(file.digest),
            )
            for space in self._spaces.values()
            for file in self._trees[space.id].list_live("")
        ]
        lacking = [file for file in files if (file.revision, file.path) > after and len(file.tried) < len(CODINGS)]
        return sorted(lacking, key=lambda file: (file.revision, file.path))[:limit]

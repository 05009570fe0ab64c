"""Keeping up with the store: a worker that is behind catches up before it answers.

`behind` compares the node's latest revision, which a writer raises before its call returns, with what this worker has
applied. Changes made elsewhere, by another node say, are found by `poll`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import Protocol

from storage.errors import StorageError
from storage.metadata import EdgeMetadata
from storage.models import Change

BATCH = 1000
TOO_MANY = 20_000  # applying more than this costs longer than starting afresh
WAKE_SECONDS = 0.1  # how often an idle worker looks at the node's revision: one read of eight bytes
POLL_SECONDS = 0.5  # how often it asks the store for what other nodes did; the bound between nodes is twice that


logger = logging.getLogger("spacelane.edge")


class Node(Protocol):
    """What the processes of this node share (`server.node`)."""

    @property
    def revision(self) -> int:
        """The latest revision that any of them has written, or answers by."""
        ...

    @property
    def revision_cell(self) -> Sequence[int]:
        """Its only item is `revision`, read in 30 ns; the property takes 90."""
        ...

    def raise_revision(self, revision: int) -> None:
        """Let every process see `revision`, unless a later one is there already."""
        ...


class Follower:
    """Applies the change log to one worker, in order and each change once."""

    def __init__(
        self,
        metadata: EdgeMetadata,
        node: Node,
        apply: Callable[[Change], None],
        clear: Callable[[], None],
        applied: Callable[[int], None] = lambda revision: None,
    ) -> None:
        """`apply` takes one change, `clear` forgets everything, `applied` is told each revision that is reached."""
        self.revision = -1  # nothing is known, not even that the store is empty
        self._metadata = metadata
        self._node = node
        self._apply = apply
        self._clear = clear
        self._applied = applied
        self._lock = asyncio.Lock()
        self._in_trouble = False

    @property
    def behind(self) -> bool:
        """Whether this node has seen a change that this worker has not."""
        return self._node.revision > self.revision

    async def catch_up(self) -> None:
        """Return once this worker is not behind. Raises `Unavailable`."""
        while self.behind:
            await self.poll()

    def catch_up_nowait(self) -> bool:
        """Catch up if that is a matter of reading a few lines of the log, and those are to be had without waiting;
        whether this worker is not behind any more."""
        if self.revision < 0 or self._lock.locked() or self._in_trouble:
            return False
        try:
            changes = self._metadata.list_changes_nowait(self.revision, BATCH)
        except StorageError:
            self._in_trouble = True  # `poll` says of what kind
            return False
        if changes:
            self._follow(changes)
        return not self.behind

    def tell(self, revision: int) -> None:
        """Whoever has seen a revision in the store tells the node before anything is answered by it: its writer, which
        does so too, may not have come to it yet, and no visitor shall get a later answer from one worker and then an
        earlier one from another. So the node's revision is never behind what a worker has applied."""
        if revision > self._node.revision:
            self._node.raise_revision(revision)

    async def run(self) -> None:
        """Follow for ever, so that an idle worker learns of changes too. A store that is away is asked again."""
        while True:
            try:
                await self.poll()
            except StorageError as exc:
                logger.warning("the change log cannot be read, and will be again: %s", exc)
            for _ in range(round(POLL_SECONDS / WAKE_SECONDS)):
                await asyncio.sleep(WAKE_SECONDS)
                if self.behind:
                    break

    async def poll(self) -> None:
        """Apply whatever the store has that is new, from wherever it came. Raises `Unavailable`."""
        async with self._lock:
            latest = await self._metadata.get_revision()
            self.tell(latest)
            if latest < self._node.revision:
                logger.warning("the store is at revision %d, behind the %d seen before", latest, self._node.revision)
            if self.revision < 0 or latest - self.revision > TOO_MANY or latest < self._node.revision:
                self._restart(latest)
            while self.revision < latest:
                changes = await self._metadata.list_changes(self.revision, BATCH)
                if changes:
                    self._follow(changes)
                else:
                    self._reach(latest)
            self._in_trouble = False

    def _follow(self, changes: Sequence[Change]) -> None:
        self.tell(changes[-1].revision)
        for change in changes:
            self._apply(change)
        self._reach(changes[-1].revision)

    def _restart(self, latest: int) -> None:
        self._clear()
        self._reach(max(latest, self._node.revision))

    def _reach(self, revision: int) -> None:
        self.revision = revision
        self._applied(revision)

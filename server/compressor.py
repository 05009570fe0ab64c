"""The background job that gives every compressible file its variants, from the oldest file to the newest.

What it has made it records in batches: each record moves the version of a site, which then is cached anew. Where it has
come to is kept in memory only; after a restart it looks through everything that lacks a coding once more.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from server.compression import codings_for, make_variants
from server.edge.changes import Node
from storage.blobs import BlobStore
from storage.errors import Corrupt, Unavailable
from storage.metadata import MetadataStore
from storage.models import Blob, Coding, Digest, Uncoded

BATCH = 200  # files asked for at once
RECORD_SECONDS = 2.0  # a record waits for no more than this, and for the file under way
WAKE_SECONDS = 0.25  # how often it looks whether anything was published here: one read of eight bytes
POLL_SECONDS = 10.0  # how often it looks for what was published elsewhere

logger = logging.getLogger("spacelane.compressor")


def yield_to_others() -> None:
    """Take only what time of the processors is left over."""
    os.nice(19)
    # Linux may weigh sessions against each other, nice numbers then counting within each alone (sched(7), "The
    # autogroup feature"). This process leads a session of its own. Elsewhere there is no such file.
    with suppress(OSError):
        Path("/proc/self/autogroup").write_text("19")


class Compressor:
    """Several may work on one store: what both make is the same, and counts once."""

    def __init__(
        self, metadata: MetadataStore, blobs: BlobStore, node: Node, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._metadata = metadata
        self._blobs = blobs
        self._node = node
        self._clock = clock
        self._place = (0, "")  # everything up to here has been looked at
        self._made: defaultdict[str, dict[Digest, dict[Coding, Blob | None]]] = defaultdict(dict)  # by workspace

    async def run(self) -> None:
        """For ever. A store that is away is asked again."""
        while True:
            seen = self._node.revision
            with suppress(Unavailable):
                await self.work()
            for _ in range(round(POLL_SECONDS / WAKE_SECONDS)):
                await asyncio.sleep(WAKE_SECONDS)
                if self._node.revision != seen:
                    break

    async def work(self) -> None:
        """Give variants to whatever has been published since the last time. Raises `Unavailable`."""
        while files := await self._metadata.list_uncoded(self._place, BATCH):
            await self._compress(files)
            self._place = (files[-1].revision, files[-1].path)

    async def _compress(self, files: Sequence[Uncoded]) -> None:
        self._made.clear()
        done: set[tuple[str, Digest]] = set()
        recorded = self._clock()
        for file in files:
            codings = [coding for coding in codings_for(file.path, file.size) if coding not in file.tried]
            if not codings or (file.workspace_id, file.digest) in done:
                continue
            done.add((file.workspace_id, file.digest))
            source = Blob(digest=file.digest, size=file.size)
            try:
                self._made[file.workspace_id][file.digest] = await make_variants(self._blobs, source, codings)
            except Corrupt as exc:
                logger.error("a file cannot be compressed: %s", exc)
            if self._clock() - recorded > RECORD_SECONDS:
                await self._record()
                recorded = self._clock()
        await self._record()

    async def _record(self) -> None:
        for workspace_id, contents in self._made.items():
            await self._metadata.put_variants(workspace_id, contents)
        self._made.clear()

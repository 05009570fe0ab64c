"""When contents that nothing refers to are collected: by and by while the server runs, or at once when told to."""

from __future__ import annotations

import asyncio

from server.config import Settings
from server.logs import get_logger
from server.stores import BLOBS, Stores, open_stores
from storage.collect import Collected, collect, find_collectable
from storage.errors import StorageError

FIRST_SECONDS = 600.0  # after the start, which has other things to do
EVERY_SECONDS = 6 * 3600.0

logger = get_logger("spacelane.collector")


class Collector:
    """The background job. Several may work on one store."""

    def __init__(self, stores: Stores, grace: float) -> None:
        """`grace` in seconds."""
        self._stores = stores
        self._grace = grace

    async def run(self, first: float = FIRST_SECONDS, every: float = EVERY_SECONDS) -> None:
        """For ever. What goes wrong is tried again the next time."""
        await asyncio.sleep(first)
        while True:
            await self.work()
            await asyncio.sleep(every)

    async def work(self) -> None:
        """Collect once, and say so if anything went."""
        try:
            done = await collect(self._stores.metadata, self._stores.blobs, self._grace)
        except StorageError as exc:
            logger.error("contents cannot be collected now", reason=str(exc))
        else:
            if done.count:
                logger.info("collected contents that nothing refers to", count=done.count, bytes=done.size)


async def collect_now(settings: Settings, *, dry_run: bool) -> Collected:
    """Collect in the stores of `settings`, whether a server uses them or not; `dry_run`: only look.

    Raises `StorageError`.
    """
    if not (settings.data_dir / BLOBS).is_dir():
        raise StorageError(f"no server keeps its data in {settings.data_dir}")
    async with open_stores(settings) as stores:
        work = find_collectable if dry_run else collect
        return await work(stores.metadata, stores.blobs, settings.grace_seconds)

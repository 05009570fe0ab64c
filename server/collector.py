"""When what nobody can want any longer goes: by and by while the server runs, or at once when told to.

1. deployments that are neither among the latest nor young, and what files held before, are forgotten
2. contents that nothing refers to any longer are collected
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from server.config import Settings
from server.logs import get_logger
from server.stores import BLOBS, Stores, open_stores
from storage.clock import now_ms
from storage.collect import Collected, collect, find_collectable
from storage.errors import StorageError
from storage.models import Millis
from storage.retention import DAY, forget

FIRST_SECONDS = 600.0  # after the start, which has other things to do
EVERY_SECONDS = 6 * 3600.0

logger = get_logger("spacelane.collector")


class Collector:
    """The background job. Several may work on one store."""

    def __init__(
        self, stores: Stores, grace: float, keep: int, days: int, clock: Callable[[], Millis] = now_ms
    ) -> None:
        """`grace` in seconds; `keep` deployments of each space stay, and those that are younger than `days`."""
        self._stores = stores
        self._grace = grace
        self._keep = keep
        self._days = days
        self._clock = clock

    async def run(self, first: float = FIRST_SECONDS, every: float = EVERY_SECONDS) -> None:
        """For ever. What goes wrong is tried again the next time."""
        await asyncio.sleep(first)
        while True:
            await self.work()
            await asyncio.sleep(every)

    async def work(self) -> None:
        """Forget and collect once, and say so if anything went."""
        await self._forget()
        try:
            done = await collect(self._stores.metadata, self._stores.blobs, self._grace, clock=self._clock)
        except StorageError as exc:
            logger.error("contents cannot be collected now", reason=str(exc))
        else:
            if done.count:
                logger.info("collected contents that nothing refers to", count=done.count, bytes=done.size)

    async def _forget(self) -> None:
        try:
            done = await forget(self._stores.metadata, self._keep, self._clock() - self._days * DAY)
        except StorageError as exc:
            logger.error("old deployments cannot be forgotten now", reason=str(exc))
        else:
            if done.deployments or done.versions:
                logger.info("forgot what is past going back to", deployments=done.deployments, versions=done.versions)


async def collect_now(settings: Settings, *, dry_run: bool) -> Collected:
    """Collect in the stores of `settings`, whether a server uses them or not; `dry_run`: only look.

    Raises `StorageError`.
    """
    if not (settings.data_dir / BLOBS).is_dir():
        raise StorageError(f"no server keeps its data in {settings.data_dir}")
    async with open_stores(settings) as stores:
        work = find_collectable if dry_run else collect
        return await work(stores.metadata, stores.blobs, settings.grace_seconds)

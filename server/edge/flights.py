"""One load however many wait for it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Flights(Generic[K, V]):
    """Loads under way, by key. A load is a task of its own: a visitor who leaves does not break it for the others."""

    def __init__(self) -> None:
        self._tasks: dict[K, asyncio.Task[V]] = {}

    async def join(self, key: K, load: Callable[[], Awaitable[V]]) -> V:
        """What the load of `key` under way gives, or that of `load`, begun now."""
        task = self._tasks.get(key)
        if task is None:
            task = self._tasks[key] = asyncio.ensure_future(self._run(key, load))
            task.add_done_callback(_retrieve)
        return await asyncio.shield(task)

    async def _run(self, key: K, load: Callable[[], Awaitable[V]]) -> V:
        try:
            return await load()
        finally:
            # Here and not in a done callback: whoever comes after the last step of `load` must begin a new one.
            del self._tasks[key]


def _retrieve(task: asyncio.Task[V]) -> None:
    """Look at the outcome, in case every waiter has gone: an unseen exception would be logged as a bug."""
    if not task.cancelled():
        task.exception()

"""What one worker counts, and tells the node's totals once a second."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Mapping

from server.doors.journal import Tally
from server.edge.cache import ResponseCache
from server.totals import CLASSES, MAX_SITES, NO_SITE, OTHER, Cell, Count, Totals

REPORT_SECONDS = 1.0
LAST_REPORTS = 100  # that are tried at the end, where others are in the way
LAST_SECONDS = 0.01  # between those
MAX_PENDING = len(CLASSES) * (MAX_SITES + 2)

_CLASSES = {int(name[0]): name for name in CLASSES}


class Meter:
    """One worker's. Nothing of it is done for a request: `count` is for many at once."""

    def __init__(self, totals: Totals, process: str, cache: ResponseCache, dropped_lines: Callable[[], int]) -> None:
        """`dropped_lines` counts since the start."""
        self._totals = totals
        self._process = process
        self._cache = cache
        self._dropped_lines = dropped_lines
        self._connections: Callable[[], int] = int
        self._pending: dict[tuple[str, str], Count] = {}
        self._remembered = 0  # answers that a door gave by itself
        self._reported: dict[Cell, int] = {}

    def watch(self, connections: Callable[[], int]) -> None:
        """From now on tell how many connections are open."""
        self._connections = connections

    def count(self, tallies: Mapping[Tally, int]) -> None:
        """Take what a journal hands on."""
        pending = self._pending
        for tally, times in tallies.items():
            status_class = _CLASSES[tally.status // 100]
            key = (tally.site_id or NO_SITE, status_class)
            if key not in pending and len(pending) >= MAX_PENDING:
                key = (OTHER, status_class)
            answers, size = pending.get(key, (0, 0))
            pending[key] = Count(answers + times, size + times * tally.size)
            if tally.remembered:
                self._remembered += times

    def report(self) -> bool:
        """Tell everything that has been counted; False if it has to be told another time."""
        stats = self._cache.stats
        counted = {
            Cell.HITS: stats.hits + self._remembered,
            Cell.MISSES: stats.misses,
            Cell.EVICTIONS: stats.evictions,
            Cell.DROPPED_LINES: self._dropped_lines(),
        }
        changes = {cell: value - self._reported.get(cell, 0) for cell, value in counted.items()}
        has = {Cell.CACHE_BYTES: self._cache.size, Cell.CONNECTIONS: self._connections()}
        self._totals.show(self._process, os.getpid(), has)
        if not self._totals.add(self._pending, self._process, changes):
            return False
        self._pending = {}
        self._reported = counted
        return True

    async def run(self) -> None:
        """Report for ever."""
        while True:
            await asyncio.sleep(REPORT_SECONDS)
            self.report()

    async def finish(self) -> None:
        """Report for the last time."""
        for _ in range(LAST_REPORTS):
            if self.report():
                return
            await asyncio.sleep(LAST_SECONDS)

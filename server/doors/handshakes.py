"""The handshakes of TLS under way at a listener, bounded in number and in time."""

from __future__ import annotations

import asyncio

MAX_HANDSHAKES = 1_000  # at a time; 50 KB each


class Handshakes:
    """Those under way at a listener: no more than `most`, and none for longer than `seconds`.

    When there is one too many, the oldest is ended: of a flood most do nothing, and whoever means it is soon done.
    """

    def __init__(self, seconds: float, most: int = MAX_HANDSHAKES) -> None:
        self.stopping = False
        self._seconds = seconds
        self._most = most
        self._ends: dict[asyncio.Transport, float] = {}  # by the loop's clock; the oldest first
        self._timer: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        return len(self._ends)

    def add(self, connection: asyncio.Transport) -> None:
        """One has begun."""
        if len(self._ends) >= self._most:
            oldest = next(iter(self._ends))
            self.discard(oldest)
            oldest.abort()
        loop = asyncio.get_running_loop()
        self._ends[connection] = ends = loop.time() + self._seconds
        if self._timer is None:
            self._timer = loop.call_at(ends, self._end_late)

    def discard(self, connection: asyncio.Transport) -> None:
        """One is over."""
        self._ends.pop(connection, None)

    def stop(self, seconds: float) -> None:
        """The server stops: those that are not done in so many seconds are ended, and what follows them is brief."""
        self.stopping = True
        self._seconds = min(self._seconds, seconds)
        loop = asyncio.get_running_loop()
        latest = loop.time() + self._seconds
        for connection, ends in self._ends.items():
            self._ends[connection] = min(ends, latest)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = loop.call_at(latest, self._end_late)

    def _end_late(self) -> None:
        loop = asyncio.get_running_loop()
        now = loop.time()
        for connection in [each for each, ends in self._ends.items() if ends <= now]:
            self.discard(connection)
            connection.abort()
        self._timer = loop.call_at(min(self._ends.values()), self._end_late) if self._ends else None

"""What ends by itself."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from server.control.housekeeping import end_windows
from storage.errors import Unavailable
from storage.memory import MemoryMetadata


class Stop(BaseException):
    """Ends a loop that nothing else does."""


async def test_windows_are_ended_for_ever_and_whatever_happens(monkeypatch: pytest.MonkeyPatch) -> None:
    outcomes: Iterator[int | Exception] = iter([500, 0, Unavailable("away"), RuntimeError("a mistake"), 1, 0])
    seen: list[object] = []

    class Watched(MemoryMetadata):
        async def end_skew(self) -> int:
            outcome = next(outcomes, None)
            seen.append(outcome)
            if outcome is None:
                raise Stop
            if isinstance(outcome, Exception):
                raise outcome
            return outcome

    monkeypatch.setattr("server.control.housekeeping.WINDOW_INTERVAL", 0)
    with pytest.raises(Stop):
        await end_windows(Watched())
    assert len(seen) == 7

"""The time of day, and how changes are stamped so that HTTP dates, which count seconds, can tell them apart."""

from __future__ import annotations

import time

from storage.models import Millis


def now_ms() -> Millis:
    """Milliseconds since the epoch, UTC."""
    return time.time_ns() // 1_000_000


def stamp(now: Millis, *earlier: Millis) -> Millis:
    """`now`, or the start of the first second after all `earlier` if `now` is not past the seconds of those."""
    return max(now, *((moment // 1000 + 1) * 1000 for moment in earlier))

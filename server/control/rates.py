"""How often somebody may do something: moving windows of a minute, in this process's memory; the only use of limits.

What is counted is kept where that library lets one keep it: its own storage in memory never forgets whom it has once
counted, and starts a thread for every burst.
"""

from __future__ import annotations

import math
from collections import OrderedDict, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from limits import RateLimitItemPerMinute
from limits.storage import MovingWindowSupport, Storage
from limits.strategies import MovingWindowRateLimiter

from storage.models import Millis

WINDOW = 60  # seconds
MAX_COUNTED = 10_000  # that are counted at once; beyond, those that did nothing for longest are forgotten


@dataclass(frozen=True, slots=True)
class Standing:
    """Where somebody stands after a request: `limit` a minute, `left` of it, `wait` seconds until there is more."""

    policy: str
    limit: int
    left: int
    wait: int
    allowed: bool


class Rates:
    """Counts by `policy`, the name of what is limited, and by who does it."""

    def __init__(self, clock: Callable[[], Millis]) -> None:
        self._clock = clock
        self._windows = MovingWindowRateLimiter(_Windows(clock))

    def count(self, policy: str, who: str, limit: int) -> Standing:
        """Count one more, if it is allowed."""
        return self._stand(policy, who, limit, self._windows.hit(RateLimitItemPerMinute(limit, 1, policy), who))

    def look(self, policy: str, who: str, limit: int) -> Standing:
        """Whether one more would be allowed; counts nothing."""
        return self._stand(policy, who, limit, self._windows.test(RateLimitItemPerMinute(limit, 1, policy), who))

    def _stand(self, policy: str, who: str, limit: int, allowed: bool) -> Standing:
        end, left = self._windows.get_window_stats(RateLimitItemPerMinute(limit, 1, policy), who)
        return Standing(policy, limit, left, max(1, math.ceil(round(end - self._clock() / 1000, 3))), allowed)


def render_headers(standings: Sequence[Standing]) -> Mapping[str, str]:
    """The fields of draft-ietf-httpapi-ratelimit-headers-11; for one that is not allowed, Retry-After too."""
    if not standings:
        return {}
    headers = {
        "RateLimit-Policy": ", ".join(f'"{each.policy}";q={each.limit};w={WINDOW}' for each in standings),
        "RateLimit": ", ".join(f'"{each.policy}";r={each.left};t={each.wait}' for each in standings),
    }
    if waits := [each.wait for each in standings if not each.allowed]:
        headers["Retry-After"] = str(max(waits))
    return headers


class _Windows(Storage, MovingWindowSupport):
    """The times, in seconds, of what was allowed in the last minute, by key, whoever did something last at the end."""

    STORAGE_SCHEME = None
    base_exceptions = ()

    def __init__(self, clock: Callable[[], Millis]) -> None:
        super().__init__()
        self._clock = clock
        self._times: OrderedDict[str, deque[float]] = OrderedDict()

    def acquire_entry(self, key: str, limit: int, expiry: int, amount: int = 1) -> bool:
        """Whether `amount` more are allowed; then they count."""
        now = self._clock() / 1000
        times = self._recent(key, now - expiry)
        if len(times) + amount > limit:
            return False
        times.extend([now] * amount)
        self._times[key] = times
        self._times.move_to_end(key)
        self._forget(now - expiry)
        return True

    def get_moving_window(self, key: str, limit: int, expiry: int) -> tuple[float, int]:
        """When the oldest that counts was, now if there is none, and how many do."""
        now = self._clock() / 1000
        times = self._recent(key, now - expiry)
        return (times[0], len(times)) if times else (now, 0)

    def _recent(self, key: str, start: float) -> deque[float]:
        times = self._times.get(key, deque())
        while times and times[0] <= start:
            times.popleft()
        return times

    def _forget(self, start: float) -> None:
        """Those of whom nothing counts any more, and those beyond the bound."""
        while len(self._times) > MAX_COUNTED or self._is_idle(start):
            self._times.popitem(last=False)

    def _is_idle(self, start: float) -> bool:
        longest = next(iter(self._times.values()))
        return not longest or longest[-1] <= start

    # What other strategies ask, and the moving window never does.

    def incr(self, key: str, expiry: int, amount: int = 1) -> int:
        raise NotImplementedError

    def get(self, key: str) -> int:
        raise NotImplementedError

    def get_expiry(self, key: str) -> float:
        raise NotImplementedError

    def check(self) -> bool:
        raise NotImplementedError

    def reset(self) -> int | None:
        raise NotImplementedError

    def clear(self, key: str) -> None:
        raise NotImplementedError

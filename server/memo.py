"""A bounded memo of pure functions."""

from __future__ import annotations

from typing import TypeVar

K = TypeVar("K")
V = TypeVar("V")


class Memo(dict[K, V]):
    """What was computed, by what it was computed from; when `max_bytes` are full it starts afresh.

    That is enough where computing again is cheap, and makes a hit what nothing else does: one look-up in a dictionary.
    """

    def __init__(self, max_bytes: int) -> None:
        super().__init__()
        self._max_bytes = max_bytes
        self._bytes = 0

    def clear(self) -> None:
        """Forget everything."""
        super().clear()
        self._bytes = 0

    def keep(self, key: K, value: V, size: int) -> bool:
        """Remember `value`, which takes `size` bytes with its key; whether all else had to be forgotten for it."""
        self._bytes += size
        is_full = self._bytes > self._max_bytes
        if is_full:
            self.clear()
            self._bytes = size
        self[key] = value
        return is_full

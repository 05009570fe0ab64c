"""Bounded memory: responses by bytes, look-ups by number. The least recently used goes first."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Generic, TypeVar

from cachetools import LRUCache

from server.edge.response import Representation
from server.edge.visitor import Inputs

# What an entry costs beside its body: the key, the header tuples and the objects around them, measured with
# tracemalloc over 10,000 entries (1,330 bytes) and rounded up.
ENTRY_OVERHEAD = 1536

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class LRU(LRUCache[K, V], Generic[K, V]):
    """cachetools' LRU that tells `on_evict` what it drops for want of room."""

    def __init__(
        self,
        maxsize: float,
        getsizeof: Callable[[V], float] | None = None,
        on_evict: Callable[[K, V], None] | None = None,
    ) -> None:
        super().__init__(maxsize, getsizeof)
        self._on_evict = on_evict

    def popitem(self) -> tuple[K, V]:
        """Drop the least recently used entry; cachetools calls this to make room."""
        key, value = super().popitem()
        if self._on_evict is not None:
            self._on_evict(key, value)
        return key, value


@dataclass(slots=True)
class CacheStats:
    """Counts since the start."""

    hits: int = 0
    misses: int = 0
    evictions: int = 0


@dataclass(frozen=True, slots=True)
class Depends:
    """Stands where the answer depends on more of the request: it is kept under a key that has these inputs too."""

    inputs: Inputs


class ResponseCache:
    """Representations by whatever decides them, `max_bytes` in all.

    A key holds a site's version, so an entry is never wrong, only no longer asked for; it then goes as the least
    recently used. Bodies over `max_body` bytes are not meant to be kept: the caller keeps their `Blob` instead.
    """

    def __init__(self, max_bytes: int) -> None:
        self.stats = CacheStats()
        # One file may take at most a sixteenth, so that a few large ones do not empty the cache of everything else.
        self.max_body = min(max_bytes // 16, 4 * 1024 * 1024)
        self._entries: LRU[Hashable, Representation | Depends] = LRU(max_bytes, _cost, self._count_eviction)

    def get(self, key: Hashable) -> Representation | Depends | None:
        """The entry, made the most recently used."""
        found = self._entries.get(key)
        if found is None:
            self.stats.misses += 1
        else:
            self.stats.hits += 1
        return found

    def put(self, key: Hashable, value: Representation | Depends) -> None:
        """Keep it, unless it alone is larger than the whole cache."""
        if _cost(value) <= self._entries.maxsize:
            self._entries[key] = value

    @property
    def size(self) -> int:
        """Bytes in use, overhead included."""
        return int(self._entries.currsize)

    def _count_eviction(self, _key: Hashable, _value: Representation | Depends) -> None:
        self.stats.evictions += 1


def _cost(value: Representation | Depends) -> int:
    if isinstance(value, Depends) or not isinstance(value.body, bytes):
        return ENTRY_OVERHEAD
    return ENTRY_OVERHEAD + len(value.body)

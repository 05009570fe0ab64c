"""Bounded memory: responses by bytes, look-ups by number. The least recently used goes first."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass
from sys import getsizeof
from typing import Generic, TypeVar

from cachetools import LRUCache

from server.edge.codings import Coding
from server.edge.response import Representation
from server.edge.visitor import NO_INPUTS, Inputs

# The LRU's own links and slots. With it the sum errs on the safe side, because header texts that entries share are
# counted for each: 10,000 pages of 1,000 bytes count as 3.1 KB each, and tracemalloc finds 1.9 KB.
ENTRY_OVERHEAD = 512

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
    """Stands where the answer depends on more of the request: it is kept under a key that goes on with that.

    Either what rules read of the request, or which of `codings`, the smallest first, its Accept-Encoding gets.
    """

    inputs: Inputs = NO_INPUTS
    codings: tuple[Coding, ...] = ()


class ResponseCache:
    """Representations by whatever decides them, `max_bytes` in all.

    A key holds a site's version, so an entry is never wrong, only no longer asked for; it then goes as the least
    recently used. Bodies over `max_body` bytes are not meant to be kept: the caller keeps their `Blob` instead.
    """

    def __init__(self, max_bytes: int) -> None:
        self.stats = CacheStats()
        # One file may take at most a sixteenth, so that a few large ones do not empty the cache of everything else.
        self.max_body = min(max_bytes // 16, 4 * 1024 * 1024)
        self._entries: LRU[Hashable, _Entry] = LRU(max_bytes, lambda entry: entry.cost, self._count_eviction)

    def get(self, key: Hashable) -> Representation | Depends | None:
        """The entry, made the most recently used."""
        found = self._entries.get(key)
        if found is None:
            self.stats.misses += 1
            return None
        self.stats.hits += 1
        return found.value

    def put(self, key: Hashable, value: Representation | Depends) -> None:
        """Keep it, unless it alone is larger than the whole cache."""
        entry = _Entry(value, ENTRY_OVERHEAD + _size(key) + _size_of_value(value))
        if entry.cost <= self._entries.maxsize:
            self._entries[key] = entry

    @property
    def size(self) -> int:
        """Bytes in use, overhead included."""
        return int(self._entries.currsize)

    def _count_eviction(self, _key: Hashable, _entry: _Entry) -> None:
        self.stats.evictions += 1


@dataclass(frozen=True, slots=True)
class _Entry:
    value: Representation | Depends
    cost: int  # bytes


def _size_of_value(value: Representation | Depends) -> int:
    if isinstance(value, Depends):
        return getsizeof(value)
    body = value.body if isinstance(value.body, bytes) else b""
    return getsizeof(value) + _size(value.headers) + getsizeof(body) + getsizeof(value.location)


def _size(value: object) -> int:
    """Bytes of a key or of headers, which tenants and visitors can make long."""
    own = getsizeof(value)
    return own + sum(map(_size, value)) if isinstance(value, (tuple, frozenset)) else own

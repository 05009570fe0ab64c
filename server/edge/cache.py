"""Bounded memory: responses by bytes, look-ups by number.

Responses go in the order in which they came, save that one that was asked for since it came, or since its last turn,
gets another turn (CLOCK, also called second chance: Corbató, 1968). So a hit costs a mark and no reordering, and what
is asked for once, as in a scan, pushes out nothing that is asked for again and again.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable, MutableMapping
from dataclasses import dataclass, replace
from sys import getsizeof
from typing import Any, Generic, TypeVar

from cachetools import LRUCache

from server.edge.codings import Coding, choose
from server.edge.response import Representation
from server.edge.visitor import NO_INPUTS, Inputs
from storage.models import Digest

# An entry's own objects and its places in the tables. With it the sum errs on the safe side, because header texts that
# entries share are counted for each: 10,000 pages of 1,000 bytes count as 3.2 KB each, and tracemalloc finds 2.1 KB.
ENTRY_OVERHEAD = 640

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
    """Counts since the start. Answers that had all they needed in memory are hits, those that asked a store misses."""

    hits: int = 0  # without those that a door gave by itself
    misses: int = 0
    evictions: int = 0


@dataclass(frozen=True, slots=True)
class Depends:
    """Stands where the answer depends on more of the request: it is kept under a key that goes on with that.

    Either what rules read of the request, or which of `codings`, the smallest first, its Accept-Encoding gets.
    """

    inputs: Inputs = NO_INPUTS
    codings: tuple[Coding, ...] = ()


class Entry:
    """What is kept at a key. Whoever answers from it sets `used`.

    A door that keeps it in a table of its own, for requests that it knows by their bytes, has it `listed`: the entry
    leaves that table when it is evicted.
    """

    __slots__ = ("cost", "kept", "listed", "used", "value")

    def __init__(self, value: Representation | Depends, cost: int) -> None:
        self.value = value
        self.cost = cost  # bytes
        self.kept = False  # in the cache, now
        self.used = False
        self.listed: list[tuple[MutableMapping[Any, Any], Hashable, int]] = []  # table, key, size in bytes


class _Body:
    """A body that several entries may have: one for each site and revision that shows the same file."""

    __slots__ = ("data", "entries")

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.entries = 0


class ResponseCache:
    """Representations by whatever decides them, `max_bytes` in all; equal bodies count once.

    A key holds a site's version, so an entry is never wrong, only no longer asked for; it then goes at its next turn.
    Bodies over `max_body` bytes are not meant to be kept: the caller keeps their `Blob` instead.
    """

    def __init__(self, max_bytes: int) -> None:
        self.stats = CacheStats()
        # One file may take at most a sixteenth, so that a few large ones do not empty the cache of everything else.
        self.max_body = min(max_bytes // 16, 4 * 1024 * 1024)
        self._max_bytes = max_bytes
        self._size = 0
        self._entries: OrderedDict[Hashable, Entry] = OrderedDict()
        self._bodies: dict[Digest, _Body] = {}

    def get(self, key: Hashable) -> Representation | Depends | None:
        """What is kept at `key`."""
        entry = self.find(key)
        return None if entry is None else entry.value

    def find(self, key: Hashable) -> Entry | None:
        """The entry at `key`, marked as used."""
        entry = self._entries.get(key)
        if entry is not None:
            entry.used = True
        return entry

    def find_coded(self, key: Hashable, accept_encoding: str | None) -> Entry | None:
        """The entry at `key` or, where that has codings, that of the one which this Accept-Encoding gets; None where it
        depends on more."""
        entry = self.find(key)
        if entry is not None and isinstance(entry.value, Depends):
            if not entry.value.codings:
                return None
            entry = self.find((key, choose(accept_encoding, entry.value.codings)))
        return entry

    def find_body(self, digest: Digest) -> bytes | None:
        """A body that some entry has."""
        body = self._bodies.get(digest)
        return None if body is None else body.data

    def put(self, key: Hashable, value: Representation | Depends) -> None:
        """Keep it, unless it alone is larger than the whole cache."""
        self._drop(key)
        entry = Entry(value, ENTRY_OVERHEAD + _size(key) + _size_of(value))
        body = value.body if isinstance(value, Representation) and isinstance(value.body, bytes) else b""
        if entry.cost + getsizeof(body) > self._max_bytes:
            return
        if not isinstance(value, Representation) or (digest := _digest_of_body(value)) is None:
            entry.cost += getsizeof(body)
        else:
            entry.value = self._share(value, digest, body)
        entry.kept = True
        self._entries[key] = entry
        self._size += entry.cost
        self._make_room()

    def put_coded(self, key: Hashable, value: Representation) -> None:
        """The same where it may be one of several codings: it is kept by its own."""
        if value.codings:
            self.put(key, Depends(codings=value.codings))
            key = (key, value.coding)
        self.put(key, value)

    def enlist(self, entry: Entry, table: MutableMapping[Any, V], key: Hashable, value: V, size: int) -> None:
        """Put `value` into `table`, and charge its `size` in bytes to `entry`, with which it leaves. Nothing happens if
        that is not kept any more."""
        if not entry.kept:
            return
        table[key] = value
        entry.listed.append((table, key, size))
        entry.cost += size
        self._size += size
        self._make_room()

    def delist(self, entry: Entry, table: MutableMapping[Any, Any]) -> None:
        """Charge nothing more to `entry` for what it has in `table`, which is given up; again is harmless."""
        if not entry.kept:
            return
        freed = sum(size for other, _, size in entry.listed if other is table)
        entry.listed = [listing for listing in entry.listed if listing[0] is not table]
        entry.cost -= freed
        self._size -= freed

    @property
    def size(self) -> int:
        """Bytes in use, overhead included."""
        return self._size

    def _share(self, value: Representation, digest: Digest, body: bytes) -> Representation:
        """`value` with the body that other entries have, or its own as the first."""
        shared = self._bodies.get(digest)
        if shared is None:
            shared = self._bodies[digest] = _Body(body)
            self._size += getsizeof(body)
        shared.entries += 1
        # Two that were read at once are equal, but not the same.
        return value if shared.data is body else replace(value, body=shared.data)

    def _make_room(self) -> None:
        while self._size > self._max_bytes and self._entries:
            key, entry = next(iter(self._entries.items()))
            if entry.used:
                entry.used = False
                self._entries.move_to_end(key)
            else:
                self._drop(key)
                self.stats.evictions += 1

    def _drop(self, key: Hashable) -> None:
        entry = self._entries.pop(key, None)
        if entry is None:
            return
        entry.kept = False
        self._size -= entry.cost
        for table, name, _ in entry.listed:
            table.pop(name, None)
        if (digest := _digest_of_body(entry.value)) is not None:
            body = self._bodies[digest]
            body.entries -= 1
            if not body.entries:
                del self._bodies[digest]
                self._size -= getsizeof(body.data)


def _digest_of_body(value: Representation | Depends) -> Digest | None:
    """Of a body that is kept in memory and may be shared."""
    return value.digest if isinstance(value, Representation) and isinstance(value.body, bytes) else None


def _size_of(value: Representation | Depends) -> int:
    if isinstance(value, Depends):
        return getsizeof(value)
    return getsizeof(value) + _size(value.headers) + getsizeof(value.location)


def _size(value: object) -> int:
    """Bytes of a key or of headers, which tenants and visitors can make long."""
    own = getsizeof(value)
    return own + sum(map(_size, value)) if isinstance(value, (tuple, frozenset)) else own

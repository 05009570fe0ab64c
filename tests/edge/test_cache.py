"""The response cache: what it keeps, by traces; what it counts; what it shares."""

from __future__ import annotations

import random
from collections.abc import Hashable, Iterable

import pytest
from cachetools import LRUCache

from server.edge.cache import ENTRY_OVERHEAD, Depends, Entry, ResponseCache
from server.edge.response import Representation

SEED = 20261122
ITEMS = 200  # that both caches have room for


def body(number: int, size: int = 100) -> Representation:
    return Representation(200, (), b"%09d" % number * (size // 9))


def cost_of_one() -> int:
    cache = ResponseCache(1_000_000)
    cache.put(1, body(1))
    return cache.size


def replay(trace: Iterable[Hashable]) -> tuple[float, float]:
    """The hit ratios of the cache and of cachetools' LRU with room for as many."""
    ours, theirs = ResponseCache(ITEMS * cost_of_one()), LRUCache[Hashable, int](ITEMS)
    stored = body(1)
    hits = their_hits = count = 0
    for key in trace:
        count += 1
        if ours.get(key) is None:
            ours.put(key, stored)
        else:
            hits += 1
        if theirs.get(key) is None:
            theirs[key] = 1
        else:
            their_hits += 1
    return hits / count, their_hits / count


def zipf(rng: random.Random, count: int, exponent: float, length: int) -> list[int]:
    weights = [1 / rank**exponent for rank in range(1, count + 1)]
    return rng.choices(range(count), weights, k=length)


@pytest.mark.parametrize("exponent", [0.7, 0.9, 1.1])
def test_popular_pages_are_kept_as_well_as_by_an_lru(exponent: float) -> None:
    ours, theirs = replay(zipf(random.Random(SEED), 5000, exponent, 60_000))
    assert ours >= theirs


def test_popular_pages_are_kept_better_beside_a_scan() -> None:
    rng = random.Random(SEED)
    trace: list[Hashable] = []
    for number, page in enumerate(zipf(rng, 2000, 1.0, 40_000)):
        trace += [page, f"scanned {number}"]
    ours, theirs = replay(trace)
    assert ours > theirs


def test_popularity_may_move_on() -> None:
    rng = random.Random(SEED)
    trace = [page + day * 300 for day in range(10) for page in zipf(rng, 2000, 1.0, 6000)]
    ours, theirs = replay(trace)
    assert ours >= theirs - 0.005  # an LRU forgets a little sooner


def test_a_scan_evicts_nothing_that_is_in_use() -> None:
    cache = ResponseCache(ITEMS * cost_of_one())
    hot = range(ITEMS // 2)
    for number in hot:
        cache.put(number, body(number))
    for number in range(1_000_000, 1_020_000):
        cache.put(number, body(number))
        cache.get(hot[number % len(hot)])
    assert all(cache.get(number) is not None for number in hot)


def file(digest: str, data: bytes) -> Representation:
    return Representation(200, ((b"etag", b'"x"'),), data, digest=digest)


def test_equal_bodies_count_once() -> None:
    cache = ResponseCache(1_000_000)
    data = b"x" * 100_000
    for number in range(5):
        cache.put(("site", number), file("d" * 64, bytes(bytearray(data))))
    assert len(data) < cache.size < len(data) + 5 * 2 * ENTRY_OVERHEAD
    kept = cache.get(("site", 0))
    other = cache.get(("site", 4))
    assert isinstance(kept, Representation)
    assert isinstance(other, Representation)
    assert kept.body is other.body is cache.find_body("d" * 64)
    cache.put(("site", 4), Depends())
    assert cache.find_body("d" * 64) is not None


def test_a_body_goes_with_the_last_that_has_it() -> None:
    cache = ResponseCache(50_000)
    cache.put("a", file("a" * 64, b"x" * 30_000))
    cache.put("b", file("a" * 64, b"x" * 30_000))
    assert cache.find_body("a" * 64) is not None
    cache.put("c", file("c" * 64, b"y" * 40_000))
    assert cache.find_body("a" * 64) is None
    assert cache.get("a") is None
    assert cache.get("c") is not None
    assert cache.stats.evictions == 2
    assert cache.size < 50_000


def test_an_entry_leaves_the_tables_that_it_is_in() -> None:
    cache = ResponseCache(20_000)
    table: dict[bytes, str] = {}
    cache.put("a", body(1))
    before = cache.size
    entry = cache.find("a")
    assert entry is not None
    cache.enlist(entry, table, b"line", "answer", 500)
    assert cache.size == before + 500
    assert table == {b"line": "answer"}
    for number in range(100):
        cache.put(number, body(number))
    assert cache.get("a") is None
    assert table == {}
    assert cache.size <= 20_000


def test_what_a_table_had_that_is_given_up_is_no_longer_charged() -> None:
    cache = ResponseCache(20_000)
    cache.put("a", body(1))
    entry, tables = cache.find("a"), [dict[int, str](), dict[int, str]()]
    assert entry is not None
    before = cache.size
    for table in tables:  # which are equal
        for key in range(3):
            cache.enlist(entry, table, key, "answer", 100)
    for _ in range(2):
        cache.delist(entry, tables[0])
        assert cache.size == before + 300
    cache.put("a", body(2))
    cache.delist(entry, tables[1])
    assert cache.size == before
    assert tables[1] == {}


def test_nothing_is_charged_to_an_entry_that_is_not_kept() -> None:
    cache = ResponseCache(20_000)
    cache.put("a", body(1))
    entry = cache.find("a")
    assert entry is not None
    for number in range(100):
        cache.put(number, body(number))
    size, table = cache.size, dict[str, int]()
    for stranger in (entry, Entry(body(1), 0)):
        cache.enlist(stranger, table, "line", 1, 50_000)
    assert (cache.size, table) == (size, {})


def test_all_that_is_counted_is_let_go_again() -> None:
    cache = ResponseCache(1_000_000)
    rng = random.Random(SEED)
    table: dict[int, int] = {}
    for step in range(5000):
        key = rng.randrange(300)
        digest = f"{rng.randrange(40):064d}"
        cache.put(key, file(digest, digest.encode() * 100) if rng.random() < 0.7 else body(step))
        entry = cache.find(key)
        if entry is not None and rng.random() < 0.5:
            cache.enlist(entry, table, step, step, rng.randrange(3000))
        assert cache.size <= 1_000_000
    cache._max_bytes = 0
    cache.put("last", body(1))
    cache._make_room()
    assert (cache.size, table, cache.find_body(f"{0:064d}")) == (0, {}, None)


def test_what_is_put_again_takes_the_place_of_the_old() -> None:
    cache = ResponseCache(20_000)
    cache.put("a", body(1))
    size = cache.size
    cache.put("a", body(2))
    assert cache.size == size
    assert cache.get("a") == body(2)

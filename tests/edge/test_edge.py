"""The edge's state: what it keeps, when it asks, how it learns of changes, what it does when a store is away."""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence

import pytest

from server.edge.cache import LRU, Depends, ResponseCache
from server.edge.changes import TOO_MANY, Follower
from server.edge.edge import Edge
from server.edge.flights import Flights
from server.edge.request import Request
from server.edge.response import Parts, Representation, Response, page, redirect
from server.edge.router import Lookup, Router
from server.edge.visitor import Inputs
from server.node import LoneNode
from storage.errors import Unavailable
from storage.memory import MemoryMetadata
from storage.models import Change, File, HostedSite, Millis, NewSite
from tests.support.hosting import NOW, Hosting, memory_hosting


class Watched(MemoryMetadata):
    """The shipped fake, with its reads counted and, on demand, held up or failing."""

    def __init__(self, clock: Callable[[], Millis], announce: Callable[[int], None]) -> None:
        super().__init__(clock=clock, announce=announce)
        self.calls: Counter[str] = Counter()
        self.called: defaultdict[str, asyncio.Event] = defaultdict(asyncio.Event)
        self.away = False
        self.gate = asyncio.Event()
        self.gate.set()

    async def _pass(self, call: str) -> None:
        self._note(call)
        await self.gate.wait()

    def _note(self, call: str) -> None:
        self.calls[call] += 1
        self.called[call].set()
        if self.away:
            raise Unavailable("the test took it away")

    async def get_revision(self) -> int:
        await self._pass("get_revision")
        return await super().get_revision()

    async def list_changes(self, since: int, limit: int = 1000) -> Sequence[Change]:
        await self._pass("list_changes")
        return await super().list_changes(since, limit)

    def list_changes_nowait(self, since: int, limit: int = 1000) -> Sequence[Change] | None:
        self._note("list_changes_nowait")
        return super().list_changes_nowait(since, limit) if self.gate.is_set() else None

    async def find_site(self, domains: Sequence[str]) -> HostedSite | None:
        found = await super().find_site(domains)  # read first, delivered later: news may overtake it
        await self._pass("find_site")
        return found

    async def find_files(self, space_id: str, paths: Collection[str], revision: int) -> Mapping[str, File]:
        await self._pass("find_files")
        return await super().find_files(space_id, paths, revision)


async def watched() -> tuple[Hosting, Watched]:
    """A hosting over a watched store."""
    async with memory_hosting() as hosting:
        metadata = Watched(hosting.clock.millis, hosting.node.raise_revision)
        edge = Edge(metadata, hosting.blobs, hosting.node, cache_bytes=1024 * 1024, clock=hosting.clock)
        return Hosting(metadata, hosting.blobs, edge, hosting.clock, hosting.node), metadata


def get(host: str = "a.test", path: str = "/", **fields: str) -> Request:
    return Request(**{"method": "GET", "authority": host, "path": path, **fields})


async def answer(edge: Edge, request: Request) -> Response:
    response, reader = await edge.respond(request)
    assert reader is None
    return response


# Answers from memory


async def test_memory_answers_what_was_asked_before_and_only_that() -> None:
    hosting, metadata = await watched()
    await hosting.site("a.test", {"index.html": b"home", "docs/index.html": b"docs"})
    assert hosting.edge.respond_nowait(get()) is None
    first = await answer(hosting.edge, get())
    asked = metadata.calls.total()
    assert hosting.edge.respond_nowait(get()) == first
    assert (first.status, first.body) == (200, b"home")
    await answer(hosting.edge, get(path="/docs"))
    redirected = hosting.edge.respond_nowait(get(path="/docs", query="q"))
    assert redirected is not None
    assert dict(redirected.headers)[b"location"] == b"/docs/?q"
    assert metadata.calls.total() == asked + 1


async def test_refusals_and_methods_need_no_store() -> None:
    hosting, metadata = await watched()
    await hosting.edge.follower.poll()
    metadata.calls.clear()
    for request, status in [(get(path="*"), 405), (get("b@d"), 400)]:
        known = hosting.edge.respond_nowait(request)
        assert known is not None
        assert known.status == status
    assert not metadata.calls
    assert (await answer(hosting.edge, get(path="/%"))).status == 404  # the host is judged first
    options = Request(method="OPTIONS", authority=None, path="*")
    assert (await answer(hosting.edge, options)).status == 204
    assert (await answer(hosting.edge, Request(method="GET", authority=None, path="/"))).status == 404


async def test_head_of_a_refusal_has_no_body() -> None:
    hosting, _ = await watched()
    await hosting.site("a.test", {})
    assert (await answer(hosting.edge, get(path="/%", method="HEAD"))).body == b""
    known = hosting.edge.respond_nowait(get(path="/%", method="HEAD"))
    assert known is not None
    assert (known.status, known.body) == (400, b"")


async def test_missing_paths_are_not_kept_but_their_page_is() -> None:
    hosting, metadata = await watched()
    await hosting.site("a.test", {"index.html": b"home", "404.html": b"lost"})
    await answer(hosting.edge, get())
    await answer(hosting.edge, get(path="/none"))
    kept = hosting.edge.cache.size
    for number in range(50):
        response = await answer(hosting.edge, get(path=f"/{number}"))
        assert (response.status, response.body) == (404, b"lost")
    assert hosting.edge.cache.size == kept
    assert hosting.edge.respond_nowait(get()) is not None


async def test_large_files_are_not_kept() -> None:
    async with memory_hosting(cache_bytes=64 * 1024) as hosting:
        await hosting.site("a.test", {"large": b"x" * 5000, "404.html": b"y" * 5000})
        response, reader = await hosting.edge.respond(get(path="/large"))
        assert isinstance(response.body, Parts)
        assert reader is not None
        assert b"".join([chunk async for chunk in reader.read(0, 5000)]) == b"x" * 5000
        await reader.close()
        assert hosting.edge.respond_nowait(get(path="/large")) is None
        # … but what needs no body is answered from memory.
        head = hosting.edge.respond_nowait(get(path="/large", method="HEAD"))
        assert head is not None
        assert dict(head.headers)[b"content-length"] == b"5000"
        missing, reader = await hosting.edge.respond(get(path="/none"))
        assert missing.status == 404
        assert isinstance(missing.body, Parts)
        assert reader is not None
        await reader.close()


async def test_the_date_follows_the_clock() -> None:
    hosting, _ = await watched()
    await hosting.site("a.test", {"index.html": b"home"})
    assert dict((await answer(hosting.edge, get())).headers)[b"date"] == b"Mon, 21 Sep 2026 14:13:20 GMT"
    hosting.clock.now += 1
    assert dict((await answer(hosting.edge, get())).headers)[b"date"] == b"Mon, 21 Sep 2026 14:13:21 GMT"


# Last-Modified


async def test_two_contents_within_a_second_have_different_dates() -> None:
    async with memory_hosting() as hosting:
        await hosting.site("a.test", {"index.html": b"one"})
        one = await answer(hosting.edge, get())
        since = dict(one.headers)[b"last-modified"].decode()
        assert (await answer(hosting.edge, get(if_modified_since=since))).status == 304
        await hosting.publish("a.test", {"index.html": b"two"})
        two = await answer(hosting.edge, get(if_modified_since=since))
        assert (two.status, two.body) == (200, b"two")
        # Not in the future, and so the same for now; not kept either.
        assert dict(two.headers)[b"last-modified"].decode() == since
        assert hosting.edge.respond_nowait(get()) is None
        hosting.clock.now = NOW + 1
        later = dict((await answer(hosting.edge, get())).headers)[b"last-modified"]
        assert later == b"Mon, 21 Sep 2026 14:13:21 GMT"
        assert hosting.edge.respond_nowait(get()) is not None


async def test_what_a_deletion_uncovers_is_new() -> None:
    async with memory_hosting() as hosting:
        await hosting.site("a.test", {"a.html": b"below"})
        hosting.clock.now += 10
        await hosting.publish("a.test", {"a": b"above"})
        above = await answer(hosting.edge, get(path="/a"))
        hosting.clock.now += 10
        await hosting.publish("a.test", {}, delete=("a",))
        since = dict(above.headers)[b"last-modified"].decode()
        below = await answer(hosting.edge, get(path="/a", if_modified_since=since))
        assert (below.status, below.body) == (200, b"below")


# Changes


async def test_a_change_is_seen_by_the_next_request() -> None:
    hosting, metadata = await watched()
    site = await hosting.site("a.test", {"index.html": b"one"})
    await hosting.site("b.test", {"index.html": b"other"})
    await answer(hosting.edge, get())
    await answer(hosting.edge, get("b.test"))
    await hosting.publish("a.test", {"index.html": b"two"})
    assert hosting.edge.respond_nowait(get()) is None
    assert (await answer(hosting.edge, get())).body == b"two"
    metadata.calls.clear()
    assert hosting.edge.respond_nowait(get("b.test")) is not None  # another's change costs it nothing
    await metadata.update_site(site.id, {"domain": "c.test"})
    assert (await answer(hosting.edge, get())).status == 404
    assert (await answer(hosting.edge, get("c.test"))).body == b"two"
    await metadata.delete_site(site.id)
    assert (await answer(hosting.edge, get("c.test"))).status == 404


async def test_a_site_takes_the_place_of_a_known_miss() -> None:
    hosting, _ = await watched()
    assert (await answer(hosting.edge, get("x.wild.test"))).status == 404
    assert (await answer(hosting.edge, get())).status == 404
    await hosting.site("*.wild.test", {"index.html": b"wild"})
    await hosting.site("a.test", {"index.html": b"home"})
    assert (await answer(hosting.edge, get("x.wild.test"))).body == b"wild"
    assert (await answer(hosting.edge, get())).body == b"home"


async def test_a_site_goes_with_its_space() -> None:
    hosting, metadata = await watched()
    site = await hosting.site("*.wild.test", {"index.html": b"wild"})
    assert (await answer(hosting.edge, get("x.wild.test"))).body == b"wild"
    await metadata.delete_space(site.space_id)
    assert (await answer(hosting.edge, get("x.wild.test"))).status == 404


async def test_news_overtake_a_load() -> None:
    hosting, metadata = await watched()
    site = await hosting.site("a.test", {"index.html": b"home"})
    await hosting.edge.follower.poll()
    metadata.gate.clear()
    loading = asyncio.create_task(answer(hosting.edge, get()))
    await metadata.called["find_site"].wait()
    metadata.gate.set()
    await metadata.delete_site(site.id)
    await hosting.edge.follower.poll()
    assert (await loading).status == 404
    assert metadata.calls["find_site"] == 2


async def test_one_load_a_host_however_many_wait() -> None:
    hosting, metadata = await watched()
    await hosting.site("a.test", {"index.html": b"home"})
    await hosting.edge.follower.poll()
    metadata.gate.clear()
    loading = [asyncio.create_task(answer(hosting.edge, get())) for _ in range(20)]
    gone = asyncio.create_task(answer(hosting.edge, get()))
    await asyncio.sleep(0)
    gone.cancel()
    metadata.gate.set()
    assert {response.body for response in await asyncio.gather(*loading)} == {b"home"}
    assert metadata.calls["find_site"] == 1
    assert metadata.calls["find_files"] == 2  # the page's names, and before that the site's rule files


async def test_a_store_that_is_away() -> None:
    hosting, metadata = await watched()
    await hosting.site("a.test", {"index.html": b"home"})
    kept = await answer(hosting.edge, get())
    metadata.away = True
    assert await answer(hosting.edge, get()) == kept
    unknown = await answer(hosting.edge, get("b.test"))
    assert unknown.status == 503
    assert dict(unknown.headers)[b"retry-after"] == b"5"
    metadata.away = False
    assert (await answer(hosting.edge, get("b.test"))).status == 404


async def test_a_store_that_hangs() -> None:
    hosting, metadata = await watched()
    edge = Edge(metadata, hosting.blobs, hosting.node, cache_bytes=1024, clock=hosting.clock, patience=0.01)
    await edge.follower.poll()
    metadata.gate.clear()
    assert (await answer(edge, get())).status == 503
    metadata.gate.set()
    assert (await answer(edge, get())).status == 404


async def test_a_wildcard_takes_one_place() -> None:
    hosting, metadata = await watched()
    await hosting.site("hot.test", {})
    await hosting.site("*.wild.test", {})
    router = Router(metadata, max_sites=4, max_misses=4)
    await router.find("hot.test")
    for number in range(100):
        found = await router.find(f"{number}.wild.test")
        assert found is not None
        assert found.domain == "*.wild.test"
    assert isinstance(router.find_nowait("hot.test"), HostedSite)
    assert isinstance(router.find_nowait("99.wild.test"), HostedSite)
    await hosting.site("99.wild.test", {})  # an exact domain wins from now on
    for change in await metadata.list_changes(0):
        router.apply(change)
    exact = await router.find("99.wild.test")
    assert exact is not None
    assert exact.domain == "99.wild.test"


async def test_a_damaged_blob() -> None:
    async with memory_hosting() as hosting:
        await hosting.site("a.test", {"index.html": b"home"})
        blob = await hosting.store(b"home")
        await hosting.blobs.delete(blob.digest)
        response = await answer(hosting.edge, get())
        assert response.status == 500
        assert dict(response.headers)[b"cache-control"] == b"no-store"


# Parts


async def test_the_follower_starts_afresh_when_that_is_cheaper() -> None:
    metadata = MemoryMetadata()
    node = LoneNode()
    seen: list[int] = []
    cleared: list[bool] = []
    follower = Follower(metadata, node, lambda change: seen.append(change.revision), lambda: cleared.append(True))
    assert follower.behind
    await follower.catch_up()
    assert (follower.revision, len(cleared)) == (0, 1)
    follower.revision = -TOO_MANY - 1  # as if the log had moved on by so many
    await follower.poll()
    assert len(cleared) == 2
    assert not seen
    node.raise_revision(5)  # the store was set back to an older state
    await follower.catch_up()
    assert len(cleared) == 3
    assert not follower.behind


async def test_a_change_is_heard_of_at_once_where_the_store_is_read_without_waiting() -> None:
    hosting, metadata = await watched()
    await hosting.site("a.test", {"index.html": b"old"})
    await hosting.site("b.test", {"index.html": b"other"})
    assert hosting.edge.respond_nowait(get()) is None, "nothing is known yet, not even the revision"
    await answer(hosting.edge, get())
    await answer(hosting.edge, get("b.test"))
    for number in range(3):
        calls = metadata.calls["get_revision"], metadata.calls["list_changes"]
        await hosting.publish("a.test", {"index.html": b"%d" % number})
        assert hosting.edge.respond_nowait(get("b.test")) is not None
        assert hosting.edge.respond_nowait(get()) is None, "what has changed has to be asked for"
        assert (metadata.calls["get_revision"], metadata.calls["list_changes"]) == calls
        assert (await answer(hosting.edge, get())).body == b"%d" % number


async def test_a_log_that_cannot_be_read_is_asked_for_once_until_it_can() -> None:
    hosting, metadata = await watched()
    await hosting.site("a.test", {"index.html": b"old"})
    await answer(hosting.edge, get())
    metadata.away = True
    await hosting.publish("a.test", {"index.html": b"new"})
    assert [hosting.edge.catch_up_nowait() for _ in range(3)] == [-1] * 3
    assert metadata.calls["list_changes_nowait"] == 1
    metadata.away = False
    assert hosting.edge.catch_up_nowait() == -1
    await hosting.edge.follower.catch_up()
    await hosting.publish("a.test", {"index.html": b"newer"})
    assert hosting.edge.catch_up_nowait() == await metadata.get_revision()


async def test_whoever_sees_a_change_first_tells_the_node() -> None:
    """Its writer may be held up between the commit and the announcement. Nobody gets the old tree after the new one."""
    hosting, metadata = await watched()
    announced = hosting.node
    await hosting.site("a.test", {"index.html": b"old"})
    workers = [Edge(metadata, hosting.blobs, announced, cache_bytes=100_000, clock=hosting.clock) for _ in range(3)]
    first, cold, following = workers
    for worker in (first, following):
        assert (await answer(worker, get())).body == b"old"
    await cold.follower.poll()
    metadata._announce = lambda revision: None
    await hosting.publish("a.test", {"index.html": b"new"})
    assert first.respond_nowait(get()) is not None, "nobody knows yet"
    assert (await answer(cold, get())).body == b"new"
    assert first.respond_nowait(get()) is None
    assert (await answer(first, get())).body == b"new"
    await hosting.publish("a.test", {"index.html": b"newer"})
    await following.follower.poll()
    assert [(await answer(worker, get())).body for worker in workers] == [b"newer"] * 3


async def test_the_follower_follows_without_requests() -> None:
    hosting, metadata = await watched()
    reached = asyncio.Event()
    hosting.edge.follower = Follower(
        metadata, hosting.node, lambda change: None, lambda: None, lambda revision: reached.set()
    )
    following = asyncio.create_task(hosting.edge.follower.run())
    metadata.away = True
    await metadata.called["get_revision"].wait()
    metadata.away = False
    await hosting.site("a.test", {})
    async with asyncio.timeout(10):
        await reached.wait()
    following.cancel()
    assert hosting.edge.follower.revision == await metadata.get_revision()


async def test_the_router_is_bounded() -> None:
    async with memory_hosting() as hosting:
        await hosting.site("a.test", {"index.html": b""})
        space_id = hosting.spaces["a.test"]
        for number in range(10):
            await hosting.metadata.create_site(NewSite(space_id=space_id, domain=f"{number}.test"))
        router = Router(hosting.metadata, max_sites=4, max_misses=4)
        for number in range(10):
            assert await router.find(f"{number}.test")
            assert await router.find("a.test")  # in use, so kept
        for number in range(100):
            assert await router.find(f"none{number}.test") is None
        assert router.find_nowait("9.test") is not Lookup.UNKNOWN
        assert router.find_nowait("0.test") is Lookup.UNKNOWN
        assert router.find_nowait("none99.test") is None
        assert router.find_nowait("none0.test") is Lookup.UNKNOWN
        router.apply(Change(revision=99, kind="files", space_id=space_id))
        assert router.find_nowait("9.test") is Lookup.UNKNOWN
        assert router.find_nowait("none99.test") is None
        router.clear()
        assert router.find_nowait("none99.test") is Lookup.UNKNOWN


async def test_evicted_hosts_are_no_longer_linked_to_their_space() -> None:
    async with memory_hosting() as hosting:
        for name in ("a.test", "b.test"):
            await hosting.site(name, {})
        router = Router(hosting.metadata, max_sites=1)
        await router.find("a.test")
        await router.find("b.test")
        router.apply(Change(revision=99, kind="files", space_id=hosting.spaces["a.test"]))
        assert router.find_nowait("b.test") is not Lookup.UNKNOWN


def test_the_cache_is_bounded_in_bytes() -> None:
    most = 200_000
    cache = ResponseCache(most)
    for number in range(1000):
        cache.put(number, page(404, str(number)))
        assert cache.size <= most
        assert cache.get(0) is not None  # in use, so kept
    assert cache.get(999) is not None
    assert cache.get(500) is None
    assert cache.stats.evictions > 800
    cache.put("huge", Representation(200, (), b"x" * most))
    assert cache.get("huge") is None
    assert cache.get(999) is not None


def test_keys_and_headers_count_as_well_as_bodies() -> None:
    cache = ResponseCache(1_000_000)
    cache.put(("site", 1, "/" + "🚀" * 10_000), redirect(308, "/" + "%F0" * 10_000))
    assert cache.size > 4 * 10_000 + 3 * 10_000
    cache = ResponseCache(1_000_000)
    cache.put("a", Representation(200, ((b"x", b"y" * 50_000),), b""))
    assert cache.size > 50_000
    cache.put("a", Depends(Inputs()))
    assert 0 < cache.size < 1000


def test_an_lru_need_not_be_watched() -> None:
    lru: LRU[int, int] = LRU(1)
    lru[1] = 1
    lru[2] = 2
    assert list(lru.items()) == [(2, 2)]


async def test_flights_share_failures_and_begin_anew() -> None:
    flights: Flights[str, int] = Flights()
    tries = 0

    async def load() -> int:
        nonlocal tries
        tries += 1
        await asyncio.sleep(0)
        if tries == 1:
            raise Unavailable("once")
        return tries

    both = await asyncio.gather(flights.join("a", load), flights.join("a", load), return_exceptions=True)
    assert [type(outcome) for outcome in both] == [Unavailable, Unavailable]
    assert await flights.join("a", load) == 2


async def test_a_failure_that_nobody_waits_for_is_quiet() -> None:
    flights: Flights[str, int] = Flights()
    begun, fail = asyncio.Event(), asyncio.Event()

    async def load() -> int:
        begun.set()
        await fail.wait()
        raise Unavailable("unseen")

    waiting = asyncio.create_task(flights.join("a", load))
    await begun.wait()
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    fail.set()
    others = asyncio.all_tasks() - {asyncio.current_task()}
    assert [type(outcome) for outcome in await asyncio.gather(*others, return_exceptions=True)] == [Unavailable]

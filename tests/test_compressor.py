"""The background job: what it works on, when it records, what it survives."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable, Mapping, Sequence
from itertools import count

import pytest

from server import compressor
from server.compressor import Compressor
from storage.errors import Unavailable
from storage.memory import MemoryMetadata
from storage.models import CODINGS, Blob, Coding, Digest, File, Millis, NewSpace, Uncoded
from tests.support.corpus import coded
from tests.support.hosting import Hosting, digest_of, memory_hosting

PAGE = b"<p>The same again.</p>\n" * 100


def page(number: int) -> bytes:
    return PAGE + str(number).encode()


async def file_of(hosting: Hosting, space: str, path: str) -> File:
    revision = await hosting.metadata.get_revision()
    return (await hosting.metadata.find_files(hosting.spaces[space], [path], revision))[path]


def job(hosting: Hosting) -> Compressor:
    return Compressor(hosting.metadata, hosting.blobs, hosting.node)


async def kinds(hosting: Hosting, since: int) -> list[str]:
    return [change.kind for change in await hosting.metadata.list_changes(since)]


async def test_every_coding_of_everything_that_is_worth_it() -> None:
    async with memory_hosting() as hosting:
        await hosting.publish("s", {"a.html": PAGE, "same.txt": PAGE, "a.png": page(1), "tiny.txt": b"x" * 255})
        since = await hosting.metadata.get_revision()
        await job(hosting).work()
        for path in ("a.html", "same.txt"):
            variants = (await file_of(hosting, "s", path)).variants
            assert {variant.coding: variant.digest for variant in variants} == {
                coding: digest_of(coded(PAGE, coding)) for coding in CODINGS
            }
        for path in ("a.png", "tiny.txt"):
            assert (await file_of(hosting, "s", path)).variants == ()
        assert await kinds(hosting, since) == ["variants"]
        await job(hosting).work()
        assert await kinds(hosting, since) == ["variants"]


async def test_a_type_that_is_not_compressed_hides_no_other() -> None:
    """One content under two names, the first of which is not worth it."""
    async with memory_hosting() as hosting:
        await hosting.publish("s", {"a.png": PAGE, "b.txt": PAGE})
        await job(hosting).work()
        assert len((await file_of(hosting, "s", "b.txt")).variants) == 3


async def test_what_saves_too_little_is_tried_once() -> None:
    async with memory_hosting() as hosting:
        await hosting.publish("s", {"a.txt": random.Random(1).randbytes(1000)})
        since = await hosting.metadata.get_revision()
        await job(hosting).work()
        assert await hosting.metadata.list_uncoded((0, ""), 10) == []
        assert await kinds(hosting, since) == []


async def test_it_goes_on_from_where_it_was() -> None:
    async with memory_hosting() as hosting:
        working = job(hosting)
        await hosting.publish("s", {f"{number}.png": page(number) for number in range(3)})
        await working.work()
        await hosting.publish("s", {"a.html": page(9)})
        asked: list[tuple[int, str]] = []
        list_uncoded = hosting.metadata.list_uncoded

        async def watched(after: tuple[int, str], limit: int) -> Sequence[Uncoded]:
            asked.append(after)
            return await list_uncoded(after, limit)

        hosting.metadata.list_uncoded = watched  # type: ignore[method-assign]
        await working.work()
        assert asked[0] == (2, "2.png")
        assert len((await file_of(hosting, "s", "a.html")).variants) == 3


async def test_much_work_is_recorded_in_few_changes() -> None:
    """Each moves a site's version, so a site of many files must not have one for each of them."""
    async with memory_hosting() as hosting:
        await hosting.publish("s", {f"{number}.html": page(number) for number in range(12)})
        since = await hosting.metadata.get_revision()
        ticks = count()  # each look at the clock is a second
        working = Compressor(hosting.metadata, hosting.blobs, hosting.node, clock=lambda: next(ticks))
        await working.work()
        assert 3 <= len(await kinds(hosting, since)) <= 5
        assert len((await file_of(hosting, "s", "11.html")).variants) == 3


async def test_workspaces_do_not_share_the_work() -> None:
    async with memory_hosting() as hosting:
        await hosting.publish("mine", {"a.html": PAGE})
        await job(hosting).work()
        await hosting.metadata.put_workspace("workspace_other", "other")
        theirs = await hosting.metadata.create_space(NewSpace(workspace_id="workspace_other"))
        hosting.spaces["theirs"] = theirs.id
        await hosting.publish("theirs", {"a.html": PAGE})
        assert (await file_of(hosting, "theirs", "a.html")).variants == ()
        await job(hosting).work()
        assert (await file_of(hosting, "theirs", "a.html")).variants == (
            await file_of(hosting, "mine", "a.html")
        ).variants


async def test_a_damaged_file_does_not_stop_it(caplog: pytest.LogCaptureFixture) -> None:
    async with memory_hosting() as hosting:
        await hosting.publish("s", {"a.html": page(1), "b.html": page(2)})
        await hosting.blobs.delete(digest_of(page(1)))
        with caplog.at_level(logging.ERROR):
            await job(hosting).work()
        assert [record.name for record in caplog.records] == ["spacelane.compressor"]
        assert len((await file_of(hosting, "s", "b.html")).variants) == 3


class Away(MemoryMetadata):
    """Not reachable when it is asked to remember something for the first time; says when it has."""

    asked = 0

    def __init__(self, clock: Callable[[], Millis], announce: Callable[[int], None]) -> None:
        super().__init__(clock=clock, announce=announce)
        self.put = asyncio.Event()

    async def put_variants(self, workspace_id: str, contents: Mapping[Digest, Mapping[Coding, Blob | None]]) -> None:
        self.asked += 1
        if self.asked == 1:
            raise Unavailable("the test took it away")
        await super().put_variants(workspace_id, contents)
        self.put.set()


async def test_it_runs_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    """A store that is away is asked again, and a publish wakes it."""
    monkeypatch.setattr(compressor, "WAKE_SECONDS", 0.001)
    monkeypatch.setattr(compressor, "POLL_SECONDS", 0.003)
    async with memory_hosting() as made:
        metadata = Away(made.clock.millis, made.node.raise_revision)
        hosting = Hosting(metadata, made.blobs, made.edge, made.clock, made.node)
        await hosting.publish("s", {"a.html": page(1)})
        running = asyncio.create_task(job(hosting).run())
        async with asyncio.timeout(20):
            for number in (1, 2):
                await hosting.publish("s", {"a.html": page(number)})
                await metadata.put.wait()
                metadata.put.clear()
                assert len((await file_of(hosting, "s", "a.html")).variants) == 3
        running.cancel()
        assert metadata.asked == 3

"""Collection on every store: what goes, what stays, and that no row is left that nobody needs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import create_async_engine

from storage.blobs import BlobStore
from storage.collect import AT_ONCE, Collected, collect, find_collectable
from storage.local import LocalBlobs
from storage.memory import MemoryBlobs, MemoryMetadata
from storage.metadata import MetadataStore
from storage.models import Blob, NewDeployment, NewSite, NewSpace, PageQuery, Space
from storage.sql import SqlMetadata, tables
from storage.sql.engines import parse_url
from tests.storage.conftest import Clock
from tests.storage.test_blobs import SteppedClock, chunks_of, grow_older

DAY = 86_400.0
NOTHING = Collected()


@dataclass
class Estate:
    """A store of each kind with its blobs, and time that passes for both."""

    metadata: MetadataStore
    blobs: BlobStore
    clock: Clock
    age: Callable[[float], None]

    def wait(self, days: float) -> None:
        self.clock.now += round(days * DAY * 1000)
        self.age(days * DAY)

    async def put(self, content: bytes) -> Blob:
        return await self.blobs.put(chunks_of(content))

    async def publish(self, space: Space, path: str, content: bytes) -> Blob:
        """As an upload does."""
        blob = await self.put(content)
        await self.metadata.put_files(space.id, {path: blob})
        return blob

    async def collect(self) -> Collected:
        found = await find_collectable(self.metadata, self.blobs, DAY, clock=self.clock)
        done = await collect(self.metadata, self.blobs, DAY, clock=self.clock)
        # What is foreseen lacks only what goes along with it.
        assert (found.count, found.size) <= (done.count, done.size)
        assert await collect(self.metadata, self.blobs, DAY, clock=self.clock) == NOTHING
        return done

    async def kept(self) -> set[str]:
        """The digests of what the blob store has."""
        return {blob.digest async for some in self.blobs.list_stored(0) for blob in some}

    async def delete_space(self, space: Space) -> None:
        await self.metadata.delete_space(space.id)


@pytest.fixture
def estate(metadata: MetadataStore, clock: Clock, tmp_path: Path) -> Estate:
    if isinstance(metadata, MemoryMetadata):
        stepped = SteppedClock()
        return Estate(metadata, MemoryBlobs(clock=stepped), clock, stepped.wait)
    root = tmp_path / "blobs"
    return Estate(metadata, LocalBlobs(root), clock, lambda seconds: grow_older(root, seconds))


async def test_nothing_goes_that_is_used_or_young(estate: Estate, space: Space) -> None:
    assert await estate.collect() == NOTHING
    used = {
        (await estate.publish(space, "live", b"live")).digest,
        (await estate.publish(space, "ended", b"ended")).digest,
        (await estate.publish(space, "ended", b"its successor")).digest,
    }
    await estate.metadata.put_files(space.id, {}, delete=["ended"])
    estate.wait(2)
    young = await estate.put(b"young, and no row yet")
    assert await estate.collect() == NOTHING
    assert await estate.kept() == {*used, young.digest}
    estate.wait(0.9)
    assert await estate.collect() == NOTHING
    estate.wait(0.2)
    assert await estate.collect() == Collected(count=1, size=young.size)
    assert await estate.kept() == used


async def test_what_a_deleted_space_had_goes_after_the_grace(estate: Estate, space: Space) -> None:
    other = await estate.metadata.create_space(NewSpace(workspace_id="acme"))
    shared = await estate.publish(space, "shared", b"shared")
    await estate.publish(space, "own", b"own")
    await estate.publish(other, "shared", b"shared")
    estate.wait(0.5)
    await estate.delete_space(space)
    assert await estate.collect() == NOTHING
    estate.wait(0.6)
    assert await estate.collect() == Collected(released=1, count=1, size=3)
    assert await estate.kept() == {shared.digest}
    assert await estate.blobs.read(shared.digest) == b"shared"


async def test_a_workspace_lets_go_whatever_others_have(estate: Estate, space: Space) -> None:
    """Or it would learn, by what a deployment of it misses, that somebody else has the same."""
    theirs = await estate.metadata.create_space(NewSpace(workspace_id="other"))
    blob = await estate.publish(space, "a", b"known to both")
    await estate.publish(theirs, "b", b"known to both")
    await estate.delete_space(space)
    estate.wait(2)
    assert await estate.collect() == Collected(released=1)
    assert await estate.kept() == {blob.digest}
    missing = {}
    for workspace in ("acme", "other"):
        fresh = await estate.metadata.create_space(NewSpace(workspace_id=workspace))
        created = await estate.metadata.create_deployment(NewDeployment(space_id=fresh.id, files={"x": blob}))
        missing[workspace] = list(await estate.metadata.list_missing(created.id))
    assert missing == {"acme": [blob.digest], "other": []}


async def test_a_deployment_keeps_what_it_names(estate: Estate, space: Space) -> None:
    blob = await estate.put(b"deployed")
    await estate.metadata.put_blob("acme", blob)
    deployment = await estate.metadata.create_deployment(NewDeployment(space_id=space.id, files={"x": blob}))
    assert await estate.metadata.list_missing(deployment.id) == []
    estate.wait(100)
    assert await estate.collect() == NOTHING
    await estate.metadata.activate_deployment(deployment.id)
    await estate.metadata.delete_tree(space.id, "")
    estate.wait(100)
    assert await estate.collect() == NOTHING
    await estate.metadata.activate_deployment(deployment.id)
    assert await estate.blobs.read(blob.digest) == b"deployed"
    await estate.delete_space(space)
    assert await estate.collect() == Collected(released=1, count=1, size=8)


async def test_an_uploaded_blob_waits_a_grace_for_its_deployment(estate: Estate) -> None:
    blob = await estate.put(b"uploaded")
    await estate.metadata.put_blob("acme", blob)
    estate.wait(0.9)
    await estate.metadata.put_blob("acme", blob)
    estate.wait(0.9)
    assert await estate.collect() == NOTHING
    estate.wait(0.2)
    assert await estate.collect() == Collected(released=1, count=1, size=8)


async def test_variants_go_with_what_they_were_made_of(estate: Estate, space: Space) -> None:
    source = await estate.publish(space, "a.txt", b"source")
    variant = await estate.put(b"smaller")
    await estate.metadata.put_variants("acme", {source.digest: {"gzip": variant, "br": None}})
    estate.wait(2)
    assert await estate.collect() == NOTHING
    await estate.delete_space(space)
    foreseen = await find_collectable(estate.metadata, estate.blobs, DAY, clock=estate.clock)
    assert foreseen == Collected(count=1, size=6)
    assert await estate.collect() == Collected(released=1, count=2, size=13)
    assert await estate.kept() == set()
    # Nothing is remembered of it: it is compressed anew.
    fresh = await estate.metadata.create_space(NewSpace(workspace_id="acme"))
    await estate.publish(fresh, "a.txt", b"source")
    (uncoded,) = await estate.metadata.list_uncoded((0, ""), 10)
    assert uncoded.tried == frozenset()


async def test_a_variant_that_came_too_late_goes(estate: Estate) -> None:
    variant = await estate.put(b"smaller")
    await estate.metadata.put_variants("acme", {"0" * 64: {"gzip": variant}})
    estate.wait(2)
    assert await estate.collect() == Collected(count=1, size=7)


@pytest.mark.slow
async def test_more_than_one_question_asks_for(estate: Estate, space: Space, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("storage.collect.AT_ONCE", 10)
    monkeypatch.setattr("storage.sql.possessions._AT_ONCE", 7)
    assert AT_ONCE > 10
    blobs = [await estate.put(b"%d" % number) for number in range(60)]
    await estate.metadata.put_files(space.id, {f"{number}": blob for number, blob in enumerate(blobs)})
    gone = await estate.metadata.create_space(NewSpace(workspace_id="acme"))
    for number in range(60, 100):
        await estate.publish(gone, "x", b"%d" % number)
    await estate.delete_space(gone)
    estate.wait(2)
    assert await estate.collect() == Collected(released=40, count=40, size=80)
    assert await estate.kept() == {blob.digest for blob in blobs}


async def counts(url: str) -> dict[str, int]:
    """How many rows each table has, those aside that have none."""
    engine = create_async_engine(parse_url(url))
    async with engine.connect() as connection:
        found = {
            table.name: (await connection.execute(select(func.count()).select_from(table))).scalar_one()
            for table in tables.metadata.sorted_tables
        }
    await engine.dispose()
    return {name: count for name, count in found.items() if count}


@pytest.fixture
async def sql_estate(sql: SqlMetadata, clock: Clock, tmp_path: Path) -> Estate:
    await sql.put_workspace("acme", "Acme")
    root = tmp_path / "blobs"
    return Estate(sql, LocalBlobs(root), clock, lambda seconds: grow_older(root, seconds))


async def test_a_deleted_space_leaves_no_row(sql_estate: Estate, sql_url: str) -> None:
    estate = sql_estate
    empty = await counts(sql_url)
    space = await estate.metadata.create_space(NewSpace(workspace_id="acme", alias="a", meta={"a": 1}))
    with_space = await counts(sql_url)
    source = await estate.publish(space, "index.html", b"source")
    await estate.publish(space, "index.html", b"successor")
    with_files = await counts(sql_url)
    site = await estate.metadata.create_site(NewSite(space_id=space.id, domain="a.example", alias="a"))
    await estate.metadata.delete_site(site.id)
    told = {name: with_files[name] + 2 for name in ("changes", "audit")}
    assert (await counts(sql_url)) == {**with_files, **told}
    await estate.metadata.create_site(NewSite(space_id=space.id, domain="a.example", alias="a", meta={"a": 1}))
    for _ in range(2):
        new = NewDeployment(space_id=space.id, files={"x": source, "y": await estate.put(b"never uploaded")})
        await estate.metadata.create_deployment(new)
    await estate.metadata.put_variants("acme", {source.digest: {"gzip": await estate.put(b"variant"), "br": None}})
    await estate.metadata.copy_files(space.id, "index.html", "copy.html", move=True)
    await estate.delete_space(space)
    estate.wait(2)
    assert await estate.collect() == Collected(released=2, count=4, size=6 + 9 + 7 + 14)
    left = await counts(sql_url)
    assert left.keys() - {"changes"} == empty.keys() - {"changes"}
    assert left["workspaces"] == with_space["workspaces"]
    assert await estate.kept() == set()
    assert (await estate.metadata.list_spaces("acme", PageQuery())).items == ()

"""SQLite against memory: whatever is done, both give the same answers."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from storage.errors import StorageError
from storage.memory import MemoryMetadata
from storage.metadata import MetadataStore
from storage.models import CODINGS, Deployment, NewDeployment, NewSite, NewSpace, PageQuery, Site
from storage.sql import open_sql
from tests.storage.conftest import Clock, make_blob

# Names that sort differently by code point than by word, and around the "/" between segments.
SEGMENTS = st.sampled_from(["a", "a-", "a0", "a.b", "B", "é", "😀"])
FOLDERS = st.lists(SEGMENTS, max_size=2).map("/".join)
PATHS = st.lists(SEGMENTS, min_size=1, max_size=3).map("/".join)
FILES = st.dictionaries(PATHS, st.integers(0, 3), max_size=4)
TRIES = st.dictionaries(st.sampled_from(CODINGS), st.none() | st.integers(9, 11), min_size=1)

# An operation is the name of a method of World, and its arguments.
OPERATIONS = st.lists(
    st.one_of(
        st.tuples(st.just("put"), FILES, st.sets(PATHS, max_size=3)),
        st.tuples(st.just("delete_tree"), FOLDERS, st.booleans()),
        st.tuples(st.just("copy"), PATHS, PATHS, st.booleans()),
        st.tuples(st.just("wait"), st.sampled_from([1, 400, 2000])),
        st.tuples(st.just("set_prefix"), FOLDERS),
        st.tuples(st.just("deploy"), FILES, st.sampled_from(["replace", "merge"]), FOLDERS),
        st.tuples(st.just("activate"), st.integers(0, 3), st.sampled_from([0, 300, 3000])),
        st.tuples(st.just("end_skew")),
        st.tuples(st.just("protect"), st.booleans()),
        st.tuples(st.just("upload"), st.integers(0, 3)),
        st.tuples(st.just("code"), st.dictionaries(st.integers(0, 3), TRIES, max_size=2)),
    ),
    min_size=1,
    max_size=12,
)


class World:
    """One store with a space and a site in it. Ids differ between stores, so they are left out of its answers."""

    def __init__(self, store: MetadataStore, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._deployments: list[str] = []

    async def set_up(self) -> None:
        await self._store.put_workspace("acme", "Acme")
        self._space = (await self._store.create_space(NewSpace(workspace_id="acme"))).id
        self._site = (await self._store.create_site(NewSite(space_id=self._space, domain="a.example"))).id

    async def perform(self, name: str, *arguments: Any) -> object:
        """What it answers, or how it is refused."""
        verb: Callable[..., Awaitable[object]] = getattr(self, name)
        try:
            return await verb(*arguments)
        except StorageError as error:
            return type(error), str(error)

    async def put(self, files: dict[str, int], delete: set[str]) -> int:
        blobs = {path: make_blob(number) for path, number in files.items()}
        return await self._store.put_files(self._space, blobs, delete=delete)

    async def delete_tree(self, path: str, recursive: bool) -> int:
        return await self._store.delete_tree(self._space, path, recursive=recursive)

    async def copy(self, path: str, destination: str, move: bool) -> int:
        return await self._store.copy_files(self._space, path, destination, move=move)

    async def wait(self, milliseconds: int) -> None:
        self._clock.now += milliseconds

    async def set_prefix(self, prefix: str) -> Site:
        site = await self._store.update_site(self._site, {"prefix": prefix})
        return replace(site, id="", space_id="")

    async def deploy(self, files: dict[str, int], mode: Any, prefix: str) -> tuple[Deployment, list[str]]:
        blobs = {path: make_blob(number) for path, number in files.items()}
        new = NewDeployment(space_id=self._space, files=blobs, mode=mode, prefix=prefix)
        deployment = await self._store.create_deployment(new)
        self._deployments.append(deployment.id)
        return replace(deployment, id="", space_id=""), list(await self._store.list_missing(deployment.id))

    async def activate(self, number: int, skew: int) -> Deployment | None:
        if number >= len(self._deployments):
            return None
        deployment = await self._store.activate_deployment(self._deployments[number], skew=skew)
        return replace(deployment, id="", space_id="")

    async def end_skew(self) -> int:
        return await self._store.end_skew()

    async def protect(self, on: bool) -> Site:
        site = await self._store.update_site(self._site, {"skew_protection": on})
        return replace(site, id="", space_id="")

    async def upload(self, number: int) -> None:
        await self._store.put_blob("acme", make_blob(number))

    async def code(self, contents: dict[int, dict[Any, int | None]]) -> None:
        tries = {
            make_blob(number).digest: {
                coding: None if variant is None else make_blob(variant) for coding, variant in tried.items()
            }
            for number, tried in contents.items()
        }
        await self._store.put_variants("acme", tries)

    async def read(self) -> list[object]:
        """All that the store can say of the space."""
        latest = await self._store.get_revision()
        said: list[object] = [latest]
        live = await self._list("", recursive=True, descending=False, take=1000)
        paths = {path for path, _ in live}
        for revision in range(latest + 1):
            said.append(await self._store.find_files(self._space, sorted(paths | {"a", "a/a", "B/é"}), revision))
        for folder in ["", "a", "a/a", "é"]:
            for recursive in (True, False):
                for descending in (True, False):
                    whole = await self._list(folder, recursive=recursive, descending=descending, take=1000)
                    assert await self._list(folder, recursive=recursive, descending=descending, take=1) == whole
                    said.append(whole)
        said.append(await self._store.list_uncoded((0, ""), 1000))
        hosted = await self._store.find_site(["a.example"])
        assert hosted
        said.append((hosted.version, hosted.skew_revision))
        for deployment in self._deployments:
            said.append(await self._store.find_deployed_files(self._space, deployment, sorted(paths | {"a", "a/a"})))
            preview = await self._store.find_preview(deployment[11:], domain="a.example")
            assert preview
            assert preview.preview
            said.append(replace(preview, id="", space_id="", preview=replace(preview.preview, deployment_id="")))
        said.append([(change.revision, change.kind, change.hosts) for change in await self._store.list_changes(0)])
        return said

    async def _list(self, folder: str, *, recursive: bool, descending: bool, take: int) -> list[tuple[str, object]]:
        entries: list[tuple[str, object]] = []
        query = PageQuery(take=take, descending=descending)
        while True:
            page = await self._store.list_files(self._space, folder, recursive=recursive, query=query)
            entries += [(entry.path, entry) for entry in page.items]
            if page.next is None:
                return entries
            query = replace(query, after=page.next)


async def compare(operations: list[tuple[Any, ...]], database: Path) -> None:
    clocks = Clock(), Clock()
    sql = await open_sql(f"sqlite:///{database}", clock=clocks[0])
    try:
        worlds = World(sql, clocks[0]), World(MemoryMetadata(clock=clocks[1]), clocks[1])
        for world in worlds:
            await world.set_up()
        for operation in operations:
            first, second = [await world.perform(*operation) for world in worlds]
            assert first == second
        first, second = [await world.read() for world in worlds]
        assert first == second
    finally:
        await sql.close()


@pytest.mark.slow
@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(operations=OPERATIONS)
def test_sqlite_does_as_memory_does(migrated_sqlite: Path, operations: list[tuple[Any, ...]]) -> None:
    with tempfile.TemporaryDirectory() as directory:
        database = Path(shutil.copy(migrated_sqlite, directory))
        asyncio.run(compare(operations, database))

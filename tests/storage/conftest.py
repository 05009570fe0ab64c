"""The metadata stores under test: every test that asks for `metadata` runs on each of them."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest

from storage.memory import MemoryMetadata
from storage.metadata import MetadataStore
from storage.models import Blob, Millis, NewSpace, Space
from storage.sql import SqlMetadata, migrate, open_sql


@dataclass
class Clock:
    """A clock that stands until it is moved; it starts a quarter into a second."""

    now: Millis = 1_700_000_000_250

    def __call__(self) -> Millis:
        return self.now


def make_blob(number: int) -> Blob:
    """Some content: equal numbers, equal content."""
    return Blob(digest=f"{number:064x}", size=number)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def announced() -> list[int]:
    """The revisions that the store has announced."""
    return []


@pytest.fixture(scope="session")
def migrated_sqlite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file that the tests' are copies of."""
    path = tmp_path_factory.mktemp("sqlite") / "migrated.db"
    with ThreadPoolExecutor(1) as thread:  # where no other event loop is
        thread.submit(asyncio.run, migrate(f"sqlite:///{path}")).result()
    return path


@pytest.fixture
def sqlite_url(migrated_sqlite: Path, tmp_path: Path) -> str:
    """A fresh database, migrated."""
    return f"sqlite:///{shutil.copy(migrated_sqlite, tmp_path / 'spacelane.db')}"


@pytest.fixture(params=["sqlite", "postgres"])
def sql_url(request: pytest.FixtureRequest) -> str:
    """A fresh database of each kind, migrated."""
    return str(request.getfixturevalue(f"{request.param}_url"))


@pytest.fixture
async def sql(sql_url: str, clock: Clock, announced: list[int]) -> AsyncIterator[SqlMetadata]:
    """A store in a database, of each kind."""
    store = await open_sql(sql_url, clock=clock, announce=announced.append)
    yield store
    await store.close()


@pytest.fixture(params=["memory", "sqlite", "postgres"])
async def metadata(request: pytest.FixtureRequest, clock: Clock, announced: list[int]) -> AsyncIterator[MetadataStore]:
    """An empty store of each kind, with the workspaces `acme` and `other`."""
    store: MetadataStore
    if request.param == "memory":
        store = MemoryMetadata(clock=clock, announce=announced.append)
    else:
        url = request.getfixturevalue(f"{request.param}_url")
        store = await open_sql(url, clock=clock, announce=announced.append)
    await store.put_workspace("acme", "Acme")
    await store.put_workspace("other", "Other")
    yield store
    await store.close()


@pytest.fixture
async def space(metadata: MetadataStore) -> Space:
    """An empty space of `acme`."""
    return await metadata.create_space(NewSpace(workspace_id="acme"))

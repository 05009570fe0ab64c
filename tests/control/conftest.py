"""The API over each kind of store."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from server.control.app import create_app
from server.control.auth import hash_secret
from server.control.config import ControlConfig, Readiness
from storage.blobs import BlobStore
from storage.local import LocalBlobs
from storage.memory.blobs import MemoryBlobs
from storage.memory.metadata import MemoryMetadata
from storage.metadata import MetadataStore
from storage.sql import migrate, open_sql
from tests.control.api import ROOT_SECRET, WORKSPACE, Api, port_of, served


class Setup:
    """What the API is built with; a test may change it before it asks for `api`."""

    def __init__(self) -> None:
        self.now = 1_790_000_000_000
        self.readiness = Readiness(ready=True, workers={"worker-0": "serving"})
        self.config = ControlConfig(
            platform_domains=("localhost",),
            max_file_bytes=100_000,
            max_json_bytes=40_000,
            max_large_json_bytes=200_000,
            root_key_hash=hash_secret(ROOT_SECRET.encode()),
            readiness=lambda: self.readiness,
            clock=lambda: self.now,
        )


@pytest.fixture
def setup() -> Setup:
    return Setup()


@pytest.fixture(scope="session")
def migrated_sqlite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database file that tests copy: migrating each anew would take longer than they do."""
    path = tmp_path_factory.mktemp("sqlite") / "migrated.db"
    with ThreadPoolExecutor(1) as thread:  # where no other event loop is
        thread.submit(asyncio.run, migrate(f"sqlite:///{path}")).result()
    return path


def database_url(kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Of a fresh database."""
    if kind == "postgres":
        url: str = request.getfixturevalue("postgres_url")
        return url
    copy = shutil.copy(request.getfixturevalue("migrated_sqlite"), tmp_path / "metadata.db")
    return f"sqlite:///{copy}"


@pytest.fixture(params=["memory", "sqlite", pytest.param("postgres", marks=pytest.mark.slow)])
async def stores(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[tuple[MetadataStore, BlobStore]]:
    """A metadata store of each kind; one with blobs in files, whose many folders take a while to make."""
    if request.param == "memory":
        yield MemoryMetadata(), MemoryBlobs()
        return
    metadata = await open_sql(database_url(request.param, request, tmp_path))
    yield metadata, LocalBlobs(tmp_path / "blobs") if request.param == "sqlite" else MemoryBlobs()
    await metadata.close()


@pytest.fixture
async def api(setup: Setup, stores: tuple[MetadataStore, BlobStore]) -> AsyncIterator[Api]:
    metadata, blobs = stores
    await metadata.put_workspace(WORKSPACE, "default")
    async with (
        served(create_app(metadata, blobs, setup.config)) as server,
        httpx.AsyncClient(base_url=f"http://127.0.0.1:{port_of(server)}", trust_env=False, verify=False) as http,
    ):
        yield Api(server, http, metadata, blobs)

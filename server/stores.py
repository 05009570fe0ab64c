"""The one place where concrete stores are named."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from urllib.parse import quote

from server.config import Settings
from storage.blobs import BlobStore
from storage.local import LocalBlobs
from storage.metadata import MetadataStore
from storage.sql import migrate, open_sql

BLOBS = "blobs"  # of the data directory
DATABASE_FILE = "spacelane.db"  # likewise


@dataclass(frozen=True, slots=True)
class Stores:
    """What is kept: metadata and blobs."""

    metadata: MetadataStore
    blobs: BlobStore


def database_url(settings: Settings) -> str:
    """The database in force: the one named, or SQLite in the data directory."""
    return settings.database_url or f"sqlite:///{quote(str((settings.data_dir / DATABASE_FILE).absolute()))}"


async def migrate_stores(settings: Settings) -> None:
    """Bring the database to this version's schema; safe if several processes do so at once."""
    await migrate(database_url(settings))


@asynccontextmanager
async def open_stores(
    settings: Settings, announce: Callable[[int], None] = lambda revision: None
) -> AsyncIterator[Stores]:
    """The stores, until the block ends. `announce` is told each revision that is written through them."""
    metadata = await open_sql(database_url(settings), announce=announce)
    try:
        yield Stores(metadata, LocalBlobs(settings.data_dir / BLOBS))
    finally:
        await metadata.close()


def memory_stores(announce: Callable[[int], None]) -> Stores:
    """New ones that are gone with the process."""
    from storage.memory import MemoryBlobs, MemoryMetadata  # here because no server has a use for them

    return Stores(MemoryMetadata(announce=announce), MemoryBlobs())


async def read_revision(settings: Settings) -> int | None:
    """The latest revision in the database, None if there is no database yet; nothing is made or changed.

    Raises `StorageError` if it cannot be reached or is another version's, `ValueError` for a URL that names none.
    """
    if settings.database_url is None and not (settings.data_dir / DATABASE_FILE).exists():
        return None
    metadata = await open_sql(database_url(settings))
    try:
        return await metadata.get_revision()
    finally:
        await metadata.close()

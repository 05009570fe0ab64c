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


@dataclass(frozen=True, slots=True)
class Stores:
    """What is kept: metadata and blobs."""

    metadata: MetadataStore
    blobs: BlobStore


def database_url(settings: Settings) -> str:
    """The database in force: the one named, or SQLite in the data directory."""
    return settings.database_url or f"sqlite:///{quote(str((settings.data_dir / 'spacelane.db').absolute()))}"


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

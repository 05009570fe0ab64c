"""Collection: contents that nothing refers to go, once they have been left alone for a grace period.

1. every workspace lets go of what nothing of its own refers to (`MetadataStore.release_blobs`)
2. the blob store lets go of what no row refers to, thousands at a time

What is about to be used stays, whatever runs meanwhile, here or on another machine:

* whoever uploads puts the content first, which makes it young, and then has a grace period for the row;
* whoever relies on content that is there already, without a put, has a row by which the workspace possesses it; and
  step 2 asks for such rows after step 1 has ended all it ends;
* a put and a deletion of the same content are one after the other (`BlobStore.delete`), and a deletion looks at the age
  again.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass

from storage.blobs import BlobStore
from storage.clock import now_ms
from storage.metadata import MetadataStore
from storage.models import Blob, Millis

AT_ONCE = 20_000  # contents in one question: a megabyte and a half, and few questions of a large store


@dataclass(frozen=True, slots=True, kw_only=True)
class Collected:
    """What a collection let go of: `released` possessions; `count` contents of `size` bytes in all."""

    released: int = 0
    count: int = 0
    size: int = 0


async def collect(
    metadata: MetadataStore, blobs: BlobStore, grace: float, *, clock: Callable[[], Millis] = now_ms
) -> Collected:
    """Collect what has been left alone for `grace` seconds. May be cancelled at any time. Raises `Unavailable`."""
    released = await metadata.release_blobs(clock() - round(grace * 1000))
    count = size = 0
    async for unused in _list_unused(metadata, blobs, grace, 0):
        for blob in unused:
            if await blobs.delete(blob.digest, unchanged_for=grace):
                count += 1
                size += blob.size
    return Collected(released=released, count=count, size=size)


async def find_collectable(
    metadata: MetadataStore, blobs: BlobStore, grace: float, *, clock: Callable[[], Millis] = now_ms
) -> Collected:
    """What `collect` would let go of now, save for the variants of what it does. Changes nothing."""
    count = size = 0
    async for unused in _list_unused(metadata, blobs, grace, clock() - round(grace * 1000)):
        count += len(unused)
        size += sum(blob.size for blob in unused)
    return Collected(count=count, size=size)


async def _list_unused(
    metadata: MetadataStore, blobs: BlobStore, grace: float, possessed_since: Millis
) -> AsyncGenerator[list[Blob], None]:
    pending: list[Blob] = []
    async for some in blobs.list_stored(grace):
        pending += some
        if len(pending) >= AT_ONCE:
            yield await _unused(metadata, pending, possessed_since)
            pending = []
    yield await _unused(metadata, pending, possessed_since)


async def _unused(metadata: MetadataStore, blobs: list[Blob], possessed_since: Millis) -> list[Blob]:
    used = await metadata.find_used_blobs([blob.digest for blob in blobs], possessed_since=possessed_since)
    return [blob for blob in blobs if blob.digest not in used]

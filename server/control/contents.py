"""Contents on their way to the store: their bytes, what variants their first visitors shall find, and whose they are.

In this order, so that no row ever names what is not there. Small ones wait in memory until there are enough of them:
together they cost two flushes and two transactions, which each alone would cost as well.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import NamedTuple

from server.compression import BEST, codings_for, compress_at_once
from server.control.call import Call
from storage.errors import Invalid
from storage.models import Blob, Coding, Digest

HELD_BYTES = 1024 * 1024  # of a content that waits in memory; larger ones are stored as they arrive
BATCH_BYTES = 2 * 1024 * 1024  # of those that wait together
BATCH = 128  # of them


class Held(NamedTuple):
    """A content in memory, and a path that it is published at."""

    path: str
    blob: Blob
    data: bytes


async def keep_all(call: Call, contents: Sequence[Held]) -> None:
    """Keep some that are what they say they are, each once. Raises `QuotaExceeded`."""
    made = await asyncio.to_thread(_compress, contents)
    codings = [coded for coded in made.values() if coded is not None]
    kept = await call.blobs.put_all([*(content.data for content in contents), *codings])
    coded = iter(kept[len(contents) :])
    variants: dict[Digest, dict[Coding, Blob | None]] = {
        digest: {"gzip": None if body is None else next(coded)} for digest, body in made.items()
    }
    workspace_id = call.caller.workspace_id
    await call.metadata.put_blobs(workspace_id, [content.blob for content in contents])
    if variants:
        await call.metadata.put_variants(workspace_id, variants)


async def keep_stream(call: Call, path: str, wanted: Blob, chunks: AsyncIterator[bytes]) -> None:
    """Keep one as it arrives. Raises `TooLarge` or `Invalid` unless it is `wanted`, and `QuotaExceeded`."""
    blob = await call.blobs.put(chunks, limit=wanted.size, expected=wanted.digest)
    check_size(blob.size, wanted)
    await call.compress(path, blob)
    await call.metadata.put_blob(call.caller.workspace_id, blob)


def check_size(size: int, wanted: Blob) -> None:
    """Raises `Invalid` unless the manifest has told the truth."""
    if size != wanted.size:
        raise Invalid("size", f"is {wanted.size} in the manifest, but the content has {size} bytes")


def _compress(contents: Sequence[Held]) -> dict[Digest, bytes | None]:
    """By content, its bytes in gzip; None where that saves too little. What is not worth trying is left out."""
    levels: dict[Coding, int] = {"gzip": BEST["gzip"]}
    return {
        blob.digest: compress_at_once(data, levels).get("gzip")
        for path, blob, data in contents
        if "gzip" in codings_for(path, blob.size)
    }

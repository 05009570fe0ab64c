"""The bytes of a body that is still to be read."""

from __future__ import annotations

from collections.abc import AsyncGenerator

from server.edge.response import Parts
from storage.blobs import BlobReader


async def read_parts(body: Parts, reader: BlobReader) -> AsyncGenerator[bytes, None]:
    """In chunks; `reader` is of the body's blob. Raises as it does."""
    for part in body.parts:
        if isinstance(part, bytes):
            yield part
        else:
            async for chunk in reader.read(part.start, part.stop):
                yield chunk

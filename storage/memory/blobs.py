"""Blobs in a dictionary: the whole contract but durability, for tests and trials."""

from __future__ import annotations

import hashlib
import time
from collections.abc import AsyncIterable, AsyncIterator, Callable, Sequence

from storage.errors import Corrupt, Invalid, TooLarge
from storage.models import Blob, Digest

CHUNK_BYTES = 256 * 1024


class MemoryBlobs:
    """A `BlobStore`. `contents` is all it keeps, for a test to look at or to damage; `clock` gives seconds."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.contents: dict[Digest, bytes] = {}
        self._clock = clock
        self._stored_at: dict[Digest, float] = {}

    async def put(
        self, chunks: AsyncIterable[bytes], *, limit: int | None = None, expected: Digest | None = None
    ) -> Blob:
        content = bytearray()
        async for chunk in chunks:
            content += chunk
            if limit is not None and len(content) > limit:
                raise TooLarge(limit)
        digest = hashlib.sha256(content).hexdigest()
        if expected not in (None, digest):
            raise Invalid("digest", f"is not the content's, which is {digest}: upload the file that it was made from")
        return self._keep(digest, bytes(content))

    async def put_all(self, contents: Sequence[bytes]) -> Sequence[Blob]:
        return [self._keep(hashlib.sha256(content).hexdigest(), content) for content in contents]

    def _keep(self, digest: Digest, content: bytes) -> Blob:
        self.contents[digest] = content
        self._stored_at[digest] = self._clock()
        return Blob(digest=digest, size=len(content))

    async def read(self, digest: Digest) -> bytes:
        content = self._get(digest)
        if hashlib.sha256(content).hexdigest() != digest:
            raise Corrupt(f"blob {digest} does not match its digest")
        return content

    async def open(self, digest: Digest) -> MemoryReader:
        return MemoryReader(digest, self._get(digest))

    def open_nowait(self, digest: Digest) -> None:
        """There are no files."""

    async def list_stored(self, unchanged_for: float) -> AsyncIterator[Sequence[Blob]]:
        yield [
            Blob(digest=digest, size=len(content))
            for digest, content in self.contents.items()
            if self._is_older(digest, unchanged_for)
        ]

    async def delete(self, digest: Digest, *, unchanged_for: float = 0.0) -> bool:
        if digest not in self.contents or not self._is_older(digest, unchanged_for):
            return False
        del self.contents[digest]
        self._stored_at.pop(digest, None)
        return True

    def _is_older(self, digest: Digest, seconds: float) -> bool:
        return self._clock() - self._stored_at.get(digest, 0.0) >= seconds

    def _get(self, digest: Digest) -> bytes:
        try:
            return self.contents[digest]
        except KeyError as exc:
            raise Corrupt(f"blob {digest} is missing") from exc


class MemoryReader:
    """A `BlobReader`."""

    def __init__(self, digest: Digest, content: bytes) -> None:
        self.size = len(content)
        self._digest = digest
        self._content = content

    async def read(self, start: int, stop: int) -> AsyncIterator[bytes]:
        for position in range(start, min(stop, self.size), CHUNK_BYTES):
            yield self._content[position : min(position + CHUNK_BYTES, stop)]
        if start < stop and stop > self.size:
            raise Corrupt(f"blob {self._digest} ends at {self.size}, before {stop}")

    async def close(self) -> None:
        """Nothing to let go of."""

"""The contract of a blob store: content by its SHA-256, kept once, never changed.

*Durable* means: when `put` returns, the bytes survive a crash of the process or the machine (content flushed, name
flushed). A broken `put` leaves nothing that a reader could see. Names are digests, so no caller's text is ever part
of a file name.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterable, AsyncIterator, Sequence
from typing import Protocol

from storage.errors import Invalid
from storage.models import Blob, Digest

_DIGEST = re.compile(r"[0-9a-f]{64}")


def parse_digest(text: str, *, field: str = "digest") -> Digest:
    """`text` if it is a digest; raises `Invalid` otherwise."""
    if not _DIGEST.fullmatch(text):
        raise Invalid(field, "is not a SHA-256 digest: 64 lower-case hexadecimal digits")
    return text


class BlobReader(Protocol):
    """One open blob. It stays readable while open, even if the blob is deleted meanwhile."""

    @property
    def size(self) -> int:
        """Bytes in all."""
        ...

    def read(self, start: int, stop: int) -> AsyncIterator[bytes]:
        """The bytes from `start` up to, but without, `stop`, in chunks; raises `Corrupt` if the blob ends before."""
        ...

    async def close(self) -> None:
        """Let go of it; again is harmless."""
        ...


class FileReader(BlobReader, Protocol):
    """One that is an open file."""

    def fileno(self) -> int:
        """The file's descriptor, whose position nobody uses: for `sendfile`. Raises `Unavailable` once closed."""
        ...

    def is_at_hand(self, start: int, stop: int) -> bool:
        """Whether the kernel has the bytes from `start` up to, but without, `stop` in memory, as far as it tells."""
        ...

    async def fetch(self, start: int, stop: int) -> None:
        """Have the kernel take them into memory. That they cannot be read is for whoever reads them to find out."""
        ...

    def close_nowait(self) -> None:
        """`close`, which needs no waiting here."""
        ...


class BlobStore(Protocol):
    """Every method raises `Unavailable` where the medium fails."""

    async def put(
        self, chunks: AsyncIterable[bytes], *, limit: int | None = None, expected: Digest | None = None
    ) -> Blob:
        """Keep what `chunks` yields, durably, and say its digest and size. Memory does not grow with size.

        Raises `TooLarge` past `limit` bytes and `Invalid` (field "digest") if the content is not `expected`; then, and
        if `chunks` raises or the caller is cancelled, nothing is kept. Content that is there already is kept once and
        counts as just stored, so a collector's grace period starts anew.
        """
        ...

    async def put_all(self, contents: Sequence[bytes]) -> Sequence[Blob]:
        """`put` of each, in one go: faster, for as many as are in memory anyway. If it raises, some may be kept."""
        ...

    async def read(self, digest: Digest) -> bytes:
        """All of it, verified: raises `Corrupt` if it is missing or does not hash to `digest`."""
        ...

    async def open(self, digest: Digest) -> BlobReader:
        """Open it for reading in parts, not verified. Raises `Corrupt` if it is missing."""
        ...

    def open_nowait(self, digest: Digest) -> FileReader | None:
        """The same for a blob that is a file, if that takes no more than a look-up of a name; None if it is none, or
        cannot be opened."""
        ...

    def list_stored(self, unchanged_for: float) -> AsyncIterator[Sequence[Blob]]:
        """What was last put at least so many seconds ago, some at a time, in no order; what is put or deleted meanwhile
        may be left out."""
        ...

    async def delete(self, digest: Digest, *, unchanged_for: float = 0.0) -> bool:
        """Forget it, unless it was put within so many seconds; whether that was done. Harmless if it is not there.

        Only a collector that knows that nobody refers to it may call this. It is one step beside any `put` of the same
        content: either the put finds it and it stays, or the put keeps it anew.
        """
        ...

"""Blobs as files, each named `ab/cdef…` by the SHA-256 of its content, below one directory.

A put:

1. gathers up to 256 KiB in memory: a body that ends by then costs one thread hop in all, and no write if it is there;
2. hashes and writes what is longer to a file in `tmp`, on the same file system, one hop for each 256 KiB;
3. flushes the file, renames it to its digest and flushes the directory: visible whole and durable, or not at all.

Several contents that are in memory are put in one hop, and share the flushes.

How old a content is, its file's modification time says. Puts share a lock for the instant in which that time or the
name changes, deletions hold it alone, so that nothing goes which a put has just found. The lock is a file's, for
processes that share the directory over a network too. Ages are measured by the file system's own clock.
"""

from __future__ import annotations

import asyncio
import fcntl
import hashlib
import os
import secrets
import time
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from io import FileIO
from pathlib import Path
from typing import TypeVar

import aiofiles.os

from storage.blobs import parse_digest
from storage.errors import Corrupt, TooLarge, Unavailable
from storage.local_puts import Upload, flush, locked, put_together
from storage.medium import medium
from storage.models import Blob, Digest

READ_AHEAD_BYTES = 128 * 1024  # Linux: read_ahead_kb
CHUNK_BYTES = 256 * 1024
LEFTOVER_SECONDS = 24 * 60 * 60  # a temporary file that nobody has written to for so long is a crash's

LOCK_FILE = "lock"

_WHAT = "the blob store"

_FOLDERS = tuple(f"{number:02x}" for number in range(256))
_SCRATCH = bytearray(1)

T = TypeVar("T")


class LocalBlobs:
    """A `BlobStore` below `directory`, which several processes may share.

    Making one creates the directories and removes what crashes left in `tmp`; raises `Unavailable` if it cannot.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._temporary = directory / "tmp"
        self._lock = directory / LOCK_FILE
        with medium(_WHAT):
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            # Made now, so that a put has one directory to flush and a missing one tells that the medium is gone.
            for name in ("tmp", *_FOLDERS):
                (directory / name).mkdir(exist_ok=True)
            (directory / LOCK_FILE).touch(mode=0o600)
            flush(directory)
            _sweep(self._temporary)

    async def put(
        self, chunks: AsyncIterable[bytes], *, limit: int | None = None, expected: Digest | None = None
    ) -> Blob:
        """See `BlobStore`. A cancellation that arrives during the last flush may find the content kept, whole."""
        upload = Upload(self._temporary / secrets.token_hex(16), self._lock)
        pending = bytearray()
        size = 0
        try:
            async for chunk in chunks:
                size += len(chunk)
                if limit is not None and size > limit:
                    raise TooLarge(limit)
                pending += chunk
                if len(pending) >= CHUNK_BYTES:
                    await _run_to_end(upload.add, pending)
                    pending = bytearray()
            digest = await _run_to_end(upload.finish, pending, self._path, expected)
        except BaseException:
            await _run_to_end(upload.discard)
            raise
        return Blob(digest=digest, size=size)

    async def put_all(self, contents: Sequence[bytes]) -> Sequence[Blob]:
        digests = await _run_to_end(put_together, contents, self._temporary, self._lock, self._path)
        return [Blob(digest=digest, size=len(content)) for digest, content in zip(digests, contents, strict=True)]

    async def read(self, digest: Digest) -> bytes:
        path = self._path(digest)
        with medium(_WHAT), _missing_is_corrupt(path):
            content = await _read_file(path)
        if content is None:
            raise Corrupt(f"blob {digest} does not match its digest")
        return content

    async def open(self, digest: Digest) -> LocalReader:
        reader = LocalReader(digest, self._name(digest))
        try:
            await _run_to_end(reader.start)
        except BaseException:
            await reader.close()
            raise
        return reader

    def open_nowait(self, digest: Digest) -> LocalReader | None:
        # In the event loop: open, stat and close of a name that the kernel knows take 2.2 µs (measured), far less than
        # a thread would. Whoever sends a file again and again keeps the reader.
        reader = LocalReader(digest, self._name(digest))
        try:
            reader.start()
        except (OSError, Corrupt):
            return None
        return reader

    async def list_stored(self, unchanged_for: float) -> AsyncIterator[Sequence[Blob]]:
        before = await _run_to_end(_tell_time, self._lock) - unchanged_for
        for name in _FOLDERS:
            yield await _run_to_end(_list_folder, self._directory / name, before)

    async def delete(self, digest: Digest, *, unchanged_for: float = 0.0) -> bool:
        return await _run_to_end(_delete, self._path(digest), self._lock, unchanged_for)

    def _name(self, digest: Digest) -> str:
        return f"{self._directory}/{parse_digest(digest)[:2]}/{digest[2:]}"

    def _path(self, digest: Digest) -> Path:
        return Path(self._name(digest))


class LocalReader:
    """A `FileReader`."""

    def __init__(self, digest: Digest, name: str) -> None:
        self.size = 0
        self._digest = digest
        self._name = name  # of the file
        self._file: FileIO | None = None

    def start(self) -> None:
        """Open the file; waits for the disk."""
        try:
            self._file = FileIO(self._name)
        except FileNotFoundError:
            with _missing_is_corrupt(Path(self._name)):
                raise
        self.size = os.fstat(self._file.fileno()).st_size

    def fileno(self) -> int:
        if self._file is None:
            raise Unavailable("this blob's reader is closed")
        return self._file.fileno()

    async def read(self, start: int, stop: int) -> AsyncIterator[bytes]:
        while start < stop:
            with medium(_WHAT):
                # Cancelled here, the thread may still read from a descriptor that is somebody else's by then: nobody
                # gets to see what it read.
                chunk = await _pread(self.fileno(), min(CHUNK_BYTES, stop - start), start)
            if not chunk:
                raise Corrupt(f"blob {self._digest} ends at {start}, before {stop}")
            start += len(chunk)
            yield chunk

    def is_at_hand(self, start: int, stop: int) -> bool:
        try:
            # The kernel reads ahead: of what is short, the last octet does not come without the others.
            for position in (stop - 1,) if stop - start <= READ_AHEAD_BYTES else (start, stop - 1):
                os.preadv(self.fileno(), [_SCRATCH], position, os.RWF_NOWAIT)
        except BlockingIOError:
            return False
        except OSError:
            return True  # file systems that cannot tell; and reading shows whatever else is the matter
        return True

    async def fetch(self, start: int, stop: int) -> None:
        with suppress(Unavailable), medium(_WHAT):
            copy = os.dup(self.fileno())  # the reader may be closed meanwhile, and its number given to another file
            await _run_to_end(_touch, copy, start, stop)

    def close_nowait(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    async def close(self) -> None:
        self.close_nowait()


def _touch(descriptor: int, start: int, stop: int) -> None:
    """Have the kernel read this into its memory; closes `descriptor`."""
    try:
        os.pread(descriptor, stop - start, start)
    finally:
        os.close(descriptor)


def _tell_time(lock: Path) -> float:
    """The file system's time, which on a network is not this machine's."""
    os.utime(lock)
    return lock.stat().st_mtime


def _delete(path: Path, lock: Path, unchanged_for: float) -> bool:
    with locked(lock, fcntl.LOCK_EX):
        try:
            if _tell_time(lock) - path.stat().st_mtime < unchanged_for:
                return False
            path.unlink()
        except FileNotFoundError:
            _check_folder(path)
            return False
    return True


def _list_folder(folder: Path, before: float) -> list[Blob]:
    """The blobs in it that are no newer than `before`."""
    found = []
    for entry in os.scandir(folder):
        with suppress(FileNotFoundError):  # deleted meanwhile
            facts = entry.stat()
            if facts.st_mtime <= before:
                found.append(Blob(digest=folder.name + entry.name, size=facts.st_size))
    return found


def _sweep(temporary: Path) -> None:
    oldest = time.time() - LEFTOVER_SECONDS
    for path in temporary.iterdir():
        with suppress(FileNotFoundError):  # another process sweeps or renames it
            if path.stat().st_mtime < oldest:
                path.unlink()


def _read_verified(path: Path) -> bytes | None:
    """The file's content; None if it does not hash to its name."""
    content = path.read_bytes()
    return content if hashlib.sha256(content).hexdigest() == path.parent.name + path.name else None


_read_file = aiofiles.os.wrap(_read_verified)
_pread = aiofiles.os.wrap(os.pread)


async def _run_to_end(function: Callable[..., T], *args: object) -> T:
    """`function` in a thread. Even when cancelled it returns no earlier than the thread does, so that whoever cleans up
    is alone; aiofiles has no such promise."""
    with medium(_WHAT):
        work = asyncio.get_running_loop().run_in_executor(None, function, *args)
        try:
            return await asyncio.shield(work)
        except asyncio.CancelledError:
            while not work.done():
                with suppress(asyncio.CancelledError):
                    await asyncio.wait([work])
            raise


@contextmanager
def _missing_is_corrupt(path: Path) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError as exc:
        _check_folder(path)
        raise Corrupt(f"blob {path.parent.name}{path.name} is missing") from exc


def _check_folder(path: Path) -> None:
    """Raises `FileNotFoundError` if `path` is missing only because everything is: a volume that is not mounted."""
    path.parent.stat()

"""How contents come to the disk: visible whole and durable, or not at all. Everything here waits for the disk.

`Upload` takes one content as it arrives, `put_together` several that are in memory. Flushing each file of many, and the
directory of its name, would take some milliseconds a file, ten times what all else does: those who come together flush
the whole file system instead, once for the contents and once for the names.
"""

from __future__ import annotations

import ctypes
import fcntl
import hashlib
import os
import secrets
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from io import FileIO
from pathlib import Path

from storage.errors import Invalid
from storage.models import Digest

# syncfs(2), which Python has no name for. It tells of contents that could not be written since Linux 5.8.
_syncfs: Callable[[int], int] | None = getattr(ctypes.CDLL(None, use_errno=True), "syncfs", None)


class Upload:
    """A body on its way to the disk. Every method waits for the disk: one thread at a time."""

    def __init__(self, temporary: Path, lock: Path) -> None:
        self._temporary = temporary
        self._lock = lock
        self._hash = hashlib.sha256()
        self._file: FileIO | None = None

    def add(self, chunk: bytearray) -> None:
        self._hash.update(chunk)
        self._write(chunk)

    def finish(self, rest: bytearray, path_of: Callable[[Digest], Path], expected: Digest | None) -> Digest:
        """Add `rest`, which is the last, and keep it all."""
        self._hash.update(rest)
        digest = self._hash.hexdigest()
        if expected not in (None, digest):
            raise Invalid("digest", f"is not the content's, which is {digest}: upload the file that it was made from")
        path = path_of(digest)
        if self._file is not None or not refresh(path, rest, self._lock):
            file = self._write(rest)
            os.fsync(file.fileno())
            file.close()
            with locked(self._lock, fcntl.LOCK_SH):
                # Over what may be there: the same bytes, or ones that the disk has damaged.
                os.replace(self._temporary, path)
        flush(path.parent)  # also where it was there: whoever renamed it may not have come to this yet
        return digest

    def discard(self) -> None:
        if self._file is not None:
            with suppress(OSError):  # what cannot be removed now goes in a later start's sweep
                self._file.close()
                self._temporary.unlink(missing_ok=True)

    def _write(self, chunk: bytearray) -> FileIO:
        if self._file is None:
            self._file = FileIO(self._temporary, "xb")
        with memoryview(chunk) as view:
            written = 0
            while written < len(view):
                written += self._file.write(view[written:])
        return self._file


def put_together(
    contents: Sequence[bytes], temporary: Path, lock: Path, path_of: Callable[[Digest], Path]
) -> list[Digest]:
    """Keep all of `contents`; their digests. Who is told of a failure may find some of them kept, whole."""
    digests = [hashlib.sha256(content).hexdigest() for content in contents]
    new: dict[Path, Path] = {}  # where a content is → where it is to be
    opened = os.open(temporary, os.O_RDONLY | os.O_DIRECTORY)  # before the writes: it is told of failures since
    try:
        for digest, content in dict(zip(digests, contents, strict=True)).items():
            if not refresh(path_of(digest), content, lock):
                written = temporary / secrets.token_hex(16)
                new[written] = path_of(digest)
                written.write_bytes(content)
        _flush_all(opened, list(new))
        with locked(lock, fcntl.LOCK_SH):
            for written, path in new.items():
                os.replace(written, path)
        # Also of those that were there: whoever renamed them may not have come to this yet.
        _flush_all(opened, list({path_of(digest).parent for digest in digests}))
    except BaseException:
        for written in new:
            with suppress(OSError):  # as in `Upload.discard`
                written.unlink(missing_ok=True)
        raise
    finally:
        os.close(opened)
    return digests


def _flush_all(opened: int, paths: Sequence[Path]) -> None:
    """Make what is in `paths`, files or directories, durable; `opened` is a descriptor on their file system."""
    if _syncfs is None:
        for path in paths:
            flush(path)
    elif paths and _syncfs(opened):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def refresh(path: Path, content: bytes | bytearray, lock: Path) -> bool:
    """Whether `path` holds `content` already; then its age starts anew. What cannot be read is written again."""
    try:
        if path.read_bytes() != content:
            return False
        with locked(lock, fcntl.LOCK_SH):
            os.utime(path)
    except OSError:
        return False
    return True


@contextmanager
def locked(lock: Path, how: int) -> Iterator[None]:
    """Hold the lock, which is each opening's own: threads keep each other out, too."""
    descriptor = os.open(lock, os.O_RDWR)
    try:
        fcntl.flock(descriptor, how)
        yield
    finally:
        os.close(descriptor)


def flush(path: Path) -> None:
    """Make what a file holds, or the names in a directory, durable."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

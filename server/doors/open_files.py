"""Blobs that stay open while they are asked for, as nginx' `open_file_cache` keeps files.

Opening, looking at and closing one takes 2.5 µs, a fourth of what sending 100 KB does. One that nobody has asked for in
a while is closed, so that the disk gets back what a deleted blob takes.
"""

from __future__ import annotations

import asyncio
import resource
from collections.abc import Callable

from storage.blobs import FileReader
from storage.models import Digest

MAX_FILES = 256  # of each of the two generations
SHARE = 16  # and at most this part of the process' descriptors: the others are for connections
KEEP_SECONDS = 30.0  # and up to as long again
TRUST_SECONDS = 1.0  # in what the kernel said that it has in memory: of what is in use, it gives up that last


class OpenFile:
    """One of them, which stays open as long as somebody uses it; `descriptor` is -1 once it is closed."""

    __slots__ = ("_kept", "_start", "_stop", "_until", "_users", "descriptor", "reader")

    def __init__(self, reader: FileReader) -> None:
        self.reader = reader
        self.descriptor = reader.fileno()
        self._users = 0
        self._kept = True
        self._start, self._stop, self._until = 0, 0, 0.0  # what is known to be at hand, and up to when that is trusted

    def is_at_hand(self, start: int, stop: int, now: float) -> bool:
        """Whether the kernel has the bytes from `start` up to, but without, `stop` in memory, or has just had them.
        `now` is in seconds, by any clock that never goes back. Asking costs a tenth of what sending 100 KB does."""
        is_known = now < self._until
        if is_known and self._start <= start and stop <= self._stop:
            return True
        if not self.reader.is_at_hand(start, stop):
            return False
        if is_known and start <= self._stop and stop >= self._start:
            self._start, self._stop = min(start, self._start), max(stop, self._stop)
        else:
            self._start, self._stop, self._until = start, stop, now + TRUST_SECONDS
        return True

    def borrow(self) -> OpenFile:
        """Itself, for one user more."""
        self._users += 1
        return self

    def release(self) -> None:
        """One user less."""
        self._users -= 1
        self._close_if_unused()

    def drop(self) -> None:
        """It is not kept any more."""
        self._kept = False
        self._close_if_unused()

    def _close_if_unused(self) -> None:
        if not self._kept and not self._users:
            self.descriptor = -1
            self.reader.close_nowait()


class OpenFiles:
    """One worker's."""

    def __init__(self, open_file: Callable[[Digest], FileReader | None]) -> None:
        self._open = open_file
        limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        self._most = MAX_FILES if limit == resource.RLIM_INFINITY else min(MAX_FILES, limit // SHARE)
        # Those asked for since the last turn, and those asked for only before.
        self._young: dict[Digest, OpenFile] = {}
        self._old: dict[Digest, OpenFile] = {}
        self._turning: asyncio.TimerHandle | None = None

    def find(self, digest: Digest) -> OpenFile | None:
        """The blob of this digest; None if it cannot be opened now. The loop's next turn may close it, and so may the
        next that is asked for: who uses it longer has to borrow it."""
        file = self._young.get(digest)
        if file is None:
            file = self._old.pop(digest, None)
            if file is None:
                reader = self._open(digest)
                if reader is None:
                    return None
                file = OpenFile(reader)
            self._keep(digest, file)
        return file

    def close(self) -> None:
        """Let go of all that nobody uses."""
        self._turn()
        self._turn()

    def _keep(self, digest: Digest, file: OpenFile) -> None:
        if len(self._young) >= self._most:
            self._turn()
        self._young[digest] = file
        if self._turning is None:
            self._turning = asyncio.get_running_loop().call_later(KEEP_SECONDS, self._turn)

    def _turn(self) -> None:
        """Let go of what was not asked for since the last turn."""
        for file in self._old.values():
            file.drop()
        self._old, self._young = self._young, {}
        if self._turning is not None:
            self._turning.cancel()
            self._turning = None
        if self._old:
            self._turning = asyncio.get_running_loop().call_later(KEEP_SECONDS, self._turn)

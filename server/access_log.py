"""Where the lines of the access log go: a file that all workers append to, or standard output.

Whole lines go in one write, so those of two workers never mix. A thread does the writing: a disk that is slow, or a
pipe that nobody reads, holds up no visitor. What cannot be written is dropped and counted. A file that was moved or
removed is opened anew within a second, so it can be rotated by moving it away.
"""

from __future__ import annotations

import errno
import os
import select
import stat
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from queue import SimpleQueue

from server.logs import get_logger

OFF = "off"
STANDARD_OUTPUT = "-"
STANDARD_OUTPUT_DESCRIPTOR = 1

# That the thread lets lines collect. To wake it costs as much as to write a hundred lines, and what comes from a worker
# that is busy comes 256 lines at a time: at 170,000 requests a second this saves 4% of what each costs.
GATHER_SECONDS = 0.01
LOOK_SECONDS = 1.0  # between looks whether the file is still there
CLOSE_SECONDS = 5.0  # for what is still waiting at the end
MAX_WAITING_BYTES = 8 * 1024 * 1024

logger = get_logger("spacelane.access_log")


class AccessLogError(Exception):
    """The access log cannot be written; the text names the file."""


def check_access_log(setting: str, directory: Path) -> None:
    """Raises `AccessLogError` unless it can be opened as things are."""
    if setting in (OFF, STANDARD_OUTPUT):
        return
    path = directory / setting
    try:
        os.close(_open(path, os.O_NONBLOCK))  # a named pipe without a reader is an error rather than a wait
    except OSError as exc:
        raise AccessLogError(f"the access log {path}: {exc.strerror}; choose another with --access-log") from exc


def open_access_log(setting: str, directory: Path) -> AccessLog | None:
    """What the `access_log` setting says: a file by its path from `directory`, `STANDARD_OUTPUT`, or None for `OFF`."""
    if setting == OFF:
        return None
    return AccessLog(None if setting == STANDARD_OUTPUT else directory / setting)


class AccessLog:
    """One process's way to the log. No method raises for what the disk does, and only `close` ever waits."""

    def __init__(self, path: Path | None, clock: Callable[[], float] = time.monotonic) -> None:
        """`path` None stands for standard output; `clock` gives seconds."""
        self._path = path
        self._clock = clock
        self._descriptor: int | None = None  # of the file
        self._next_look = float("-inf")
        self._torn = False  # the last line that was written lacks its end
        self._waiting: SimpleQueue[bytes] = SimpleQueue()
        self._closing = threading.Event()
        # Each counted up by one thread alone and read by both.
        self._given = self._taken = 0  # bytes
        self._refused = self._failed = 0  # lines
        self._full = _Trouble("the access log cannot keep up; lines are dropped")
        self._broken = _Trouble("the access log cannot be written; lines are dropped")
        self._thread = threading.Thread(target=self._run, name="access log", daemon=True)
        self._thread.start()

    @property
    def dropped(self) -> int:
        """Lines that were not written."""
        return self._refused + self._failed

    def write(self, lines: bytes) -> None:
        """Append whole lines, soon."""
        if self._given - self._taken > MAX_WAITING_BYTES:
            self._refused += lines.count(b"\n")
            self._full.begin(f"{MAX_WAITING_BYTES} bytes are waiting")
            return
        self._full.end(self.dropped)
        self._given += len(lines)
        self._waiting.put(lines)

    def close(self) -> None:
        """Write what is waiting, if the disk takes it, and end."""
        self._closing.set()
        self._waiting.put(b"")
        self._thread.join(CLOSE_SECONDS)

    # The thread's.

    def _run(self) -> None:
        while not self._closing.is_set() or not self._waiting.empty():
            pieces = [self._waiting.get()]
            self._closing.wait(GATHER_SECONDS)
            while not self._waiting.empty():
                pieces.append(self._waiting.get())
            if lines := b"".join(pieces):
                self._append(lines)
                self._taken += len(lines)
        self._let_go()

    def _append(self, lines: bytes) -> None:
        written = 0
        try:
            descriptor = self._current()
            if self._torn:
                os.write(descriptor, b"\n")
                self._torn = False
            for piece in _pieces(lines, descriptor):
                count = os.write(descriptor, piece)
                written += count
                if count < len(piece):
                    self._torn = piece[:count][-1:] not in (b"\n", b"")
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))  # a disk that is full takes what fits
        except OSError as exc:
            self._failed += lines.count(b"\n", written)
            self._broken.begin(exc.strerror or str(exc))
        else:
            self._broken.end(self.dropped)

    def _current(self) -> int:
        """The descriptor to write to, opened anew if the file has gone or is another one."""
        if self._path is None:
            return STANDARD_OUTPUT_DESCRIPTOR
        now = self._clock()
        if now >= self._next_look:
            self._next_look = now + LOOK_SECONDS
            if self._descriptor is not None and _has_moved(self._path, self._descriptor):
                self._let_go()
        if self._descriptor is None:
            self._descriptor = _open(self._path)
            self._torn = False
        return self._descriptor

    def _let_go(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


class _Trouble:
    """Something that goes wrong for a while: told once when it begins, and once when it is over."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._lasts = False

    def begin(self, reason: str) -> None:
        if not self._lasts:
            self._lasts = True
            logger.error(self._what, reason=reason)

    def end(self, dropped: int) -> None:
        if self._lasts:
            self._lasts = False
            logger.info("the access log is written again", dropped=dropped)


def _has_moved(path: Path, descriptor: int) -> bool:
    try:
        return not os.path.samestat(os.stat(path), os.fstat(descriptor))
    except FileNotFoundError:
        return True


def _open(path: Path, flags: int = 0) -> int:
    return os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | flags, 0o600)


def _pieces(lines: bytes, descriptor: int) -> Iterator[bytes]:
    """`lines` in pieces that are written as one: a file takes any number of bytes, a pipe this many."""
    if stat.S_ISREG(os.fstat(descriptor).st_mode):
        yield lines
        return
    start = 0
    while start < len(lines):
        stop = lines.rfind(b"\n", start, start + select.PIPE_BUF) + 1 or lines.index(b"\n", start) + 1
        yield lines[start:stop]
        start = stop

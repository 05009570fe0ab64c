"""What the processes of one node share: a small file that each maps into its memory.

It holds the latest revision, which a writer raises before its call returns and every request compares with what its
worker has applied (a read of eight bytes); a slot for each worker, which only that worker writes; and room for what the
processes count (`server.totals`).

The file is native 64-bit numbers: a header of one cache line (magic, count of workers, revision, number of the start),
then a cache line for each slot (pid, state, applied revision), then the totals. Python copies an aligned "Q" of a
memoryview as one machine word on the platforms it supports, so that no reader sees half a number.
"""

from __future__ import annotations

import fcntl
import os
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import IntEnum
from mmap import mmap
from pathlib import Path

MAX_WORKERS = 256

TOTALS_CELLS = 20_480  # numbers for `server.totals`

_LINE = 8  # numbers in a cache line
_TOTALS = (1 + MAX_WORKERS) * _LINE
_BYTES = (_TOTALS + TOTALS_CELLS) * 8  # always all, so that a reset never takes memory from under a process
_MAGIC_BYTES = b"SPLNODE2"
(_MAGIC_NUMBER,) = struct.unpack("=Q", _MAGIC_BYTES)
_MAGIC, _WORKERS, _REVISION, _START = range(4)
_PID, _STATE, _APPLIED = range(3)  # from the start of a slot

_threads = threading.Lock()  # the file's lock is the process's: it does not keep threads apart


class NodeMapError(Exception):
    """The node map cannot be used; the text names the file and what to do."""


class State(IntEnum):
    """Of a worker. `VACANT`: none has claimed the slot yet, or its process is gone."""

    VACANT = 0
    STARTING = 1
    SERVING = 2
    DRAINING = 3


@dataclass(frozen=True, slots=True)
class Worker:
    """A slot as it was read; `pid` 0 if it was never claimed, `applied_revision` -1 before there is one."""

    index: int
    pid: int
    state: State
    applied_revision: int


class LoneNode:
    """A node of one process, which needs no map."""

    def __init__(self) -> None:
        self.revision_cell = [0]

    @property
    def revision(self) -> int:
        """The latest that was written."""
        return self.revision_cell[0]

    def raise_revision(self, revision: int) -> None:
        """Have `revision` seen, unless a later one is there already."""
        self.revision_cell[0] = max(self.revision, revision)


class NodeMap:
    """One process's view of the map. Use `create` in the first process and `open` in all others, after it."""

    __slots__ = ("_cells", "_descriptor", "_map", "revision_cell", "totals")

    def __init__(self, descriptor: int) -> None:
        """Takes over `descriptor`, of a file that is large enough."""
        self._descriptor = descriptor
        self._map = mmap(descriptor, _BYTES)
        self._cells = memoryview(self._map).cast("Q")
        self.revision_cell = self._cells[_REVISION : _REVISION + 1]
        self.totals = self._cells[_TOTALS:]  # of `server.totals`; zeros at first

    @classmethod
    def create(cls, path: Path, workers: int, revision: int) -> NodeMap:
        """Make the file, or reset the one that is there: `workers` vacant slots and `revision`, the store's latest.

        It is reset in place: a process of an earlier run that still serves sees revisions rise, though its slot is
        another's. Raises `NodeMapError`, also rather than overwrite a file that is something else.
        """
        if not 0 < workers <= MAX_WORKERS:
            raise NodeMapError(f"{path}: {workers} workers: the number must be from 1 to {MAX_WORKERS}")
        with _opening(path, os.O_RDWR | os.O_CREAT) as descriptor:
            with _locked(descriptor, _MAGIC):
                if not _may_reset(descriptor):
                    raise NodeMapError(f"{path}: is not a node map; remove it if nothing else needs it")
                os.fchmod(descriptor, 0o600)
                os.ftruncate(descriptor, _BYTES)
            node = cls(descriptor)
        node._reset(workers, revision)
        return node

    @classmethod
    def open(cls, path: Path) -> NodeMap:
        """Map the file that `create` made. Raises `NodeMapError`."""
        with _opening(path, os.O_RDWR) as descriptor:
            if os.pread(descriptor, len(_MAGIC_BYTES), 0) != _MAGIC_BYTES or os.fstat(descriptor).st_size != _BYTES:
                raise NodeMapError(f"{path}: is not a node map of this version; start `spacelane serve` anew")
            return cls(descriptor)

    @property
    def revision(self) -> int:
        """The latest that any process of this node has written."""
        return self._cells[_REVISION]

    def raise_revision(self, revision: int) -> None:
        """Let every process see `revision`, unless a later one is there already."""
        with _threads, _locked(self._descriptor, _REVISION):
            if revision > self._cells[_REVISION]:
                self._cells[_REVISION] = revision

    @property
    def start(self) -> int:
        """A number that another start of the server would not have."""
        return self._cells[_START]

    @contextmanager
    def totals_locked(self) -> Iterator[bool]:
        """Keep other processes from writing totals, unless one does just now: whether it may be done. Never waits."""
        try:
            fcntl.lockf(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, _TOTALS)
        except BlockingIOError:
            yield False
            return
        try:
            yield True
        finally:
            fcntl.lockf(self._descriptor, fcntl.LOCK_UN, 1, _TOTALS)

    def slot(self, index: int) -> Slot:
        """This process's way to a slot. It is claimed at once where nobody holds it; a predecessor that still serves
        keeps it until this one serves."""
        if not 0 <= index < self._cells[_WORKERS]:
            raise NodeMapError(f"there is no slot {index}: the node has {self._cells[_WORKERS]} workers")
        return Slot(self._cells, index)

    def workers(self) -> list[Worker]:
        """Every slot, by index."""
        return [self._read(index) for index in range(self._cells[_WORKERS])]

    def ready(self) -> bool:
        """Whether every slot is held by a running process that serves."""
        return all(worker.state is State.SERVING for worker in self.workers())

    def close(self) -> None:
        """Let go of the map, and of the slots claimed through it; again is harmless."""
        if not self._map.closed:
            self.totals.release()
            self.revision_cell.release()
            self._cells.release()
            self._map.close()
            os.close(self._descriptor)

    def _reset(self, workers: int, revision: int) -> None:
        cells = self._cells
        cells[_LINE:] = memoryview(bytes(_BYTES - 8 * _LINE)).cast("Q")
        cells[_WORKERS] = workers
        cells[_REVISION] = revision
        cells[_START] = time.time_ns()
        cells[_MAGIC] = _MAGIC_NUMBER  # last: without it the file is no node map yet

    def _read(self, index: int) -> Worker:
        start = _slot_start(index)
        pid, state, applied = self._cells[start : start + 3]
        return Worker(index, pid, State(state) if is_running(pid) else State.VACANT, applied - 1)


class Slot:
    """A worker's view of its slot. What it writes is dropped while, or once, another process has the slot."""

    __slots__ = ("_applied", "_cells", "_pid", "_start")

    def __init__(self, cells: memoryview[int], index: int) -> None:
        self._cells = cells
        self._start = _slot_start(index)
        self._pid = os.getpid()
        self._applied = 0  # so that 0 is "none yet"
        holder = cells[self._start + _PID]
        if holder == self._pid or not is_running(holder):
            cells[self._start + _STATE] = State.STARTING  # before the pid: another's state never passes for ours
            cells[self._start + _APPLIED] = 0
            cells[self._start + _PID] = self._pid

    def mark(self, state: State) -> None:
        """Say what this worker does. One that serves takes the slot over, with no moment in which nobody serves."""
        if state is State.SERVING:
            self._cells[self._start + _PID] = self._pid
            self._write(_APPLIED, self._applied)
        self._write(_STATE, state)

    def applied(self, revision: int) -> None:
        """Say up to which revision this worker has applied the change log."""
        self._applied = revision + 1
        self._write(_APPLIED, self._applied)

    def _write(self, cell: int, value: int) -> None:
        if self._cells[self._start + _PID] == self._pid:
            self._cells[self._start + cell] = value


def _slot_start(index: int) -> int:
    return (1 + index) * _LINE


def _may_reset(descriptor: int) -> bool:
    """Whether the file is new, a node map of any version, or one whose making was cut short."""
    magic = os.pread(descriptor, len(_MAGIC_BYTES), 0)
    size = os.fstat(descriptor).st_size
    return size == 0 or magic[:-1] == _MAGIC_BYTES[:-1] or (size == _BYTES and not any(magic))


def is_running(pid: int) -> bool:
    """Whether there is a process of that number; 0 is none's."""
    if pid == 0:
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # somebody else's, but there
        return True
    return True


@contextmanager
def _opening(path: Path, flags: int) -> Iterator[int]:
    """The open file's descriptor, closed again if the block raises."""
    try:
        descriptor = os.open(path, flags | os.O_CLOEXEC, 0o600)
    except OSError as exc:
        hint = "" if flags & os.O_CREAT else "; is `spacelane serve` running?"
        raise NodeMapError(f"{path}: the node map cannot be opened: {exc.strerror}{hint}") from exc
    try:
        yield descriptor
    except BaseException:
        os.close(descriptor)
        raise


@contextmanager
def _locked(descriptor: int, cell: int) -> Iterator[None]:
    """Keep other processes from what `cell` stands for. A record lock, not `flock`, which would not keep out a forked
    child."""
    fcntl.lockf(descriptor, fcntl.LOCK_EX, 1, cell)
    try:
        yield
    finally:
        fcntl.lockf(descriptor, fcntl.LOCK_UN, 1, cell)

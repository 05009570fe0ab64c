"""The processes of a server, each kept running: started again when it ends unasked, replaced on request, ended.

A child is told its task in one line on its standard input, a socket that stays open as long as its parent lives: at its
end the child stops, so a parent that is killed takes its children along. Over the same socket the child says when it
serves.
"""

from __future__ import annotations

import asyncio
import socket
import sys
from asyncio.subprocess import Process
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Protocol

from server.listeners import GRACE_SECONDS, RETIRED_SECONDS
from server.logs import get_logger
from server.tasks import RETIRE, SERVING, Task

MAX_PAUSE_SECONDS = 10.0
STEADY_SECONDS = 10.0  # a process that lived so long did not fail at its start
START_SECONDS = 30.0  # for a successor to serve
END_SECONDS = 2 * GRACE_SECONDS  # a process gives up on answers by itself after its grace; twice that means it hangs
# Of the compressor, which on a busy machine may come by no time to end in. Whatever it is at, it can be killed.
COMPRESSOR_END_SECONDS = 5.0

logger = get_logger("spacelane")


def longer(pause: float) -> float:
    """The next pause, in seconds, before a process that keeps ending is started again."""
    return min(2 * pause + 0.1, MAX_PAUSE_SECONDS)


class Running(Protocol):
    """A process that does a task, or what stands for one."""

    @property
    def pid(self) -> int:
        """Its number."""
        ...

    @property
    def ended(self) -> asyncio.Future[int]:
        """Its exit status, once it has ended."""
        ...

    async def serves(self) -> bool:
        """Return once it does its work, with True, or has ended."""
        ...

    async def retire(self) -> None:
        """Have it finish what it is at, for as long as that takes, and return when it has ended."""
        ...

    async def end(self) -> None:
        """Have it finish what it is at, soon, and return when it has ended; also while it retires."""
        ...


class Child:
    """A process of its own."""

    def __init__(
        self, task: Task, process: Process, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self._task = task
        self._process = process
        self._reader = reader
        self._writer = writer
        self.ended = asyncio.ensure_future(self._wait())

    @classmethod
    async def start(cls, task: Task) -> Child:
        """Raises OSError."""
        ours, theirs = socket.socketpair()
        with theirs:
            try:
                process = await asyncio.create_subprocess_exec(
                    sys.executable,
                    "-m",
                    "server.worker",
                    task.name,  # for whoever lists processes
                    stdin=theirs.fileno(),
                    pass_fds=[sock.fileno() for sock in task.sockets.values()],
                    start_new_session=True,  # Ctrl-C at a terminal is for the parent, which stops them in order
                )
            except BaseException:
                ours.close()
                raise
        reader, writer = await asyncio.open_connection(sock=ours)
        writer.write(task.dump().encode() + b"\n")
        return cls(task, process, reader, writer)

    @property
    def pid(self) -> int:
        return self._process.pid

    async def serves(self) -> bool:
        try:
            return await self._reader.readline() == SERVING
        except ConnectionError:  # it ended with its task unread
            return False

    async def retire(self) -> None:
        if self._task.compress:  # which has nobody who waits for it
            await self.end()
            return
        with suppress(ProcessLookupError):  # it has ended just now, and we are about to be told
            self._process.send_signal(RETIRE)  # ends it at once where it has not come to serve
        await asyncio.wait((self.ended,), timeout=RETIRED_SECONDS + GRACE_SECONDS)
        await self.end()

    async def end(self) -> None:
        if not self.ended.done():
            with suppress(ProcessLookupError):  # it has ended just now, and we are about to be told
                self._process.terminate()
            seconds = COMPRESSOR_END_SECONDS if self._task.compress else END_SECONDS
            await asyncio.wait((self.ended,), timeout=seconds)
        if not self.ended.done():
            tell = logger.info if self._task.compress else logger.error
            tell("a process does not stop; killing it", name=self._task.name, pid=self.pid)
            with suppress(ProcessLookupError):
                self._process.kill()
        await self.ended

    async def _wait(self) -> int:
        status = await self._process.wait()
        self._writer.close()
        return status


class Keeper:
    """Has one task done as long as the server runs.

    `crashed` and `reloaded` are told the task's name when a process has taken the place of one that ended, or was
    replaced.
    """

    def __init__(
        self,
        task: Task,
        *,
        first: Callable[[], Running] | None = None,
        crashed: Callable[[str], None] = lambda name: None,
        reloaded: Callable[[str], None] = lambda name: None,
    ) -> None:
        """`first` begins what does the task until something takes its place; without it a child does from the start."""
        self.name = task.name
        self._task = task
        self._first = first
        self._crashed = crashed
        self._reloaded = reloaded
        self._wanted = asyncio.Event()  # a successor
        self._settled: list[asyncio.Future[None]] = []  # for those who asked for it
        self._leaving: dict[asyncio.Task[None], Running] = {}  # predecessors that finish what they are at

    async def run(self, stop: asyncio.Event) -> None:
        """Until `stop` is set. After a process that ended comes another, after a pause that grows if they keep
        ending."""
        stopping = asyncio.create_task(stop.wait())
        try:
            await self._run(stopping)
        finally:
            stopping.cancel()
            _settle(self._settled)
        await asyncio.gather(*(predecessor.end() for predecessor in self._leaving.values()), *self._leaving)

    async def replace(self) -> None:
        """Start a successor and, once it serves, have the predecessor finish. Return when all that is over, or takes
        longer than it would at the server's end; also where the successor does not come to serve: then the predecessor
        goes on."""
        settled = asyncio.get_running_loop().create_future()
        self._settled.append(settled)
        self._wanted.set()
        await settled

    async def _run(self, stopping: asyncio.Task[bool]) -> None:
        loop = asyncio.get_running_loop()
        pause = 0.0
        current: Running | None = None if self._first is None else self._first()
        while not stopping.done():
            started = loop.time()
            current = current or await self._start()
            if current is not None:
                current = await self._keep(current, stopping)
            if stopping.done():
                return
            pause = 0.0 if loop.time() - started > STEADY_SECONDS else longer(pause)
            if current is not None:
                status = current.ended.result()
                logger.error("a process ended; starting it again", name=self.name, pid=current.pid, status=status)
                self._crashed(self.name)
                current = None
            await asyncio.wait((stopping,), timeout=pause)

    async def _keep(self, current: Running, stopping: asyncio.Task[bool]) -> Running:
        """Return the last of those that did the task when it has ended, which is as it should be if `stopping`."""
        while True:
            wanted = asyncio.create_task(self._wanted.wait())
            await asyncio.wait((current.ended, stopping, wanted), return_when=asyncio.FIRST_COMPLETED)
            wanted.cancel()
            if stopping.done():
                await asyncio.gather(*(each.end() for each in (current, *self._leaving.values())))
            if current.ended.done():
                return current
            current = await self._succeed(current, stopping)

    async def _succeed(self, current: Running, stopping: asyncio.Task[bool]) -> Running:
        """Whoever does the task from now on: a successor, or `current` as before."""
        self._wanted.clear()
        asked, self._settled = self._settled, []
        successor = await self._start()
        if successor is None:
            _settle(asked)
            return current
        serves = asyncio.create_task(successor.serves())
        await asyncio.wait((serves, stopping), timeout=START_SECONDS, return_when=asyncio.FIRST_COMPLETED)
        if serves.done() and serves.result():
            self._reloaded(self.name)
            leaving = asyncio.create_task(current.retire())
            self._leaving[leaving] = current
            leaving.add_done_callback(self._leaving.pop)
            leaving.add_done_callback(lambda task: _settle(asked))
            asyncio.get_running_loop().call_later(GRACE_SECONDS, _settle, asked)
            return successor
        serves.cancel()
        if not stopping.done():
            logger.error("a new process does not come to serve; the old one goes on", name=self.name, pid=successor.pid)
        await successor.end()
        _settle(asked)
        return current

    async def _start(self) -> Child | None:
        try:
            return await Child.start(self._task)
        except OSError as exc:
            logger.error("a process cannot be started; trying again", name=self.name, reason=str(exc))
            return None


def _settle(asked: Iterable[asyncio.Future[None]]) -> None:
    for settled in asked:
        if not settled.done():
            settled.set_result(None)

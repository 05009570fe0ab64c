"""Child processes, each with a `Task`: started, started again when they end unasked, and ended in order.

A child is told its task in one line on its standard input, which stays open as long as its parent lives: at its end the
child stops, so a parent that is killed takes its children along.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys

from server.listeners import GRACE_SECONDS
from server.logs import get_logger
from server.tasks import Task

MAX_PAUSE_SECONDS = 10.0
STEADY_SECONDS = 10.0  # a process that lived so long did not fail at its start

logger = get_logger("spacelane")


async def keep_running(name: str, task: Task, stop: asyncio.Event) -> None:
    """Have `task` done by a process until `stop` is set; after one that ended, another, after a pause that grows if
    they keep ending."""
    loop = asyncio.get_running_loop()
    stopping = asyncio.create_task(stop.wait())
    pause = 0.0
    while not stop.is_set():
        started = loop.time()
        try:
            process = await _start(name, task)
        except OSError as exc:
            logger.error("a process cannot be started; trying again", name=name, reason=str(exc))
            pause = min(2 * pause + 0.1, MAX_PAUSE_SECONDS)
            await asyncio.wait((stopping,), timeout=pause)
            continue
        ended = asyncio.create_task(process.wait())
        await asyncio.wait((ended, stopping), return_when=asyncio.FIRST_COMPLETED)
        if not ended.done():
            await _end(name, process, ended)
            return
        if stop.is_set():
            return
        pause = 0.0 if loop.time() - started > STEADY_SECONDS else min(2 * pause + 0.1, MAX_PAUSE_SECONDS)
        logger.error("a process ended; starting it again", name=name, pid=process.pid, status=ended.result())
        await asyncio.wait((stopping,), timeout=pause)


async def _start(name: str, task: Task) -> asyncio.subprocess.Process:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "server.worker",
        name,  # for whoever lists processes
        stdin=subprocess.PIPE,
        pass_fds=[sock.fileno() for sock in task.sockets.values()],
        start_new_session=True,  # Ctrl-C at a terminal is for the parent, which then stops them in order
    )
    assert process.stdin is not None
    process.stdin.write(task.dump().encode() + b"\n")
    return process


async def _end(name: str, process: asyncio.subprocess.Process, ended: asyncio.Task[int]) -> None:
    process.terminate()
    # The process gives up on answers by itself after its grace; twice that means it hangs.
    done, _ = await asyncio.wait((ended,), timeout=2 * GRACE_SECONDS)
    if not done:
        logger.error("a process does not stop; killing it", name=name, pid=process.pid)
        process.kill()
        await ended

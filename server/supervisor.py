"""Several processes that serve as one: N of the edge, one of the control API.

The supervisor holds the sockets and starts, replaces and stops the processes; it serves nothing itself. A process that
ends unasked is started again, after a pause that grows if it keeps ending. A supervisor that is killed
takes its processes along: their standard input ends.
"""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
from dataclasses import replace

from server.listeners import GRACE_SECONDS
from server.logs import get_logger
from server.worker import Task

MAX_PAUSE_SECONDS = 10.0
STEADY_SECONDS = 10.0  # a process that lived so long did not fail at its start

logger = get_logger("spacelane")


def run(task: Task, workers: int) -> int:
    """Serve `task`, which names both sockets, with that many edge processes until SIGTERM or SIGINT; the exit code."""
    return asyncio.run(_supervise(task, workers))


async def _supervise(task: Task, workers: int) -> int:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    edges = [replace(task, control=None, token_secrets=(), slot=slot) for slot in range(workers)]
    async with asyncio.TaskGroup() as group:
        for name, part in [("control", replace(task, edge=None)), *((f"worker-{e.slot}", e) for e in edges)]:
            group.create_task(_keep_running(name, part, stop))
    return 0


async def _keep_running(name: str, task: Task, stop: asyncio.Event) -> None:
    loop = asyncio.get_running_loop()
    stopping = asyncio.create_task(stop.wait())
    pause = 0.0
    while not stop.is_set():
        started = loop.time()
        try:
            process = await _start(name, task)
        except OSError as exc:  # no memory or no process to be had now
            pause = min(2 * pause + 0.1, MAX_PAUSE_SECONDS)
            logger.error("a process cannot be started; trying again", name=name, reason=str(exc))
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
    sockets = [sock.fileno() for sock in (task.edge, task.control) if sock is not None]
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "server.worker",
        name,  # for whoever lists processes
        stdin=subprocess.PIPE,
        pass_fds=sockets,
        start_new_session=True,  # Ctrl-C at a terminal is for the supervisor, which then stops them in order
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

"""Several processes that serve as one: N of the edge, one of the control API, and one that compresses.

The supervisor holds the sockets and starts, replaces and stops the processes; it serves nothing itself.
"""

from __future__ import annotations

import asyncio
import signal
from dataclasses import replace

from server.children import keep_running
from server.tasks import Task, compressor


def run(task: Task, workers: int) -> int:
    """Serve `task`, which names both sockets, with that many edge processes until SIGTERM or SIGINT; the exit code."""
    return asyncio.run(_supervise(task, workers))


async def _supervise(task: Task, workers: int) -> int:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    parts = {
        **{f"worker-{slot}": replace(task, control=None, token_secrets=(), slot=slot) for slot in range(workers)},
        "control": replace(task, edge=None),
        **compressor(task),
    }
    async with asyncio.TaskGroup() as group:
        for name, part in parts.items():
            group.create_task(keep_running(name, part, stop))
    return 0

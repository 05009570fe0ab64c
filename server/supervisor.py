"""The processes that serve as one, and the signals that are for all of them.

    one worker   this process answers visitors and operators, and a child compresses; once it is replaced, all is done
                 by children
    several      N processes of the edge, one of the control API, one that compresses; this one serves nothing itself

SIGTERM and SIGINT end them. SIGHUP replaces them one after the other: no connection is refused meanwhile, because they
share the listening sockets, and each goes only when its successor serves.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from dataclasses import replace

from server.children import START_SECONDS, Keeper
from server.logs import get_logger
from server.node import NodeMap
from server.tasks import Task, compressor
from server.totals import Cell, Totals
from server.worker import NODE_FILE, Here, run_loop

SUPERVISOR = "supervisor"
COUNT_AGAIN_SECONDS = 0.1
READY_POLL_SECONDS = 0.05

logger = get_logger("spacelane")


def run(task: Task, workers: int) -> int:
    """Serve `task`, which names both sockets, with that many workers until SIGTERM or SIGINT; the exit code."""
    node = NodeMap.open(task.settings.data_dir / NODE_FILE)
    try:
        run_loop(_supervise(task, workers, node))
    finally:
        node.close()
    return 0


async def _supervise(task: Task, workers: int, node: NodeMap) -> None:
    totals = Totals(node)
    stop, reload = asyncio.Event(), asyncio.Event()
    listen_to_signals(stop, reload)

    def count(name: str, cell: Cell) -> None:
        if not totals.add({}, name, {cell: 1}):  # another process is at it
            asyncio.get_running_loop().call_later(COUNT_AGAIN_SECONDS, count, name, cell)

    def crashed(name: str) -> None:
        count(name, Cell.CRASHES)

    def reloaded(name: str) -> None:
        totals.claim(SUPERVISOR, os.getpid())
        count(name, Cell.RELOADS)

    if workers == 1:
        keepers = [Keeper(task, first=lambda: Here(task), crashed=crashed, reloaded=reloaded)]
    else:
        totals.claim(SUPERVISOR, os.getpid())
        parts = [replace(task, control=None, token_secrets=(), slot=slot) for slot in range(workers)]
        keepers = [Keeper(part, crashed=crashed, reloaded=reloaded) for part in (*parts, replace(task, edge=None))]
    last = Keeper(compressor(task), crashed=crashed, reloaded=reloaded)
    async with asyncio.TaskGroup() as group:
        for keeper in keepers:
            group.create_task(keeper.run(stop))
        group.create_task(_run_last(last, node, stop))
        reloading = group.create_task(_reload([*keepers, last], reload))
        await stop.wait()
        reloading.cancel()


async def _run_last(keeper: Keeper, node: NodeMap, stop: asyncio.Event) -> None:
    """As `Keeper.run`, once the workers serve: until then the processors' time is for them."""
    stopping = asyncio.create_task(stop.wait())
    loop = asyncio.get_running_loop()
    patience = loop.time() + START_SECONDS
    while not (stopping.done() or node.ready() or loop.time() > patience):
        await asyncio.wait((stopping,), timeout=READY_POLL_SECONDS)
    if not stopping.done():
        await keeper.run(stop)
    stopping.cancel()


async def _reload(keepers: list[Keeper], reload: asyncio.Event) -> None:
    """Replace every process, one after the other, whenever `reload` is set. Orders that come meanwhile count once."""
    while True:
        await reload.wait()
        reload.clear()
        logger.info("replacing every process")
        for keeper in keepers:
            await keeper.replace()
        logger.info("every process has been replaced")


def listen_to_signals(stop: asyncio.Event, reload: asyncio.Event) -> None:
    """Have the running loop set these. SIGHUP is an order to reload, save where it says that the terminal, at which the
    server was started, is gone."""
    had_terminal = sys.stdin is not None and os.isatty(0)

    def hang_up() -> None:
        (stop if had_terminal and not os.isatty(0) else reload).set()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    loop.add_signal_handler(signal.SIGHUP, hang_up)

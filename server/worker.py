"""One process of the server: the edge, the control API, or both, or the one that compresses.

Run as a module it is a child of another: its standard input brings one line of JSON (`Task`) and takes word of when it
serves, stays open as long as the parent lives, and its end is the order to stop.
"""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import socket
import sys
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from ssl import SSLContext

import uvloop

from server.access_log import AccessLog, open_access_log
from server.compressor import yield_to_others
from server.config import Settings
from server.doors.journal import Journal
from server.doors.log_format import FORMATS
from server.doors.tls import create_context
from server.edge.edge import Edge
from server.listeners import GRACE_SECONDS, RETIRED_SECONDS, Listener, edge_server
from server.logs import configure_logging
from server.meter import Meter
from server.node import NodeMap, Slot, State
from server.stores import Stores, open_stores
from server.tasks import RETIRE, SERVING, Task
from server.totals import Totals

NODE_FILE = "node"
COLLECT_AFTER = 20_000  # objects more than before; Python: 700


@asynccontextmanager
async def _open(settings: Settings) -> AsyncIterator[tuple[Stores, NodeMap]]:
    node = NodeMap.open(settings.data_dir / NODE_FILE)
    try:
        async with open_stores(settings, node.raise_revision) as stores:
            yield stores, node
    finally:
        node.close()


@dataclass(frozen=True, slots=True)
class Orders:
    """What a process is told by who started it, each once and for ever."""

    retire: asyncio.Event = field(default_factory=asyncio.Event)  # its successor serves: finish what is under way
    stop: asyncio.Event = field(default_factory=asyncio.Event)  # likewise, but soon; also after the other

    async def wait(self) -> None:
        """Return at the first."""
        waiting = [asyncio.ensure_future(order.wait()) for order in (self.retire, self.stop)]
        try:
            await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for each in waiting:
                each.cancel()


async def do(task: Task, orders: Orders, on_serving: Callable[[], None]) -> None:
    """Do `task` until there are `orders`; `on_serving` is called once its work has begun."""
    async with _open(task.settings) as (stores, node):

        def begun() -> None:
            Totals(node).claim(task.name, os.getpid())
            on_serving()

        if task.compress:
            await _compress(task, stores, node, orders, begun)
        else:
            await _serve(task, stores, node, orders, begun)


async def _compress(task: Task, stores: Stores, node: NodeMap, orders: Orders, begun: Callable[[], None]) -> None:
    """Compress what is published, let go of what nobody can want any longer, and purge what was deleted, until there
    are orders."""
    # Imported here because an edge process has no use for them, cryptography and an HTTP client among them.
    from server.collector import Collector
    from server.compressor import Compressor
    from server.purger import Purger
    from server.vault import Vault

    yield_to_others()
    begun()
    compressor = Compressor(stores.metadata, stores.blobs, node)
    settings = task.settings
    collector = Collector(stores, settings.grace_seconds, settings.deployments_kept, settings.deployment_days)
    purger = Purger(stores.metadata, Vault(settings.credential_keys_file))
    async with asyncio.TaskGroup() as group:
        jobs = [group.create_task(each.run()) for each in (compressor, collector, purger)]
        await orders.wait()
        for job in jobs:
            job.cancel()


async def _serve(task: Task, stores: Stores, node: NodeMap, orders: Orders, begun: Callable[[], None]) -> None:
    """Serve until there are orders; then answer what is under way and return."""
    edge = None if task.edge is None else await _open_edge(task, stores, node)
    servers: list[tuple[Listener, socket.socket | None]] = [] if edge is None else [(edge.server, task.edge)]
    jobs: list[Coroutine[object, object, None]] = []
    if task.control is not None:
        # Imported here because an edge process has no use for it: measured 0.3 s of its start, 21 MB of its memory.
        from server.operators import operators_server

        operators, housekeeping = operators_server(task, stores, node)
        servers.append((operators, task.control))
        jobs += housekeeping
    if edge is not None:
        jobs += [edge.follow(), edge.meter.run()]
    async with asyncio.TaskGroup() as group:
        background = [group.create_task(job) for job in jobs]
        # A server closes its socket when it stops; the process may have to hand it to a successor.
        listening = [group.create_task(server.listen(sock.dup())) for server, sock in servers if sock is not None]
        for server, _ in servers:
            await server.listening.wait()
        if edge is not None:
            edge.slot.mark(State.SERVING)
        _spare_the_collector()
        begun()
        await orders.wait()
        if edge is not None:
            edge.slot.mark(State.DRAINING)
        for server, _ in servers:
            server.stop(GRACE_SECONDS if orders.stop.is_set() else RETIRED_SECONDS)
        hastening = group.create_task(_hasten([server for server, _ in servers], orders.stop))
        await asyncio.wait(listening)
        hastening.cancel()
        for each in background:
            each.cancel()
    if edge is not None:
        await edge.close()


async def _hasten(servers: Sequence[Listener], stop: asyncio.Event) -> None:
    """Give what is under way less time, once somebody waits for the end."""
    await stop.wait()
    for server in servers:
        server.stop(GRACE_SECONDS)


def _spare_the_collector() -> None:
    """Have the garbage collector look through less, and less often. What is there by now stays; what a request makes
    goes by its reference count; connections and cached answers are many, live long, and are walked through in vain."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(COLLECT_AFTER, 20, 20)


@dataclass(frozen=True, slots=True)
class _OpenEdge:
    """The edge of a worker and what goes with it."""

    edge: Edge
    slot: Slot
    server: Listener
    journal: Journal
    meter: Meter
    log: AccessLog | None

    async def follow(self) -> None:
        """Keep up with the store."""
        await self.edge.follower.run()

    async def close(self) -> None:
        """Hand on whatever has been noted and counted."""
        self.journal.flush()
        if self.log is not None:
            await asyncio.to_thread(self.log.close)
        await self.meter.finish()


async def _open_edge(task: Task, stores: Stores, node: NodeMap) -> _OpenEdge:
    settings = task.settings
    slot = node.slot(task.slot)
    edge = Edge(
        stores.metadata,
        stores.blobs,
        node,
        cache_bytes=settings.cache_bytes,
        applied=slot.applied,
        previews=task.previews,
        widget_hosts=settings.widget_hosts,
        widget_base=settings.widget_base,
    )
    await edge.follower.poll()
    log = open_access_log(settings.access_log, settings.data_dir)
    meter = Meter(Totals(node), task.name, edge.cache, (lambda: 0) if log is None else (lambda: log.dropped))
    journal = Journal(time.time, FORMATS[settings.access_log_format], None if log is None else log.write, meter.count)
    tls = tls_context(settings)
    server = _listener(settings, edge, tls, journal)
    meter.watch(lambda: server.connections)
    return _OpenEdge(edge, slot, server, journal, meter, log)


def _listener(settings: Settings, edge: Edge, tls: SSLContext | None, journal: Journal) -> Listener:
    if settings.http_server == "hypercorn":
        from server.listener_hypercorn import hypercorn_server

        return hypercorn_server(edge, tls, journal)
    return edge_server(edge, tls=tls, journal=journal)


def tls_context(settings: Settings) -> SSLContext | None:
    """What visitors' connections are encrypted by, None where they are not. Raises `TlsError`."""
    if settings.tls_cert is None or settings.tls_key is None:
        return None
    return create_context(settings.tls_cert, settings.tls_key, ("h2", "http/1.1"))


class Here:
    """A task that this very process does, as a keeper sees it."""

    def __init__(self, task: Task) -> None:
        self.pid = os.getpid()
        self._orders = Orders()
        self._serving = asyncio.Event()
        self.ended = asyncio.ensure_future(self._do(task))

    async def _do(self, task: Task) -> int:
        await do(task, self._orders, self._serving.set)
        return 0

    async def serves(self) -> bool:
        serving = asyncio.ensure_future(self._serving.wait())
        await asyncio.wait((serving, self.ended), return_when=asyncio.FIRST_COMPLETED)
        serving.cancel()
        return self._serving.is_set()

    async def retire(self) -> None:
        self._orders.retire.set()
        await asyncio.wait((self.ended,))

    async def end(self) -> None:
        self._orders.stop.set()
        await asyncio.wait((self.ended,))


def run_loop(main: Coroutine[object, object, None]) -> None:
    """Run it in this process' one event loop."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main)


def run_child() -> None:
    """Do the task that standard input brings, until `RETIRE`, SIGTERM or SIGINT, or until standard input ends."""
    task = Task.load(sys.stdin.readline())
    configure_logging(task.settings.log_level)
    # It is for the parent. That a group of processes is told it together must not end those that it would replace.
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    run_loop(_do_as_child(task))


async def _do_as_child(task: Task) -> None:
    loop = asyncio.get_running_loop()
    orders = Orders()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, orders.stop.set)
    loop.add_signal_handler(RETIRE, orders.retire.set)
    loop.add_reader(0, _stop_once, loop, orders.stop)
    await do(task, orders, _say_serving)


def _say_serving() -> None:
    with suppress(BrokenPipeError):  # the parent has ended just now, and this process is about to
        os.write(0, SERVING)


def _stop_once(loop: asyncio.AbstractEventLoop, stop: asyncio.Event) -> None:
    loop.remove_reader(0)  # at its end it would stay readable for ever
    stop.set()


if __name__ == "__main__":
    run_child()

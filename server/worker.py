"""One process of the server: the edge, the control API, or both, or the one that compresses.

Run as a module it is a child of another: its standard input brings one line of JSON (`Task`), stays open as long as the
parent lives, and its end is the order to stop.
"""

from __future__ import annotations

import asyncio
import signal
import socket
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from ssl import SSLContext

import uvloop

from server.children import keep_running
from server.collector import Collector
from server.compressor import Compressor, yield_to_others
from server.config import Settings
from server.doors.tls import create_context
from server.edge.edge import Edge
from server.listeners import Listener, edge_server, hypercorn_server
from server.logs import configure_logging
from server.node import NodeMap, Slot, State
from server.stores import Stores, open_stores
from server.tasks import Task

NODE_FILE = "node"


@asynccontextmanager
async def _open(settings: Settings) -> AsyncIterator[tuple[Stores, NodeMap]]:
    node = NodeMap.open(settings.data_dir / NODE_FILE)
    try:
        async with open_stores(settings, node.raise_revision) as stores:
            yield stores, node
    finally:
        node.close()


async def compress(task: Task, stop: asyncio.Event) -> None:
    """Compress what is published, and collect what nothing refers to, until `stop` is set."""
    yield_to_others()
    async with _open(task.settings) as (stores, node):
        compressing = asyncio.create_task(Compressor(stores.metadata, stores.blobs, node).run())
        collecting = asyncio.create_task(Collector(stores, task.settings.grace_seconds).run())
        stopping = asyncio.create_task(stop.wait())
        await asyncio.wait((compressing, collecting, stopping), return_when=asyncio.FIRST_COMPLETED)
        for job in (stopping, compressing, collecting):
            job.cancel()
            with suppress(asyncio.CancelledError):
                await job


async def serve(task: Task, stop: asyncio.Event, children: Mapping[str, Task]) -> None:
    """Serve `task`, beside `children` by name, until `stop` is set; then answer what is under way and return."""
    async with _open(task.settings) as (stores, node):
        servers: list[tuple[Listener, socket.socket]] = []
        async with asyncio.TaskGroup() as group:
            background: list[asyncio.Task[None]] = []
            if task.control is not None:
                # Imported here because an edge process has no use for it: measured 0.3 s of its start, 21 MB of memory.
                from server.operators import operators_server

                operators, housekeeping = operators_server(task, stores, node)
                servers.append((operators, task.control))
                background.append(group.create_task(housekeeping))
            if task.edge is not None:
                slot = node.slot(task.slot)
                edge = _edge(task, stores, node, slot)
                await edge.follower.poll()
                background.append(group.create_task(edge.follower.run()))
                servers.append((_edge_server(task.settings, edge), task.edge))
            for name, child in children.items():
                group.create_task(keep_running(name, child, stop))
            for server, sock in servers:
                group.create_task(server.listen(sock))
            for server, _ in servers:
                await server.listening.wait()
            if task.edge is not None:
                slot.mark(State.SERVING)
            await stop.wait()
            if task.edge is not None:
                slot.mark(State.DRAINING)
            for each in background:
                each.cancel()
            for server, _ in servers:
                server.stop()


def _edge(task: Task, stores: Stores, node: NodeMap, slot: Slot) -> Edge:
    return Edge(stores.metadata, stores.blobs, node, cache_bytes=task.settings.cache_bytes, applied=slot.applied)


def tls_context(settings: Settings) -> SSLContext | None:
    """What visitors' connections are encrypted by, None where they are not. Raises `TlsError`."""
    if settings.tls_cert is None or settings.tls_key is None:
        return None
    protocols = ("h2", "http/1.1") if settings.http_server == "hypercorn" else ("http/1.1",)
    return create_context(settings.tls_cert, settings.tls_key, protocols)


def _edge_server(settings: Settings, edge: Edge) -> Listener:
    tls = tls_context(settings)
    return hypercorn_server(edge, tls) if settings.http_server == "hypercorn" else edge_server(edge, tls=tls)


def run(task: Task, children: Mapping[str, Task] | None = None, *, stop_at_end_of_input: bool = False) -> None:
    """Do `task` in this process, and `children` beside it, until SIGTERM or SIGINT, or until standard input ends."""

    async def main() -> None:
        loop = asyncio.get_running_loop()
        stop = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)
        if stop_at_end_of_input:
            loop.add_reader(sys.stdin.fileno(), _stop_once, loop, stop)
        await (compress(task, stop) if task.compress else serve(task, stop, children or {}))

    configure_logging(task.settings.log_level)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main())


def _stop_once(loop: asyncio.AbstractEventLoop, stop: asyncio.Event) -> None:
    loop.remove_reader(sys.stdin.fileno())  # at its end it would stay readable for ever
    stop.set()


if __name__ == "__main__":
    run(Task.load(sys.stdin.readline()), stop_at_end_of_input=True)

"""An edge with sites on it, served on loopback by the real server in the test's own loop."""

from __future__ import annotations

import asyncio
import hashlib
import socket
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from concurrent.futures import Future
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from ssl import SSLContext
from typing import Any, TypeAlias

from server.doors.journal import Journal
from server.doors.phases import DEADLINES, Phase
from server.edge.edge import Edge
from server.edge.preview_access import Previews
from server.listener_hypercorn import hypercorn_server
from server.listeners import Listener, edge_server
from server.node import LoneNode
from storage.blobs import BlobStore
from storage.local import LocalBlobs
from storage.memory import MemoryBlobs, MemoryMetadata
from storage.metadata import MetadataStore
from storage.models import Blob, Deployment, Millis, Mode, NewDeployment, NewSite, NewSpace, Site
from storage.sql import migrate, open_sql
from storage.widgets import NewWidget, Widget

WORKSPACE = "workspace_test"
WIDGET_HOST = "widget.test"
NOW = 1_790_000_000  # Mon, 21 Sep 2026 14:13:20 GMT: the time at every test's edge
LOOK = {"color": "#0a7d5a", "position": "bottom-right", "size": "medium", "edge_glow": False}


class Clock:
    """Seconds since the epoch, until somebody moves them."""

    def __init__(self, now: float = NOW) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now

    def millis(self) -> int:
        return int(self.now * 1000)


@dataclass
class Hosting:
    """Stores and an edge, fed by its tests as the control API would feed them."""

    metadata: MetadataStore
    blobs: BlobStore
    edge: Edge
    clock: Clock
    node: LoneNode
    spaces: dict[str, str] = field(default_factory=dict)

    async def publish(self, space: str, files: Mapping[str, bytes], *, delete: tuple[str, ...] = ()) -> str:
        """Put files into a space (made if it is new); its id."""
        if space not in self.spaces:
            await self.metadata.put_workspace(WORKSPACE, "test")
            self.spaces[space] = (await self.metadata.create_space(NewSpace(workspace_id=WORKSPACE, name=space))).id
        stored = {path: await self.store(content) for path, content in files.items()}
        await self.metadata.put_files(self.spaces[space], stored, delete=delete)
        return self.spaces[space]

    async def deploy(
        self, space: str, files: Mapping[str, bytes], *, mode: Mode = "replace", prefix: str = "", skew: Millis = 0
    ) -> Deployment:
        """Activate a new deployment of a space that is there."""
        deployment = await self.draft(space, files, mode=mode, prefix=prefix)
        return await self.metadata.activate_deployment(deployment.id, skew=skew)

    async def draft(
        self, space: str, files: Mapping[str, bytes], *, mode: Mode = "replace", prefix: str = ""
    ) -> Deployment:
        """A new deployment whose contents are there."""
        manifest = {path: await self.store(content) for path, content in files.items()}
        for blob in manifest.values():
            await self.metadata.put_blob("workspace_test", blob)
        new = NewDeployment(space_id=self.spaces[space], files=manifest, mode=mode, prefix=prefix)
        return await self.metadata.create_deployment(new)

    async def store(self, content: bytes) -> Blob:
        return await self.blobs.put(one_chunk(content))

    async def widget(self, site_id: str, domain: str, business_name: str = "Ember & Oak", **settings: Any) -> Widget:
        """A configuration of the Sites API."""
        await self.metadata.put_workspace(WORKSPACE, "test")
        return await self.metadata.create_widget(
            NewWidget(
                workspace_id=WORKSPACE,
                site_id=site_id,
                domain=domain,
                business_name=business_name,
                settings={"appearance": LOOK, "language": "en", **settings},
            )
        )

    async def site(self, domain: str, files: Mapping[str, bytes], **options: Any) -> Site:
        """A site on a space of its own."""
        space_id = await self.publish(domain, files)
        return await self.metadata.create_site(NewSite(space_id=space_id, domain=domain, **options))


Fill: TypeAlias = Callable[[Hosting], Awaitable[None]]
PREVIEWS = Previews(platform_domains=("pages.test",), keys=(b"a key for tests",))
CACHE_BYTES = 16 * 1024 * 1024


def new_edge(hosting: Hosting, cache_bytes: int = CACHE_BYTES) -> Edge:
    """One more edge over the same stores, that has seen nothing yet."""
    return _edge(hosting.metadata, hosting.blobs, hosting.clock, hosting.node, cache_bytes)


@asynccontextmanager
async def memory_hosting(cache_bytes: int = CACHE_BYTES) -> AsyncIterator[Hosting]:
    """One on the shipped fakes."""
    clock, node = Clock(), LoneNode()
    metadata = MemoryMetadata(clock=clock.millis, announce=node.raise_revision)
    yield _hosting(metadata, MemoryBlobs(), clock, node, cache_bytes)


@asynccontextmanager
async def file_hosting(directory: Path, cache_bytes: int = CACHE_BYTES) -> AsyncIterator[Hosting]:
    """One whose blobs are files in a new directory; the rest is as in `memory_hosting`."""
    async with memory_hosting(cache_bytes) as hosting:
        yield _hosting(hosting.metadata, LocalBlobs(directory), hosting.clock, hosting.node, cache_bytes)


@asynccontextmanager
async def sql_hosting(url: str, directory: Path, cache_bytes: int = CACHE_BYTES) -> AsyncIterator[Hosting]:
    """One on the real stores: a new database and a new directory."""
    clock, node = Clock(), LoneNode()
    await migrate(url)
    metadata = await open_sql(url, clock=clock.millis, announce=node.raise_revision)
    try:
        yield _hosting(metadata, LocalBlobs(directory), clock, node, cache_bytes)
    finally:
        await metadata.close()


def _hosting(metadata: MetadataStore, blobs: BlobStore, clock: Clock, node: LoneNode, cache_bytes: int) -> Hosting:
    return Hosting(metadata, blobs, _edge(metadata, blobs, clock, node, cache_bytes), clock, node)


def _edge(metadata: MetadataStore, blobs: BlobStore, clock: Clock, node: LoneNode, cache_bytes: int) -> Edge:
    return Edge(
        metadata,
        blobs,
        node,
        cache_bytes=cache_bytes,
        clock=clock,
        previews=PREVIEWS,
        widget_hosts=[WIDGET_HOST],
        widget_base=f"//{WIDGET_HOST}",
    )


@contextmanager
def listening() -> Iterator[socket.socket]:
    """A socket on loopback."""
    # asyncio turns Nagle's algorithm off only for sockets that name their protocol; with it, an answer takes 40 ms.
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP) as sock:
        sock.bind(("127.0.0.1", 0))
        sock.listen()
        sock.setblocking(False)
        yield sock


@asynccontextmanager
async def served(
    edge: Edge,
    deadlines: Mapping[Phase, float] = DEADLINES,
    tls: SSLContext | None = None,
    journal: Journal | None = None,
    *,
    fast: bool = True,
) -> AsyncIterator[int]:
    """The edge behind the hardened listener; the port on 127.0.0.1."""
    server = edge_server(edge, deadlines, tls, journal, fast=fast)
    with listening() as sock:
        running = asyncio.create_task(server.listen(sock))
        await server.listening.wait()
        try:
            yield sock.getsockname()[1]
        finally:
            server.stop()
            for connection in list(server.server_state.connections):
                connection.transport.abort()
            await running


@asynccontextmanager
async def served_by_hypercorn(
    edge: Edge, tls: SSLContext | None = None, journal: Journal | None = None
) -> AsyncIterator[int]:
    """The edge behind hypercorn."""
    server = hypercorn_server(edge, tls, journal)
    async with listened_to(server) as port:
        yield port


@asynccontextmanager
async def listened_to(server: Listener) -> AsyncIterator[int]:
    """The port that `server` listens to, until the block ends."""
    with listening() as sock:
        running = asyncio.create_task(server.listen(sock))
        await server.listening.wait()
        try:
            yield sock.getsockname()[1]
        finally:
            server.stop()
            await running


@contextmanager
def in_thread(
    open_hosting: Callable[[], AbstractAsyncContextManager[Hosting]],
    fill: Fill,
    serve: Callable[[Edge], AbstractAsyncContextManager[int]] = served,
    new_loop: Callable[[], asyncio.AbstractEventLoop] | None = None,
) -> Iterator[int]:
    """A filled edge that serves from a thread, for tests that speak to it by plain sockets; its port. `new_loop`: for
    another event loop than asyncio's."""
    ready: Future[tuple[int, asyncio.AbstractEventLoop, asyncio.Event]] = Future()

    async def main() -> None:
        async with open_hosting() as hosting:
            await fill(hosting)
            async with serve(hosting.edge) as port:
                stop = asyncio.Event()
                ready.set_result((port, asyncio.get_running_loop(), stop))
                await stop.wait()

    def run() -> None:
        try:
            with asyncio.Runner(loop_factory=new_loop) as runner:
                runner.run(main())
        except BaseException as exc:
            if ready.done():
                raise
            ready.set_exception(exc)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        port, loop, stop = ready.result()
        try:
            yield port
        finally:  # also when the block fails: nobody else would end the thread
            loop.call_soon_threadsafe(stop.set)
    finally:
        thread.join()


async def one_chunk(content: bytes) -> AsyncIterator[bytes]:
    """What a blob store's `put` takes."""
    yield content


def digest_of(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()

"""ASGI servers, set up for us: uvicorn with our protocols, hardened, for the edge; uvicorn as it is for the control
API; hypercorn, which is not hardened, for an edge that asks for it."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from ssl import SSLContext
from typing import Any, Protocol

import hypercorn
import uvicorn
from hypercorn.asyncio.run import worker_serve
from hypercorn.config import Sockets
from hypercorn.utils import wrap_app
from starlette.types import ASGIApp
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from server.doors.asgi import create_app, for_hypercorn
from server.doors.fast import fast_protocol_for
from server.doors.h2.protocol import http2_protocol_for
from server.doors.http1 import protocol_for
from server.doors.journal import Journal
from server.doors.phases import DEADLINES, LAST_CALL_SECONDS, Phase
from server.edge.edge import Edge

GRACE_SECONDS = 10  # for answers under way when the server stops
LATE_SECONDS = 0.05
IDLE_SECONDS = DEADLINES[Phase.IDLE]


class Listener(Protocol):
    """A server for one listening socket."""

    @property
    def listening(self) -> asyncio.Event:
        """Set once connections are taken."""
        ...

    @property
    def connections(self) -> int:
        """How many are open, as far as the server tells."""
        ...

    async def listen(self, sock: socket.socket) -> None:
        """Serve until `stop`; then finish what is being answered."""
        ...

    def stop(self) -> None:
        """Make `listen` return."""
        ...


class Uvicorn(uvicorn.Server):
    """uvicorn's server, which says when it has started and leaves signals to us."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.listening = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.listening.set()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Finish what is being answered, for a while. What is left then is cut off, so that its tasks end as for any
        visitor who leaves; uvicorn would cancel them and log each as a fault of ours."""
        loop = asyncio.get_running_loop()
        cut = loop.call_later(GRACE_SECONDS - 1, self._cut)
        # A connection that was accepted just now becomes one of ours only in the loop's next turn.
        late = loop.call_later(LATE_SECONDS, self._tell_connections)
        try:
            await super().shutdown(sockets)
        finally:
            cut.cancel()
            late.cancel()

    def _tell_connections(self) -> None:
        for connection in list(self.server_state.connections):
            connection.shutdown()

    def _cut(self) -> None:
        for connection in list(self.server_state.connections):
            connection.transport.abort()

    @property
    def connections(self) -> int:
        """How many are open."""
        return len(self.server_state.connections)

    async def listen(self, sock: socket.socket) -> None:
        """Serve until `stop`."""
        await self.serve(sockets=[sock])

    def stop(self) -> None:
        """Make `listen` return."""
        self.should_exit = True


class ControlProtocol(HttpToolsProtocol):
    """uvicorn's, which does not close a connection under a call that is on its way when the server stops."""

    _last = False  # the next answer is the last

    def on_headers_complete(self) -> None:
        super().on_headers_complete()
        if self._last:
            self.cycle.keep_alive = False

    def shutdown(self) -> None:
        """The server stops: finish what is being answered, or one call more."""
        self._last = True
        if self._idle:
            self.loop.call_later(LAST_CALL_SECONDS, self._close_if_idle)
        else:
            self.cycle.keep_alive = False

    @property
    def _idle(self) -> bool:
        cycle: RequestResponseCycle | None = self.cycle  # uvicorn's None is not in its annotation
        return cycle is None or cycle.response_complete

    def _close_if_idle(self) -> None:
        if self._idle:
            self.transport.close()


class _HypercornConfig(hypercorn.Config):
    """hypercorn's settings, with a TLS context made elsewhere."""

    tls: SSLContext | None = None

    def create_ssl_context(self) -> SSLContext | None:
        return self.tls

    @property
    def ssl_enabled(self) -> bool:
        return self.tls is not None


class Hypercorn:
    """hypercorn's server. Not hardened: its parser lets a bare LF, obs-fold, and Content-Length beside
    Transfer-Encoding through, and it has no deadline for a head."""

    def __init__(self, app: ASGIApp, tls: SSLContext | None) -> None:
        self.listening = asyncio.Event()
        self._stopping = asyncio.Event()
        self._app = for_hypercorn(app)
        self._config = _HypercornConfig()
        self._config.tls = tls
        self._config.include_date_header = False
        self._config.include_server_header = False
        self._config.keep_alive_timeout = IDLE_SECONDS
        self._config.graceful_timeout = GRACE_SECONDS
        self._config.accesslog = None
        self._config.errorlog = logging.getLogger("hypercorn")

    @property
    def connections(self) -> int:
        """None: hypercorn does not tell."""
        return 0

    async def listen(self, sock: socket.socket) -> None:
        """Serve until `stop`."""
        secure = self._config.ssl_enabled
        sockets = Sockets([sock] if secure else [], [] if secure else [sock], [])
        app = wrap_app(self._app, self._config.wsgi_max_body_size, "asgi")  # type: ignore[arg-type]
        await worker_serve(app, self._config, sockets=sockets, shutdown_trigger=self._started)

    async def _started(self) -> None:
        """hypercorn waits for this once it listens, and stops when it is over."""
        self.listening.set()
        await self._stopping.wait()

    def stop(self) -> None:
        """Make `listen` return."""
        self._stopping.set()


def edge_server(
    edge: Edge,
    deadlines: Mapping[Phase, float] = DEADLINES,
    tls: SSLContext | None = None,
    journal: Journal | None = None,
    *,
    fast: bool = True,
    wrap: Callable[[ASGIApp], ASGIApp] = lambda app: app,
) -> Uvicorn:
    """The hardened listener: uvicorn with our protocols, which set their own limits and deadlines. `fast`: these answer
    what they can before the ASGI door; that, wrapped in `wrap`, then gets what they leave."""
    journal = Journal(edge.clock) if journal is None else journal
    make_protocol = fast_protocol_for if fast else protocol_for
    protocol = make_protocol(edge, journal, http2_protocol_for(edge, journal, deadlines, fast=fast), deadlines)
    return Uvicorn(_uvicorn_config(wrap(create_app(edge, journal)), tls, http=protocol, date_header=False))


def hypercorn_server(edge: Edge, tls: SSLContext | None = None, journal: Journal | None = None) -> Hypercorn:
    """The same answers for HTTP/1.1 and, over TLS, HTTP/2."""
    return Hypercorn(create_app(edge, Journal(edge.clock) if journal is None else journal), tls)


def control_server(app: ASGIApp) -> Uvicorn:
    """The control API's listener, for operators."""
    return Uvicorn(_uvicorn_config(app, None, http=ControlProtocol))


def _uvicorn_config(app: ASGIApp, tls: SSLContext | None, **options: Any) -> uvicorn.Config:
    """No proxy is trusted, nothing is added to answers, and logging is ours."""
    return uvicorn.Config(
        app,
        interface="asgi3",
        lifespan="off",
        ws="none",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        timeout_graceful_shutdown=GRACE_SECONDS,
        ssl_context_factory=(lambda config, default: tls) if tls is not None else None,
        **options,
    )

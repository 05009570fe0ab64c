"""ASGI servers, set up for us: uvicorn with our protocols, hardened, for the edge; uvicorn as it is for the control
API; and, elsewhere, hypercorn for an edge that asks for it."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from ssl import SSLContext
from typing import Any, Protocol

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from server.doors.asgi import create_app
from server.doors.fast import fast_protocol_for
from server.doors.h2.protocol import http2_protocol_for
from server.doors.handshakes import Handshakes
from server.doors.http1 import EdgeProtocol, protocol_for
from server.doors.journal import Journal
from server.doors.open_files import OpenFiles
from server.doors.phases import DEADLINES, LAST_CALL_SECONDS, Phase
from server.doors.tls_transport import TlsTransport
from server.edge.edge import Edge

GRACE_SECONDS = 10  # for answers under way when the server stops
RETIRED_SECONDS = 3600  # for those of a process whose successor serves: nobody waits for its end
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

    def stop(self, seconds: int = GRACE_SECONDS) -> None:
        """Make `listen` return. Answers under way have so many seconds; no more than that if it is called again."""
        ...


class Uvicorn(uvicorn.Server):
    """uvicorn's server, which says when it has started and leaves signals to us."""

    def __init__(
        self,
        config: uvicorn.Config,
        handshakes: Handshakes | None = None,
        close: Callable[[], None] = lambda: None,
    ) -> None:
        """`handshakes`: those under way, where connections begin with one. `close` is called when all connections have
        ended."""
        super().__init__(config)
        self.listening = asyncio.Event()
        self._handshakes = handshakes
        self._close = close
        self._grace = GRACE_SECONDS
        self._cutting: asyncio.TimerHandle | None = None

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
        self._cut_later()
        # A connection that was accepted just now becomes one of ours only in the loop's next turn.
        late = loop.call_later(LATE_SECONDS, self._tell_connections)
        if self._handshakes is not None:
            self._handshakes.stop(LAST_CALL_SECONDS)
        try:
            await super().shutdown(sockets)
        finally:
            if self._cutting is not None:
                self._cutting.cancel()
            late.cancel()
            self._close()

    def _tell_connections(self) -> None:
        for connection in list(self.server_state.connections):
            connection.shutdown()

    def _cut_later(self) -> None:
        if self._cutting is not None:
            self._cutting.cancel()
        self._cutting = asyncio.get_running_loop().call_later(self._grace - 1, self._cut)

    def _cut(self) -> None:
        asyncio.get_running_loop().call_later(2, self._give_up)  # uvicorn does, a second from now or long after
        for connection in list(self.server_state.connections):
            connection.transport.abort()

    def _give_up(self) -> None:
        self.force_exit = True  # leave what still hangs

    @property
    def connections(self) -> int:
        """How many are open."""
        return len(self.server_state.connections)

    async def listen(self, sock: socket.socket) -> None:
        """Serve until `stop`."""
        await self.serve(sockets=[sock])

    def stop(self, seconds: int = GRACE_SECONDS) -> None:
        """Make `listen` return. Answers under way have so many seconds; no more than that if it is called again."""
        self._grace = self.config.timeout_graceful_shutdown = seconds
        if self._cutting is not None:
            self._cut_later()
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
    files = OpenFiles(edge.open_file)
    http2 = http2_protocol_for(edge, journal, deadlines, fast=fast)
    if fast:
        encrypted = tls is not None
        protocol: type[EdgeProtocol] = fast_protocol_for(edge, journal, files, http2, deadlines, encrypted=encrypted)
    else:
        protocol = protocol_for(edge, journal, http2, deadlines)
    app = wrap(create_app(edge, journal))
    if tls is None:
        return Uvicorn(_uvicorn_config(app, http=protocol, date_header=False), close=files.close)
    handshakes = Handshakes(deadlines[Phase.READING])
    over_tls = _over_tls(tls, handshakes, protocol)
    return Uvicorn(_uvicorn_config(app, http=over_tls, date_header=False), handshakes, files.close)


def _over_tls(
    context: SSLContext, handshakes: Handshakes, protocol: type[asyncio.Protocol]
) -> Callable[..., TlsTransport]:
    """What makes TLS, and behind it the protocol, whenever uvicorn asks for a protocol."""

    def make(**options: Any) -> TlsTransport:
        return TlsTransport(context, handshakes, partial(protocol, **options))

    return make


def control_server(app: ASGIApp) -> Uvicorn:
    """The control API's listener, for operators."""
    return Uvicorn(_uvicorn_config(app, http=ControlProtocol))


def _uvicorn_config(app: ASGIApp, **options: Any) -> uvicorn.Config:
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
        **options,
    )

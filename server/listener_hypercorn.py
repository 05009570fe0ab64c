"""hypercorn, set up for us. It is imported by who asks for it: it takes a process 0.1 s of its start."""

from __future__ import annotations

import asyncio
import logging
import socket
from ssl import SSLContext

import hypercorn
from hypercorn.asyncio.run import worker_serve
from hypercorn.config import Sockets
from hypercorn.utils import wrap_app
from starlette.types import ASGIApp

from server.doors.asgi import create_app, for_hypercorn
from server.doors.journal import Journal
from server.edge.edge import Edge
from server.listeners import GRACE_SECONDS, IDLE_SECONDS


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

    def stop(self, seconds: int = GRACE_SECONDS) -> None:
        """Make `listen` return. Answers under way have `GRACE_SECONDS` in any case: hypercorn cannot be hastened."""
        self._stopping.set()


def hypercorn_server(edge: Edge, tls: SSLContext | None = None, journal: Journal | None = None) -> Hypercorn:
    """The same answers for HTTP/1.1 and, over TLS, HTTP/2."""
    return Hypercorn(create_app(edge, Journal(edge.clock) if journal is None else journal), tls)

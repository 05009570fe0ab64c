"""uvicorn, set up for us: one kind of server for the edge, one for the control API."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import uvicorn
from starlette.types import ASGIApp

from server.doors.asgi import create_app
from server.doors.http1 import DEADLINES, Phase, protocol_for
from server.edge.edge import Edge

GRACE_SECONDS = 10  # for answers under way when the server stops


class Server(uvicorn.Server):
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


def _config(app: Any, **options: Any) -> uvicorn.Config:
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


def edge_server(edge: Edge, deadlines: Mapping[Phase, float] = DEADLINES) -> Server:
    """The hardened listener: uvicorn with our protocol, which sets its own limits and deadlines."""
    return Server(_config(create_app(edge), http=protocol_for(edge, deadlines), date_header=False))


def control_server(app: ASGIApp) -> Server:
    """The control API's listener, for operators."""
    return Server(_config(app, http="httptools"))

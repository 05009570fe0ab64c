"""Where our protocol of HTTP/1.1 meets others: uvicorn's, which is driven by hand, and ours of HTTP/2."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Protocol

from uvicorn import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from server.doors.head import Head


class ReadHead:
    """What uvicorn asks its parser about the head just read."""

    def __init__(self, head: Head) -> None:
        self._head = head

    def get_http_version(self) -> str:
        return self._head.version

    def get_method(self) -> bytes:
        return self._head.method

    def should_keep_alive(self) -> bool:
        return self._head.keep_alive

    def should_upgrade(self) -> bool:
        return False


class LastAnswer:
    """The transport as a cycle sees it, whose `close` lets the client take the answer first."""

    def __init__(self, transport: asyncio.Transport, close: Callable[[], None]) -> None:
        self.write = transport.write
        self.is_closing = transport.is_closing
        self.close = close


class LateProtocol(HttpToolsProtocol):
    """uvicorn's protocol, whose own state is made when it is first to answer."""

    __slots__ = ("_writing_paused",)

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        self.config = config
        self.server_state = server_state
        self.app_state = app_state
        self.connections = server_state.connections
        self.loop = _loop or asyncio.get_running_loop()
        self.flow = None  # type: ignore[assignment]  # until uvicorn is awake
        self.cycle = None  # type: ignore[assignment]
        self._writing_paused = False

    def _wake(self) -> None:
        """Make what uvicorn keeps for a connection that it is to answer on."""
        transport = self.transport
        super().__init__(self.config, self.server_state, self.app_state, self.loop)
        super().connection_made(transport)
        self.parser = None  # type: ignore[assignment]  # uvicorn's own is never asked, takes 0.9 KB, and refers to us
        if self._writing_paused:
            self.flow.pause_writing()


class Successor(Protocol):
    """Takes over a connection that turns out to be of HTTP/2."""

    def __init__(self, predecessor: LateProtocol) -> None: ...

    def begin(self, data: bytes = b"") -> None:
        """Take the transport, on which `data` has come."""

"""What uvicorn is shown in place of its own parser and of the transport."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

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

"""What memory cannot answer: a stream as an ASGI server's request."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any
from urllib.parse import unquote

from starlette.types import ASGIApp, Message, Scope

from server.doors.h2.frames import Code
from server.doors.h2.hpack import render_fields, render_status
from server.doors.h2.streams import Stream

logger = logging.getLogger("spacelane.edge")


class Call:
    """One call of an ASGI application. `start` sends the header block of the answer, and whether it ends there; `send`
    sends what the body goes on with, and whether it ends; `reset` ends the stream."""

    def __init__(
        self,
        stream: Stream,
        start: Callable[[Stream, bytes, bool], None],
        send: Callable[[Stream, bytes, bool], None],
        reset: Callable[[int, Code], None],
    ) -> None:
        self._stream = stream
        self._start = start
        self._send = send
        self._reset = reset
        self._block: bytes | None = None  # that is still to be sent
        self._told = False
        self._complete = False

    async def run(self, app: ASGIApp, scope: Scope, turns: asyncio.Semaphore) -> None:
        """Until the answer has been given, or is no longer wanted: then it is cancelled. It waits for one of `turns`,
        because each call may hold a piece of a file that its visitor has no room for."""
        try:
            async with turns:
                await app(scope, self._receive, self._take)
        except Exception:
            logger.exception("an answer could not be given")
        if not self._complete:
            self._reset(self._stream.number, Code.INTERNAL_ERROR)

    async def _receive(self) -> Message:
        if not self._told:
            self._told = True
            return {"type": "http.request", "body": b"", "more_body": False}
        gone: asyncio.Future[Message] = asyncio.get_running_loop().create_future()
        return await gone  # never: who leaves has the call cancelled

    async def _take(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._block = render_status(message["status"]) + render_fields(message["headers"])
            return
        body: bytes = message.get("body", b"")
        ends = not message.get("more_body", False)
        self._complete = ends
        if self._block is not None:
            block, self._block = self._block, None
            self._start(self._stream, block, ends and not body)
            if ends and not body:
                return
        self._send(self._stream, body, ends)
        if not ends:
            await self._stream.room.wait()


def make_scope(
    method: bytes, target: bytes, headers: list[tuple[bytes, bytes]], extensions: dict[str, Any], **connection: Any
) -> Scope:
    """ASGI's; `connection` has scheme, client and server."""
    path, _, query = target.partition(b"?")
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "2",
        "method": method.decode("ascii"),
        "path": unquote(path.decode("latin-1")),
        "raw_path": path,
        "query_string": query,
        "root_path": "",
        "headers": headers,
        "extensions": extensions,
        **connection,
    }

"""What has to come back for a stream of bytes: it is read all at once, and an edge is asked without a wire."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace

from server.doors.head import Head, find_head_end, parse_head
from server.edge.request import Refusal, Request, read_request, split_target
from server.edge.response import Response
from tests.fuzz.grammar import Message
from tests.support import corpus
from tests.support.hosting import memory_hosting


@dataclass(frozen=True)
class Due:
    """An answer that has to come, and whether the connection ends behind it.

    Of a request that is wrong in two ways, which one is told depends on how the bytes arrive: then `exact` is false.
    """

    method: str
    status: int
    headers: list[tuple[str, str]]
    body: bytes
    closes: bool
    exact: bool = True


class Oracle:
    """An edge like the one that is served, but with no memory: what others have asked for cannot change an answer."""

    def __init__(self) -> None:
        self._runner = asyncio.Runner()
        self._stack = AsyncExitStack()
        self._runner.run(self._open())

    async def _open(self) -> None:
        hosting = await self._stack.enter_async_context(memory_hosting(cache_bytes=1))
        await corpus.fill(hosting)
        self._edge = hosting.edge

    def close(self) -> None:
        """Its end."""
        self._runner.run(self._stack.aclose())
        self._runner.close()

    def of_messages(self, messages: list[Message]) -> Iterator[Due]:
        """The answers to well-formed messages, by what they were made from."""
        for message in messages:
            due = self._answer(message.method, message.target, message.version, message.headers, message.closes)
            yield due
            if due.closes:
                return

    def of_stream(self, stream: bytes) -> Iterator[Due]:
        """The answers to whatever is in `stream`, up to what is not complete or ends the connection."""
        buffer = bytearray(stream)
        while True:
            try:
                head = _take_message(buffer)
            except Refusal as refusal:
                method = "HEAD" if buffer.startswith(b"HEAD ") else "GET"
                yield replace(self._refusal(method, refusal), exact=False)
                return
            if head is None:
                return
            due = self._answer(head.method.decode(), head.target, head.version, head.headers, not head.keep_alive)
            yield due
            if due.closes:
                return

    def _answer(
        self, method: str, target: bytes, version: str, headers: list[tuple[bytes, bytes]], closes: bool
    ) -> Due:
        try:
            split_target(target)
        except Refusal as refusal:  # what has no target at all is the listener's to refuse
            return self._refusal(method, refusal)
        try:
            request = read_request(method, target, version, headers)
        except Refusal as refusal:
            return _due(method, self._edge.refuse(refusal), closes)
        return _due(method, self._runner.run(self._respond(request)), closes)

    def _refusal(self, method: str, refusal: Refusal) -> Due:
        return _due(method, self._edge.refuse(refusal), closes=True)

    async def _respond(self, request: Request) -> Response:
        response, reader = await self._edge.respond(request)
        if reader is None or isinstance(response.body, bytes):
            return response
        parts = []
        for part in response.body.parts:
            if isinstance(part, bytes):
                parts.append(part)
            else:
                parts += [chunk async for chunk in reader.read(part.start, part.stop)]
        await reader.close()
        return Response(response.status, response.headers, b"".join(parts))


def _due(method: str, response: Response, closes: bool) -> Due:
    assert isinstance(response.body, bytes)
    headers = [(name.decode(), value.decode("latin-1")) for name, value in response.headers]
    return Due(method, response.status, headers, b"" if method == "HEAD" else response.body, closes)


def _take_message(buffer: bytearray) -> Head | None:
    """The next head; it and its body are taken off `buffer` if they are there as a whole."""
    if buffer.startswith(b"\r\n"):
        del buffer[:2]
    end = find_head_end(buffer, 0)
    if end < 0:
        return None
    head = parse_head(bytes(buffer[: end - 4]))
    rest = buffer[end:]
    if head.body is not None and not head.body.feed(rest):
        return None
    buffer[:] = rest
    return head

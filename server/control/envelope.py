"""Around every answer: a request id, no caching, no endless draining of what a refused client still sends.

1. Name the request: the caller's `X-Request-Id` if it is sane, else a new one.
2. Let the application answer; what it did not expect becomes a 500, a client that left becomes nothing.
3. Count it, and send its head with the headers that all answers have.
4. Do what may wait until the answer has gone out.
"""

from __future__ import annotations

import asyncio
import re
import secrets
from collections.abc import Awaitable, Callable
from contextlib import suppress

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect, Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from server.control import errors
from server.metrics import Metrics

API_PREFIX = "/api/v1"  # of the routers that the application includes
SANE_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
MAX_DRAIN = 64 * 1024  # bytes of an unread body that the server may swallow to keep the connection
LINGER_BYTES = 4 * 1024 * 1024
LINGER_SECONDS = 2.0

AfterAnswer = Callable[[], Awaitable[None]]


def name_request(headers: Headers) -> str:
    given = headers.get("x-request-id", "")
    return given if SANE_REQUEST_ID.fullmatch(given) else secrets.token_hex(16)


def _route(scope: Scope) -> str | None:
    """The path of the endpoint with its parameters by name, such as /api/v1/space/{spaceId}/fetch: callers choose
    neither it nor how many there are. The route of an included router knows nothing of the prefix; Starlette's own
    routes are not in the scope, and here they have no parameters."""
    if "route" in scope:
        prefix = errors.SITES_PREFIX if errors.is_of_sites(Request(scope)) else API_PREFIX
        return f"{prefix}{scope['route'].path}"
    return scope["path"] if "endpoint" in scope else None


def body_may_exceed(headers: Headers, limit: int) -> bool:
    """Whether the request announces more than `limit` bytes, or an unknown number of them."""
    length = headers.get("content-length", "0")
    return "transfer-encoding" in headers or not length.isdecimal() or int(length) > limit


class Envelope:
    """The middleware. Of `scope["state"]`, if an endpoint sets them, `"answer_headers"` go with the answer, and
    `"after_answer"` runs once it is out."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self.app = app
        self.metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        exchange = _Exchange(scope, receive, send, self.metrics)
        try:
            await self.app(scope, exchange.receive, exchange.send)
        except ClientDisconnect:
            return  # nobody is left to answer, and what was begun has been undone
        except Exception as exc:
            if exchange.started:
                # Too late for a 500: an answer that ends early is how the client learns of it.
                errors.log_failure(exchange.request, exc)
                return
            await errors.on_unexpected(exchange.request, exc)(scope, exchange.receive, exchange.send)
        after: AfterAnswer | None = scope["state"].get("after_answer")
        if after is not None:
            await after()


class _Exchange:
    """One request and its answer, watched on their way through."""

    def __init__(self, scope: Scope, receive: Receive, send: Send, metrics: Metrics) -> None:
        self._metrics = metrics
        self.request = Request(scope)
        self.request.state.request_id = name_request(self.request.headers)
        self.started = False
        self._body_read = False
        self._closing = False
        self._receive = receive
        self._send = send

    async def receive(self) -> Message:
        message = await self._receive()
        if not message.get("more_body", False):
            self._body_read = True
        return message

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._open(message)
        elif self._closing and not message.get("more_body", False):
            await self._send({**message, "more_body": True})
            await self._linger()
            message = {"type": "http.response.body"}
        await self._send(message)

    def _open(self, message: Message) -> None:
        self.started = True
        self._metrics.count_call(self.request.method, _route(self.request.scope), message["status"])
        headers = MutableHeaders(scope=message)
        headers["X-Request-Id"] = self.request.state.request_id
        headers["Cache-Control"] = "no-store"
        headers.update(self.request.scope["state"].get("answer_headers", {}))
        # An unread body is what the next request would have to be looked for behind.
        self._closing = not self._body_read and body_may_exceed(self.request.headers, MAX_DRAIN)
        if self._closing:
            headers["Connection"] = "close"

    async def _linger(self) -> None:
        """Take some more of the body after the answer, unless none is left to take: many clients read nothing before
        they have sent everything, and closing under their hands resets the connection, answer and all (RFC 9112 §9.6).
        """
        left = LINGER_BYTES
        with suppress(TimeoutError):
            async with asyncio.timeout(LINGER_SECONDS):
                while left > 0 and not self._body_read:
                    left -= len((await self.receive()).get("body", b""))

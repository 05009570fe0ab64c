"""The ASGI door: any ASGI server in front of the edge."""

from __future__ import annotations

import asyncio
from contextlib import aclosing, suppress
from dataclasses import dataclass, replace

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from server.doors.journal import Asked, Journal
from server.doors.phases import DEADLINES, Phase
from server.doors.tls import EXTENSION, server_name
from server.edge.edge import Edge
from server.edge.parts import read_parts
from server.edge.request import Refusal, Request, read_request
from server.edge.response import Body, Response
from server.edge.visits import VISIT, Visit, unnoted
from storage.blobs import BlobReader

TARGET = "spacelane.target"  # in a scope's extensions: the request's target to the letter, where the server knows it

SEND_SECONDS = DEADLINES[Phase.WRITING]  # for one message to be taken by who asked for it
MAX_DRAIN_BYTES = 1024 * 1024  # of a body that nobody wants


@dataclass(slots=True)
class _Sent:
    """How much of a body has been sent."""

    size: int = 0


def create_app(edge: Edge, journal: Journal) -> ASGIApp:
    """An ASGI application that answers HTTP from `edge` and nothing else, and notes each answer in `journal`."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await _live(receive, send)
            return
        if scope["type"] != "http":  # a WebSocket's handshake, which the server then refuses
            await send({"type": "websocket.close"})
            return
        target = _target(scope)
        request = reader = None
        try:
            extensions = scope.get("extensions") or {}
            name = extensions.get(EXTENSION)
            request = read_request(scope["method"], target, scope["http_version"], scope["headers"], name)
        except Refusal as refusal:
            response = edge.refuse(refusal)
            if scope["method"] == "HEAD":  # gets no content (RFC 9110 §9.3.2); servers drop it, and it must not count
                response = replace(response, body=b"")
        else:
            visit: Visit = extensions.get(VISIT, unnoted)
            known = edge.respond_nowait(request)
            if known is None:
                response, reader = await edge.respond(request, visit)
            else:
                response = known
                if (site := edge.site_of(request)) is not None:
                    visit(site)
        sent = _Sent()
        try:
            await send({"type": "http.response.start", "status": response.status, "headers": list(response.headers)})
            await _send_body(response.body, reader, receive, send, sent)
        finally:
            _note(journal, scope, request, response, sent.size)
            if reader is not None:
                await reader.close()

    return app


def _target(scope: Scope) -> bytes:
    target: bytes = scope["raw_path"]
    return target + b"?" + scope["query_string"] if scope["query_string"] else target


def _note(journal: Journal, scope: Scope, request: Request | None, response: Response, sent: int) -> None:
    client = scope.get("client")
    target = (scope.get("extensions") or {}).get(TARGET) or _target(scope)
    authority = None if request is None else request.authority
    asked = Asked.read(scope["method"].encode("ascii"), target, scope["http_version"], scope["headers"], authority)
    peer = journal.format.peer(client[0] if client else "")
    journal.note_answer(asyncio.get_running_loop(), peer, asked, response.status, sent, response.site_id)


def for_hypercorn(app: ASGIApp) -> ASGIApp:
    """`app` behind hypercorn, which

    * does not tell it the name of the handshake;
    * in HTTP/2 drops a connection with everything on it if an answer ends before the request's body does;
    * in HTTP/2 lets an answer to a visitor who has left wait for ever for room to send.
    """

    async def adapted(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await app(scope, receive, send)
            return
        if (name := server_name.get()) is not None:
            scope["extensions"][EXTENSION] = name
        await _drain(receive)
        gone = asyncio.ensure_future(_wait_for_disconnect(receive))

        async def tell_gone() -> Message:
            await asyncio.wait((gone,))
            return {"type": "http.disconnect"}

        async def send_unless_gone(message: Message) -> None:
            sending = asyncio.ensure_future(send(message))
            await asyncio.wait((sending, gone), timeout=SEND_SECONDS, return_when=asyncio.FIRST_COMPLETED)
            if sending.done():
                sending.result()
            else:
                gone.cancel()  # left, or as good as
                await _cancel(sending)

        try:
            await app(scope, tell_gone, send_unless_gone)
        finally:
            await _cancel(gone)

    return adapted


async def _cancel(task: asyncio.Future[None]) -> None:
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


async def _drain(receive: Receive) -> None:
    """Read past the body, as far as it is worth it."""
    taken = 0
    while taken < MAX_DRAIN_BYTES:
        message = await receive()
        if not message.get("more_body"):
            return
        taken += len(message.get("body", b""))


async def _live(receive: Receive, send: Send) -> None:
    """The lifespan protocol, in which the edge has no part: its process opens and closes what it needs."""
    await receive()
    await send({"type": "lifespan.startup.complete"})
    await receive()
    await send({"type": "lifespan.shutdown.complete"})


async def _send_body(body: Body, reader: BlobReader | None, receive: Receive, send: Send, sent: _Sent) -> None:
    if isinstance(body, bytes):
        await send({"type": "http.response.body", "body": body})
        sent.size = len(body)
        return
    assert reader is not None, "a body in parts comes with its blob"
    # Servers drop what is sent to a visitor who has left, so without this the rest of the file would be read in vain.
    gone = asyncio.ensure_future(_wait_for_disconnect(receive))
    try:
        async with aclosing(read_parts(body, reader)) as chunks:
            async for chunk in chunks:
                await send({"type": "http.response.body", "body": chunk, "more_body": True})
                # To send may not wait at all; then neither others nor word that the visitor has left would get a turn.
                await asyncio.sleep(0)
                if gone.done():
                    return
                sent.size += len(chunk)
        await send({"type": "http.response.body", "body": b""})
    finally:
        await _cancel(gone)


async def _wait_for_disconnect(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass

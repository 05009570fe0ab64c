"""The ASGI door: any ASGI server in front of the edge."""

from __future__ import annotations

import asyncio
from contextlib import aclosing, suppress

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from server.doors.tls import EXTENSION, server_name
from server.edge.edge import Edge
from server.edge.parts import read_parts
from server.edge.request import Refusal, read_request
from server.edge.response import Body
from storage.blobs import BlobReader

SEND_SECONDS = 30.0  # for one message to be taken by who asked for it
MAX_DRAIN_BYTES = 1024 * 1024  # of a body that nobody wants


def create_app(edge: Edge) -> ASGIApp:
    """An ASGI application that answers HTTP from `edge` and nothing else."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await _live(receive, send)
            return
        if scope["type"] != "http":  # a WebSocket's handshake, which the server then refuses
            await send({"type": "websocket.close"})
            return
        target: bytes = scope["raw_path"]
        if scope["query_string"]:
            target += b"?" + scope["query_string"]
        reader = None
        try:
            name = (scope.get("extensions") or {}).get(EXTENSION)
            request = read_request(scope["method"], target, scope["http_version"], scope["headers"], name)
        except Refusal as refusal:
            response = edge.refuse(refusal)
        else:
            known = edge.respond_nowait(request)
            response, reader = (known, None) if known is not None else await edge.respond(request)
        try:
            await send({"type": "http.response.start", "status": response.status, "headers": list(response.headers)})
            await _send_body(response.body, reader, receive, send)
        finally:
            if reader is not None:
                await reader.close()

    return app


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


async def _send_body(body: Body, reader: BlobReader | None, receive: Receive, send: Send) -> None:
    if isinstance(body, bytes):
        await send({"type": "http.response.body", "body": body})
        return
    assert reader is not None, "a body in parts comes with its blob"
    # Servers drop what is sent to a visitor who has left, so without this the rest of the file would be read in vain.
    gone = asyncio.ensure_future(_wait_for_disconnect(receive))
    try:
        async with aclosing(read_parts(body, reader)) as chunks:
            async for chunk in chunks:
                await send({"type": "http.response.body", "body": chunk, "more_body": True})
                if gone.done():
                    return
        await send({"type": "http.response.body", "body": b""})
    finally:
        await _cancel(gone)


async def _wait_for_disconnect(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass

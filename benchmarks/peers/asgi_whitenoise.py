"""whitenoise, asked from ASGI as its Django middleware asks it: its files and its answers, and no thread for each."""

from __future__ import annotations

import os
from typing import Any

from starlette.types import Receive, Scope, Send
from whitenoise import WhiteNoise

CHUNK = 256 * 1024
KEYS = {b"if-none-match", b"if-modified-since", b"range", b"accept-encoding"}  # what whitenoise reads

files = WhiteNoise(None, root=os.environ["BENCH_ROOT"], index_file=True, max_age=60).files
missing = files["/404.html"]


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    """One request."""
    file = files.get(scope["path"])
    headers = {_environ_key(name): value.decode("latin-1") for name, value in scope["headers"] if name in KEYS}
    response = (file or missing).get_response(scope["method"], headers)
    start: dict[str, Any] = {
        "type": "http.response.start",
        "status": int(response.status) if file else 404,
        "headers": [(name.lower().encode(), value.encode("latin-1")) for name, value in response.headers],
    }
    await send(start)
    if response.file is None:
        await send({"type": "http.response.body"})
        return
    with response.file:
        more = True
        while more:
            chunk = response.file.read(CHUNK)
            more = len(chunk) == CHUNK
            await send({"type": "http.response.body", "body": chunk, "more_body": more})


def _environ_key(name: bytes) -> str:
    return "HTTP_" + name.decode().upper().replace("-", "_")

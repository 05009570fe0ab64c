"""Pages that load themselves anew when what they show has changed, for who is at work on them.

1. `add_script`  puts a script into a page
2. `Browsers`    tells every page that is open, by server-sent events (HTML Standard §9.2)
3. `create_app`  answers the script and the events, and leaves the rest to the edge

Both are below a path that no site can have a file at, since its first segment begins with a dot.
"""

from __future__ import annotations

import asyncio
import re

from starlette.types import ASGIApp, Receive, Scope, Send

from server.edge.hosts import HostError, parse_authority

SCRIPT_PATH = "/.spacelane/reload.js"
EVENTS_PATH = "/.spacelane/changes"
HTML = "text/html"

_TAG = f'<script src="{SCRIPT_PATH}" async></script>'.encode()
_END = re.compile(rb"</body\s*>", re.IGNORECASE)
_NO_STORE = (b"cache-control", b"no-store")

# After the server was away for a while, nobody knows what a page has missed.
_SCRIPT = f"""\
const changes = new EventSource("{EVENTS_PATH}");
let away = false;
changes.onmessage = () => location.reload();
changes.onerror = () => {{ away = true; }};
changes.onopen = () => {{ if (away) location.reload(); }};
addEventListener("pagehide", () => changes.close());
""".encode()


def add_script(page: bytes) -> bytes:
    """The HTML page with the script at the end of its body."""
    ends = [match.start() for match in _END.finditer(page)]
    end = ends[-1] if ends else len(page)
    return page[:end] + _TAG + page[end:]


class Browsers:
    """The pages that are open."""

    def __init__(self) -> None:
        self._changed: asyncio.Future[bool] = asyncio.get_running_loop().create_future()

    def reload(self) -> None:
        """Have each load itself anew."""
        changed, self._changed = self._changed, asyncio.get_running_loop().create_future()
        changed.set_result(True)

    def close(self) -> None:
        """Let all of them go: none comes again."""
        if not self._changed.done():
            self._changed.set_result(False)

    async def wait(self) -> bool:
        """Until something has changed, or all are let go: then False."""
        return await asyncio.shield(self._changed)


def create_app(app: ASGIApp, browsers: Browsers, domain: str) -> ASGIApp:
    """`app`, asked for the site at `domain` whatever the host, and in front of it the script and the events."""

    async def reloading(scope: Scope, receive: Receive, send: Send) -> None:
        path = scope.get("path")
        if path == SCRIPT_PATH:
            await _begin(send, b"text/javascript; charset=utf-8", (b"content-length", str(len(_SCRIPT)).encode()))
            await send({"type": "http.response.body", "body": _SCRIPT})
        elif path == EVENTS_PATH:
            await _tell(browsers, receive, send)
        else:
            await app({**scope, "headers": _at(domain, scope["headers"])}, receive, send)

    return reloading


def _at(domain: str, headers: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """`headers` with `domain` as the host, if they have one that could be any site's."""
    hosts = [value for name, value in headers if name == b"host"]
    if len(hosts) != 1 or not _is_host(hosts[0]):
        return headers  # which is refused as everywhere
    return [(name, domain.encode("ascii") if name == b"host" else value) for name, value in headers]


def _is_host(value: bytes) -> bool:
    try:
        parse_authority(value.decode("latin-1"))
    except HostError:
        return False
    return True


async def _begin(send: Send, media_type: bytes, *more: tuple[bytes, bytes]) -> None:
    headers = [(b"content-type", media_type), _NO_STORE, *more]
    await send({"type": "http.response.start", "status": 200, "headers": headers})


async def _tell(browsers: Browsers, receive: Receive, send: Send) -> None:
    """Events until the page leaves."""
    await _begin(send, b"text/event-stream")
    await send({"type": "http.response.body", "body": b"retry: 500\n\n", "more_body": True})
    gone = asyncio.ensure_future(_wait_for_disconnect(receive))
    try:
        while not gone.done():
            changed = asyncio.ensure_future(browsers.wait())
            await asyncio.wait((gone, changed), return_when=asyncio.FIRST_COMPLETED)
            if not changed.done() or not changed.result():
                changed.cancel()
                break
            await send({"type": "http.response.body", "body": b"data: changed\n\n", "more_body": True})
        await send({"type": "http.response.body", "body": b""})
    finally:
        gone.cancel()


async def _wait_for_disconnect(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass

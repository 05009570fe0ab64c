"""Starlette's `StaticFiles`, and a dictionary of them where there are many hosts."""

from __future__ import annotations

import os
from pathlib import Path

from starlette.applications import Starlette
from starlette.routing import Mount
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Receive, Scope, Send


def make_app(root: Path, hosts: bool) -> ASGIApp:
    """`root` is the site's directory, or one of directories named after their hosts."""
    if not hosts:
        # html: `/` is index.html, and what is missing gets 404.html.
        return Starlette(routes=[Mount("/", StaticFiles(directory=root, html=True))])
    sites = {path.name.encode(): StaticFiles(directory=path, html=True) for path in root.iterdir()}

    async def by_host(scope: Scope, receive: Receive, send: Send) -> None:
        # Starlette's own `Host` routes would be tried one after the other.
        await sites[dict(scope["headers"])[b"host"]](scope, receive, send)

    return by_host


app = make_app(Path(os.environ["BENCH_ROOT"]), bool(os.environ.get("BENCH_HOSTS")))

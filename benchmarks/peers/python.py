"""What else serves static files from Python: uvicorn with Starlette's `StaticFiles`, and with whitenoise."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from benchmarks.peers.base import Place
from benchmarks.processes import BenchError, ServerProcess, running

ROOT = Path(__file__).resolve().parent.parent.parent


class Uvicorn:
    """uvicorn with an application of this package, on uvloop and httptools, its access log on."""

    def __init__(self, name: str, title: str, library: str, *, hosts: bool) -> None:
        self.name = name
        self.title = title
        self._library = library
        self._hosts = hosts

    def find_version(self) -> str | None:
        try:
            return f"{version(self._library)}, uvicorn {version('uvicorn')}"
        except PackageNotFoundError:
            return None

    @contextmanager
    def start(self, place: Place) -> Iterator[ServerProcess]:
        setting = place.setting
        if setting.http2:
            raise BenchError("uvicorn has no HTTP/2")
        if setting.hosts and not self._hosts:
            raise BenchError(f"{self.title} serves one site")
        app = f"benchmarks.peers.asgi_{self.name}:app"
        command = [sys.executable, "-m", "uvicorn", app, "--app-dir", str(ROOT), "--port", str(place.port)]
        command += ["--loop", "uvloop", "--http", "httptools", "--lifespan", "off", "--ws", "none"]
        command += ["--timeout-keep-alive", "75", "--backlog", "4096", "--no-server-header", "--no-proxy-headers"]
        if setting.tls:
            command += ["--ssl-certfile", str(place.certificate.chain), "--ssl-keyfile", str(place.certificate.key)]
        environment = {
            "BENCH_ROOT": str(place.corpus.many if setting.hosts else place.corpus.static),
            "BENCH_HOSTS": "1" if setting.hosts else "",
        }
        log = place.directory / "output.log"
        with running(command, place.core, log=log, environment=environment) as server:
            server.wait_for(place.port)
            yield server


STARLETTE = Uvicorn("starlette", "Starlette StaticFiles", "starlette", hosts=True)
WHITENOISE = Uvicorn("whitenoise", "whitenoise", "whitenoise", hosts=False)

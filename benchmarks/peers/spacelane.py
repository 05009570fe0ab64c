"""Ourselves, from the outside: the command, its API, and nothing else of it."""

from __future__ import annotations

import http.client
import json
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

from benchmarks.corpus import DOMAIN
from benchmarks.peers.base import Place
from benchmarks.processes import POLL_SECONDS, START_SECONDS, BenchError, ServerProcess, free_port, running

KEY = "benchmark-root-key"
SPACE = "bench"
CALLERS = 4  # at a time
SETTLED_SECONDS = 3.0  # longer than the server puts off a record of what it has compressed


class Spacelane:
    name = "spacelane"
    title = "Spacelane"

    def find_version(self) -> str | None:
        return version("spacelane")

    @contextmanager
    def start(self, place: Place) -> Iterator[ServerProcess]:
        """One process, which is the edge and, idle while it is measured, the control API."""
        control = Control(free_port())
        with serving(place, control) as server:
            setting, corpus = place.setting, place.corpus
            if setting.hosts:
                control.deploy(corpus.many, "all.example")
                control.register(corpus.host_names(setting.hosts))
            else:
                control.deploy(corpus.published, DOMAIN)
            settle(database_of(place))
            yield server


class Control:
    """The control API of the server that is measured."""

    def __init__(self, port: int) -> None:
        self.port = port

    def is_ready(self) -> bool:
        with closing(self.connect()) as connection:
            try:
                connection.request("GET", "/readyz")
                return connection.getresponse().status == 200
            except OSError:
                return False

    def deploy(self, directory: Path, domain: str) -> None:
        """Publish a directory, as anybody would."""
        command = [sys.executable, "-m", "server", "deploy", str(directory), "--domain", domain, "--space", SPACE]
        command += ["--url", f"http://127.0.0.1:{self.port}", "--key", KEY, "--json"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise BenchError(f"deploying failed: {done.stdout}{done.stderr}")

    def register(self, hosts: Sequence[str]) -> None:
        """Make a site for each, which shows the folder of its name."""
        with ThreadPoolExecutor(CALLERS) as pool:
            list(pool.map(self._register_some, [hosts[first::CALLERS] for first in range(CALLERS)]))

    def _register_some(self, hosts: Sequence[str]) -> None:
        with closing(self.connect()) as connection:
            for host in hosts:
                self.create_site(connection, host, host)

    def connect(self) -> http.client.HTTPConnection:
        """For several calls."""
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)

    def create_space(self, connection: http.client.HTTPConnection, alias: str) -> None:
        self._post(connection, "space/create", json.dumps({"alias": alias}).encode(), "application/json")

    def create_site(self, connection: http.client.HTTPConnection, domain: str, prefix: str = "") -> None:
        """A site that shows a folder of what was deployed, or all of it."""
        body = {"domain": domain, "prefix": prefix}
        self._post(connection, f"space/@{SPACE}/site/create", json.dumps(body).encode(), "application/json")

    def upload(self, connection: http.client.HTTPConnection, space: str, path: str, content: bytes) -> None:
        self._post(connection, f"space/@{space}/storage/upload/{path}", content, "application/octet-stream")

    def create_widget(self, connection: http.client.HTTPConnection, domain: str) -> str:
        """The configuration of a widget for pages of `domain`; its `site_id`."""
        body = {"business_name": "Bench", "domain": domain, "industry": "restaurant"}
        answer = self._post(connection, "/v1/sites", json.dumps(body).encode(), "application/json")
        site_id: str = answer["data"]["site_id"]
        return site_id

    def _post(self, connection: http.client.HTTPConnection, path: str, body: bytes, kind: str) -> dict[str, Any]:
        """A call that has to succeed: what it answers. `path` is below /api/v1, unless it begins with a slash."""
        headers = {"Authorization": f"Bearer {KEY}", "Content-Type": kind}
        connection.request("POST", path if path.startswith("/") else f"/api/v1/{path}", body, headers)
        response = connection.getresponse()
        answer: dict[str, Any] = json.load(response)
        if response.status not in (200, 201):
            raise BenchError(f"{path}: {response.status} {answer}")
        return answer


def database_of(place: Place) -> Path:
    """Where the server keeps what it has been told."""
    return place.directory / "data" / "spacelane.db"


def settle(database: Path) -> None:
    """Return when nothing has been done for a while: what was published has been compressed, as far as that is of use,
    and its sites have heard of it."""
    with closing(sqlite3.connect(database)) as connection:
        seen, since = None, 0.0
        while seen is None or time.monotonic() < since + SETTLED_SECONDS:
            done = connection.execute("SELECT revision, (SELECT count(*) FROM variants) FROM store_state").fetchone()
            if done != seen:
                seen, since = done, time.monotonic()
            time.sleep(POLL_SECONDS)


@contextmanager
def serving(place: Place, control: Control, *, workers: int = 1) -> Iterator[ServerProcess]:
    """`spacelane serve` with an empty data directory, ready."""
    command = [sys.executable, "-m", "server", "serve", "--data-dir", str(place.directory / "data")]
    command += ["--edge", f"127.0.0.1:{place.port}", "--control", f"127.0.0.1:{control.port}"]
    command += ["--workers", str(workers)]
    if place.setting.tls:
        command += ["--tls-cert", str(place.certificate.chain), "--tls-key", str(place.certificate.key)]
    log = place.directory / "output.log"
    with running(command, place.core, log=log, environment={"SPACELANE_ROOT_KEY": KEY}) as server:
        deadline = time.monotonic() + START_SECONDS
        while not control.is_ready():
            if server.has_ended() or time.monotonic() > deadline:
                raise BenchError(f"it did not start: {server.messages()}")
            time.sleep(POLL_SECONDS)
        yield server

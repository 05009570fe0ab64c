"""Going back to an earlier deployment: all of it, on every worker, when the call returns.

`SPACELANE_TEST_ROLLBACK=10000` is the full size; the time it took is printed.
"""

from __future__ import annotations

import io
import os
import tarfile
import time
from pathlib import Path

import pytest

from tests.support.process import Serve
from tests.support.wire import Wire
from tests.test_deletion import has_connections

pytestmark = pytest.mark.slow

FILES = int(os.environ.get("SPACELANE_TEST_ROLLBACK", "200"))
WORKERS = 4
ROUNDS = 6
HOST = "back.localhost"


def pack(generation: int) -> bytes:
    """As many files, all of them other than in any other generation."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz", compresslevel=1) as archive:
        for number in range(FILES):
            content = f"{generation} {number}".encode()
            info = tarfile.TarInfo(f"{number % 100}/{number}.txt")
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return packed.getvalue()


def ask(wire: Wire) -> bytes:
    """The tree that a worker answers by."""
    wire.send(b"GET /0/0.txt HTTP/1.1\r\nHost: " + HOST.encode() + b"\r\n\r\n")
    return wire.receive().body


@pytest.mark.timeout(600)
def test_a_rollback_is_live_on_every_worker_when_the_call_returns(tmp_path: Path) -> None:
    with Serve(tmp_path / "data", "--workers", str(WORKERS), "--access-log", "off") as serve:
        space = serve.post("space/create")["id"]
        deployments = []
        for generation in range(2):
            url = f"/api/v1/space/{space}/deployment/upload"
            answer = serve.api.post(url, content=pack(generation), timeout=500)
            assert answer.status_code == 200, answer.text
            deployments.append(answer.json()["id"])
        serve.post(f"space/{space}/site/create", {"domain": HOST})
        wires: list[Wire] = []
        while not all(has_connections(pid, serve.edge_port) for pid in serve.edge_workers()):
            assert len(wires) < 200
            wires.append(Wire(serve.edge_port))
            assert ask(wires[-1]) == b"1 0"
        took = []
        for turn in range(ROUNDS):
            generation = turn % 2
            started = time.perf_counter()
            serve.post(f"space/{space}/deployment/{deployments[generation]}/activate")
            returned = time.perf_counter()
            assert {ask(wire) for wire in wires} == {b"%d 0" % generation}
            took.append((returned - started, time.perf_counter() - started))
        times = ", ".join(f"{call * 1000:.0f}/{everywhere * 1000:.0f}" for call, everywhere in took)
        print(f"{FILES} files, {WORKERS} workers: ms until the call returned / every worker had answered: {times}")
        for wire in wires:
            wire.socket.close()

"""SIGHUP: every process is replaced, and no visitor notices. SIGTERM: what is under way has its time, and no more."""

from __future__ import annotations

import os
import random
import socket
import threading
import time
from pathlib import Path

import httpx
import pytest

from tests.support.process import Serve
from tests.support.wire import Wire

pytestmark = pytest.mark.slow

VISITORS = 4
RELOADS = int(os.environ.get("SPACELANE_TEST_RELOADS", "2"))
REQUEST = b"GET /%b HTTP/1.1\r\nHost: a.localhost\r\n\r\n"
BIG = b"0123456789abcdef" * 65536  # 1 MiB
LITTLE = 8192  # bytes at each of a test's looks, of 24 MiB


class Visitor(threading.Thread):
    """Asks again and again, on a connection that it keeps as long as it may, or on a new one each time."""

    def __init__(self, port: int, seed: int) -> None:
        super().__init__()
        self._port = port
        self._random = random.Random(seed)
        self._keeps = bool(seed % 2)
        self.stop = threading.Event()
        self.answers = 0
        self.failure = ""

    def run(self) -> None:
        try:
            while not self.stop.is_set():
                self._visit()
        except (OSError, EOFError, AssertionError) as exc:
            self.failure = repr(exc)

    def _visit(self) -> None:
        with Wire(self._port) as wire:
            for _ in range(self._random.randint(1, 200) if self._keeps else 1):
                path, body = self._random.choice([(b"", b"home"), (b"big.bin", BIG), (b"nothing", None)])
                wire.send(REQUEST % path)
                answer = wire.receive()
                assert (answer.status, answer.body) == (200, body) if body else answer.status == 404
                self.answers += 1
                if answer.header("connection") == "close" or self.stop.is_set():
                    return


def pids(serve: Serve) -> set[int]:
    return set(serve.workers())


@pytest.mark.timeout(400)
@pytest.mark.parametrize("workers", [1, 2])
def test_nobody_notices_a_reload(tmp_path: Path, workers: int) -> None:
    seed = int(os.environ.get("SPACELANE_TEST_SEED", random.randrange(2**32)))
    print(f"seed {seed}: set SPACELANE_TEST_SEED to it to run this again")
    with Serve(tmp_path / "data", "--workers", str(workers)) as serve:
        space, _ = serve.site("a.localhost", {"index.html": b"home", "big.bin": BIG})
        visitors = [Visitor(serve.edge_port, seed + number) for number in range(VISITORS)]
        for visitor in visitors:
            visitor.start()
        try:
            for step in range(RELOADS):
                before = pids(serve)
                serve.reload()
                assert not pids(serve) & before - {serve.process.pid}
                serve.upload(space, "step.txt", b"%d" % step)
                assert serve.get("a.localhost", "/step.txt").body == b"%d" % step
                facts = httpx.get(f"{serve.control}/readyz").json()
                assert set(facts["workers"].values()) == {"serving"}
        finally:
            for visitor in visitors:
                visitor.stop.set()
            for visitor in visitors:
                visitor.join()
        assert [visitor.failure for visitor in visitors if visitor.failure] == []
        assert all(visitor.answers > RELOADS for visitor in visitors)
        print(f"{sum(visitor.answers for visitor in visitors)} answers during {RELOADS} reloads")
        assert not any('"level": "error"' in line for line in serve.log), serve.log
        assert serve.stop() == 0


def test_ready_all_the_while(tmp_path: Path) -> None:
    with Serve(tmp_path / "data", "--workers", "2") as serve:
        stop = threading.Event()
        seen: list[str] = []

        def watch() -> None:
            with httpx.Client(base_url=serve.control) as client:
                while not stop.is_set():
                    try:
                        seen.append(client.get("/readyz", headers={"connection": "close"}).text)
                    except httpx.TransportError as exc:
                        seen.append(repr(exc))

        watching = threading.Thread(target=watch)
        watching.start()
        serve.reload()
        stop.set()
        watching.join()
        assert [text for text in seen if '"status":"ready"' not in text] == []


def test_nothing_noted_is_lost(tmp_path: Path) -> None:
    with Serve(tmp_path / "data", "--workers", "2") as serve:
        serve.site("a.localhost", {"index.html": b"home"})
        for _ in range(50):
            assert serve.get("a.localhost").status == 200
        assert serve.stop() == 0
    assert len((tmp_path / "data" / "access.log").read_bytes().splitlines()) == 50


def test_standard_output_takes_the_log(tmp_path: Path) -> None:
    with open(tmp_path / "out", "wb") as out:
        kept = os.dup(1)
        os.dup2(out.fileno(), 1)
        try:
            with Serve(tmp_path / "data", "--access-log", "-", "--access-log-format", "combined") as serve:
                serve.get("a.localhost", "/", "User-Agent: someone")
                assert serve.stop() == 0
        finally:
            os.dup2(kept, 1)
            os.close(kept)
    assert b'"GET / HTTP/1.1" 404 ' in (tmp_path / "out").read_bytes()
    assert not (tmp_path / "data" / "access.log").exists()


def test_zero_is_one_a_core(tmp_path: Path) -> None:
    with Serve(tmp_path / "data", "--workers", "0") as serve:
        cores = len(os.sched_getaffinity(0))
        assert len(serve.edge_workers()) == (cores if cores > 1 else 0)


@pytest.mark.parametrize("workers", [1, 2])
def test_a_download_outlives_a_reload_but_not_the_end(tmp_path: Path, workers: int) -> None:
    """However slow it is, its process waits for it; somebody who wants the server to stop does not."""
    with Serve(tmp_path / "data", "--workers", str(workers)) as serve:
        serve.site("a.localhost", {"big.bin": BIG * 24})
        with Wire(serve.edge_port) as slow, Wire(serve.edge_port) as slower:
            for wire in (slow, slower):
                wire.send(REQUEST % b"big.bin")
                assert wire.socket.recv(1, socket.MSG_PEEK)

            def read_a_little() -> None:  # who reads nothing at all is given up
                for wire in (slow, slower):
                    wire.take(LITTLE)

            began = time.monotonic()
            serve.reload(meanwhile=read_a_little)
            assert time.monotonic() - began > 9, "the downloads were not waited for"
            assert serve.get("a.localhost", "/nothing").status == 404
            assert slow.receive().body == BIG * 24
            assert slower.socket.recv(len(BIG) * 8, socket.MSG_WAITALL)
            began = time.monotonic()
            assert serve.stop() == 0
            took = time.monotonic() - began
    assert 5 < took < 18


def test_a_download_has_its_time_and_no_more(tmp_path: Path) -> None:
    """Who takes an answer too slowly is cut off, so that a stop has an end; who waits on an idle connection is not
    waited for."""
    with Serve(tmp_path / "data", "--workers", "2") as serve:
        serve.site("a.localhost", {"big.bin": BIG * 24, "index.html": b"home"})
        with Wire(serve.edge_port) as slow, Wire(serve.edge_port) as idle:
            idle.send(REQUEST % b"")
            assert idle.receive().body == b"home"
            slow.send(REQUEST % b"big.bin")
            assert slow.socket.recv(1000)
            began = time.monotonic()
            assert serve.stop() == 0
            took = time.monotonic() - began
            assert idle.at_end()
    assert 5 < took < 18  # of which the server's part is ten

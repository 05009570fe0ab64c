"""A site is published again and again while visitors fetch pairs of its files through several workers.

Nobody ever gets a pair out of two trees, an error, or a tree that is older than one that they, or whoever published,
have seen. `SPACELANE_TEST_ATOMICITY=2000x100` is the whole of it: as many files, as many publishes.
"""

from __future__ import annotations

import io
import os
import tarfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

import pytest

from tests.support.process import Serve
from tests.support.wire import Wire

pytestmark = pytest.mark.slow

FILES, PUBLISHES = map(int, os.environ.get("SPACELANE_TEST_ATOMICITY", "60x20").split("x"))
TREES = 10  # that are published in turn; no file of one has a content of another
CLIENTS = 8
WORKERS = 4
HOST = "atomic.localhost"
GET = "GET /%s HTTP/1.1\r\nHost: " + HOST + "\r\n\r\n"


def pack(tree: int) -> bytes:
    """Every file says of which tree it is. Half of them are linked with the other half."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        for number in range(FILES):
            content = f"{tree} {number} ".ljust(200, "x").encode()
            info = tarfile.TarInfo(f"{'page' if number % 2 else 'data'}/{number // 2}.txt")
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return packed.getvalue()


@dataclass
class Watch:
    """What the clients see. Publishes are numbered; `published` are those that have returned, `begun` all so far."""

    published: int = 0
    begun: int = 0
    pairs: int = 0
    wrong: list[str] = field(default_factory=list)
    over: threading.Event = field(default_factory=threading.Event)


class Client(threading.Thread):
    """Fetches pairs, each file over another connection: most often they lead to different workers."""

    def __init__(self, port: int, watch: Watch, seed: int) -> None:
        super().__init__()
        self.port = port
        self.watch = watch
        self.random = Random(seed)
        self.seen = 0
        self.pairs = 0

    def run(self) -> None:
        wires = [Wire(self.port) for _ in range(3)]
        try:
            while not self.watch.over.is_set():
                number = self.random.randrange(FILES // 2)
                first, data, again = [
                    self.fetch(wire, f"{kind}/{number}.txt")
                    for wire, kind in zip(wires, ("page", "data", "page"), strict=True)
                ]
                # Where the page is of the same tree before and after, no publish came in between.
                if first == again != data:
                    self.watch.wrong.append(f"page {first}, data {data}")
                self.pairs += 1
        except Exception as exc:
            self.watch.wrong.append(repr(exc))
        finally:
            for wire in wires:
                wire.socket.close()

    def fetch(self, wire: Wire, path: str) -> int:
        """The publish that the answer is of."""
        least = max(self.seen, self.watch.published)
        wire.send((GET % path).encode())
        answer = wire.receive()
        tree = int(answer.body.split(b" ", 1)[0]) if answer.status == 200 else -1
        live = [number for number in range(least, self.watch.begun + 1) if number % TREES == tree]
        if live:
            self.seen = live[0]
        else:
            self.watch.wrong.append(f"{answer.status}, tree {tree} for {path}, at publish {least} or later")
        return self.seen


@contextmanager
def clients(port: int, watch: Watch) -> Iterator[None]:
    """Eight of them at work."""
    threads = [Client(port, watch, seed) for seed in range(CLIENTS)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        watch.over.set()
        for thread in threads:
            thread.join()
        watch.pairs = sum(thread.pairs for thread in threads)


@pytest.mark.timeout(3600)
def test_nobody_gets_a_pair_out_of_two_trees(tmp_path: Path) -> None:
    with Serve(tmp_path / "data", "--workers", str(WORKERS), "--access-log", "off") as serve:
        space = serve.post("space/create")["id"]

        deployments = []
        for tree in range(min(TREES, PUBLISHES + 1)):
            url = f"/api/v1/space/{space}/deployment/upload?activate=false"
            answer = serve.api.post(url, content=pack(tree), headers={"content-type": "application/x-tar"}, timeout=600)
            assert answer.status_code == 200, answer.text
            deployments.append(answer.json()["id"])
        serve.post(f"space/{space}/deployment/{deployments[0]}/activate")
        serve.post(f"space/{space}/site/create", {"domain": HOST})
        watch = Watch()
        with clients(serve.edge_port, watch):
            for number in range(1, PUBLISHES + 1):
                watch.begun = number
                serve.post(f"space/{space}/deployment/{deployments[number % TREES]}/activate")
                watch.published = number
        print(f"{watch.pairs} pairs over {PUBLISHES} publishes of {FILES} files")
        assert watch.wrong == []
        assert watch.pairs > PUBLISHES

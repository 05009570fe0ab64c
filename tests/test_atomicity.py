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

FILES, PUBLISHES = map(int, os.environ.get("SPACELANE_TEST_ATOMICITY", "60x8").split("x"))
CLIENTS = 8
WORKERS = 4
HOST = "atomic.localhost"
GET = "GET /%s HTTP/1.1\r\nHost: " + HOST + "\r\n\r\n"


def pack(generation: int) -> bytes:
    """Every file of the tree says which it is of. Half of them are linked with the other half."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        for number in range(FILES):
            content = f"{generation} {number} ".ljust(300, "x").encode()
            info = tarfile.TarInfo(f"{'page' if number % 2 else 'data'}/{number // 2}.txt")
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return packed.getvalue()


@dataclass
class Watch:
    """What the clients see. `published` is the tree that is live by the publisher's account."""

    published: int = 0
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
        """The tree that the answer is of."""
        least = max(self.seen, self.watch.published)
        wire.send((GET % path).encode())
        answer = wire.receive()
        if answer.status != 200:
            self.watch.wrong.append(f"{answer.status} for {path}")
            return -1
        generation, _, _ = answer.body.split(b" ", 2)
        self.seen = int(generation)
        if self.seen < least:
            self.watch.wrong.append(f"tree {self.seen} after tree {least}")
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

        def publish(generation: int) -> str:
            url = f"/api/v1/space/{space}/deployment/upload"
            answer = serve.api.post(url, content=pack(generation), headers={"content-type": "application/x-tar"})
            assert answer.status_code == 200, answer.text
            return str(answer.json()["id"])

        publish(1)
        serve.post(f"space/{space}/site/create", {"domain": HOST})
        watch = Watch(published=1)
        with clients(serve.edge_port, watch):
            for generation in range(2, PUBLISHES + 2):
                publish(generation)
                watch.published = generation
        print(f"{watch.pairs} pairs over {PUBLISHES} publishes of {FILES} files")
        assert watch.wrong == []
        assert watch.pairs > PUBLISHES

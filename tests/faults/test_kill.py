"""kill -9 at random instants: what was published reads back whole, all of one generation.

Until then visitors get whole files, as new as what was acknowledged, and never an older one after a newer one.
"""

from __future__ import annotations

import hashlib
import os
import random
import signal
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support.process import Serve
from tests.support.wire import Answer, Wire

pytestmark = pytest.mark.slow

KILLS = int(os.environ.get("SPACELANE_TEST_KILLS", "3"))
ABSENT = ""
FILES = 12  # of a publish, each of which names its generation


class Publisher(threading.Thread):
    """Publishes generation after generation, and loose uploads between, until the server is gone."""

    def __init__(self, serve: Serve, space: str, generation: int, random_: random.Random) -> None:
        super().__init__()
        self._api = httpx.Client(base_url=serve.control, headers=dict(serve.api.headers), timeout=30)
        self._space = space
        self._random = random_
        self.tried = generation  # the latest that may be live
        self.done = generation  # the latest that was said to be
        self.published = threading.Semaphore(0)  # released for each generation that was said to be live
        self.uploads_tried: dict[str, str] = {}
        self.uploads_done: dict[str, str] = {}

    def run(self) -> None:
        with self._api:
            try:
                while True:
                    self._publish(self.tried + 1)
                    self._upload()
            except httpx.TransportError:
                return

    def _publish(self, generation: int) -> None:
        contents = {f"g/{number}.txt": content(generation, number) for number in range(FILES)}
        files = {
            path: {"digest": hashlib.sha256(data).hexdigest(), "size": len(data)} for path, data in contents.items()
        }
        # Only below g/, so that the loose uploads stay.
        manifest = {"files": {path.removeprefix("g/"): file for path, file in files.items()}, "prefix": "g"}
        answer = self._post("deployment/create", json=manifest)
        for digest in answer["missing"]:
            data = next(data for data in contents.values() if hashlib.sha256(data).hexdigest() == digest)
            self._post(f"deployment/{answer['id']}/blob/{digest}", content=data)
        self.tried = generation
        self._post(f"deployment/{answer['id']}/activate", json={})
        self.done = generation
        self.published.release()

    def _upload(self) -> None:
        path = f"loose-{self._random.randrange(5)}.bin"
        data = self._random.randbytes(self._random.randrange(400_000))
        self.uploads_tried[path] = hashlib.sha256(data).hexdigest()
        self._post(f"storage/upload/{path}", content=data)
        self.uploads_done[path] = self.uploads_tried.pop(path)

    def _post(self, path: str, **body: object) -> dict[str, Any]:
        headers = {} if "json" in body else {"content-type": "application/octet-stream"}
        response = self._api.post(f"/api/v1/space/{self._space}/{path}", headers=headers, **body)  # type: ignore[arg-type]
        assert response.status_code == 200, response.text
        answer: dict[str, Any] = response.json()
        return answer


class Reader(threading.Thread):
    """Visits the files of the publisher in turn, on one connection, until the server is gone."""

    def __init__(self, serve: Serve, publisher: Publisher) -> None:
        super().__init__()
        self._port = serve.edge_port
        self._publisher = publisher
        self.seen = publisher.done  # the latest generation that was served
        self.visits = 0
        self.wrong = ""  # what should not have been served

    def run(self) -> None:
        with suppress(OSError, EOFError), Wire(self._port) as wire:
            while not self.wrong:
                number = self.visits % FILES
                # Two visits may have a publish between them, but each has to see what was live when it began.
                oldest = max(self.seen, self._publisher.done)
                wire.send(f"GET /g/{number}.txt HTTP/1.1\r\nHost: kill.localhost\r\n\r\n".encode())
                self._check(number, oldest, wire.receive())
                self.visits += 1

    def _check(self, number: int, oldest: int, answer: Answer) -> None:
        self.seen = int(answer.body.split()[0]) if answer.status == 200 else 0
        if not oldest <= self.seen <= self._publisher.tried:
            self.wrong = f"generation {self.seen} of file {number}, not {oldest} to {self._publisher.tried}"
        elif answer.status != 404 and (answer.status, answer.body) != (200, content(self.seen, number)):
            self.wrong = f"{answer.status} with {answer.body[:40]!r}… as generation {self.seen} of file {number}"


def content(generation: int, number: int) -> bytes:
    """What file `number` of a generation holds: the generation, and something that no other file has."""
    return f"{generation} {number} ".encode() + hashlib.sha256(f"{generation}/{number}".encode()).digest() * 500


def generation_served(serve: Serve) -> int:
    """The one generation that all files are of; 0 where nothing was published yet."""
    found = set()
    for number in range(FILES):
        answer = serve.get("kill.localhost", f"/g/{number}.txt")
        if answer.status == 404:
            found.add(0)
            continue
        assert answer.status == 200
        generation = int(answer.body.split()[0])
        assert answer.body == content(generation, number)
        found.add(generation)
    assert len(found) == 1, f"a mix of generations: {found}"
    return found.pop()


def test_killed_at_random(tmp_path: Path) -> None:
    seed = int(os.environ.get("SPACELANE_TEST_SEED", random.randrange(2**32)))
    print(f"seed {seed}: set SPACELANE_TEST_SEED to it to run this again")
    random_ = random.Random(seed)
    with Serve(tmp_path) as serve:
        space = serve.post("space/create", {"alias": "kill"})["id"]
        serve.post(f"space/{space}/site/create", {"domain": "kill.localhost"})
    generation = visits = 0
    publisher: Publisher | None = None
    uploads: dict[str, set[str]] = {}  # path → what it may hold
    for kill in range(KILLS + 1):
        with Serve(tmp_path, "--workers", random_.choice(["1", "1", "2"])) as serve:
            if publisher is not None:
                generation = generation_served(serve)
                assert publisher.done <= generation <= publisher.tried
                check_uploads(serve, uploads)
            if kill == KILLS:
                break
            publisher = Publisher(serve, space, generation, random_)
            reader = Reader(serve, publisher)
            kill_while_publishing(serve, publisher, reader, random_)
            visits += reader.visits
        uploads.update((path, {digest}) for path, digest in publisher.uploads_done.items())
        for path, digest in publisher.uploads_tried.items():
            uploads.setdefault(path, {ABSENT}).add(digest)
    assert generation >= KILLS
    assert visits > FILES * KILLS, "too little was visited between the kills to show anything"


def kill_while_publishing(serve: Serve, publisher: Publisher, reader: Reader, random_: random.Random) -> None:
    """End the server's processes between some publish and the next, or in the midst of one."""
    publisher.start()
    reader.start()
    for _ in range(random_.randint(1, 4)):
        assert publisher.published.acquire(timeout=30), "nothing was published"
    # Not a wait for something: the instant of the kill is what is random here.
    threading.Event().wait(random_.uniform(0, 0.2))
    for pid in [*serve.workers(), serve.process.pid]:
        os.kill(pid, signal.SIGKILL)
    publisher.join()
    reader.join()
    assert not reader.wrong, reader.wrong


def check_uploads(serve: Serve, uploads: dict[str, set[str]]) -> None:
    """Each loose file is whole: what was said to be kept or, if the kill came before the answer, the newer content."""
    for path, possible in uploads.items():
        answer = serve.get("kill.localhost", f"/{path}")
        served = ABSENT if answer.status == 404 else hashlib.sha256(answer.body).hexdigest()
        assert served in possible
        uploads[path] = {served}
    listed = serve.api.get("/api/v1/space/@kill/storage/list?recursive=true&take=100").json()["items"]
    for item in listed:
        body = serve.api.get(f"/api/v1/space/@kill/storage/download/{item['path']}").content
        assert hashlib.sha256(body).hexdigest() == item["digest"]

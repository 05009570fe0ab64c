"""`spacelane serve` as a process of its own, for tests of what only real processes do."""

from __future__ import annotations

import hashlib
import json
import os
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from queue import Queue
from typing import Any

import httpx

from tests.support.wire import Answer, get

START_SECONDS = 30
RELOAD_SECONDS = 120
POLL_SECONDS = 0.05


class Serve:
    """A running server on ports of its own. Ends with the `with` block, whatever happens in it."""

    def __init__(self, data_dir: Path, *options: str, **environment: str) -> None:
        self.data_dir = data_dir
        command = [sys.executable, "-m", "server", "serve", "--data-dir", str(data_dir)]
        self.process = subprocess.Popen(
            [*command, "--edge", "127.0.0.1:0", "--control", "127.0.0.1:0", *options],
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, **environment},
        )
        self.log: list[str] = []
        self._serving: Queue[dict[str, Any] | None] = Queue()
        self._reader = threading.Thread(target=self._read_log)
        self._reader.start()
        try:
            addresses = self._serving.get(timeout=START_SECONDS)
            assert addresses, f"the server did not start: {self.log}"
        except BaseException:
            self.kill()
            raise
        self.edge_port = int(addresses["visitors"].rpartition(":")[2])
        self.control = addresses["operators"]
        key = environment.get("SPACELANE_ROOT_KEY") or (data_dir / "root.key").read_text().strip()
        self.api = httpx.Client(base_url=self.control, headers={"authorization": f"Bearer {key}"}, timeout=30)
        self.wait_until(lambda: bool(self._named(b"compressor")))  # begins last, and some look for every process

    def _read_log(self) -> None:
        assert self.process.stderr is not None
        with self.process.stderr as stream:
            for line in stream:
                self.log.append(line)
                if '"event": "serving"' in line:
                    self._serving.put(json.loads(line))
        self._serving.put(None)

    def __enter__(self) -> Serve:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Ask it to end; its exit status."""
        self.process.send_signal(number)
        status = self.process.wait(START_SECONDS)
        self.kill()
        return status

    def reload(self, meanwhile: Callable[[], None] = lambda: None) -> None:
        """Have every process replaced; return when all of them have been. `meanwhile` is called now and then."""
        done = '"event": "every process has been replaced"'
        before = sum(done in line for line in self.log)

        def is_done() -> bool:
            meanwhile()
            return sum(done in line for line in self.log) > before

        self.process.send_signal(signal.SIGHUP)
        self.wait_until(is_done, RELOAD_SECONDS)

    def kill(self) -> None:
        """End it and its children without asking, as a machine without power does."""
        with suppress(FileNotFoundError, ProcessLookupError):  # it has ended already
            for pid in [self.process.pid, *self.workers()]:
                os.kill(pid, signal.SIGKILL)
        self.process.wait()
        self._reader.join()
        if hasattr(self, "api"):
            self.api.close()

    def workers(self) -> list[int]:
        """The process ids of its children, or its own where it has none."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        return [int(pid) for pid in children] or [self.process.pid]

    def edge_workers(self) -> list[int]:
        """The process ids of those that answer visitors."""
        return self._named(b"worker-")

    def compressor(self) -> int:
        """The process id of the one that compresses."""
        [pid] = self._named(b"compressor")
        return pid

    def _named(self, name: bytes) -> list[int]:
        return [pid for pid in self.workers() if name in Path(f"/proc/{pid}/cmdline").read_bytes()]

    def wait_until(self, condition: Callable[[], bool], seconds: float = START_SECONDS) -> None:
        """Return once it holds; what is waited for tells nobody when it happens, save that the server has ended."""
        deadline = time.monotonic() + seconds
        descriptor = os.pidfd_open(self.process.pid)
        try:
            while not condition():
                has_ended = bool(select.select([descriptor], [], [], POLL_SECONDS)[0])
                assert not has_ended, f"the server has ended: {self.log}"
                assert time.monotonic() < deadline, f"in vain: {self.log}"
        finally:
            os.close(descriptor)

    def post(self, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        """A call of the API that has to succeed."""
        response = self.api.post(f"/api/v1/{path}", json=body or {})
        assert response.status_code == 200, response.text
        answer: dict[str, Any] = response.json()
        return answer

    def upload(self, space: str, path: str, content: bytes) -> None:
        """Put one file into a space; this has to succeed."""
        response = self.api.post(
            f"/api/v1/space/{space}/storage/upload/{path}",
            content=content,
            headers={"content-type": "application/octet-stream"},
        )
        assert response.status_code == 200, response.text

    def draft(self, space: str, files: dict[str, bytes], **fields: object) -> str:
        """A deployment whose contents are all uploaded; its id."""
        contents = {hashlib.sha256(content).hexdigest(): content for content in files.values()}
        manifest = {
            path: {"digest": hashlib.sha256(content).hexdigest(), "size": len(content)}
            for path, content in files.items()
        }
        made = self.post(f"space/{space}/deployment/create", {"files": manifest, **fields})
        for digest in made["missing"]:
            url = f"/api/v1/space/{space}/deployment/{made['id']}/blob/{digest}"
            headers = {"content-type": "application/octet-stream"}
            assert self.api.post(url, content=contents[digest], headers=headers).status_code == 200
        return str(made["id"])

    def deploy(self, space: str, files: dict[str, bytes], **fields: object) -> str:
        """An active deployment; its id."""
        deployment = self.draft(space, files, **fields)
        self.post(f"space/{space}/deployment/{deployment}/activate")
        return deployment

    def site(self, domain: str, files: dict[str, bytes]) -> tuple[str, str]:
        """A site on a space of its own; the ids of both."""
        space = self.post("space/create", {"name": domain})["id"]
        for path, content in files.items():
            self.upload(space, path, content)
        return space, self.post(f"space/{space}/site/create", {"domain": domain})["id"]

    def get(self, host: str, path: str = "/", *headers: str) -> Answer:
        """What a visitor gets."""
        return get(self.edge_port, host, path, *headers)

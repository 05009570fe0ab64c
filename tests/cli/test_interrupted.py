"""`spacelane deploy`, killed and cut off at random moments: doing it again finishes, and sends nothing twice."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import sys
from collections import Counter
from collections.abc import AsyncIterator, Callable, Collection
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import pytest
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from server.cli.transport import Endpoint
from server.control.app import create_app
from server.control.auth import hash_secret
from server.control.config import ControlConfig
from storage.memory import MemoryBlobs, MemoryMetadata
from storage.models import Blob
from tests.cli.conftest import Control, make_tree
from tests.control.api import ROOT_SECRET, WORKSPACE, port_of, served

INTERRUPTIONS = int(os.environ.get("INTERRUPTIONS", "3"))
FILES = 60
ALIAS = "my_localhost"


class Counting(MemoryMetadata):
    """Counts how often each content was taken in."""

    def __init__(self) -> None:
        super().__init__()
        self.kept: Counter[str] = Counter()

    async def put_blobs(self, workspace_id: str, blobs: Collection[Blob]) -> None:
        await super().put_blobs(workspace_id, blobs)
        self.kept.update(blob.digest for blob in blobs)


class Watched:
    """A control API that calls somebody when it has been sent so much of the contents; 0: never."""

    def __init__(self, app: ASGIApp, kept: Counter[str]) -> None:
        self.app = app
        self.kept = kept
        self.received = 0
        self.at_byte: tuple[int, Callable[[], None]] = (0, lambda: None)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def watch() -> Message:
            message = await receive()
            self.received += len(message.get("body", b""))
            number, happen = self.at_byte
            if 0 < number <= self.received:
                self.at_byte = (0, lambda: None)
                happen()
            return message

        await self.app(scope, watch if scope.get("path", "").endswith("/blobs") else receive, send)


@asynccontextmanager
async def watched() -> AsyncIterator[tuple[Control, Watched]]:
    metadata, blobs = Counting(), MemoryBlobs()
    await metadata.put_workspace(WORKSPACE, "default")
    config = ControlConfig(root_key_hash=hash_secret(ROOT_SECRET.encode()))
    watching = Watched(create_app(metadata, blobs, config), metadata.kept)
    async with served(watching) as server:
        yield (
            Control(Endpoint(f"http://127.0.0.1:{port_of(server)}", ROOT_SECRET, "the test"), metadata, blobs),
            watching,
        )


async def begin(site: Path, url: str) -> asyncio.subprocess.Process:
    command = [sys.executable, "-m", "server", "deploy", str(site), "--domain", "my.localhost", "--json"]
    return await asyncio.create_subprocess_exec(
        *command, "--url", url, "--key", ROOT_SECRET, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )


def edit(site: Path, random: random.Random, round: int) -> set[str]:
    """Another tree: most files are other than before. Their paths."""
    for path in site.iterdir():
        path.unlink()
    names = {f"{number}.txt": f"{round} {number}" * random.randrange(1, 4000) for number in range(FILES)}
    make_tree(site, {**names, f"only-{round}.html": "x", "index.html": "the same"})
    return {path.name for path in site.iterdir()}


@pytest.mark.slow
@pytest.mark.timeout(60 + 20 * INTERRUPTIONS)
async def test_killed(tmp_path: Path) -> None:
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    site = tmp_path / "site"
    site.mkdir()
    before: set[str] = set()
    killed = 0
    async with watched() as (control, server):
        for number in range(INTERRUPTIONS):
            wanted = edit(site, chance, number)
            running = await begin(site, control.endpoint.url)
            size = sum(path.stat().st_size for path in site.iterdir())
            kill = partial(running.send_signal, signal.SIGKILL)
            server.at_byte = (server.received + chance.randrange(1, size), kill)
            await running.communicate()
            killed += running.returncode == -signal.SIGKILL
            live = set(await control.paths(ALIAS)) if before or await is_made(control) else set()
            assert live in (before, wanted)
            server.at_byte = (0, lambda: None)
            running = await begin(site, control.endpoint.url)
            out, err = await running.communicate()
            assert running.returncode == 0, (seed, out, err)
            assert set(await control.paths(ALIAS)) == wanted
            assert [digest for digest, times in server.kept.items() if times > 1] == []
            before = wanted
    assert killed > 0


async def is_made(control: Control) -> bool:
    return await control.metadata.find_space_by_alias(WORKSPACE, ALIAS) is not None


@asynccontextmanager
async def cutting(port: int, chance: random.Random) -> AsyncIterator[tuple[int, list[int]]]:
    """A way to `port` on which each connection is cut after some bytes, save the first, which lets the greeting by; how
    many were."""
    cuts = []

    async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, here = await asyncio.open_connection("127.0.0.1", port)
        left = chance.randrange(20_000, 200_000)

        async def pass_on() -> None:
            nonlocal left
            while left > 0 and (chunk := await reader.read(min(left, 4096))):
                left -= len(chunk)
                here.write(chunk)
                await here.drain()
            if left <= 0:
                cuts.append(1)
            here.close()

        async def pass_back() -> None:
            while chunk := await there.read(4096):
                writer.write(chunk)
                await writer.drain()
            writer.close()

        await asyncio.gather(pass_on(), pass_back(), return_exceptions=True)
        for each in (here, writer):
            each.transport.abort()

    async with await asyncio.start_server(relay, "127.0.0.1", 0) as server:
        yield server.sockets[0].getsockname()[1], cuts


@pytest.mark.slow
async def test_cut_off(tmp_path: Path) -> None:
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    site = tmp_path / "site"
    site.mkdir()
    wanted = edit(site, chance, 0)
    async with watched() as (control, server):
        async with cutting(int(control.endpoint.url.rpartition(":")[2]), chance) as (port, cuts):
            for _ in range(10):
                running = await begin(site, f"http://127.0.0.1:{port}")
                out, err = await running.communicate()
                if running.returncode == 0:
                    break
        assert running.returncode == 0, (seed, out, err)
        assert cuts
        assert set(await control.paths(ALIAS)) == wanted
        assert max(server.kept.values()) == 1, seed

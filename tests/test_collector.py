"""When contents are collected: in the background, and by the command, beside a running server."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from server.collector import Collector
from server.stores import Stores
from storage.errors import Unavailable
from storage.memory import MemoryBlobs, MemoryMetadata
from storage.models import NewDeployment, NewSpace
from tests.storage.conftest import Clock
from tests.storage.test_blobs import SteppedClock, chunks_of, grow_older
from tests.support.process import Serve


class Watched(MemoryBlobs):
    """Says when something is deleted."""

    def __init__(self, clock: SteppedClock) -> None:
        super().__init__(clock=clock)
        self.deleted = asyncio.Event()

    async def delete(self, digest: str, *, unchanged_for: float = 0.0) -> bool:
        self.deleted.set()
        return await super().delete(digest, unchanged_for=unchanged_for)


class Away(MemoryMetadata):
    """Cannot be reached when it is asked to let go of anything."""

    async def forget_history(self, before: int) -> int:
        raise Unavailable("the database is away")

    async def release_blobs(self, before: int) -> int:
        raise Unavailable("the database is away")


async def test_the_job_collects_and_goes_on() -> None:
    clock = SteppedClock()
    blobs = Watched(clock)
    running = asyncio.create_task(Collector(Stores(MemoryMetadata(), blobs), 60, 1, 1).run(first=0, every=0))
    try:
        for content in (b"one", b"two"):
            blob = await blobs.put(chunks_of(content))
            assert blob.digest in blobs.contents
            clock.wait(60)
            blobs.deleted.clear()
            await asyncio.wait_for(blobs.deleted.wait(), 10)
            assert blobs.contents == {}
    finally:
        running.cancel()


async def test_what_was_collected_is_told() -> None:
    clock = SteppedClock()
    blobs = MemoryBlobs(clock=clock)
    collector = Collector(Stores(MemoryMetadata(), blobs), 60, 1, 1)
    await blobs.put(chunks_of(b"gone"))
    clock.wait(60)
    with capture_logs() as logs:
        await collector.work()
        await collector.work()
    event = "collected contents that nothing refers to"
    assert logs == [{"event": event, "count": 1, "bytes": 4, "log_level": "info"}]


async def test_a_store_that_is_away_is_asked_again() -> None:
    with capture_logs() as logs:
        await Collector(Stores(Away(), MemoryBlobs()), 60, 1, 1).work()
    events = ("old deployments cannot be forgotten now", "contents cannot be collected now")
    assert logs == [{"event": event, "reason": "the database is away", "log_level": "error"} for event in events]


async def test_old_deployments_go_and_their_contents_with_them() -> None:
    clock, wall = SteppedClock(), Clock()
    metadata, blobs = MemoryMetadata(clock=wall), MemoryBlobs(clock=clock)
    await metadata.put_workspace("acme", "Acme")
    space = await metadata.create_space(NewSpace(workspace_id="acme"))
    for content in (b"1", b"2", b"3", b"4"):
        blob = await blobs.put(chunks_of(content))
        await metadata.put_blob("acme", blob)
        deployment = await metadata.create_deployment(NewDeployment(space_id=space.id, files={"a": blob}))
        await metadata.activate_deployment(deployment.id)
    clock.wait(3 * 86_400)
    wall.now += 3 * 86_400_000
    with capture_logs() as logs:
        await Collector(Stores(metadata, blobs), 60, keep=0, days=2, clock=wall).work()
    assert logs == [
        {"event": "forgot what is past going back to", "deployments": 2, "versions": 3, "log_level": "info"},
        {"event": "collected contents that nothing refers to", "count": 2, "bytes": 2, "log_level": "info"},
    ]
    assert sorted(blobs.contents.values()) == [b"3", b"4"]


def spacelane(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "server", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.slow
def test_the_command_collects_beside_a_running_server(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with Serve(data) as serve:
        gone, _ = serve.site("gone.localhost", {"index.html": b"gone", "both.html": b"both"})
        serve.site("stays.localhost", {"index.html": b"stays", "both.html": b"both"})
        serve.post(f"space/{gone}/delete")
        for arguments in ([], ["--dry-run"]):
            done = spacelane("collect", "--data-dir", data, *arguments)
            assert (done.returncode, done.stderr) == (0, "")
            assert done.stdout.startswith("0 contents, 0 bytes:")
        grow_older(data / "blobs", 2 * 86_400)
        # Its possession is as young as it is, whatever the disk says.
        assert spacelane("collect", "--data-dir", data).stdout == "0 contents, 0 bytes: gone.\n"
        age_possessions(data)
        done = spacelane("collect", "--data-dir", data, "--dry-run")
        assert (done.returncode, done.stdout) == (0, "1 content, 4 bytes: would go.\n"), done.stderr
        assert spacelane("collect", "--data-dir", data).stdout == "1 content, 4 bytes: gone.\n"
        assert serve.get("stays.localhost").body == b"stays"
        assert serve.get("stays.localhost", "/both").body == b"both"


def age_possessions(data: Path) -> None:
    """As if all had been uploaded two days ago."""
    statement = "UPDATE workspace_blobs SET uploaded_at = uploaded_at - 172800000"
    subprocess.run(["sqlite3", data / "spacelane.db", statement], check=True, timeout=60)


def test_a_directory_without_a_server(tmp_path: Path) -> None:
    for directory in (tmp_path / "none", tmp_path):
        done = spacelane("collect", "--data-dir", directory)
        assert (done.returncode, done.stdout) == (1, "")
        assert f"no server keeps its data in {directory}" in done.stderr
        assert "--data-dir" in done.stderr
    assert list(tmp_path.iterdir()) == []

"""Processes beside this one: what becomes of those that end, and of those that cannot begin."""

from __future__ import annotations

import asyncio
import shutil
import sys
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from server import children
from server.children import keep_running
from server.config import Address, Settings
from server.tasks import Task, compressor


@pytest.fixture
def task(tmp_path: Path) -> Task:
    """Of no importance: no process here comes to it."""
    return Task(settings=Settings(data_dir=tmp_path, edge=Address("127.0.0.1", 0)), compress=True)


class Stop(asyncio.Event):
    """Set once it has been looked at so often: `keep_running` does before each start."""

    def __init__(self, looks: int) -> None:
        super().__init__()
        self._looks = looks

    def is_set(self) -> bool:
        self._looks -= 1
        if self._looks < 0:
            self.set()
        return super().is_set()


async def run(task: Task, stop: asyncio.Event) -> list[str]:
    """What was logged until the stop."""
    with capture_logs() as logs:
        async with asyncio.timeout(60):
            await keep_running("compressor", task, stop)
    return [str(log["event"]) for log in logs]


async def test_what_cannot_be_started_is_tried_again(
    task: Task, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(sys, "executable", str(tmp_path / "no-python"))
    monkeypatch.setattr(children, "MAX_PAUSE_SECONDS", 0.001)
    assert await run(task, Stop(3)) == ["a process cannot be started; trying again"] * 3


async def test_what_ends_at_once_is_started_again(task: Task, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", shutil.which("true"))
    monkeypatch.setattr(children, "MAX_PAUSE_SECONDS", 0.001)
    assert await run(task, Stop(4)) == ["a process ended; starting it again"] * 2


def test_a_task_arrives_as_it_was(tmp_path: Path) -> None:
    whole = Task(settings=Settings(data_dir=tmp_path), root_key_hash="abc", slot=3)
    assert Task.load(whole.dump()) == whole
    (part,) = compressor(whole).values()
    assert Task.load(part.dump()).compress

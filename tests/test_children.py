"""Processes beside this one: what becomes of those that end, of those that cannot begin, and of their successors."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from server import children
from server.children import Child, Keeper, Running
from server.config import Address, Settings
from server.tasks import RETIRE, Task, compressor

# What children do here instead of their task.
SERVES = "import sys; sys.stdin.readline(); import os; os.write(0, b'serving\\n'); sys.stdin.read()"
NEVER_SERVES = "import sys; sys.stdin.read()"
HOLDS_OUT = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN);" + SERVES


@pytest.fixture
def task(tmp_path: Path) -> Task:
    """Of no importance: no process here comes to it."""
    return Task(settings=Settings(data_dir=tmp_path, edge=Address("127.0.0.1", 0)), compress=True)


@pytest.fixture
def children_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Have children that start from now on run this program."""
    program = tmp_path / "python"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} "$(dirname "$0")/program"\n')
    program.chmod(0o700)
    monkeypatch.setattr(sys, "executable", str(program))

    def run(text: str) -> None:
        (tmp_path / "program").write_text(text)

    return run


class Told:
    """What a keeper tells."""

    def __init__(self) -> None:
        self.crashes = 0
        self.reloads = 0
        self.changed = asyncio.Event()

    def crashed(self, name: str) -> None:
        assert name == "compressor"
        self.crashes += 1
        self.changed.set()

    def reloaded(self, name: str) -> None:
        assert name == "compressor"
        self.reloads += 1

    async def wait_for_crashes(self, count: int) -> None:
        while self.crashes < count:
            self.changed.clear()
            await self.changed.wait()


@asynccontextmanager
async def keeping(task: Task, first: Callable[[], Running] | None = None) -> AsyncIterator[tuple[Keeper, Told]]:
    """A keeper at work."""
    told, stop = Told(), asyncio.Event()
    keeper = Keeper(task, first=first, crashed=told.crashed, reloaded=told.reloaded)
    running = asyncio.create_task(keeper.run(stop))
    async with asyncio.timeout(60):
        yield keeper, told
        stop.set()
        await running


class Pretended:
    """Stands for a process."""

    pid = 1

    def __init__(self) -> None:
        self.ended: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    async def serves(self) -> bool:
        return True

    async def retire(self) -> None:
        await self.end()

    async def end(self) -> None:
        if not self.ended.done():
            self.ended.set_result(0)


async def test_what_cannot_be_started_is_tried_again(
    task: Task, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(sys, "executable", str(tmp_path / "no-python"))
    monkeypatch.setattr(children, "MAX_PAUSE_SECONDS", 0.001)
    first = Pretended()
    with capture_logs() as logs:
        async with keeping(task, lambda: first) as (keeper, told):
            await keeper.replace()
            assert not first.ended.done(), "without a successor it goes on"
            first.ended.set_result(1)
            await told.wait_for_crashes(1)
            monkeypatch.setattr(sys, "executable", shutil.which("true"))
            await told.wait_for_crashes(2)
    events = [log["event"] for log in logs]
    assert events[:2] == ["a process cannot be started; trying again", "a process ended; starting it again"]


async def test_what_ends_at_once_is_started_again(task: Task, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", shutil.which("true"))
    monkeypatch.setattr(children, "MAX_PAUSE_SECONDS", 0.001)
    with capture_logs() as logs:
        async with keeping(task) as (_, told):
            await told.wait_for_crashes(2)
    assert {log["event"] for log in logs} == {"a process ended; starting it again"}


def test_the_pause_grows_and_has_an_end() -> None:
    pauses = [0.0]
    for _ in range(20):
        pauses.append(children.longer(pauses[-1]))
    assert pauses == sorted(pauses)
    assert pauses[1:4] == pytest.approx([0.1, 0.3, 0.7])
    assert pauses[-1] == children.MAX_PAUSE_SECONDS


@pytest.mark.slow
async def test_a_successor_takes_over_once_it_serves(task: Task, children_run: Callable[[str], None]) -> None:
    children_run(SERVES)
    first = Pretended()
    async with keeping(task, lambda: first) as (keeper, told):
        await keeper.replace()
        assert first.ended.done()
        await keeper.replace()
        assert (told.reloads, told.crashes) == (2, 0)


@pytest.mark.slow
async def test_one_that_never_serves_takes_nobodys_place(
    task: Task, children_run: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(children, "START_SECONDS", 0.2)
    children_run(NEVER_SERVES)
    first = Pretended()
    with capture_logs() as logs:
        async with keeping(task, lambda: first) as (keeper, told):
            await keeper.replace()
            assert not first.ended.done()
            children_run("raise SystemExit(3)")
            await keeper.replace()
            assert not first.ended.done()
            assert told.reloads == 0
    assert [log["event"] for log in logs] == ["a new process does not come to serve; the old one goes on"] * 2


@pytest.mark.slow
async def test_the_stop_does_not_wait_for_a_successor(task: Task, children_run: Callable[[str], None]) -> None:
    children_run(NEVER_SERVES)
    first = Pretended()
    async with keeping(task, lambda: first) as (keeper, told):
        replacing = asyncio.create_task(keeper.replace())
        await asyncio.sleep(0)
    assert first.ended.done()
    assert told.reloads == 0
    await replacing


@pytest.mark.slow
@pytest.mark.parametrize(("seconds", "level"), [("END_SECONDS", "error"), ("COMPRESSOR_END_SECONDS", "info")])
async def test_what_does_not_stop_is_killed(
    task: Task, children_run: Callable[[str], None], monkeypatch: pytest.MonkeyPatch, seconds: str, level: str
) -> None:
    monkeypatch.setattr(children, seconds, 0.05)
    children_run(HOLDS_OUT)
    with capture_logs() as logs:
        child = await Child.start(replace(task, compress=level == "info"))
        assert await child.serves()
        await child.end()
        assert await child.ended == -signal.SIGKILL
        await child.end()  # again is harmless
    assert [(log["log_level"], log["event"]) for log in logs] == [(level, "a process does not stop; killing it")]


@pytest.mark.slow
async def test_what_never_served_has_nothing_to_finish(task: Task, children_run: Callable[[str], None]) -> None:
    children_run(NEVER_SERVES)
    child = await Child.start(replace(task, compress=False))
    async with asyncio.timeout(30):
        await child.retire()
    assert child.ended.result() == -RETIRE


@pytest.mark.slow
async def test_a_crash_is_made_good(task: Task, children_run: Callable[[str], None]) -> None:
    children_run(SERVES)
    with capture_logs():
        child = await Child.start(task)
        async with keeping(task, lambda: child) as (keeper, told):
            os.kill(child.pid, signal.SIGKILL)
            await told.wait_for_crashes(1)
            await keeper.replace()
            assert told.reloads == 1


def test_a_task_arrives_as_it_was(tmp_path: Path) -> None:
    whole = Task(
        settings=Settings(data_dir=tmp_path),
        root_key_hash="abc",
        token_secrets=("s" * 32,),
        preview_keys=(b"\x00\xff",),
        slot=3,
    )
    assert Task.load(whole.dump()) == whole
    part = compressor(whole)
    assert Task.load(part.dump()).compress
    assert (part.token_secrets, part.preview_keys) == ((), ())

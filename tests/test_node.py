"""What the processes of one node share, with real processes."""

from __future__ import annotations

import multiprocessing
import os
import random
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from pathlib import Path

import pytest

from server.node import MAX_WORKERS, NodeMap, NodeMapError, State, Worker

SPAWN = multiprocessing.get_context("spawn")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "node.map"


@pytest.fixture
def node(path: Path) -> Iterator[NodeMap]:
    node = NodeMap.create(path, 3, 7)
    yield node
    node.close()


def test_created(node: NodeMap, path: Path) -> None:
    assert node.revision == 7
    assert node.workers() == [Worker(index, 0, State.VACANT, -1) for index in range(3)]
    assert not node.ready()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_mode_is_mended(path: Path) -> None:
    path.touch(mode=0o644)
    NodeMap.create(path, 1, 0).close()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_one_view_sees_what_another_writes(node: NodeMap, path: Path) -> None:
    other = NodeMap.open(path)
    other.raise_revision(2**40)
    assert node.revision == 2**40
    slot = other.slot(1)
    assert node.workers()[1] == Worker(1, os.getpid(), State.STARTING, -1)
    slot.mark(State.SERVING)
    slot.applied(0)
    assert node.workers()[1] == Worker(1, os.getpid(), State.SERVING, 0)
    other.close()


def test_revision_is_never_lowered(node: NodeMap) -> None:
    for revision in (6, 7, 0):
        node.raise_revision(revision)
        assert node.revision == 7
    node.raise_revision(8)
    assert node.revision == 8


def test_ready_when_every_slot_serves(node: NodeMap) -> None:
    slots = [node.slot(index) for index in range(3)]
    for slot in slots:
        assert not node.ready()
        slot.mark(State.SERVING)
    assert node.ready()
    slots[0].mark(State.DRAINING)
    assert not node.ready()


def test_reset_is_in_place(node: NodeMap, path: Path) -> None:
    slot = node.slot(2)
    again = NodeMap.create(path, 2, 3)
    assert node.revision == 3, "the store may be older than the file: a restored copy"
    assert again.workers() == [Worker(0, 0, State.VACANT, -1), Worker(1, 0, State.VACANT, -1)]
    slot.mark(State.SERVING)
    again.raise_revision(9)
    assert node.revision == 9, "a process of the run before still sees revisions rise"
    again.close()
    last = NodeMap.create(path, 3, 9)
    assert last.workers()[2].state is State.VACANT, "what the run before writes of itself is dropped"
    last.close()


def test_close_twice(path: Path) -> None:
    node = NodeMap.create(path, 1, 0)
    node.close()
    node.close()
    with pytest.raises(ValueError, match="released"):
        _ = node.revision


@pytest.mark.parametrize("workers", [0, -1, MAX_WORKERS + 1])
def test_number_of_workers(path: Path, workers: int) -> None:
    with pytest.raises(NodeMapError, match="from 1 to"):
        NodeMap.create(path, workers, 0)
    assert not path.exists()


def test_largest(path: Path) -> None:
    node = NodeMap.create(path, MAX_WORKERS, 0)
    node.slot(MAX_WORKERS - 1).applied(5)
    assert node.workers()[-1].applied_revision == 5
    node.close()


@pytest.mark.parametrize("index", [-1, 3, 1000])
def test_no_such_slot(node: NodeMap, index: int) -> None:
    with pytest.raises(NodeMapError, match="has 3 workers"):
        node.slot(index)


def test_missing(path: Path) -> None:
    with pytest.raises(NodeMapError, match=r"node\.map.*No such file.*running\?"):
        NodeMap.open(path)
    with pytest.raises(NodeMapError, match="No such file or directory$"):
        NodeMap.create(path / "below", 1, 0)


@pytest.mark.parametrize("content", [b"SQLite format 3\0" * 1000, b"x", b"\0" * 8, b"\0" * 100_000])
def test_foreign_file_is_left_alone(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    with pytest.raises(NodeMapError, match="is not a node map"):
        NodeMap.open(path)
    with pytest.raises(NodeMapError, match="is not a node map; remove it"):
        NodeMap.create(path, 1, 0)
    assert path.read_bytes() == content


def test_file_cut_short_in_the_making(node: NodeMap, path: Path) -> None:
    size = path.stat().st_size
    for content in (b"", bytes(size)):
        path.write_bytes(content)
        with pytest.raises(NodeMapError, match="is not a node map of this version"):
            NodeMap.open(path)
        made = NodeMap.create(path, 1, 4)
        assert made.revision == 4
        made.close()


def test_file_of_another_version_is_remade(path: Path) -> None:
    path.write_bytes(b"SPLNODE0" + bytes(100))
    with pytest.raises(NodeMapError, match="of this version"):
        NodeMap.open(path)
    NodeMap.create(path, 1, 4).close()
    node = NodeMap.open(path)
    assert node.revision == 4
    node.close()


def test_another_users_process_counts_as_running(node: NodeMap, monkeypatch: pytest.MonkeyPatch) -> None:
    node.slot(0)

    def refuse(pid: int, signal: int) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "kill", refuse)  # a test that runs as root could not have it otherwise
    assert node.workers()[0].state is State.STARTING


def test_threads_race(node: NodeMap) -> None:
    steps = [random.Random(seed).sample(range(8, 5000), 500) for seed in range(4)]

    def raise_each(revisions: list[int]) -> None:
        for revision in revisions:
            node.raise_revision(revision)

    threads = [threading.Thread(target=raise_each, args=(some,)) for some in steps]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert node.revision == max(map(max, steps))


def raise_many(path: Path, seed: int, start: Connection) -> None:
    """Raise a rising series of random revisions; exit with 1 if the map is ever seen to be behind one."""
    node = NodeMap.open(path)
    numbers = random.Random(seed)
    start.recv()
    revision = seen = 0
    for _ in range(20_000):
        revision += numbers.randrange(3)
        node.raise_revision(revision)
        now = node.revision
        if now < revision or now < seen:
            sys.exit(1)
        seen = now
    start.send(revision)
    node.close()


@pytest.mark.slow
def test_processes_race(path: Path) -> None:
    seed = random.randrange(2**32)
    print("seed", seed)
    node = NodeMap.create(path, 1, 0)
    pipes = [SPAWN.Pipe() for _ in range(3)]
    racers = [
        SPAWN.Process(target=raise_many, args=(path, seed + number, theirs)) for number, (_, theirs) in enumerate(pipes)
    ]
    for racer in racers:
        racer.start()
    for _, theirs in pipes:
        theirs.close()
    for ours, _ in pipes:
        ours.send("go")
    highest = []
    for racer, (ours, _) in zip(racers, pipes, strict=True):
        highest.append(ours.recv())
        finish(racer)
        ours.close()
        assert racer.exitcode == 0
    assert node.revision == max(highest)
    node.close()


def serve(path: Path, index: int, pipe: Connection) -> None:
    """A worker: claim the slot, serve, and wait to be told to end."""
    node = NodeMap.open(path)
    slot = node.slot(index)
    slot.applied(node.revision)
    slot.mark(State.SERVING)
    pipe.send("serving")
    pipe.recv()
    slot.mark(State.DRAINING)
    slot.applied(1000)
    pipe.send("draining")
    node.close()


def finish(process: SpawnProcess) -> None:
    process.join(30)
    assert process.exitcode is not None


@pytest.mark.slow
def test_workers_come_and_go(node: NodeMap, path: Path) -> None:
    ours, theirs = SPAWN.Pipe()
    worker = SPAWN.Process(target=serve, args=(path, 0, theirs))
    worker.start()
    assert ours.recv() == "serving"
    assert node.workers()[0] == Worker(0, worker.pid or -1, State.SERVING, 7)
    node.slot(1).mark(State.SERVING)
    node.slot(2).mark(State.SERVING)
    assert node.ready()
    worker.kill()
    finish(worker)
    assert node.workers()[0] == Worker(0, worker.pid or -1, State.VACANT, 7), "a killed worker's slot is vacant"
    assert not node.ready()
    ours.close()
    theirs.close()


@pytest.mark.slow
def test_successor_takes_the_slot_over(node: NodeMap, path: Path) -> None:
    ours, theirs = SPAWN.Pipe()
    predecessor = SPAWN.Process(target=serve, args=(path, 0, theirs))
    predecessor.start()
    assert ours.recv() == "serving"
    successor = node.slot(0)
    successor.applied(9)
    assert node.workers()[0] == Worker(0, predecessor.pid or -1, State.SERVING, 7), "it goes on until the other serves"
    successor.mark(State.SERVING)
    ours.send("drain")
    assert ours.recv() == "draining"
    finish(predecessor)
    assert node.workers()[0] == Worker(0, os.getpid(), State.SERVING, 9), "what the old one says is dropped"
    ours.close()
    theirs.close()


@pytest.mark.slow
def test_killed_raiser_leaves_no_lock(node: NodeMap, path: Path) -> None:
    script = "import sys; from pathlib import Path; from server.node import NodeMap, _locked\n"
    script += "node = NodeMap.open(Path(sys.argv[1]))\n"
    script += "with _locked(node._descriptor, 2): print('locked', flush=True); input()"
    with subprocess.Popen(
        [sys.executable, "-c", script, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as raiser:
        assert raiser.stdout is not None
        assert raiser.stdout.readline() == "locked\n"
        raiser.kill()
        raiser.wait()
    node.raise_revision(100)
    assert node.revision == 100

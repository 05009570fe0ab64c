"""How long `spacelane deploy` takes, beside a copy of the same files: `python -m benchmarks.deploy DIR [RSYNC]`.

1. a copy of DIR to another folder, by rsync (or cp where that is not installed), with a flush to the disk
2. the first deploy to a new server
3. the same again, with nothing changed
4. again, after three files have changed

Each is timed from outside, the command's start included. The server is on this machine, on whatever core is free.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.peers.spacelane import KEY, Control
from benchmarks.processes import POLL_SECONDS, START_SECONDS, BenchError, free_port

CHANGED = 3  # files


@dataclass(frozen=True, slots=True)
class Taken:
    """What a command took: seconds of wall clock, and of processor with its children's."""

    name: str
    wall: float
    cpu: float
    report: dict[str, Any]


def run(name: str, command: Sequence[str], environment: dict[str, str] | None = None) -> Taken:
    """Time one command, which has to succeed; a report in JSON is read."""
    before, started = os.times(), time.monotonic()
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, env={**os.environ, **(environment or {})}
    )
    wall, after = time.monotonic() - started, os.times()
    if done.returncode:
        raise BenchError(f"{name} failed: {done.stdout}{done.stderr}")
    cpu = after.children_user + after.children_system - before.children_user - before.children_system
    return Taken(name, wall, cpu, json.loads(done.stdout) if done.stdout.startswith("{") else {})


@contextmanager
def serving(directory: Path) -> Iterator[str]:
    """A new server's control API."""
    control = Control(free_port())
    command = [
        sys.executable,
        "-m",
        "server",
        "serve",
        "--data-dir",
        str(directory),
        "--edge",
        f"127.0.0.1:{free_port()}",
    ]
    with subprocess.Popen(
        [*command, "--control", f"127.0.0.1:{control.port}"],
        stderr=subprocess.DEVNULL,
        env={**os.environ, "SPACELANE_ROOT_KEY": KEY},
    ) as server:
        try:
            deadline = time.monotonic() + START_SECONDS
            while not control.is_ready():
                if server.poll() is not None or time.monotonic() > deadline:
                    raise BenchError("the server did not start")
                time.sleep(POLL_SECONDS)
            yield f"http://127.0.0.1:{control.port}"
        finally:
            server.terminate()


def measure(source: Path, copy: Sequence[str], directory: Path) -> Iterator[Taken]:
    """The rows, in the order above. `copy` is the command that copies, without its operands."""
    site = directory / "site"
    shutil.copytree(source, site, symlinks=False)
    script = f'{" ".join(copy)} "$0/" "$1" && sync -f "$1"'
    yield run(f"{Path(copy[0]).name}, with a flush", ["sh", "-c", script, str(site), str(directory / "copy")])
    with serving(directory / "data") as url:
        deploy = [sys.executable, "-m", "server", "deploy", str(site), "--domain", "bench.localhost", "--json"]
        environment = {"SPACELANE_URL": url, "SPACELANE_KEY": KEY}
        yield run("deploy, the first", deploy, environment)
        yield run("deploy, unchanged", deploy, environment)
        for path in sorted(path for path in site.rglob("*.html") if path.is_file())[:CHANGED]:
            path.write_bytes(path.read_bytes() + b"<!-- changed -->")
        yield run(f"deploy, {CHANGED} files changed", deploy, environment)


def main(source: str, rsync: str | None = None) -> None:
    """Print a table."""
    found = rsync or shutil.which("rsync")
    with tempfile.TemporaryDirectory() as directory:
        print(f"{'':28}{'wall s':>8}{'CPU s':>8}{'files/s':>9}{'MB/s':>8}  sent")
        for taken in measure(Path(source), [found, "-a"] if found else ["cp", "-a"], Path(directory)):
            files, size = _size(Path(directory) / "site")
            sent = f"{taken.report['sentFiles']} files, {taken.report['sentBytes']} bytes" if taken.report else ""
            rates = f"{files / taken.wall:9.0f}{size / taken.wall / 1e6:8.1f}"
            print(f"{taken.name:28}{taken.wall:8.2f}{taken.cpu:8.2f}{rates}  {sent}", flush=True)


def _size(directory: Path) -> tuple[int, int]:
    files = [path for path in directory.rglob("*") if path.is_file()]
    return len(files), sum(path.stat().st_size for path in files)


if __name__ == "__main__":
    main(*sys.argv[1:])

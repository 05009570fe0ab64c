"""A load generator of our own, for what wrk cannot do: connections that each keep to a browser's head, requests that
leave at set times whether or not earlier ones were answered, and a number of requests that are each sent once.

The program is `generator.c`, compiled when it is first wanted; here are what it is told and what it tells.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from benchmarks.processes import BenchError, pinned

SOURCE = Path(__file__).with_suffix(".c")
BUILD = SOURCE.parent.parent / "build"
COMPILER = "cc"
FLAGS = ("-std=c11", "-D_GNU_SOURCE", "-O2")
GRACE_SECONDS = 60.0  # that it may take beyond its time
DRAIN_SECONDS = 2.0  # for what is unanswered when the last request of a schedule was due
MARK = b"{number}"

Exchange: TypeAlias = tuple[bytes, int]  # a request, and the length of its answer, head included


@dataclass(frozen=True, slots=True)
class Plan:
    """What to send to `port` of 127.0.0.1 for `seconds`.

    Each of `clients` has a connection, on which it sends its exchanges in turn, over and over: as fast as they are
    answered, or `rate` requests a second over all of them, at random times (Poisson). `idle` further connections send
    the first client's first request once, before the start, and stay open. Answers have `status`.

    With `numbers` each connection sends what the first client does, `{number}` in it replaced by the next whole number
    from 0, in ten digits, until that many are sent.
    """

    port: int
    clients: Sequence[Sequence[Exchange]]
    status: int
    seconds: float
    rate: float | None = None
    idle: int = 0
    numbers: int | None = None
    drain: float = DRAIN_SECONDS

    def render(self) -> bytes:
        """As `generator.c` reads it."""
        rate, numbers = self.rate or 0.0, -1 if self.numbers is None else self.numbers
        parts = [
            f"{self.port} {self.status} {self.seconds} {rate} {self.drain} {self.idle} {numbers} "
            f"{len(self.clients)}\n".encode()
        ]
        for exchanges in self.clients:
            parts.append(b"%d\n" % len(exchanges))
            parts += [b"%d %d\n%b" % (length, len(request), request) for request, length in exchanges]
        return b"".join(parts)


@dataclass(frozen=True, slots=True)
class Tally:
    """What came of it. Latencies in seconds, less than 1% off: with a rate from when a request was due, otherwise from
    when it was sent.

    `late` is how late the generator itself was at the 99th percentile, with a rate: from when a request was due and a
    connection free to when it was sent. `unanswered` were due and had no answer by the end; they count among the
    latencies with the time until then.
    """

    requests: int
    seconds: float
    p50: float
    p99: float
    p999: float
    busy: float  # share of its core that it used, looking at the clock until a request is due not counted
    late: float
    unanswered: int


def build() -> Path:
    """The program, compiled unless it has been. Raises `BenchError`."""
    source = SOURCE.read_bytes()
    version = hashlib.sha256(b"\n".join([source, " ".join(FLAGS).encode(), platform.machine().encode()]))
    program = BUILD / f"generator-{version.hexdigest()[:16]}"
    if program.exists():
        return program
    if shutil.which(COMPILER) is None:
        raise BenchError(f"there is no C compiler ({COMPILER}) to make the load generator with: make bench-deps")
    BUILD.mkdir(exist_ok=True)
    unfinished = program.with_suffix(f".{os.getpid()}")  # others may be at it too
    command = [COMPILER, *FLAGS, "-o", str(unfinished), str(SOURCE), "-lm"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise BenchError(f"the load generator does not compile: {done.stderr.strip()[-500:]}")
    return unfinished.rename(program)


@contextmanager
def generating(core: int, plan: Plan) -> Iterator[subprocess.Popen[bytes]]:
    """The generator on that core with its connections open, each of which has had an answer (unless requests are
    numbered), waiting for the word. Raises `BenchError`."""
    process = subprocess.Popen(
        pinned(core, [str(build())]),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        process_group=0,
    )
    try:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            process.stdin.write(plan.render())
            process.stdin.flush()
        except BrokenPipeError:  # it has a complaint
            pass
        if process.stdout.readline() != b"ready\n":
            raise BenchError(f"while connecting: {_text(process.communicate()[1])}")
        yield process
    finally:
        process.kill()
        process.communicate()


def begin(process: subprocess.Popen[bytes], seconds: float) -> Tally:
    """Give the word: what it tells at its end, about `seconds` later. Raises `BenchError`."""
    try:
        said, complaint = process.communicate(b"go\n", timeout=seconds + GRACE_SECONDS)
    except subprocess.TimeoutExpired:
        raise BenchError("the load did not end") from None
    if process.returncode:
        raise BenchError(f"while it was timed: {_text(complaint)}")
    tally = Tally(**json.loads(said))
    if not tally.requests:
        raise BenchError("no answer at all while it was timed")
    return tally


def _text(said: bytes) -> str:
    return said.decode(errors="replace").strip()[-500:]

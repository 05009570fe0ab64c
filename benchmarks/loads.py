"""What drives a server for one round, and what it tells afterwards.

Each load is a function from a `Target` to a `Sample`. The client has a core of its own; what the server used is read
before the first request and after the last.
"""

from __future__ import annotations

import json
import math
import re
import resource
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from benchmarks.checks import lengths_key
from benchmarks.corpus import DOMAIN
from benchmarks.generator import GRACE_SECONDS, Plan, begin, generating
from benchmarks.peers.base import Place
from benchmarks.processes import BenchError, ServerProcess, pinned
from benchmarks.work import Work

WRK_SCRIPT = Path(__file__).parent / "wrk" / "load.lua"
STREAMS = 8  # at a time on a connection, HTTP/2
BUSIEST = 0.98  # share of its core from which on a client is the limit
LATEST_MS = 1.0  # that a client may be late itself at the 99th percentile
TRIES = 3  # of a round in which it is
PAUSE_SECONDS = 1.0  # between those, for whatever was in its way to pass


@dataclass(frozen=True, slots=True)
class Target:
    """A server that is ready, what to ask of it, and what is known of its answers. `client_core` drives it;
    `memory_before` is what the server used before it was asked, in bytes."""

    server: ServerProcess
    place: Place
    work: Work
    lengths: Mapping[str, int]
    client_core: int
    memory_before: int


@dataclass(frozen=True, slots=True)
class Sample:
    """What one round measured. Times in the units of the names; `client_busy` is the share that the client used of its
    core, so that near 1 the server was not driven to its limit."""

    requests: int
    requests_per_second: float
    cpu_us: float  # of the server, a request
    p50_ms: float
    p99_ms: float
    p999_ms: float
    memory_mb: float
    client_busy: float
    idle_kb: float | None = None  # memory for each idle connection
    late_ms: float | None = None  # 99th percentile of how late the client was, where it keeps to a schedule
    unanswered: int = 0


Load: TypeAlias = Callable[[Target, float], Sample]  # for so many seconds


def wrk(target: Target, seconds: float) -> Sample:
    """wrk, one thread, a connection for each client; all share the requests of the first."""
    place, work = target.place, target.work
    requests = place.directory / "requests"
    requests.write_bytes(render_requests(work))
    url = f"{'https' if place.setting.tls else 'http'}://{DOMAIN}:{place.port}/"
    command = ["wrk", "-t1", f"-c{len(work.clients)}", f"-d{math.ceil(seconds)}s", "--timeout", "10s"]
    before = target.server.cpu_seconds()
    said, busy = _run(target, [*command, "-s", str(WRK_SCRIPT), url, "--", str(requests)], seconds)
    cpu = target.server.cpu_seconds() - before
    told = json.loads(said.splitlines()[-1])
    _check_wrk(told, target)
    return Sample(
        requests=told["requests"],
        requests_per_second=told["requests"] / told["microseconds"] * 1e6,
        cpu_us=cpu / told["requests"] * 1e6,
        p50_ms=told["p50"] / 1e3,
        p99_ms=told["p99"] / 1e3,
        p999_ms=told["p999"] / 1e3,
        memory_mb=target.server.memory_bytes() / 2**20,
        client_busy=busy,
    )


def render_requests(work: Work) -> bytes:
    """The file that `wrk/load.lua` reads."""
    parts = [b"%d\n%b\n" % (len(request), request) for request in work.clients[0]]
    if work.order:
        parts += [b"order\n", *(b"%d\n" % (number + 1) for number in work.order)]
    return b"".join(parts)


def _check_wrk(told: Mapping[str, int], target: Target) -> None:
    """Raises `BenchError` unless all answers had the status and the length that they had when they were checked."""
    if not told["requests"]:
        raise BenchError("no answer at all while it was timed")
    expected_errors = told["requests"] if target.work.status >= 400 else 0
    if told["broken"] or told["not_2xx_3xx"] != expected_errors:
        raise BenchError(f"answers went wrong while it was timed: {dict(told)}")
    usual = sum(target.lengths.values()) / len(target.lengths)
    largest = max(target.lengths.values())
    # At the end each connection may have part of an answer that is not counted.
    slack = len(target.work.clients) * largest + told["requests"] * (largest - min(target.lengths.values()))
    if abs(told["bytes"] - told["requests"] * usual) > slack:
        raise BenchError(f"answers had {told['bytes'] / told['requests']:.0f} bytes while timed, not {usual:.0f}")


def clients(target: Target, seconds: float) -> Sample:
    """Our generator: each client on a connection of its own, as fast as it is answered."""
    return _generate(target, seconds)


def clients_beside_idle(idle: int) -> Load:
    """The same with `idle` further connections open."""

    def load(target: Target, seconds: float) -> Sample:
        return _generate(target, seconds, idle=idle)

    return load


def find_peak(target: Target, seconds: float) -> float:
    """The most requests a second that the server answers. Raises `BenchError`."""
    sample = clients(target, seconds)
    if sample.client_busy > BUSIEST:
        raise BenchError(f"the greatest rate found, {sample.requests_per_second:,.0f} a second, is the generator's own")
    return sample.requests_per_second


def at_rate(rate: float) -> Load:
    """Our generator at `rate` requests a second, whatever the server does. A round in which it was late itself is no
    word about the server, and is had again; after `TRIES` of them it raises `BenchError`."""

    def load(target: Target, seconds: float) -> Sample:
        for number in range(TRIES):
            if number:
                time.sleep(PAUSE_SECONDS)
            sample = _generate(target, seconds, rate=rate)
            if sample.late_ms is None or sample.late_ms <= LATEST_MS:
                return sample
        raise BenchError(
            f"at {rate:,.0f} requests a second the generator was {sample.late_ms:.2g} ms late itself at the 99th "
            f"percentile, {TRIES} times: what it measures is not the server"
        )

    return load


def _generate(target: Target, seconds: float, *, rate: float | None = None, idle: int = 0) -> Sample:
    lengths = target.lengths
    exchanges = [[(request, lengths[lengths_key(request)]) for request in client] for client in target.work.clients]
    plan = Plan(target.place.port, exchanges, target.work.status, seconds, rate, idle)
    with generating(target.client_core, plan) as process:
        memory = target.server.memory_bytes()
        before = target.server.cpu_seconds()
        tally = begin(process, seconds)
        cpu = target.server.cpu_seconds() - before
    return Sample(
        requests=tally.requests,
        requests_per_second=tally.requests / tally.seconds,
        cpu_us=cpu / tally.requests * 1e6,
        p50_ms=tally.p50 * 1e3,
        p99_ms=tally.p99 * 1e3,
        p999_ms=tally.p999 * 1e3,
        memory_mb=memory / 2**20,
        client_busy=tally.busy,
        idle_kb=(memory - target.memory_before) / 1024 / (idle + len(exchanges)) if idle else None,
        late_ms=tally.late * 1e3 if rate else None,
        unanswered=tally.unanswered,
    )


def h2load(target: Target, seconds: float) -> Sample:
    """h2load over TLS, a connection for each client and `STREAMS` requests at a time on each. Percentiles are
    from its log of all requests."""
    place, work = target.place, target.work
    lines = work.clients[0][0].decode().split("\r\n")
    path = lines[0].split()[1]
    log = place.directory / "h2load.log"
    log.unlink(missing_ok=True)
    # Connection is no header of HTTP/2, and Host is in the URL.
    kept = [line for line in lines[2:] if line and not line.startswith("Connection:")]
    command = ["h2load", "-t1", f"-c{len(work.clients)}", f"-m{STREAMS}", "-D", f"{math.ceil(seconds)}"]
    command += [f"--connect-to=127.0.0.1:{place.port}", f"--log-file={log}", *(f"--header={line}" for line in kept)]
    before = target.server.cpu_seconds()
    said, busy = _run(target, [*command, f"https://{DOMAIN}:{place.port}{path}"], seconds)
    cpu = target.server.cpu_seconds() - before
    requests, rate, received = parse_h2load(said)
    if abs(received / requests - sum(target.lengths.values()) / len(target.lengths)) > 1:
        raise BenchError(f"answers had {received / requests:.0f} bytes while it was timed")
    taken = sorted(int(line.split("\t")[2]) / 1e3 for line in log.read_text().splitlines())
    return Sample(
        requests=requests,
        requests_per_second=rate,
        cpu_us=cpu / requests * 1e6,
        p50_ms=percentile(taken, 0.5),
        p99_ms=percentile(taken, 0.99),
        p999_ms=percentile(taken, 0.999),
        memory_mb=target.server.memory_bytes() / 2**20,
        client_busy=busy,
    )


def parse_h2load(said: str) -> tuple[int, float, int]:
    """(requests, requests a second, bytes of content) of h2load's report. Raises `BenchError` if a request failed."""
    counts = re.search(r"requests: \d+ total, \d+ started, (\d+) done, (\d+) succeeded, (\d+) failed", said)
    rate = re.search(r"finished in [\d.]+\w+, ([\d.]+) req/s", said)
    content = re.search(r"\((\d+)\) data", said)
    if not counts or not rate or not content or not int(counts[2]):
        raise BenchError(f"h2load got no answers: {said[-300:]}")
    if counts[1] != counts[2] or int(counts[3]):
        raise BenchError(f"answers went wrong while it was timed: {counts[0]}")
    return int(counts[2]), float(rate[1]), int(content[1])


def _run(target: Target, command: Sequence[str], seconds: float) -> tuple[str, float]:
    """Run a client to its end: what it said, and which share of its core it used. Raises `BenchError`."""
    used, start = _children_cpu(), time.monotonic()
    try:
        done = subprocess.run(
            pinned(target.client_core, command),
            capture_output=True,
            text=True,
            check=False,
            timeout=seconds + GRACE_SECONDS,
            process_group=0,
        )
    except subprocess.TimeoutExpired:
        raise BenchError(f"{command[0]} did not end") from None
    if done.returncode:
        raise BenchError(f"{command[0]} failed: {(done.stderr or done.stdout).strip()[-500:]}")
    return done.stdout, (_children_cpu() - used) / (time.monotonic() - start)


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest of sorted `values` that at least `share` of them do not exceed."""
    return values[max(0, math.ceil(share * len(values)) - 1)] if values else math.nan


def _children_cpu() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime

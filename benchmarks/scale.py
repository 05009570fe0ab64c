"""What is not a race between servers but a promise of ours: very many domains, and change under load.

Each experiment is a function from `Stage` to figures, and stands in `EXPERIMENTS`.
"""

from __future__ import annotations

import asyncio
import os
import random
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import TypeAlias

from benchmarks.checks import check, lengths_key, visit
from benchmarks.corpus import DOMAIN, NUMBER_DIGITS, Corpus, host_name
from benchmarks.generator import Plan, begin, generating
from benchmarks.loads import percentile
from benchmarks.peers.base import Certificate, Place, Setting
from benchmarks.peers.spacelane import SPACE, Control, database_of, serving, settle
from benchmarks.processes import BenchError, ServerProcess, cpu_seconds, free_port
from benchmarks.results import Figure
from benchmarks.work import CONNECTIONS, Scene, Work, browsers_over_pages, one_browser, request
from storage.models import NewSite
from storage.sql import open_sql

WORKERS = 2  # the fewest for which the control API has a process of its own
BATCH = 5_000  # domains that are registered at once
FILLING = 400_000  # domains whose pages are more than two workers keep: the cache is full after 25,000
SAMPLE = 1000  # hosts whose answers are timed one by one
CHANGES_PER_SECOND = 10
LEAST_PRIORITY = 19
WIDGET_HOST = "widget.localhost"
OTHER = "other"  # the space that changes
LONG = 3600.0  # seconds; a load that is ended by hand


@dataclass(frozen=True, slots=True)
class Stage:
    """Where the experiments take place, and how much there is of each: `domains` where there are to be very many,
    `tries` where a percentile is wanted."""

    corpus: Corpus
    certificate: Certificate
    directory: Path
    server_core: int
    client_core: int
    rounds: int
    seconds: float
    domains: int
    tries: int

    def place(self, name: str) -> Place:
        """For a server of ours."""
        directory = self.directory / name
        directory.mkdir()
        return Place(Setting(name), self.corpus, self.certificate, directory, free_port(), self.server_core)


async def register_many(database: Path, count: int) -> None:
    """Make `count` sites like the one there is, `host_name(0)` and so on, by the store's bulk path. No server runs."""
    metadata = await open_sql(f"sqlite:///{database}")
    try:
        like = await metadata.find_site([DOMAIN])
        assert like is not None, "it has been published"
        for start in range(0, count, BATCH):
            numbers = range(start, min(start + BATCH, count))
            await metadata.create_sites(
                [NewSite(space_id=like.space_id, domain=host_name(number), prefix=like.prefix) for number in numbers]
            )
    finally:
        await metadata.close()


def measure_million(stage: Stage) -> dict[str, Figure]:
    """Very many domains: the start, hosts never asked for, and what scans leave of what is hot, in one process that is
    the edge and the control API; and the memory of a worker that has been asked for more than it can keep."""
    place, control = stage.place("million"), Control(free_port())
    database = database_of(place)
    with serving(place, control):
        control.deploy(stage.corpus.published, DOMAIN)
        settle(database)
    begun = time.monotonic()
    asyncio.run(register_many(database, stage.domains))
    registered = time.monotonic() - begun
    started = []
    for _ in range(stage.rounds):
        begun = time.monotonic()
        with serving(place, control):
            started.append(time.monotonic() - begun)
    draw = random.Random(1)
    fresh = [host_name(number) for number in draw.sample(range(stage.domains), min(2 * SAMPLE, stage.domains))]
    hot, new = fresh[: len(fresh) // 2], fresh[len(fresh) // 2 :]
    with serving(place, control):
        first = _ask_each(place, new)
        for _ in range(2):
            _ask_each(place, hot)
        before = _ask_each(place, hot)
        _ask_numbered(stage, place, b"/page-01.html", b"nobody-{number}.example", 404, stage.domains)
        _ask_numbered(stage, place, b"/gone/{number}", DOMAIN.encode(), 404, stage.domains)
        after = _ask_each(place, hot)
    with serving(place, control, workers=WORKERS) as server:
        memory = [_greatest(server)]
        known = host_name(0).replace("0" * NUMBER_DIGITS, "{number}").encode()
        _ask_numbered(stage, place, b"/page-01.html", known, 200, min(FILLING, stage.domains))
        memory.append(_greatest(server))
    many = f"{stage.domains:,}"
    return {
        "register-many": Figure(f"register {many} domains by the store's bulk path", "s", None, [registered]),
        "start": Figure(f"start with {many} domains", "s", 2.0, started),
        "first-host": Figure("a host never asked for before, median", "ms", 3.0, [_millis(median(first))]),
        "hot-before": Figure("a hot host, median", "ms", None, [_millis(median(before))]),
        "hot-after": Figure(f"the same after {many} unknown hosts and {many} missing paths", "ms", None,
                            [_millis(median(after))]),
        "memory-start": Figure("memory of a worker at its start", "MB", None, memory[:1]),
        "memory-full": Figure(f"the same after the pages of {FILLING:,} domains from {WORKERS} workers", "MB", 250.0,
                              memory[1:]),
    }  # fmt: skip


def measure_register(stage: Stage) -> dict[str, Figure]:
    """From the call that makes a site to its first 200 on a new connection, while the edge has all it can do."""
    place, control = stage.place("register"), Control(free_port())
    taken = []
    with serving(place, control, workers=WORKERS) as server, _driven(stage, place, control, server):
        for number in range(stage.tries):
            begun = time.monotonic()
            with closing(control.connect()) as connection:
                control.create_site(connection, host_name(number))
            _wait_for(place, request("/page-01.html", one_browser(), host_name(number)))
            taken.append(_millis(time.monotonic() - begun))
    taken.sort()
    return {
        "register": Figure("a new site's first 200 under load, 99th percentile", "ms", 50.0, [percentile(taken, 0.99)]),
        "register-median": Figure("the same, median", "ms", None, [percentile(taken, 0.5)]),
    }


def measure_changes(stage: Stage) -> dict[str, Figure]:
    """The edge's CPU time a request while other sites change, over that while none does: rounds in turn."""
    place, control = stage.place("changes"), Control(free_port())
    ratios = []
    with serving(place, control, workers=WORKERS) as server:
        work, lengths = _publish(stage, place, control, server)
        with closing(control.connect()) as connection:
            control.create_space(connection, OTHER)
        for thread in _threads_of_others(server):  # as if they had a core of their own, and took nothing from the load
            os.setpriority(os.PRIO_PROCESS, thread, LEAST_PRIORITY)
        edges = edge_pids(server)
        plan = _plan(place, work, lengths, stage.seconds)
        _cpu_us(stage, plan, edges)  # to get warm
        for _ in range(stage.rounds):
            quiet = _cpu_us(stage, plan, edges)
            with _changing(control):
                ratios.append(_cpu_us(stage, plan, edges) / quiet)
    title = f"CPU time a request with {CHANGES_PER_SECOND} changes a second, over that with none"
    return {"changes": Figure(title, "×", 1.05, ratios)}


def measure_widget(stage: Stage) -> dict[str, Figure]:
    """The edge's CPU time a request for a widget's configuration, over that for a page of its size: rounds in turn."""
    place, control = stage.place("widget"), Control(free_port())
    ratios = []
    with serving(place, control, workers=WORKERS) as server:
        _publish(stage, place, control, server)
        # The same head for both, and neither compressed, so that the answers can have one size.
        more = [f"Origin: https://{DOMAIN}", "Accept-Encoding: identity"]
        with closing(control.connect()) as connection, closing(visit(place)) as visitor:
            path = f"/v1/{control.create_widget(connection, DOMAIN)}/config"
            asked = [request(path, one_browser(), WIDGET_HOST, *more)]
            answer = visitor.ask(asked[0])
            control.upload(connection, SPACE, "same-size.html", b"x" * len(answer.body))
            asked.append(request("/same-size.html", one_browser(), DOMAIN, *more))
            lengths = [answer.length, visitor.ask(asked[1]).length]
        plans = [
            Plan(place.port, [[(one, length)]] * CONNECTIONS, 200, stage.seconds)
            for one, length in zip(asked, lengths, strict=True)
        ]
        edges = edge_pids(server)
        for plan in plans:
            _cpu_us(stage, plan, edges)  # to get warm
        for _ in range(stage.rounds):
            config, page = [_cpu_us(stage, plan, edges) for plan in plans]
            ratios.append(config / page)
    title = "CPU time a request for a widget's configuration, over that for a page of its size"
    return {"widget": Figure(title, "×", 1.1, ratios)}


Experiment: TypeAlias = Callable[[Stage], dict[str, Figure]]
EXPERIMENTS: Mapping[str, Experiment] = {
    "million": measure_million,
    "register": measure_register,
    "changes": measure_changes,
    "widget": measure_widget,
}


def _greatest(server: ServerProcess) -> float:
    """Resident memory of the worker that has most, in megabytes, what it shares with others counted in full."""
    page = os.sysconf("SC_PAGE_SIZE")
    resident = [int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * page for pid in edge_pids(server)]
    return max(resident) / 2**20


def edge_pids(server: ServerProcess) -> list[int]:
    """The processes that answer visitors, where they are not the one that answers operators."""
    return [pid for pid in server.pids() if b"worker-" in Path(f"/proc/{pid}/cmdline").read_bytes()]


def _threads_of_others(server: ServerProcess) -> list[int]:
    """Those of the processes that do not answer visitors."""
    others = set(server.pids()) - set(edge_pids(server))
    return [int(thread) for pid in others for thread in os.listdir(f"/proc/{pid}/task")]


def _publish(stage: Stage, place: Place, control: Control, server: ServerProcess) -> tuple[Work, dict[str, int]]:
    """The site, its answers checked; processes that are not the edge move to the client's core."""
    control.deploy(stage.corpus.published, DOMAIN)
    for thread in _threads_of_others(server):
        os.sched_setaffinity(thread, {stage.client_core})
    visitor = visit(place)
    with closing(visitor):
        work = browsers_over_pages(Scene(stage.corpus, 0, lambda path: {}))
        # Enough to keep the edge at work without a pause, and no queue that would be measured instead of it.
        work = replace(work, clients=work.clients[:CONNECTIONS])
        return work, check(work, stage.corpus, visitor)


def _plan(place: Place, work: Work, lengths: Mapping[str, int], seconds: float) -> Plan:
    clients = [[(one, lengths[lengths_key(one)]) for one in client] for client in work.clients]
    return Plan(place.port, clients, work.status, seconds)


def _cpu_us(stage: Stage, plan: Plan, pids: Sequence[int]) -> float:
    with generating(stage.client_core, plan) as process:
        before = sum(map(cpu_seconds, pids))
        tally = begin(process, stage.seconds)
        return (sum(map(cpu_seconds, pids)) - before) / tally.requests * 1e6


@contextmanager
def _driven(stage: Stage, place: Place, control: Control, server: ServerProcess) -> Iterator[None]:
    """The site published, and browsers asking for it without a pause. Raises `BenchError` if they could not."""
    work, lengths = _publish(stage, place, control, server)
    with generating(stage.client_core, _plan(place, work, lengths, LONG)) as process:
        assert process.stdin is not None
        process.stdin.write(b"go\n")
        process.stdin.flush()
        yield
        if process.poll() is not None:
            raise BenchError(f"the load ended: {process.communicate()[1].decode().strip()}")


@contextmanager
def _changing(control: Control) -> Iterator[None]:
    """Files of another space change, that many a second, each time another content."""
    stop = threading.Event()
    failures: list[BenchError] = []

    def change() -> None:
        number = 0
        due = time.monotonic()
        with closing(control.connect()) as connection:
            while not stop.wait(max(0.0, due - time.monotonic())):
                number += 1
                due += 1 / CHANGES_PER_SECOND
                try:
                    control.upload(connection, OTHER, f"{number % 50}.html", f"{time.time_ns()}".encode())
                except BenchError as exc:
                    failures.append(exc)
                    return

    thread = threading.Thread(target=change)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
    if failures:
        raise failures[0]


def _wait_for(place: Place, asked: bytes) -> None:
    """Ask on a new connection, which any worker may get, until the answer is 200."""
    while True:
        with closing(visit(place)) as visitor:
            if visitor.ask(asked).status == 200:
                return


def _ask_each(place: Place, hosts: Sequence[str]) -> list[float]:
    """Seconds that each host's page took, asked one after the other on one connection."""
    head = one_browser()
    taken = []
    with closing(visit(place)) as visitor:
        for host in hosts:
            asked = request("/page-01.html", head, host)
            begun = time.perf_counter()
            answer = visitor.ask(asked)
            taken.append(time.perf_counter() - begun)
            if answer.status != 200:
                raise BenchError(f"{host} is answered with {answer.status}")
    return taken


def _ask_numbered(stage: Stage, place: Place, path: bytes, host: bytes, status: int, count: int) -> None:
    """Each of `count` requests once, `{number}` in path or host being another in each."""
    asked = request(path.decode(), one_browser(), host.decode())
    with closing(visit(place)) as visitor:
        length = visitor.ask(asked.replace(b"{number}", b"0" * NUMBER_DIGITS)).length
    plan = Plan(place.port, [[(asked, length)]] * CONNECTIONS, status, LONG, numbers=count)
    with generating(stage.client_core, plan) as process:
        begin(process, LONG)


def _millis(seconds: float) -> float:
    return seconds * 1e3

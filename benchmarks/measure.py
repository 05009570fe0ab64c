"""Runs the rows: each server is started once for a setting, and driven in turn, A B C, A B C, for each row.

So a slow moment of the machine falls on all of them, and a ratio is of two rounds that were next to each other.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from http.client import HTTPException
from pathlib import Path

from benchmarks.certificates import make_certificate
from benchmarks.checks import Visitor, check, visit
from benchmarks.corpus import DOMAIN, Corpus, make_corpus
from benchmarks.loads import Load, Target, at_rate, find_peak
from benchmarks.peers.base import Certificate, Peer, Place, Setting
from benchmarks.peers.registry import REFERENCE
from benchmarks.processes import BenchError, ServerProcess, cores, free_port
from benchmarks.results import Figure, Results, RowResult
from benchmarks.rows import Row
from benchmarks.scale import EXPERIMENTS, Stage
from benchmarks.work import Scene, Validators, one_browser, request

WARM_SECONDS = 0.5
DOMAINS = 1_000_000  # where there are to be very many
TRIES = 500  # where a percentile of single calls is wanted


@dataclass(frozen=True, slots=True)
class Options:
    """How much to measure. With `most_hosts`, no more of them, whatever a row wants."""

    rounds: int
    seconds: float
    most_hosts: int = DOMAINS


def measure(
    rows: Sequence[Row],
    experiments: Sequence[str],
    peers: Sequence[Peer],
    options: Options,
    results: Results,
    say: Callable[[str], None],
) -> None:
    """Add to `results` each row when it is complete, and the figures of each experiment: a run that is ended has been
    of use. `say` is told what is under way."""
    measured = {row.name: RowResult(row.title, row.metric, row.target) for row in rows}
    settings = list(dict.fromkeys(row.setting for row in rows))
    with tempfile.TemporaryDirectory(prefix="bench-") as directory:
        hosts = min(options.most_hosts, max((setting.hosts for setting in settings), default=0))
        corpus = make_corpus(Path(directory) / "corpus", hosts)
        certificate = make_certificate(Path(directory), DOMAIN)
        for setting in settings:
            asked = [row for row in rows if row.setting == setting]
            with ExitStack() as stack:
                bench = _Bench(options, stack, corpus, certificate, Path(directory), say)
                bench.start(setting, peers, [measured[row.name] for row in asked])
                for row in asked:
                    bench.run(row, measured[row.name])
                    results.rows[row.name] = measured[row.name]
        stage = _stage(corpus, certificate, Path(directory), options)
        for name in experiments:
            say(f"{name}: {EXPERIMENTS[name].__doc__}".partition("\n")[0])
            try:
                results.figures.update(EXPERIMENTS[name](stage))
            except (BenchError, OSError, HTTPException) as exc:
                results.figures[name] = Figure(f"{name} failed: {exc}", "", None, [])


def _stage(corpus: Corpus, certificate: Certificate, directory: Path, options: Options) -> Stage:
    server_core, client_core = cores()
    return Stage(
        corpus=corpus,
        certificate=certificate,
        directory=directory,
        server_core=server_core,
        client_core=client_core,
        rounds=options.rounds,
        seconds=options.seconds,
        domains=min(DOMAINS, options.most_hosts),
        tries=min(TRIES, options.most_hosts),
    )


class _Bench:
    """The servers of one setting, running."""

    def __init__(
        self,
        options: Options,
        stack: ExitStack,
        corpus: Corpus,
        certificate: Certificate,
        directory: Path,
        say: Callable[[str], None],
    ) -> None:
        self._options = options
        self._stack = stack
        self._corpus = corpus
        self._certificate = certificate
        self._directory = directory
        self._say = say
        self._running: dict[str, tuple[ServerProcess, Place]] = {}
        self._peak: float | None = None  # requests a second

    def start(self, setting: Setting, peers: Sequence[Peer], rows: Sequence[RowResult]) -> None:
        """Start each that can be set up so; the others are absent from `rows`."""
        setting = replace(setting, hosts=min(setting.hosts, self._corpus.hosts))
        for peer in peers:
            self._say(f"{setting.name}: starting {peer.title}")
            directory = self._directory / f"{setting.name}-{setting.hosts}-{peer.name}"
            directory.mkdir()
            place = Place(setting, self._corpus, self._certificate, directory, free_port(), cores()[0])
            try:
                server = self._stack.enter_context(peer.start(place))
            except BenchError as exc:
                for row in rows:
                    row.give_up(peer.name, str(exc))
            else:
                self._running[peer.name] = server, place

    def run(self, row: Row, measured: RowResult) -> None:
        """Every round of a row."""
        targets: dict[str, Target] = {}
        for name, (server, place) in self._running.items():
            try:
                targets[name] = prepare(row, server, place, min(WARM_SECONDS, self._options.seconds))
            except BenchError as exc:
                measured.give_up(name, str(exc))
        try:
            load = self._load(row, targets)
        except BenchError as exc:
            for name in targets:
                measured.give_up(name, str(exc))
            return
        for number in range(self._options.rounds):
            self._say(f"{row.name}: round {number + 1} of {self._options.rounds}")
            for name in list(targets):
                try:
                    sample = load(targets[name], self._options.seconds)
                    measured.samples.setdefault(name, []).append(sample)
                except BenchError as exc:
                    measured.give_up(name, str(exc))
                    del targets[name]
                finally:
                    self._running[name][0].forget_logs()

    def _load(self, row: Row, targets: Mapping[str, Target]) -> Load:
        """The row's; at a rate if it is of such a kind, the reference's greatest being found once for a setting."""
        if row.share is None:
            return row.load
        if self._peak is None:
            if REFERENCE not in targets:
                raise BenchError(f"the rate is a share of what {REFERENCE} can do, and that does not run")
            self._peak = find_peak(targets[REFERENCE], self._options.seconds)
        return at_rate(row.share * self._peak)


def prepare(row: Row, server: ServerProcess, place: Place, seconds: float = WARM_SECONDS) -> Target:
    """Check the answers, and let the server get warm by the row's load. Raises `BenchError`."""
    memory = server.memory_bytes()
    with closing(visit(place)) as visitor:
        work = row.work(Scene(place.corpus, place.setting.hosts, _validators(visitor)))
        lengths = check(work, place.corpus, visitor)
    target = Target(server, place, work, lengths, cores()[1], memory)
    row.load(target, seconds)
    return target


def _validators(visitor: Visitor) -> Validators:
    def ask(path: str) -> Mapping[str, str]:
        headers = visitor.ask(request(path, one_browser())).headers
        missing = [name for name in ("etag", "last-modified") if name not in headers]
        if missing:
            raise BenchError(f"{path} has no {missing[0]}")
        return {name: headers[name] for name in ("etag", "last-modified")}

    return ask

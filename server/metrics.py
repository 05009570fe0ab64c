"""The metrics, in the text format of Prometheus: the node's totals, its revision, its processes, and the API's calls.

`docs/metrics.md` explains each; a test holds it to that.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

from prometheus_client import CollectorRegistry, Metric, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from prometheus_client.registry import Collector

from server.node import NodeMap, State
from server.totals import Cell, ProcessTotal, Totals

CONTENT_TYPE = CONTENT_TYPE_PLAIN_0_0_4

METHODS = frozenset({"GET", "POST"})  # those of the API; a caller may write any other
OTHER_METHOD = "other"
NO_ROUTE = "none"

# What a worker's line of the totals tells: name without "spacelane_", text, cell.
_WORKER_COUNTERS = (
    ("cache_hits", "Answers for which a worker had everything in memory.", Cell.HITS),
    ("cache_misses", "Answers for which a worker asked a store.", Cell.MISSES),
    ("cache_evictions", "Entries dropped from a worker's cache for want of room.", Cell.EVICTIONS),
    ("access_log_dropped_lines", "Lines of the access log that could not be written.", Cell.DROPPED_LINES),
)
_WORKER_GAUGES = (
    ("cache_bytes", "Memory that a worker's cache takes, bodies included.", Cell.CACHE_BYTES),
    ("connections", "Connections of visitors that are open.", Cell.CONNECTIONS),
)
_RESTARTS = {"crash": Cell.CRASHES, "reload": Cell.RELOADS}


class Metrics(Collector):
    """What `/metrics` shows. Calls of the API are counted here, by the process that answers them."""

    def __init__(self, node: NodeMap | None = None) -> None:
        """Without `node` there are the API's calls only."""
        self._node = node
        self._totals = None if node is None else Totals(node)
        self._calls: Counter[tuple[str, str, str]] = Counter()
        self._registry = CollectorRegistry()
        self._registry.register(self)

    def count_call(self, method: str, route: str | None, status: int) -> None:
        """Count an answer of the API. `route` is the path with its parameters by name, None if there is no such."""
        method = method if method in METHODS else OTHER_METHOD
        self._calls[method, route or NO_ROUTE, str(status)] += 1

    def render(self) -> bytes:
        """All of it, as of now."""
        return generate_latest(self._registry)

    def describe(self) -> Iterable[Metric]:
        """Nothing in advance: otherwise the registry would collect once just to learn names."""
        return ()

    def collect(self) -> Iterator[Metric]:
        """What `render` renders."""
        calls = _counter("api_requests", "Calls of the control API.", ["method", "route", "status"])
        for labels, count in sorted(self._calls.items()):
            calls.add_metric(labels, count)
        yield calls
        if self._node is not None and self._totals is not None:
            yield from _sites(self._totals)
            processes = list(self._totals.processes())
            yield from _workers(processes)
            yield _restarts(processes)
            yield from _revisions(self._node)
            yield from _system(processes)


def _counter(name: str, text: str, labels: Sequence[str]) -> CounterMetricFamily:
    return CounterMetricFamily(f"spacelane_{name}", text, labels=labels)


def _gauge(name: str, text: str, labels: Sequence[str]) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"spacelane_{name}", text, labels=labels)


def _sites(totals: Totals) -> Iterator[Metric]:
    answers = _counter("http_requests", "Requests that were answered, by site and class of status.", ["site", "status"])
    sizes = _counter("http_body_bytes", "Bytes of bodies sent, by site and class of status.", ["site", "status"])
    for site in totals.sites():
        for status, count in site.counts.items():
            if count.answers:
                answers.add_metric([site.site, status], count.answers)
                sizes.add_metric([site.site, status], count.size)
    yield answers
    yield sizes


def _workers(processes: Sequence[ProcessTotal]) -> Iterator[Metric]:
    workers = [process for process in processes if process.name.startswith("worker-")]
    for name, text, cell in _WORKER_COUNTERS:
        counter = _counter(name, text, ["process"])
        for worker in workers:
            counter.add_metric([worker.name], worker[cell])
        yield counter
    for name, text, cell in _WORKER_GAUGES:
        gauge = _gauge(name, text, ["process"])
        for worker in workers:
            gauge.add_metric([worker.name], worker[cell] if worker.pid else 0)
        yield gauge


def _restarts(processes: Sequence[ProcessTotal]) -> Metric:
    restarts = _counter("process_restarts", "Processes that were replaced.", ["process", "reason"])
    for process in processes:
        for reason, cell in _RESTARTS.items():
            restarts.add_metric([process.name, reason], process[cell])
    return restarts


def _revisions(node: NodeMap) -> Iterator[Metric]:
    latest = _gauge("revision", "The latest change that this node has written or seen.", [])
    latest.add_metric([], node.revision)
    yield latest
    applied = _gauge("applied_revision", "The latest change that a worker answers by.", ["process"])
    serving = _gauge("serving", "Whether a worker takes requests.", ["process"])
    for worker in node.workers():
        name = f"worker-{worker.index}"
        applied.add_metric([name], worker.applied_revision)
        serving.add_metric([name], worker.state is State.SERVING)
    yield applied
    yield serving


def _system(processes: Sequence[ProcessTotal]) -> Iterator[Metric]:
    """What the system knows of each process, under the names that the library gives to it; nothing without /proc."""
    families: dict[str, Metric] = {}
    for process in processes:
        if not process.pid:
            continue
        pid = process.pid
        for metric in ProcessCollector(pid=lambda pid=pid: pid, registry=None).collect():  # type: ignore[misc]
            family = families.setdefault(metric.name, Metric(metric.name, metric.documentation, metric.type))
            for sample in metric.samples:
                family.add_sample(sample.name, {"process": process.name}, sample.value)
    yield from families.values()

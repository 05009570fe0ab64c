"""What the processes of a node count together."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from server import totals as totals_module
from server.doors.journal import Tally
from server.edge.cache import ResponseCache
from server.meter import LAST_REPORTS, MAX_PENDING, Meter
from server.metrics import Metrics
from server.node import NodeMap
from server.totals import MAX_SITES, Cell, Count, Totals

NOBODY = 2**22 + 1  # no process has this number: the kernel's are lower


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "node"


@pytest.fixture
def node(path: Path) -> Iterator[NodeMap]:
    node = NodeMap.create(path, 2, 7)
    yield node
    node.close()


def site_counts(totals: Totals) -> dict[tuple[str, str], Count]:
    """Those that are not zero."""
    return {
        (site.site, status): count for site in totals.sites() for status, count in site.counts.items() if any(count)
    }


def test_several_add_up(node: NodeMap) -> None:
    one, two = Totals(node), Totals(node)
    assert one.add({("site_a", "2xx"): Count(2, 30)}, "worker-0", {Cell.HITS: 2})
    assert two.add({("site_b", "4xx"): Count(1, 5), ("site_a", "2xx"): Count(1, 10)}, "worker-1", {Cell.HITS: 1})
    assert one.add({("site_b", "5xx"): Count(1, 0), ("none", "4xx"): Count(1, 7)}, "worker-0", {Cell.HITS: 1})
    assert site_counts(one) == {
        ("none", "4xx"): (1, 7), ("site_a", "2xx"): (3, 40), ("site_b", "4xx"): (1, 5), ("site_b", "5xx"): (1, 0),
    }  # fmt: skip
    assert {process.name: process[Cell.HITS] for process in one.processes()} == {"worker-0": 3, "worker-1": 1}


def test_sites_past_the_limit_share_a_line(node: NodeMap, path: Path) -> None:
    totals, late = Totals(node), Totals(node)
    assert totals.add({(f"site_{number}", "2xx"): Count(1, 1) for number in range(MAX_SITES + 5)}, "worker-0", {})
    assert late.add({("site_0", "2xx"): Count(1, 1), ("one_more", "3xx"): Count(1, 1)}, "worker-0", {})
    counts = site_counts(totals)
    assert len(counts) == MAX_SITES + 2
    assert counts["site_0", "2xx"] == (2, 2)
    assert counts["other", "2xx"] == (5, 5)
    assert counts["other", "3xx"] == (1, 1)


def test_an_id_that_is_too_long_has_no_line(node: NodeMap) -> None:
    totals = Totals(node)
    assert totals.add({("x" * 65, "2xx"): Count(1, 1), ("y" * 64, "2xx"): Count(1, 1)}, "worker-0", {})
    assert set(site_counts(totals)) == {("other", "2xx"), ("y" * 64, "2xx")}


def test_what_is_left_of_an_earlier_start_adds_nothing(node: NodeMap, path: Path) -> None:
    before = Totals(node)
    NodeMap.create(path, 2, 9).close()
    assert before.add({("site_a", "2xx"): Count(1, 1)}, "worker-0", {Cell.HITS: 1})
    assert site_counts(Totals(node)) == {}
    assert list(Totals(node).processes()) == []


def test_a_successor_shows_and_the_predecessor_no_longer(node: NodeMap) -> None:
    totals = Totals(node)
    totals.claim("worker-0", os.getpid())
    totals.show("worker-0", os.getpid(), {Cell.CONNECTIONS: 5})
    totals.show("worker-0", NOBODY, {Cell.CONNECTIONS: 9})
    (process,) = totals.processes()
    assert (process.name, process.pid, process[Cell.CONNECTIONS]) == ("worker-0", os.getpid(), 5)
    totals.claim("worker-0", NOBODY)
    (process,) = totals.processes()
    assert process.pid == 0


def test_one_that_has_gone_has_nothing_open(node: NodeMap) -> None:
    totals = Totals(node)
    totals.claim("worker-0", NOBODY)
    totals.show("worker-0", NOBODY, {Cell.CONNECTIONS: 9})
    assert b'spacelane_connections{process="worker-0"} 0.0' in Metrics(node).render()


class BusyTotals(Totals):
    """Others are in the way."""

    busy = True

    def add(self, *arguments: object) -> bool:
        return False if self.busy else super().add(*arguments)  # type: ignore[arg-type]


def test_what_cannot_be_told_now_is_told_later(node: NodeMap) -> None:
    totals = BusyTotals(node)
    cache = ResponseCache(1000)
    meter = Meter(totals, "worker-1", cache, lambda: 3)
    meter.watch(lambda: 2)
    cache.stats.hits = cache.stats.misses = 4
    meter.count({Tally("site_a", 200, 10, remembered=True): 3, Tally("", 404, 5): 1})
    assert not meter.report()
    meter.count(Counter([Tally("site_a", 200, 10)]))
    totals.busy = False
    assert meter.report()
    assert meter.report(), "again adds nothing"
    assert site_counts(totals) == {("site_a", "2xx"): (4, 40), ("none", "4xx"): (1, 5)}
    (process,) = totals.processes()
    assert (process[Cell.HITS], process[Cell.MISSES], process[Cell.DROPPED_LINES]) == (7, 4, 3)


def test_what_waits_is_bounded(node: NodeMap) -> None:
    totals = BusyTotals(node)
    meter = Meter(totals, "worker-0", ResponseCache(1000), lambda: 0)
    meter.count({Tally(f"site_{number}", 200, 1): 1 for number in range(MAX_PENDING + 10)})
    totals.busy = False
    meter.report()
    assert sum(count.answers for count in site_counts(totals).values()) == MAX_PENDING + 10


async def test_the_last_report_is_tried_again(node: NodeMap, monkeypatch: pytest.MonkeyPatch) -> None:
    totals = BusyTotals(node)
    meter = Meter(totals, "worker-0", ResponseCache(1000), lambda: 0)
    monkeypatch.setattr("server.meter.LAST_SECONDS", 0)
    tries = 0

    def report() -> bool:
        nonlocal tries
        tries += 1
        return tries == 3

    monkeypatch.setattr(meter, "report", report)
    await meter.finish()
    assert tries == 3
    monkeypatch.setattr(meter, "report", lambda: False)
    await meter.finish()  # gives up
    assert LAST_REPORTS > 3


def test_another_process_that_writes_is_not_waited_for(node: NodeMap, path: Path) -> None:
    reading, writing = os.pipe()
    ready, tell = os.pipe()
    pid = os.fork()
    if pid == 0:
        child = NodeMap.open(path)
        with child.totals_locked() as locked:
            os.write(tell, b"1" if locked else b"0")
            os.read(reading, 1)
        os._exit(0)
    assert os.read(ready, 1) == b"1"
    totals = Totals(node)
    assert not totals.add({("site_a", "2xx"): Count(1, 1)}, "worker-0", {})
    node.raise_revision(8)  # which has a lock of its own
    os.write(writing, b"1")
    os.waitpid(pid, 0)
    assert totals.add({("site_a", "2xx"): Count(1, 1)}, "worker-0", {})
    assert site_counts(totals) == {("site_a", "2xx"): (1, 1)}
    for descriptor in (reading, writing, ready, tell):
        os.close(descriptor)


def test_a_line_is_large_enough() -> None:
    assert len(Cell) <= totals_module._LINE

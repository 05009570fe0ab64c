"""The metrics of a server that serves: each is there, each is documented, each moves."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from server.metrics import Metrics
from server.node import NodeMap
from server.worker import NODE_FILE
from tests.support.process import Serve
from tests.support.wire import Wire

PAGE = Path(__file__).resolve().parent.parent / "docs" / "metrics.md"
ROW = re.compile(r"^\| `(\w+)` \| (counter|gauge) \| (?:(`.+`) )?\| (.+) \|$", re.M)

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


def samples(text: str) -> Samples:
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def scrape(serve: Serve) -> Samples:
    answer = httpx.get(f"{serve.control}/metrics")
    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    return samples(answer.text)


def total(found: Samples, name: str, **labels: str) -> float:
    """The sum of those that have these labels."""
    return sum(value for (each, has), value in found.items() if each == name and labels.items() <= dict(has).items())


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Serve]:
    """Two workers, whose caches have room for little."""
    with Serve(tmp_path / "data", "--workers", "2", "--cache-size", "64KiB") as running:
        yield running


@pytest.mark.slow
def test_each_moves(serve: Serve) -> None:
    before = scrape(serve)
    pages = {f"{number}.html": b"%d" % number * 900 for number in range(60)}
    space, site = serve.site("a.localhost", {"index.html": b"home", **pages})
    with Wire(serve.edge_port) as wire:
        for path in ("", *(name for name in pages for _ in range(3)), "nothing"):
            wire.send(f"GET /{path} HTTP/1.1\r\nHost: a.localhost\r\n\r\n".encode())
            wire.receive()
        tag = serve.get("a.localhost").header("etag")
        assert serve.get("a.localhost", "/", f"If-None-Match: {tag}").status == 304
        assert serve.get("nobody.localhost").status == 404
        (log := serve.data_dir / "access.log").unlink()
        log.symlink_to("/dev/full")
        serve.wait_until(lambda: serve.get("a.localhost").status == 200 and total(scrape(serve), DROPPED) > 0)
        log.unlink()

        def is_counted() -> bool:
            # What a worker has not handed on is lost when it is killed.
            now = scrape(serve)
            others = [(site, "3xx"), (site, "4xx"), ("none", "4xx")]
            return total(now, ANSWERS, site=site, status="2xx") >= 180 and all(
                total(now, ANSWERS, site=of, status=status) >= 1 for of, status in others
            )

        serve.wait_until(is_counted)
        killed = serve.edge_workers()[0]
        counted = total(scrape(serve), ANSWERS, site=site, status="2xx")
        assert total(scrape(serve), "spacelane_cache_bytes") > 0
        os.kill(killed, signal.SIGKILL)
        serve.wait_until(lambda: total(scrape(serve), RESTARTS, reason="crash") == 1)
        serve.reload()
        serve.wait_until(lambda: total(scrape(serve), RESTARTS, reason="reload") == 4)
        wire_open = serve.get("a.localhost").status
    serve.post(f"space/{space}/delete")
    with ExitStack() as connections:

        def is_connected() -> bool:
            # A process that is being replaced may have taken the one before, and ended it.
            connections.enter_context(Wire(serve.edge_port))
            return total(scrape(serve), "spacelane_connections") > 0

        serve.wait_until(is_connected)
        after = scrape(serve)
    assert wire_open == 200
    assert total(after, ANSWERS, site=site, status="2xx") >= counted >= 180
    assert total(after, ANSWERS, site=site, status="3xx") >= 1
    assert total(after, ANSWERS, site=site, status="4xx") >= 1
    assert total(after, ANSWERS, site="none", status="4xx") >= 1
    assert total(after, "spacelane_http_body_bytes_total", site=site, status="2xx") > 180 * 900
    assert total(after, "spacelane_cache_hits_total") >= 60
    assert total(after, "spacelane_cache_misses_total") >= 60
    assert total(after, "spacelane_api_requests_total", route="/api/v1/space/{spaceId}/delete", status="200") == 1
    for name in {name for name, _ in before} - STILL:
        assert total(after, name) > total(before, name), name
    documented = {name for name, *_ in ROW.findall(PAGE.read_text())}
    assert {name for name, _ in after} == documented


ANSWERS = "spacelane_http_requests_total"
DROPPED = "spacelane_access_log_dropped_lines_total"
RESTARTS = "spacelane_process_restarts_total"
# Of these none can be told to rise: processes come and go, and a new worker has nothing in its cache.
STILL = {
    "process_cpu_seconds_total", "process_max_fds", "process_open_fds", "process_resident_memory_bytes",
    "process_start_time_seconds", "process_virtual_memory_bytes", "spacelane_api_requests_total",
    "spacelane_cache_bytes", "spacelane_serving",
}  # fmt: skip


@pytest.mark.slow
def test_one_worker_has_them_too(tmp_path: Path) -> None:
    with Serve(tmp_path) as serve:
        serve.site("a.localhost", {"index.html": b"home"})
        with Wire(serve.edge_port) as wire:
            for _ in range(5):
                wire.send(b"GET / HTTP/1.1\r\nHost: a.localhost\r\n\r\n")
                assert wire.receive().body == b"home"
        serve.wait_until(lambda: total(scrape(serve), ANSWERS, status="2xx") == 5)
        serve.wait_until(lambda: len({dict(labels).get("process") for _, labels in scrape(serve)}) == 3)
        found = scrape(serve)
        assert total(found, "spacelane_cache_hits_total") == 4
        assert {dict(labels).get("process") for _, labels in found} == {None, "worker-0", "compressor"}
        assert total(found, "spacelane_applied_revision") == total(found, "spacelane_revision") > 0
        assert total(found, "process_resident_memory_bytes", process="worker-0") > 2**20


def test_the_page_says_what_they_are() -> None:
    metrics = Metrics()
    documented = {name: (kind, text) for name, kind, _, text in ROW.findall(PAGE.read_text())}
    for family in metrics.collect():
        name = f"{family.name}_total" if family.type == "counter" else family.name
        assert documented[name] == (family.type, family.documentation)


def test_calls_have_few_names() -> None:
    metrics = Metrics()
    for method in ("GET", "POST", "BREW", "DELETE"):
        metrics.count_call(method, None, 405)
    metrics.count_call("GET", "/api/v1/space/list", 200)
    found = samples(metrics.render().decode())
    assert total(found, "spacelane_api_requests_total", method="other", route="none", status="405") == 2
    assert total(found, "spacelane_api_requests_total") == 5


@pytest.mark.slow
def test_a_crash_is_counted_once_others_have_counted(serve: Serve) -> None:
    killed = serve.edge_workers()[0]
    with closing(NodeMap.open(serve.data_dir / NODE_FILE)) as node:
        with ExitStack() as counting:
            serve.wait_until(lambda: counting.enter_context(node.totals_locked()))
            os.kill(killed, signal.SIGKILL)
            serve.wait_until(lambda: len(set(serve.edge_workers()) - {killed}) == 2)
            assert total(scrape(serve), RESTARTS, reason="crash") == 0
        serve.wait_until(lambda: total(scrape(serve), RESTARTS, reason="crash") == 1)

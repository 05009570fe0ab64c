"""The loads of our own generator: what they make of its word, and what they do not take for the server's."""

from __future__ import annotations

import os
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks import loads
from benchmarks.certificates import make_certificate
from benchmarks.checks import lengths_key
from benchmarks.corpus import DOMAIN, make_corpus
from benchmarks.generator import COMPILER
from benchmarks.loads import Target, percentile
from benchmarks.peers.base import Place, Setting
from benchmarks.processes import BenchError, running
from benchmarks.work import same
from tests.benchmarks.serving import answering

PAGE = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\npage"

needs_compiler = pytest.mark.skipif(shutil.which(COMPILER) is None, reason="there is no C compiler")


@pytest.fixture
def target(tmp_path: Path) -> Iterator[Target]:
    """A server that answers with a page; what is taken for its process does nothing."""
    core = min(os.sched_getaffinity(0))

    def send_page(connection: socket.socket, _request: bytes) -> None:
        connection.sendall(PAGE)

    with answering(send_page) as port, running(["sleep", "60"], core, log=tmp_path / "log") as server:
        corpus = make_corpus(tmp_path / "corpus", 0)
        place = Place(Setting("site"), corpus, make_certificate(tmp_path, DOMAIN), tmp_path, port, core)
        work = same("/", connections=4)
        yield Target(server, place, work, {lengths_key(work.clients[0][0]): len(PAGE)}, core, 0)


@needs_compiler
def test_what_a_round_has_measured(target: Target) -> None:
    sample = loads.clients(target, 0.05)
    assert sample.requests > 10
    assert sample.requests_per_second == pytest.approx(sample.requests / 0.05, rel=0.5)
    assert 0 < sample.p50_ms <= sample.p99_ms <= sample.p999_ms
    assert sample.late_ms is None
    assert sample.idle_kb is None
    assert loads.clients_beside_idle(3)(target, 0.05).idle_kb is not None


@needs_compiler
def test_a_late_generator_is_no_word_about_the_server(target: Target, monkeypatch: pytest.MonkeyPatch) -> None:
    load = loads.at_rate(500.0)
    monkeypatch.setattr(loads, "LATEST_MS", 60_000.0)
    assert load(target, 0.05).late_ms is not None
    monkeypatch.setattr(loads, "LATEST_MS", -1.0)
    monkeypatch.setattr(loads, "PAUSE_SECONDS", 0.0)
    with pytest.raises(BenchError, match="the generator was .* ms late itself .* 3 times"):
        load(target, 0.05)


@needs_compiler
def test_the_greatest_rate_is_the_servers(target: Target, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loads, "BUSIEST", 2.0)
    assert loads.find_peak(target, 0.05) > 100
    monkeypatch.setattr(loads, "BUSIEST", 0.0)
    with pytest.raises(BenchError, match="is the generator's own"):
        loads.find_peak(target, 0.05)


@pytest.mark.parametrize(("share", "value"), [(0.5, 2), (0.75, 3), (0.76, 4), (0.999, 4), (0.0, 1)])
def test_percentiles(share: float, value: float) -> None:
    assert percentile([1, 2, 3, 4], share) == value

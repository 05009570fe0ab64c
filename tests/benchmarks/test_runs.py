"""Whole runs, as short as they can be: everything is started, driven, written down, and ended."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.certificates import make_certificate
from benchmarks.corpus import DOMAIN, make_corpus
from benchmarks.generator import COMPILER
from benchmarks.loads import LATEST_MS
from benchmarks.peers import caddy, lighttpd, nginx
from benchmarks.peers.base import Peer, Place, Setting, find_program
from benchmarks.peers.registry import OURS, PEERS, REFERENCE
from benchmarks.processes import BenchError, free_port, running
from benchmarks.results import Results
from benchmarks.rows import ROWS
from benchmarks.scale import EXPERIMENTS

ROOT = Path(__file__).resolve().parent.parent.parent
SETTINGS = {row.setting.name: row.setting for row in ROWS if row.setting.name in ("site", "hosts-10", "tls", "http2")}

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="one core for each side is needed"),
    pytest.mark.skipif(find_program(COMPILER) is None, reason="there is no C compiler"),
]


def run_quickly(out: Path, rows: list[str], *more: str) -> tuple[Results, str]:
    command = [sys.executable, "-m", "benchmarks", "--quick", "--rows", ",".join(rows), "--out", str(out), *more]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return Results.load(out.read_text()), done.stdout


def test_a_moment_of_each_kind_of_load(tmp_path: Path) -> None:
    rows = ["browsers", *(["404"] if find_program("wrk") else []), *(["http2"] if find_program("h2load") else [])]
    peers = {OURS, *([REFERENCE] if find_program("nginx") else [])}
    results, said = run_quickly(tmp_path / "out.json", rows, "--peers", REFERENCE)
    assert set(results.peers) == peers
    for row in results.rows.values():
        assert row.absent == {}
        assert {name: len(samples) for name, samples in row.samples.items()} == dict.fromkeys(peers, 1)
        assert all(one.requests > 0 and one.p50_ms > 0 for samples in row.samples.values() for one in samples)
    assert "| 1,000 browsers, 20 pages |" in said
    assert (tmp_path / "out.md").read_text().startswith("# A run of the benchmarks\n")


@pytest.mark.skipif(find_program("nginx") is None, reason="nginx is not installed")
def test_requests_at_a_rate(tmp_path: Path) -> None:
    results, _ = run_quickly(tmp_path / "out.json", ["latency-10"], "--peers", REFERENCE)
    row = results.rows["latency-10"]
    assert {*row.samples, *row.absent} == {OURS, REFERENCE}
    # Where others use the cores too, a generator that is late is no fault of it, but has to be told.
    assert [reason for reason in row.absent.values() if "ms late itself" not in reason] == []
    late = [sample.late_ms for samples in row.samples.values() for sample in samples]
    assert all(one is not None and one <= LATEST_MS for one in late)


def test_a_rate_that_nobody_can_find(tmp_path: Path) -> None:
    results, _ = run_quickly(tmp_path / "out.json", ["latency-10"], "--peers", OURS)
    assert "is a share of what nginx can do" in results.rows["latency-10"].absent[OURS]


def test_the_promises_on_a_small_scale(tmp_path: Path) -> None:
    results, said = run_quickly(tmp_path / "out.json", list(EXPERIMENTS))
    figures = results.figures
    assert set(figures) >= {"start", "first-host", "memory-full", "register", "changes", "widget"}
    assert [name for name, figure in figures.items() if not figure.values or min(figure.values) <= 0] == []


def test_a_run_that_is_ended_leaves_nothing_behind(tmp_path: Path) -> None:
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    command = [sys.executable, "-m", "benchmarks", "--rows", "browsers", "--peers", "nginx", "--seconds", "60"]
    process = subprocess.Popen(
        [*command, "--out", str(tmp_path / "out.json")],
        cwd=ROOT,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "TMPDIR": str(temporary)},
    )
    assert process.stderr is not None
    with process.stderr as said:
        next(line for line in said if "round 1" in line)
        process.terminate()
        said.read()
    assert process.wait() == 128 + 15
    assert Results.load((tmp_path / "out.json").read_text()).rows == {}
    assert list(temporary.iterdir()) == []
    assert [line for line in command_lines() if str(temporary) in line] == []


def command_lines() -> list[str]:
    """Of every process."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            found.append(path.read_bytes().decode(errors="replace"))
        except OSError:  # it has just ended
            continue
    return found


@pytest.mark.parametrize("setting", SETTINGS.values(), ids=list(SETTINGS))
@pytest.mark.parametrize("peer", [peer for peer in PEERS if peer.name != OURS], ids=lambda peer: str(peer.name))
def test_a_peer_takes_its_configuration(peer: Peer, setting: Setting, tmp_path: Path) -> None:
    if peer.find_version() is None:
        pytest.skip("it is not installed")
    corpus = make_corpus(tmp_path / "corpus", setting.hosts)
    directory = tmp_path / "server"
    directory.mkdir()
    place = Place(setting, corpus, make_certificate(tmp_path, DOMAIN), directory, free_port(), 0)
    if "uvicorn" in str(peer.find_version()) and (setting.http2 or (setting.hosts and peer.name == "whitenoise")):
        with pytest.raises(BenchError), peer.start(place):
            pass
        return
    with peer.start(place) as server:
        assert server.memory_bytes() > 1_000_000
        assert server.cpu_seconds() >= 0
        assert not server.has_ended()
    assert server.has_ended()


def test_configurations_name_every_host(tmp_path: Path) -> None:
    corpus = make_corpus(tmp_path / "corpus", 3)
    place = Place(Setting("hosts", hosts=3), corpus, make_certificate(tmp_path, DOMAIN), tmp_path, 1, 0)
    for host in corpus.host_names(3):
        assert f"server_name {host};" in nginx.configure(place)
        assert f"http://{host}:1" in caddy.configure(place)
    assert f'evhost.path-pattern = "{corpus.many}/%_/"' in lighttpd.configure(place)


def test_a_server_that_does_not_start_says_why(tmp_path: Path) -> None:
    command = ["sh", "-c", "echo no such file >&2; exit 3"]
    with (
        running(command, 0, log=tmp_path / "log") as server,
        pytest.raises(BenchError, match="did not start: no such file"),
    ):
        server.wait_for(free_port())
    assert server.pids() == [server.pid]
    assert server.cpu_seconds() == 0
    assert server.memory_bytes() == 0
    server.forget_logs()
    assert server.messages() == "it said nothing"

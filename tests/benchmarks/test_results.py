"""From samples to tables: the arithmetic, the rendering, and the README being of the latest run."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks import __main__ as command
from benchmarks import report
from benchmarks.loads import Sample, parse_h2load, render_requests
from benchmarks.machine import cpu_model
from benchmarks.processes import BenchError
from benchmarks.results import LATEST, Figure, Results, RowResult, Spread, spread_of
from benchmarks.work import Work


def sample(cpu_us: float, p99_ms: float = 1.0) -> Sample:
    return Sample(
        requests=1000,
        requests_per_second=1e6 / cpu_us,
        cpu_us=cpu_us,
        p50_ms=0.5,
        p99_ms=p99_ms,
        p999_ms=2.0,
        memory_mb=50.0,
        client_busy=0.9,
    )


@pytest.fixture
def results() -> Results:
    page = RowResult(
        "a page",
        "cpu_us",
        0.8,
        {"spacelane": [sample(6.0), sample(9.0), sample(5.0)], "nginx": [sample(10.0), sample(10.0), sample(20.0)]},
        {"caddy": "it did not start: because\nof this"},
    )
    slow = RowResult("slow", "p99_ms", 1.2, {"spacelane": [sample(5.0, 30.0)]})
    return Results(
        machine={"date": "2026-01-02 03:04 UTC", "commit": "abc", "cpu": "A CPU"},
        options={"rounds": 3, "seconds": 2.0},
        peers={
            name: {"title": title, "version": "1.0"}
            for name, title in (("spacelane", "Spacelane"), ("nginx", "nginx"), ("caddy", "Caddy"))
        },
        rows={"page": page, "slow": slow},
        figures={
            "start": Figure("start", "s", 2.0, [1.5, 1.0, 1.25]),
            "lost": Figure("lost failed: why", "", None, []),
        },
    )


def test_a_ratio_is_of_rounds_beside_each_other(results: Results) -> None:
    row = results.rows["page"]
    assert row.ratio("spacelane", "nginx") == Spread(0.6, 0.25, 0.9)
    assert row.ratio("spacelane", "caddy") is None
    assert row.spread("nginx", "cpu_us") == Spread(10.0, 10.0, 20.0)
    assert row.spread("nginx", "idle_kb") is None
    assert results.rows["slow"].spread("spacelane", "p99_ms") == Spread(30.0, 30.0, 30.0)


def test_spreads() -> None:
    assert spread_of([]) is None
    assert spread_of([None, 2.0, None, 1.0]) == Spread(1.5, 1.0, 2.0)


def test_a_peer_that_gives_up_has_no_samples(results: Results) -> None:
    row = results.rows["page"]
    row.give_up("nginx", "tired")
    assert "nginx" not in row.samples
    assert row.absent["nginx"] == "tired"


def test_what_is_written_is_read(results: Results) -> None:
    assert Results.load(results.dump()) == results
    assert json.loads(results.dump())["rows"]["page"]["samples"]["nginx"][0]["cpu_us"] == 10.0


def test_the_table_of_the_readme(results: Results) -> None:
    text = report.render_readme(results)
    assert "| a page | 6 | 10 | — | 0.60 |" in text
    assert "| slow (p99 ms) | 30 | — | — | — |" in text
    assert "medians of 3 interleaved rounds" in text


def test_the_whole_report(results: Results) -> None:
    text = report.render_all(results)
    assert "| a page | 6 (5–9) | 10 (10–20) | — | 0.60 (0.25–0.90) | ≤ 0.8 |" in text
    assert "\nCaddy: it did not start: because\n" in text
    assert "| start | 1.25 (1–1.5) s | ≤ 2 s |" in text
    assert "| lost failed: why | — | — |" in text
    assert "KB an idle connection" not in text


def test_only_what_stands_between_the_marks_is_replaced() -> None:
    before = f"above\n{report.BEGIN}\nold\n{report.END}\nbelow\n"
    after = report.insert(before, "new")
    assert after == f"above\n{report.BEGIN}\n\nnew\n\n{report.END}\nbelow\n"
    assert report.insert(after, "new") == after
    with pytest.raises(BenchError, match="marks are missing"):
        report.insert("nothing", "new")


def test_the_readme_is_of_the_latest_run() -> None:
    if not LATEST.exists():  # no whole run has been kept yet: then the README has no figures either
        page = (Path(__file__).parent.parent.parent / "README.md").read_text()
        assert f"{report.BEGIN}\n{report.END}\n" in page
        return
    assert command.main(["report", "--check"]) == 0
    pictures = {"cpu.svg", "hosts.svg", "latency.svg"}
    assert {path.name for path in LATEST.parent.iterdir()} >= pictures | {"latest.json", "latest.md"}
    assert (LATEST.parent / "latest.md").read_text() == report.render_all(Results.load(LATEST.read_text()))


def test_a_readme_of_another_run_is_told(
    results: Results, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "README.md").write_text(f"{report.BEGIN}\n{report.END}\n")
    (tmp_path / "latest.json").write_text(results.dump())
    monkeypatch.setattr(command, "README", tmp_path / "README.md")
    monkeypatch.setattr(command, "LATEST", tmp_path / "latest.json")
    assert command.main(["report", "--check"]) == 1
    assert "the README is not of the latest run" in capsys.readouterr().err
    pytest.importorskip("matplotlib")
    assert command.main(["report"]) == 0
    assert command.main(["report", "--check"]) == 0
    assert (tmp_path / "cpu.svg").read_text().startswith("<?xml")


def test_pictures_are_the_same_each_time(results: Results, tmp_path: Path) -> None:
    plots = pytest.importorskip("benchmarks.plots", exc_type=ModuleNotFoundError)
    for point in (10, 1000):
        results.rows[f"hosts-{point}"] = results.rows["page"]
        results.rows[f"latency-{point}"] = results.rows["slow"]
    written = plots.draw(results, tmp_path)
    assert [path.name for path in written] == ["cpu.svg", "hosts.svg", "latency.svg"]
    first = [path.read_bytes() for path in written]
    assert [path.read_bytes() for path in plots.draw(results, tmp_path)] == first
    assert all(len(picture) < 100_000 for picture in first)


@pytest.mark.parametrize(
    ("said", "complaint"),
    [
        ("nothing", "no answers"),
        ("requests: 5 total, 5 started, 0 done, 0 succeeded, 0 failed", "no answers"),
        (
            "finished in 1.00s, 5.00 req/s, 1KB/s\n"
            "requests: 5 total, 5 started, 5 done, 3 succeeded, 2 failed\ntraffic: 1B (1) total, 5B (5) data",
            "went wrong",
        ),
    ],
)
def test_h2load_without_answers(said: str, complaint: str) -> None:
    with pytest.raises(BenchError, match=complaint):
        parse_h2load(said)


def test_h2load() -> None:
    said = (
        "finished in 1.07s, 104.50 req/s, 108.47KB/s\n"
        "requests: 104 total, 120 started, 104 done, 104 succeeded, 0 failed, 0 errored, 0 timeout\n"
        "traffic: 108.47KB (111076) total, 1.50KB (1532) headers (space savings 94.56%), 104.00KB (106496) data\n"
    )
    assert parse_h2load(said) == (104, 104.5, 106496)


def test_the_file_that_wrk_reads() -> None:
    assert render_requests(Work([[b"GET", b"POST"]], order=[1, 0, 1])) == b"3\nGET\n4\nPOST\norder\n2\n1\n2\n"


def test_cpu_model() -> None:
    assert cpu_model("processor : 0\nmodel name\t: A CPU  \nmodel name : B") == "A CPU"
    assert cpu_model("no such line") != ""


@pytest.mark.parametrize("arguments", [["--rows", "nope"], ["--peers", "apache"], ["profile", "nope"]])
def test_names_that_nobody_has(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(arguments) == 1
    assert (
        f"there is no {'peer' if '--peers' in arguments else 'row'} {arguments[-1]}; see --list"
        in capsys.readouterr().err
    )


def test_names_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["--list"]) == 0
    said = capsys.readouterr().out
    assert {"browsers", "latency-70", "million", "nginx", "whitenoise"} <= {
        line.split()[0] for line in said.splitlines() if line
    }

"""Measures what a page costs: requests a second, and the server's CPU time a request.

The server is pinned to one core and the load generator (wrk) to another. Each row is driven for several rounds; its
first answer is checked before it is timed. Results go to standard output as a table, and as JSON to
`benchmarks/results/`.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path

RESULTS = Path(__file__).parent / "results"
HOST = "bench.localhost"
FILES = {"index.html": b"<p>" + b"x" * 1021, "script.js": b"y" * 100 * 1024}
BROWSER = {
    "User-Agent": "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0",
    "Accept": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
    "Accept-Language": "en-US,en;q=0.5",
    "Accept-Encoding": "gzip, deflate, br, zstd",
}
TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Row:
    """One kind of work."""

    name: str
    path: str
    headers: dict[str, str]
    status: int


@dataclass(frozen=True)
class Round:
    """What one round of a row measured."""

    requests_per_second: float
    cpu_us_per_request: float


def rows(etag: str) -> list[Row]:
    """The work that is measured; `etag` is the page's."""
    return [
        Row("1 KB page", "/", {}, 200),
        Row("304 of it", "/", {"If-None-Match": etag}, 304),
        Row("100 KB script", "/script.js", {}, 200),
        Row("404", "/none", {}, 404),
    ]


class Server:
    """Spacelane on core 0 with the files published."""

    def __init__(self, directory: Path) -> None:
        key = "benchmark-root-key"
        self.process = subprocess.Popen(
            ["taskset", "-c", "0", sys.executable, "-m", "server", "serve", "--data-dir", str(directory),
             "--edge", "127.0.0.1:0", "--control", "127.0.0.1:0"],
            stderr=subprocess.PIPE, text=True, env={**os.environ, "SPACELANE_ROOT_KEY": key},
        )  # fmt: skip
        assert self.process.stderr is not None
        serving = next(json.loads(line) for line in self.process.stderr if '"serving"' in line)
        self.url = serving["visitors"]
        self._api, self._key = serving["operators"], key
        space = self._post("space/create", b"{}", "application/json")["id"]
        for path, content in FILES.items():
            self._post(f"space/{space}/storage/upload/{path}", content, "application/octet-stream")
        self._post(f"space/{space}/site/create", json.dumps({"domain": HOST}).encode(), "application/json")

    def _post(self, path: str, body: bytes, kind: str) -> dict[str, str]:
        headers = {"authorization": f"Bearer {self._key}", "content-type": kind}
        with urllib.request.urlopen(urllib.request.Request(f"{self._api}/api/v1/{path}", body, headers)) as answer:
            parsed: dict[str, str] = json.load(answer)
            return parsed

    def cpu_seconds(self) -> float:
        """User and system time so far."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / TICKS

    def stop(self) -> None:
        self.process.terminate()
        self.process.communicate()


def fetch(url: str, headers: dict[str, str]) -> tuple[int, dict[str, str]]:
    """Status and headers of one answer."""
    request = urllib.request.Request(url, headers={"Host": HOST, **headers})
    try:
        with urllib.request.urlopen(request) as answer:
            return answer.status, dict(answer.headers)
    except urllib.error.HTTPError as exc:
        with exc:
            return exc.code, dict(exc.headers)


def drive(server: Server, row: Row, seconds: float, connections: int) -> Round:
    """One round of wrk on core 1."""
    headers = [
        part for name, value in {"Host": HOST, **BROWSER, **row.headers}.items() for part in ("-H", f"{name}: {value}")
    ]
    before = server.cpu_seconds()
    done = subprocess.run(
        ["taskset", "-c", "1", "wrk", "-t1", f"-c{connections}", f"-d{seconds:g}", *headers, server.url + row.path],
        capture_output=True,
        text=True,
        check=True,
    )
    spent = server.cpu_seconds() - before
    count = re.search(r"(\d+) requests in", done.stdout)
    rate = re.search(r"Requests/sec:\s+([\d.]+)", done.stdout)
    assert count, done.stdout
    assert rate, done.stdout
    return Round(float(rate[1]), spent / max(int(count[1]), 1) * 1e6)


def measure(server: Server, rounds: int, seconds: float, connections: int) -> dict[str, list[Round]]:
    """Every row in turn, round after round, so that a slow moment of the machine falls on all of them."""
    etag = fetch(server.url + "/", {})[1]["etag"]
    work = rows(etag)
    for row in work:
        status, _ = fetch(server.url + row.path, row.headers)
        if status != row.status:
            raise SystemExit(f"{row.name}: answered {status}, not {row.status}; nothing was timed")
    measured: dict[str, list[Round]] = {row.name: [] for row in work}
    for _ in range(rounds):
        for row in work:
            measured[row.name].append(drive(server, row, seconds, connections))
    return measured


def report(measured: dict[str, list[Round]]) -> str:
    """A Markdown table of medians, with min and max."""
    lines = ["| work | requests/s | CPU µs a request (min–max) |", "|---|---:|---:|"]
    for name, results in measured.items():
        cpu = [result.cpu_us_per_request for result in results]
        rate = statistics.median(result.requests_per_second for result in results)
        lines.append(f"| {name} | {rate:,.0f} | {statistics.median(cpu):.1f} ({min(cpu):.1f}–{max(cpu):.1f}) |")
    return "\n".join(lines)


def cpu_model() -> str:
    """As the kernel names it."""
    found = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    return found[1] if found else platform.processor()


def main() -> None:
    """Parse the options, measure, report."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=3, help="of load, a row and round")
    parser.add_argument("--connections", type=int, default=32)
    parser.add_argument("--results", type=Path, default=RESULTS, help="directory for the JSON file")
    options = parser.parse_args()
    if not shutil.which("wrk"):
        raise SystemExit("wrk is not installed: apt-get install wrk")
    if len(os.sched_getaffinity(0)) < 2:
        raise SystemExit("two cores are needed: one for the server, one for the load")
    with tempfile.TemporaryDirectory() as directory:
        server = Server(Path(directory))
        try:
            measured = measure(server, options.rounds, options.seconds, options.connections)
        finally:
            server.stop()
    print(report(measured))
    options.results.mkdir(exist_ok=True)
    path = options.results / "spacelane.json"
    facts = {"spacelane": version("spacelane"), "python": platform.python_version(), "cpu": cpu_model()}
    results = {name: [asdict(result) for result in rounds] for name, rounds in measured.items()}
    path.write_text(json.dumps({**facts, "options": vars(options), "rows": results}, indent=2, default=str) + "\n")
    print(f"\n{path}")


if __name__ == "__main__":
    main()

"""Where the time of our server goes in a row: a flame graph of its Python by py-spy, and a list of all its symbols, the
kernel's among them, by perf. Whichever is installed is used."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from benchmarks.certificates import make_certificate
from benchmarks.corpus import DOMAIN, make_corpus
from benchmarks.loads import Target
from benchmarks.measure import prepare
from benchmarks.peers.base import Place
from benchmarks.peers.spacelane import Spacelane
from benchmarks.processes import BenchError, cores, free_port
from benchmarks.rows import Row

SAMPLES_PER_SECOND = 500
SPARE_SECONDS = 30.0  # for a recorder to write what it has


def profile(row: Row, seconds: float, directory: Path, say: Callable[[str], None]) -> list[Path]:
    """Drive our server by `row` under each recorder in turn; the files written to `directory`.

    Raises `BenchError` if no recorder is installed, or one fails.
    """
    py_spy, perf = _find("py-spy"), _find("perf")
    if not py_spy and not perf:
        raise BenchError("there is neither py-spy (make bench-deps) nor perf (Debian: linux-perf)")
    directory.mkdir(parents=True, exist_ok=True)
    graph, symbols = directory / f"profile-{row.name}.svg", directory / f"profile-{row.name}.txt"
    written = []
    with _standing(row) as target:
        pid, length = str(target.server.pid), f"{max(1, round(seconds))}"
        if py_spy:
            say(f"{row.name}: py-spy")
            spying = [py_spy, "record", "--nonblocking", "--pid", pid, "--duration", length]
            spying += ["--rate", str(SAMPLES_PER_SECOND), "--output", str(graph)]
            _record(spying, row, target, seconds)
            written.append(graph)
        if perf:
            say(f"{row.name}: perf")
            recorded = target.place.directory / "perf.data"
            perfing = [perf, "record", "--quiet", "--pid", pid, "--output", str(recorded), "--", "sleep", length]
            _record(perfing, row, target, seconds)
            shown = [
                perf,
                "report",
                "--stdio",
                "--input",
                str(recorded),
                "--sort",
                "dso,symbol",
                "--percent-limit",
                "0.3",
            ]
            symbols.write_text(subprocess.run(shown, capture_output=True, text=True, check=True).stdout)
            written.append(symbols)
    return written


@contextmanager
def _standing(row: Row) -> Iterator[Target]:
    """Our server, set up for the row, its answers checked."""
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        directory = Path(name)
        corpus = make_corpus(directory / "corpus", row.setting.hosts)
        own = directory / "server"
        own.mkdir()
        server_core, _ = cores()
        place = Place(row.setting, corpus, make_certificate(directory, DOMAIN), own, free_port(), server_core)
        with Spacelane().start(place) as server:
            yield prepare(row, server, place)


def _record(command: Sequence[str], row: Row, target: Target, seconds: float) -> None:
    recorder = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        row.load(target, seconds)
        said, _ = recorder.communicate(timeout=SPARE_SECONDS)
    except subprocess.TimeoutExpired:
        raise BenchError(f"{command[0]} did not end") from None
    finally:
        recorder.kill()
        recorder.communicate()
    if recorder.returncode:
        raise BenchError(f"{command[0]} failed: {said.strip()[-500:]}")


def _find(program: str) -> str | None:
    """On the path, or beside the Python that runs this."""
    return shutil.which(program) or shutil.which(program, path=str(Path(sys.executable).parent))

"""Compares Spacelane with other servers of static files: what a request costs, and how fast it is answered.

Each server runs on one core and the load on another. All serve the same files to the same requests; every kind of
answer is checked before it is timed, and counted while it is. Servers are driven in turn, round after round.
"""

from __future__ import annotations

import argparse
import resource
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from benchmarks.machine import describe_machine
from benchmarks.measure import Options, measure
from benchmarks.network import CONGESTION_CONTROL, congestion_control, enter_own_network
from benchmarks.peers.registry import OURS, PEERS
from benchmarks.processes import BenchError
from benchmarks.profiler import profile
from benchmarks.report import README, insert, render_all, render_readme, render_summary
from benchmarks.results import LATEST, Results
from benchmarks.rows import ROWS
from benchmarks.scale import EXPERIMENTS

EXAMPLES = """
examples:
  python -m benchmarks                                 everything, about an hour; then `report`
  python -m benchmarks --quick                         everything for a moment: does it all work here?
  python -m benchmarks --rows browsers,304 --peers nginx   ourselves and nginx, two rows
  python -m benchmarks --list                          what rows and peers there are
  python -m benchmarks profile 404                     where our time goes in a row
  python -m benchmarks report                          the README's table and the pictures, from the latest whole run

Peers are installed by `make bench-deps`; those that are absent are left out. docs/benchmarks.md says how to read the
figures.
"""
ROUNDS = 5  # the fewest of which a whole run is made
QUICK = Options(rounds=1, seconds=0.5, most_hosts=50)
FILES = 65_536  # descriptors that we ask for: the idle row wants 11,000 on each side


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit code."""
    options = _parser().parse_args(arguments)
    signal.signal(signal.SIGTERM, _leave)  # so that what was started is ended
    try:
        if options.command == "report":
            return report(options.check)
        if options.command == "profile":
            return profile_row(options.row, options.seconds)
        if options.list:
            return list_names()
        return run(options)
    except BenchError as exc:
        print(f"benchmarks: {exc}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nbenchmarks: stopped", file=sys.stderr)
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description=__doc__,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--rows", metavar="NAMES", help="which, with commas between; otherwise all")
    parser.add_argument("--peers", metavar="NAMES", help="with which to compare, besides ourselves; otherwise all")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help=f"of each row and peer (default {ROUNDS})")
    parser.add_argument("--seconds", type=float, default=3.0, help="of load in a round (default 3)")
    parser.add_argument("--quick", action="store_true", help="one round of half a second: a trial, no figures")
    parser.add_argument("--list", action="store_true", help="print the rows and the peers, and stop")
    parser.add_argument("--out", type=Path, metavar="FILE", help="JSON file (default: results/latest.json, or "
                        "results/part.json where not everything was asked for)")  # fmt: skip
    commands = parser.add_subparsers(dest="command", title="instead of a run", required=False)
    reporting = commands.add_parser("report", help="write the README's table and the pictures from the latest run")
    reporting.add_argument("--check", action="store_true", help="only say whether the README is of that run")
    profiling = commands.add_parser("profile", help="write a flame graph and a list of symbols of our server in a row")
    profiling.add_argument("row", metavar="ROW", help="its name, as --list has it")
    profiling.add_argument("--seconds", type=float, default=10.0, help="of load (default 10)")
    return parser


def _leave(number: int, _frame: object) -> NoReturn:
    raise SystemExit(128 + number)


def run(options: argparse.Namespace) -> int:
    """Measure and write."""
    names = _choose(options.rows, [*(row.name for row in ROWS), *EXPERIMENTS], "row")
    chosen = _choose(options.peers, [peer.name for peer in PEERS], "peer")
    peers = [peer for peer in PEERS if (peer.name in chosen or peer.name == OURS) and peer.find_version()]
    how = QUICK if options.quick else Options(options.rounds, options.seconds)
    _prepare()
    results = Results(
        machine=describe_machine(),
        options={"rounds": how.rounds, "seconds": how.seconds},
        peers={peer.name: {"title": peer.title, "version": str(peer.find_version())} for peer in peers},
    )
    rows = [row for row in ROWS if row.name in names]
    experiments = [name for name in EXPERIMENTS if name in names]
    is_whole = False
    try:
        measure(rows, experiments, peers, how, results, _say)
        is_whole = not (options.rows or options.peers) and len(peers) == len(PEERS) and how.rounds >= ROUNDS
    finally:
        write(results, options.out or (LATEST if is_whole else LATEST.with_name("part.json")))
    print("\n".join(render_summary(results)))
    return 0


def write(results: Results, path: Path) -> None:
    """The JSON file, and everything in Markdown beside it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(results.dump())
    path.with_suffix(".md").write_text(render_all(results))
    _say(f"written: {path} and {path.with_suffix('.md').name}")


def _prepare() -> None:
    """What is to hold for this process and all that it starts."""
    if not enter_own_network() and (used := congestion_control()) != CONGESTION_CONTROL:
        _say(f"TCP uses {used} here, not {CONGESTION_CONTROL}: expect other figures for large answers (or be root)")
    raise_file_limit()


def report(check: bool) -> int:
    """Bring the README and the pictures to the latest run, or say whether the README is."""
    results = Results.load(LATEST.read_text())
    text = README.read_text()
    wanted = insert(text, render_readme(results))
    if check:
        if text != wanted:
            raise BenchError("the README is not of the latest run: python -m benchmarks report")
        return 0
    from benchmarks.plots import draw

    draw(results, LATEST.parent)
    README.write_text(wanted)
    return 0


def profile_row(name: str, seconds: float) -> int:
    """Say where our server's time goes."""
    row = next((row for row in ROWS if row.name == name), None)
    if row is None:
        raise BenchError(f"there is no row {name}; see --list")
    _prepare()
    for path in profile(row, seconds, LATEST.parent, _say):
        print(path)
    return 0


def list_names() -> int:
    """What `--rows` and `--peers` take."""
    for row in ROWS:
        print(f"{row.name:<12} {row.title}")
    for name, experiment in EXPERIMENTS.items():
        print(f"{name:<12} {str(experiment.__doc__).splitlines()[0]}")
    print()
    for peer in PEERS:
        print(f"{peer.name:<12} {peer.title} {peer.find_version() or '(not installed)'}")
    return 0


def _choose(names: str | None, known: Sequence[str], kind: str) -> list[str]:
    if not names:
        return list(known)
    wanted = [name.strip() for name in names.split(",")]
    unknown = [name for name in wanted if name not in known]
    if unknown:
        raise BenchError(f"there is no {kind} {', '.join(unknown)}; see --list")
    return wanted


def raise_file_limit() -> None:
    """For this process and those it starts: root may raise the hard limit, others go up to it."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(hard, FILES), max(hard, FILES)))
    except (ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _say(text: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())

"""Tables of a run in Markdown: the short one that the README has, and all of it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from benchmarks.peers.registry import OURS, REFERENCE
from benchmarks.processes import BenchError
from benchmarks.results import Results, RowResult, Spread, spread_of

README = Path(__file__).resolve().parent.parent / "README.md"
BEGIN = "<!-- What follows is generated from benchmarks/results/latest.json: python -m benchmarks report -->"
END = "<!-- Here ends what is generated. -->"
NONE = "—"
UNITS = {"cpu_us": "CPU µs", "p99_ms": "p99 ms"}


def render_readme(results: Results) -> str:
    """What belongs between the marks: the table against each peer, the picture, and on what it was measured."""
    machine = results.machine
    peers = list(results.peers)
    head = ["work", *(results.peers[peer]["title"] for peer in peers), f"ratio to {_title(results, REFERENCE)}"]
    lines = _table(
        head,
        [
            [_name(row), *(_median(row, peer) for peer in peers), _ratio(row, with_range=row.metric != "cpu_us")]
            for row in results.rows.values()
            if row.target is not None
        ],
    )
    return "\n".join(
        [
            "Microseconds of the server's CPU for a request, so lower is better; for latencies, milliseconds.",
            "",
            *lines,
            "",
            "![CPU time a request](benchmarks/results/cpu.svg)",
            "",
            f"Measured {machine['date']} at {machine['commit']} on {machine['cpu']}, one core for the server and one "
            f"for the load: medians of {results.options['rounds']} interleaved rounds, the ratio's from pairs of "
            "neighbours. Every answer was checked.",
        ]
    )


def insert(text: str, generated: str) -> str:
    """`text` with what stands between the marks replaced. Raises `BenchError` if they are not there."""
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise BenchError(f"the marks are missing: {BEGIN} … {END}")
    return f"{before}{BEGIN}\n\n{generated}\n\n{END}{after}"


def render_all(results: Results) -> str:
    """Everything that was measured."""
    parts = ["# A run of the benchmarks", ""]
    parts += [f"- {name}: {value}" for name, value in results.machine.items()]
    parts += [f"- {peer['title']}: {peer['version']}" for peer in results.peers.values()]
    parts += [f"- {results.options['rounds']} rounds of {results.options['seconds']:g} s", ""]
    parts += ["## Against each other", "", "Medians, and in brackets the least and the greatest.", ""]
    parts += render_summary(results)
    if results.figures:
        parts += ["", "## Promises", "", *render_figures(results)]
    for name, row in results.rows.items():
        parts += ["", f"## {row.title} (`{name}`)", "", *_details(results, row)]
        parts += [f"\n{_title(results, peer)}: {reason.splitlines()[0]}" for peer, reason in row.absent.items()]
    return "\n".join(parts) + "\n"


def render_summary(results: Results) -> list[str]:
    """A line for each row."""
    peers = list(results.peers)
    head = ["work", *(results.peers[peer]["title"] for peer in peers), "ratio", "target"]
    rows = [
        [
            _name(row),
            *(_show(row.spread(peer, row.metric)) for peer in peers),
            _ratio(row, with_range=True),
            _target(row),
        ]
        for row in results.rows.values()
    ]
    return _table(head, rows)


def render_figures(results: Results) -> list[str]:
    """A line for each figure."""
    rows = [
        [
            figure.title,
            f"{_show(spread_of(figure.values))} {figure.unit}".strip(),
            NONE if figure.target is None else f"≤ {figure.target:g} {figure.unit}".strip(),
        ]
        for figure in results.figures.values()
    ]
    return _table(["what", "measured", "target"], rows)


def _details(results: Results, row: RowResult) -> list[str]:
    columns = {
        "requests/s": "requests_per_second",
        "CPU µs": "cpu_us",
        "p50 ms": "p50_ms",
        "p99 ms": "p99_ms",
        "p99.9 ms": "p999_ms",
        "memory MB": "memory_mb",
        "client busy": "client_busy",
        "KB an idle connection": "idle_kb",
        "client late ms": "late_ms",
    }
    measured = list(row.samples)
    used = {
        title: metric
        for title, metric in columns.items()
        if any(row.spread(peer, metric) is not None for peer in measured)
    }
    rows = [
        [_title(results, peer), *(_show(row.spread(peer, metric)) for metric in used.values())] for peer in measured
    ]
    return _table(["", *used], rows)


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    rule = ["---", *["---:"] * (len(head) - 1)]
    return [f"| {' | '.join(cells)} |" for cells in (head, rule, *rows)]


def _name(row: RowResult) -> str:
    return row.title if row.metric == "cpu_us" else f"{row.title} ({UNITS[row.metric]})"


def _title(results: Results, peer: str) -> str:
    known = results.peers.get(peer)
    return known["title"] if known else peer


def _median(row: RowResult, peer: str) -> str:
    spread = row.spread(peer, row.metric)
    return NONE if spread is None else _number(spread.median)


def _ratio(row: RowResult, *, with_range: bool = False) -> str:
    ratio = row.ratio(OURS, REFERENCE)
    if ratio is None:
        return NONE
    return f"{ratio.median:.2f}" + (f" ({ratio.min:.2f}–{ratio.max:.2f})" if with_range else "")


def _target(row: RowResult) -> str:
    return NONE if row.target is None else f"≤ {row.target:g}"


def _show(spread: Spread | None) -> str:
    if spread is None:
        return NONE
    if spread.min == spread.max:  # of one try, most often
        return _number(spread.median)
    return f"{_number(spread.median)} ({_number(spread.min)}–{_number(spread.max)})"


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"

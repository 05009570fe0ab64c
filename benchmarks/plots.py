"""Pictures of a run, as small SVG files: the same run gives the same bytes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.results import Results, RowResult

COLOURS = {
    "spacelane": "#d1495b",
    "nginx": "#2e7d4f",
    "lighttpd": "#3b6fb6",
    "caddy": "#8d6cab",
    "starlette": "#9a9a9a",
    "whitenoise": "#c9c9c9",
}
STYLE: Any = {  # matplotlib names each key it knows in its type
    "svg.fonttype": "none",  # text stays text
    "svg.hashsalt": "spacelane",
    "font.family": "sans-serif",
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "grid.color": "#dddddd",
}


def draw(results: Results, directory: Path) -> list[Path]:
    """Those for which the run has figures; the files written."""
    pictures = {"cpu.svg": draw_cpu, "hosts.svg": draw_hosts, "latency.svg": draw_latency}
    written = []
    with mpl.rc_context(STYLE):
        for name, picture in pictures.items():
            figure = picture(results)
            if figure is not None:
                figure.savefig(directory / name, metadata={"Date": None}, bbox_inches="tight")
                written.append(directory / name)
    return written


def draw_cpu(results: Results) -> Figure | None:
    """Bars: CPU time a request of each row, on a logarithmic scale, and a line from the least to the greatest."""
    rows = [row for row in results.rows.values() if row.metric == "cpu_us" and row.target is not None and row.samples]
    if not rows:
        return None
    height = 0.8 / len(results.peers)
    figure, axes = _figure(9, 1 + 0.14 * len(rows) * len(results.peers))
    for index, (peer, about) in enumerate(results.peers.items()):
        spreads = [(number, row.spread(peer, row.metric)) for number, row in enumerate(rows)]
        places = [number + (index + 0.5) * height - 0.4 for number, spread in spreads if spread]
        known = [spread for _, spread in spreads if spread]
        reach = [[s.median - s.min for s in known], [s.max - s.median for s in known]]
        medians = [spread.median for spread in known]
        axes.barh(
            places,
            medians,
            height,
            xerr=reach,
            color=COLOURS.get(peer),
            label=about["title"],
            error_kw={"elinewidth": 0.6},
        )
    axes.set_yticks(range(len(rows)), [row.title for row in rows])
    axes.invert_yaxis()
    axes.set_xscale("log")
    axes.set_xlim(left=1)
    axes.xaxis.set_major_formatter("{x:,g}")
    axes.set_xlabel("µs of the server's CPU for a request: shorter is better")
    axes.grid(axis="x")
    _add_legend(axes)
    return figure


def draw_hosts(results: Results) -> Figure | None:
    """Lines: requests a second against the number of hosts."""
    return _draw_lines(
        _series(results.rows, "hosts"),
        results,
        metric="requests_per_second",
        labels=("hosts that the server knows", "requests a second: more is better"),
        scales=("log", "linear"),
    )


def draw_latency(results: Results) -> Figure | None:
    """Lines: the 99th percentile against the rate, in per cent of the greatest that nginx can do."""
    return _draw_lines(
        _series(results.rows, "latency"),
        results,
        metric="p99_ms",
        labels=("rate, in % of nginx's greatest", "99th percentile of latency in ms: less is better"),
        scales=("linear", "log"),
    )


def _series(rows: Mapping[str, RowResult], name: str) -> dict[int, RowResult]:
    """The rows named `name-NUMBER`, by the number, in order."""
    found = {}
    for key, row in rows.items():
        prefix, dash, number = key.rpartition("-")
        if dash and prefix == name and number.isdigit() and row.samples:
            found[int(number)] = row
    return dict(sorted(found.items()))


def _draw_lines(
    series: Mapping[int, RowResult],
    results: Results,
    *,
    metric: str,
    labels: tuple[str, str],
    scales: tuple[str, str],
) -> Figure | None:
    if not series:
        return None
    figure, axes = _figure(7, 4)
    for peer, about in results.peers.items():
        spreads = {number: row.spread(peer, metric) for number, row in series.items()}
        points = {number: spread.median for number, spread in spreads.items() if spread}
        if not points:
            continue
        axes.plot(list(points), list(points.values()), "o-", color=COLOURS.get(peer), label=about["title"])
    axes.set_xlabel(labels[0])
    axes.set_ylabel(labels[1])
    axes.set_xscale(scales[0])
    axes.set_yscale(scales[1])
    if scales[1] == "linear":
        axes.set_ylim(bottom=0)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter("{x:,g}")
    axes.grid()
    _add_legend(axes)
    return figure


def _add_legend(axes: Axes) -> None:
    """Above the picture, where it hides nothing."""
    axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=3, frameon=False)


def _figure(width: float, height: float) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(width, height))
    return figure, figure.add_subplot()

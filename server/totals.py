"""What the processes of one node count together, in the memory that they share (`server.node`).

A total outlives the process that counted and ends with the server: whoever counts adds to cells, under a lock and about
once a second, and whoever tells them reads. There are

    a line for each process    its pid, how often it was replaced, what it counts, what it has just now
    a line for each site       its id, then answers and bytes of their bodies by the class of the status

The first MAX_SITES sites that are visited have a line each; all others share one, so that neither visitors nor
operators can make the table grow.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import NamedTuple

from server.node import MAX_WORKERS, TOTALS_CELLS, NodeMap, is_running

MAX_SITES = 1000  # by name
NO_SITE = "none"  # for answers of no site: unknown hosts, refusals
OTHER = "other"
CLASSES = ("2xx", "3xx", "4xx", "5xx")

_PROCESSES = {**{f"worker-{slot}": slot for slot in range(MAX_WORKERS)}}
_PROCESSES |= {name: MAX_WORKERS + place for place, name in enumerate(("control", "compressor", "supervisor"))}
_LINE = 16  # cells
_USED = 0  # of the first line: how many sites have a name
_FIRST_PROCESS = _LINE
_FIRST_SITE = _FIRST_PROCESS + len(_PROCESSES) * _LINE
_SHARED = {NO_SITE: 0, OTHER: 1}  # lines that are there from the start
_NAME_CELLS = 8
_NAME_BYTES = 8 * _NAME_CELLS

assert _FIRST_SITE + (len(_SHARED) + MAX_SITES) * _LINE <= TOTALS_CELLS


class Cell(IntEnum):
    """Of a process's line. The first five only ever rise; the others are what the process has."""

    CRASHES = 0
    RELOADS = 1
    HITS = 2
    MISSES = 3
    EVICTIONS = 4
    DROPPED_LINES = 5
    CACHE_BYTES = 6
    CONNECTIONS = 7
    PID = 8


class Count(NamedTuple):
    """Answers, and bytes of their bodies."""

    answers: int
    size: int


@dataclass(frozen=True, slots=True)
class SiteTotal:
    """What visitors of a site got, by `CLASSES`."""

    site: str
    counts: Mapping[str, Count]


@dataclass(frozen=True, slots=True)
class ProcessTotal:
    """A process that there is or was: its line; `pid` 0 if it is not running now."""

    name: str
    pid: int
    cells: tuple[int, ...]

    def __getitem__(self, cell: Cell) -> int:
        return self.cells[cell]


class Totals:
    """One process's view. Its node map is open as long as it is used."""

    def __init__(self, node: NodeMap) -> None:
        self._node = node
        self._start = node.start
        self._lines = dict(_SHARED)  # of sites, as far as they are known here

    def add(self, counts: Mapping[tuple[str, str], Count], process: str, changes: Mapping[Cell, int]) -> bool:
        """Add what was counted of sites, by (id or `NO_SITE`, class), and of this process. False if not now: another
        process does so. Whatever is left of an earlier start of the server adds nothing."""
        with self._node.totals_locked() as locked:
            if not locked:
                return False
            if self._node.start == self._start:
                cells = self._node.totals
                for (site, status_class), count in counts.items():
                    cell = self._line(site) + _NAME_CELLS + 2 * CLASSES.index(status_class)
                    cells[cell] += count.answers
                    cells[cell + 1] += count.size
                for each, change in changes.items():
                    cells[_process_line(process) + each] += change
        return True

    def claim(self, process: str, pid: int) -> None:
        """`pid` is now what `process` names."""
        self._node.totals[_process_line(process) + Cell.PID] = pid

    def show(self, process: str, pid: int, values: Mapping[Cell, int]) -> None:
        """Set what `process` has just now, if it still is `pid`."""
        line = _process_line(process)
        if self._node.totals[line + Cell.PID] == pid:
            for cell, value in values.items():
                self._node.totals[line + cell] = value

    def sites(self) -> Iterator[SiteTotal]:
        """Every line of sites."""
        yield from (self._site_total(site, _site_line(place)) for site, place in _SHARED.items())
        for place in range(len(_SHARED), len(_SHARED) + self._node.totals[_USED]):
            line = _site_line(place)
            yield self._site_total(_name(self._node.totals[line : line + _NAME_CELLS]), line)

    def processes(self) -> Iterator[ProcessTotal]:
        """Every process that there has been since the start."""
        for name, place in _PROCESSES.items():
            line = _FIRST_PROCESS + place * _LINE
            cells = tuple(self._node.totals[line : line + len(Cell)])
            if any(cells):
                pid = cells[Cell.PID]
                yield ProcessTotal(name, pid if is_running(pid) else 0, cells)

    def _site_total(self, site: str, line: int) -> SiteTotal:
        cells = self._node.totals[line + _NAME_CELLS : line + _LINE]
        return SiteTotal(site, {name: Count(*cells[2 * at : 2 * at + 2]) for at, name in enumerate(CLASSES)})

    def _line(self, site: str) -> int:
        """The first cell of the line that `site` has by now, under the lock."""
        place = self._lines.get(site)
        if place is None:
            self._learn()
            place = self._lines.get(site)
        if place is None:
            place = self._give_line(site)
        return _site_line(place)

    def _learn(self) -> None:
        """Read the names that others have given lines to."""
        for place in range(len(self._lines), len(_SHARED) + self._node.totals[_USED]):
            line = _site_line(place)
            self._lines[_name(self._node.totals[line : line + _NAME_CELLS])] = place

    def _give_line(self, site: str) -> int:
        used = self._node.totals[_USED]
        text = site.encode("ascii")
        if used == MAX_SITES or len(text) > _NAME_BYTES:
            return _SHARED[OTHER]
        place = self._lines[site] = len(_SHARED) + used
        line = _site_line(place)
        self._node.totals[line : line + _NAME_CELLS] = memoryview(text.ljust(_NAME_BYTES, b"\0")).cast("Q")
        self._node.totals[_USED] = used + 1  # last: a line counts as soon as it has its name
        return place


def _process_line(name: str) -> int:
    return _FIRST_PROCESS + _PROCESSES[name] * _LINE


def _site_line(place: int) -> int:
    return _FIRST_SITE + place * _LINE


def _name(cells: memoryview[int]) -> str:
    return cells.tobytes().rstrip(b"\0").decode("ascii")

"""What a run found: written as JSON, read again, and the arithmetic on it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.loads import Sample

LATEST = Path(__file__).parent / "results" / "latest.json"


@dataclass(slots=True)
class RowResult:
    """Of a row, all that is needed to tell it: the samples of each peer in the order in which they were taken, or why
    there are none."""

    title: str
    metric: str
    target: float | None
    samples: dict[str, list[Sample]] = field(default_factory=dict)
    absent: dict[str, str] = field(default_factory=dict)

    def give_up(self, peer: str, reason: str) -> None:
        """What a peer cannot do all the time, it cannot do."""
        self.samples.pop(peer, None)
        self.absent[peer] = reason

    def spread(self, peer: str, metric: str) -> Spread | None:
        """Of a peer's rounds; None if it has none."""
        return spread_of([getattr(sample, metric) for sample in self.samples.get(peer, ())])

    def ratio(self, ours: str, theirs: str) -> Spread | None:
        """Ours over theirs, each round with the one beside it; None unless both have some."""
        pairs = zip(self.samples.get(ours, ()), self.samples.get(theirs, ()), strict=False)
        return spread_of([getattr(a, self.metric) / getattr(b, self.metric) for a, b in pairs])


@dataclass(frozen=True, slots=True)
class Spread:
    """Of several rounds."""

    median: float
    min: float
    max: float


def spread_of(values: Sequence[float | None]) -> Spread | None:
    """None where nothing was measured."""
    known = [value for value in values if value is not None]
    return Spread(median(known), min(known), max(known)) if known else None


@dataclass(frozen=True, slots=True)
class Figure:
    """One number that was aimed at: `values` of several tries, in `unit`; at most `target` is wanted."""

    title: str
    unit: str
    target: float | None
    values: Sequence[float]


@dataclass(frozen=True, slots=True)
class Results:
    """A whole run. `peers`: by name, title and version, ours first. `options`: as they were given."""

    machine: Mapping[str, str]
    options: Mapping[str, Any]
    peers: Mapping[str, Mapping[str, str]]
    rows: dict[str, RowResult] = field(default_factory=dict)
    figures: dict[str, Figure] = field(default_factory=dict)

    def dump(self) -> str:
        """JSON; each sample on a line of its own, so that two runs can be compared."""
        text = json.dumps(asdict(self), indent=1, ensure_ascii=False)
        return text + "\n"

    @classmethod
    def load(cls, text: str) -> Results:
        """What `dump` wrote."""
        data = json.loads(text)
        for row in data["rows"].values():
            row["samples"] = {name: [Sample(**one) for one in many] for name, many in row["samples"].items()}
        rows = {name: RowResult(**row) for name, row in data["rows"].items()}
        figures = {name: Figure(**figure) for name, figure in data["figures"].items()}
        return cls(**{**data, "rows": rows, "figures": figures})

"""What visitors asked for lately, out of the end of the access log: it is there anyway, so that counting costs no
request anything."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from server.edge.paths import decode_path
from server.edge.preview_hosts import guess_preview
from server.edge.request import Refusal
from storage.models import Millis

TAIL_BYTES = 8 * 1024 * 1024  # thirty thousand answers or so


@dataclass(frozen=True, slots=True)
class Traffic:
    """Requests that got something, by decoded path, since the time of the first line that was looked at (None: nothing
    is known)."""

    since: Millis | None = None
    requests: Mapping[str, int] = field(default_factory=dict)


def read_traffic(log: Path, sites: Collection[str], tail: int = TAIL_BYTES) -> Traffic:
    """Of the sites with these ids together, out of the last `tail` bytes of a log whose lines are JSON. Reads a file,
    and takes a fifth of a second for as many bytes as it does at most: work for a thread."""
    since: Millis | None = None
    requests: Counter[str] = Counter()
    for line in _read_lines(log, tail):
        known = _parse(line) if since is None or any(site in line for site in sites) else None
        if known is None:
            continue
        since = known["time"] if since is None else since
        if known["site"] in sites and known["method"] in ("GET", "HEAD") and known["status"] < 400:
            if guess_preview(str(known["host"])) is not None:
                continue  # whoever looks at a preview is no visitor yet
            try:
                requests[decode_path(known["target"].partition("?")[0])] += 1
            except Refusal:
                continue
    return Traffic(since, requests)


def _read_lines(log: Path, tail: int) -> Iterator[str]:
    """Whole ones."""
    try:
        with log.open("rb") as file:
            size = file.seek(0, 2)
            file.seek(max(0, size - tail))
            content = file.read(tail)
    except OSError:
        return  # a log that is not there yet, or that nobody may read, tells nothing
    lines = content.decode("utf-8", "replace").split("\n")
    yield from lines[1 if size > tail else 0 : -1]


def _parse(line: str) -> dict[str, Any] | None:
    """The fields that are needed; None for what is no line of ours."""
    try:
        fields = json.loads(line)
        time = datetime.fromisoformat(fields["time"])
        known = {name: fields[name] for name in ("site", "method", "status", "target", "host")}
    except (ValueError, TypeError, KeyError):
        return None
    return {**known, "time": round(time.timestamp() * 1000)}

"""The table in docs/widget.md of the pages on which a widget is shown."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

PAGE = Path(__file__).resolve().parent.parent.parent / "docs" / "widget.md"

_ROW = re.compile(r"^\| (.*?) ?\| (.*?) ?\| `(/.*)` \| (yes|no) \|$", re.M)


@dataclass(frozen=True)
class Row:
    """Whether a widget with these lists is shown on the page at `path`."""

    enabled: tuple[str, ...]
    disabled: tuple[str, ...]
    path: str
    is_shown: bool


def rows() -> list[Row]:
    """In order."""
    return [
        Row(_patterns(enabled), _patterns(disabled), path, verdict == "yes")
        for enabled, disabled, path, verdict in _ROW.findall(PAGE.read_text())
    ]


def _patterns(cell: str) -> tuple[str, ...]:
    return tuple(re.findall("`(.*?)`", cell))

"""How the commands talk: results on standard output, everything else on standard error."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TypeAlias

from rich import filesize
from rich.console import Console
from rich.panel import Panel
from rich.progress import BarColumn, DownloadColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rich.progress import TransferSpeedColumn as Speed
from rich.text import Text

from server.cli.errors import CliError
from server.cli.scan import Skipped

LISTED = 20  # skipped names listed before the rest is only counted
Rows: TypeAlias = Sequence[tuple[str, str | Text]]  # names and values
STEP = 10  # percent between two lines of progress where there is no terminal


def out() -> Console:
    """Standard output, looked up now: tests and shells may have redirected it."""
    return Console(highlight=False, soft_wrap=True, emoji=False, markup=False)


def err() -> Console:
    """Standard error."""
    return Console(stderr=True, highlight=False, soft_wrap=True, emoji=False, markup=False)


def print_error(error: CliError) -> None:
    console = err()
    console.print(Text.assemble(("Error: ", "bold red"), error.message))
    if error.next_step:
        console.print(Text.assemble(("Next:  ", "bold cyan"), error.next_step))


def print_warning(text: str) -> None:
    err().print(Text.assemble(("Warning: ", "bold yellow"), text))


def print_note(*lines: str) -> None:
    for line in lines:
        err().print(line, style="dim")


def print_json(value: Mapping[str, object]) -> None:
    print(json.dumps(value, ensure_ascii=False, indent=2))


def print_skipped(skipped: Sequence[Skipped]) -> None:
    console = err()
    for entry in skipped[:LISTED]:
        console.print(Text.assemble(("Skipped ", "yellow"), (entry.name, "bold"), f": {entry.reason}"))
    if len(skipped) > LISTED:
        console.print(f"… and {len(skipped) - LISTED} more; --json lists them all.", style="yellow")


def print_rows(rows: Rows) -> None:
    """Names and values, aligned."""
    out().print(_align(rows))


def print_table(rows: Sequence[Sequence[str]]) -> None:
    """Aligned columns, never wrapped, so that other programs can read them."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def print_panel(title: str, rows: Rows, footer: Sequence[str]) -> None:
    """Rows in a frame, and lines below it that are not wrapped, so that they can be copied."""
    console = out()
    console.print(Panel(_align(rows), title=Text(title, "bold"), border_style="cyan", padding=(1, 2), expand=False))
    for line in footer:
        console.print(line)


def link(url: str) -> Text:
    """`url`, which terminals that can make clickable."""
    return Text(url, style=f"bold cyan link {url}")


def address(url: str | None, domain: str) -> Text:
    """Where visitors find a site; a wildcard has no URL."""
    return Text(f"any name that {domain} stands for") if url is None else link(url)


def size(count: int) -> str:
    """Bytes as people say them, such as 1.5 MB."""
    return filesize.decimal(count)


def count(number: int, noun: str) -> str:
    """Such as "1 file" and "1,060 files"."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def working(text: str) -> AbstractContextManager[object]:
    """A spinner, where there is a terminal."""
    console = err()
    return console.status(text) if console.is_terminal else nullcontext()


@contextmanager
def show_uploading(files: int, total: int) -> Iterator[Callable[[int], None]]:
    """Progress of sending `total` bytes: a bar on a terminal, a line for each tenth elsewhere."""
    console = err()
    label = f"Uploading {count(files, 'file')}"
    if not console.is_terminal:
        yield _Lines(console, label, total).advance
        return
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), DownloadColumn(), Speed())
    with Progress(*columns, TimeRemainingColumn(), console=console, transient=True) as progress:
        task = progress.add_task(label, total=total)
        yield lambda sent: progress.advance(task, sent)


@contextmanager
def hide_uploading(files: int, total: int) -> Iterator[Callable[[int], None]]:
    """No progress at all."""
    yield lambda sent: None


class _Lines:
    """A line whenever another `STEP` percent are done."""

    def __init__(self, console: Console, label: str, total: int) -> None:
        self._console = console
        self._label = label
        self._total = total
        self._sent = 0
        self._told = 0

    def advance(self, sent: int) -> None:
        self._sent += sent
        percent = 100 * self._sent // max(self._total, 1)
        if percent >= self._told + STEP:
            self._told = percent - percent % STEP
            done = f"{size(self._sent)} of {size(self._total)}"
            self._console.print(f"{self._label}: {percent}% ({done})")


def _align(rows: Rows) -> Text:
    width = max(len(name) for name, _ in rows)
    return Text("\n").join(Text.assemble((f"{name:<{width}}  ", "dim"), value) for name, value in rows)

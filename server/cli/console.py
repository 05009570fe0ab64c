"""How the commands talk: results on standard output, everything else on standard error.

On a terminal, text is wrapped between words to the terminal's width, and in colour; elsewhere a line stays a line.
"""

from __future__ import annotations

import json
import sys
from collections.abc import AsyncIterable, Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from datetime import UTC, datetime
from typing import Any, TypeAlias

import typer
from rich import filesize
from rich.console import Console
from rich.padding import Padding
from rich.panel import Panel
from rich.progress import BarColumn, DownloadColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rich.progress import TransferSpeedColumn as Speed
from rich.table import Table
from rich.text import Text

from server.cli.errors import USAGE, CliError
from server.cli.scan import Skipped, printable

LISTED = 20  # skipped names listed before the rest is only counted
Rows: TypeAlias = Sequence[tuple[str, str | Text]]  # names and values
STATUS_STYLES = {2: "green", 3: "cyan", 4: "yellow", 5: "bold red"}
EMPTY = "-"  # a field that has nothing
STATE_STYLES = {"ok": "green", "warn": "yellow", "fail": "bold red"}
STEP = 10  # percent between two lines of progress where there is no terminal


def out() -> Console:
    """Standard output, looked up now: tests and shells may have redirected it."""
    return _console(sys.stdout)


def err() -> Console:
    """Standard error."""
    return _console(sys.stderr)


def _console(stream: Any) -> Console:
    console = Console(file=stream, highlight=False, emoji=False, markup=False)
    console.soft_wrap = not console.is_terminal
    return console


def print_error(error: CliError) -> None:
    console = err()
    _print_labelled(console, Text("Error: ", "bold red"), error.message)
    if error.next_step:
        _print_labelled(console, Text("Next:  ", "bold cyan"), error.next_step)


def print_warning(text: str) -> None:
    _print_labelled(err(), Text("Warning: ", "bold yellow"), text)


def print_note(*lines: str) -> None:
    for line in lines:
        err().print(line, style="dim")


def print_line(line: str | Text) -> None:
    """A line of the result. A `Text` is not wrapped, so that it can be copied."""
    out().print(line, soft_wrap=isinstance(line, Text) or None)


def print_json(value: Mapping[str, object]) -> None:
    """A whole answer."""
    print(json.dumps(value, ensure_ascii=False, indent=2))


def print_record(value: Mapping[str, object]) -> None:
    """One of an answer's lines."""
    print(json.dumps(value, ensure_ascii=False))


def print_made(answer: Mapping[str, Any], *next_steps: str, json: bool) -> None:
    """What was made: its id alone on standard output, for scripts to keep."""
    if json:
        print_json(answer)
    else:
        print(answer["id"])
        print_note(*next_steps)


def print_done(answer: Mapping[str, Any], text: str, *, json: bool) -> None:
    """That something was done."""
    if json:
        print_json(answer)
    else:
        print_note(text)


async def print_items(
    items: AsyncIterable[Mapping[str, Any]],
    header: Sequence[str],
    row: Callable[[Mapping[str, Any]], Sequence[str]],
    *,
    json: bool,
) -> None:
    """A list: in JSON each item as it comes, otherwise a table once all have come."""
    rows = []
    async for item in items:
        if json:
            print_record(item)
        else:
            rows.append(row(item))
    if not json:
        print_table(header, rows)


def print_skipped(skipped: Sequence[Skipped]) -> None:
    console = err()
    for entry in skipped[:LISTED]:
        _print_labelled(console, Text("Skipped ", "yellow"), f"{entry.name}: {entry.reason}")
    if len(skipped) > LISTED:
        console.print(f"… and {len(skipped) - LISTED} more; --json lists them all.", style="yellow")


def print_rows(rows: Rows) -> None:
    """Names and values, aligned. A `Text` is not wrapped, so that it can be copied."""
    console = out()
    width = max(len(name) for name, _ in rows)
    for name, value in rows:
        label = Text(f"{name:<{width}}  ", "dim")
        if isinstance(value, Text):
            console.print(Text.assemble(label, value), soft_wrap=True)
        else:
            _print_labelled(console, label, value)


def print_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Aligned columns, never wrapped, so that other programs can read them; where a terminal is too narrow for them,
    a row is its first cell and, below it, the others."""
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    console = out()
    if console.is_terminal and sum(widths) + 2 * (len(widths) - 1) > console.width:
        for first, *others in rows:
            console.print(first, style="bold")
            told = " · ".join(cell for cell in others if cell not in ("", EMPTY))
            console.print(Padding(told, (0, 0, 0, 2), expand=False))
        return
    if not rows:
        print_note("There are none.")
    for number, row in enumerate((header, *rows)):
        line = "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        console.print(line, style="" if number else "dim", soft_wrap=True)


def print_log_line(time: str, status: int, asked: str, sent: str) -> None:
    """An answer. A terminal shows what fits of it."""
    console = out()
    style = STATUS_STYLES.get(status // 100, "")
    line = Text.assemble((f"{time}  ", "dim"), (f"{status}  ", style), f"{sent:>8}  ", printable(asked))
    console.print(line, no_wrap=True, overflow="ellipsis" if console.is_terminal else "ignore")


def print_finding(state: str, check: str, words: str, next_step: str) -> None:
    """One of a diagnosis, and what to do about it below it."""
    console = out()
    label = Text.assemble((f"{state:<4}  ", STATE_STYLES[state]), (f"{check:<11}  ", "bold"))
    _print_labelled(console, label, printable(words))
    if next_step and state != "ok":
        _print_labelled(console, Text(" " * (len(label.plain) - 2) + "→ "), printable(next_step))


def print_panel(title: str, rows: Rows, footer: Sequence[str]) -> None:
    """Rows in a frame, and lines below it that are not wrapped, so that they can be copied."""
    console = out()
    panel = Panel(_align(rows), title=Text(title, "bold"), border_style="cyan", padding=(1, 2), expand=False)
    console.print(panel, soft_wrap=True)
    for line in footer:
        console.print(line, soft_wrap=True)


def confirm(question: str, *, yes: bool) -> None:
    """Go on if it is meant: `yes` says so, or somebody at a terminal. Raises `CliError` otherwise."""
    if yes:
        return
    if not sys.stdin.isatty():
        raise usage("this cannot be undone, and nobody is here to ask.", "Give --yes if it is meant.")
    if not typer.confirm(question, err=True):
        raise CliError("nothing was changed.")


def usage(message: str, next_step: str) -> CliError:
    """Wrong use."""
    return CliError(message, next_step, exit_code=USAGE)


def copyable(text: str) -> Text:
    """`text` in one piece, however long."""
    return Text(text)


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


def when(time: str | int) -> str:
    """The API's time, ISO 8601 or epoch milliseconds, to the second in this machine's zone."""
    moment = datetime.fromtimestamp(time / 1000, UTC) if isinstance(time, int) else datetime.fromisoformat(time)
    return moment.astimezone().strftime("%Y-%m-%d %H:%M:%S")


def shown(value: object) -> str:
    """A field of the API's as people read it."""
    return printable(str(value)) if value not in (None, "") else EMPTY


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
    columns = (TextColumn("{task.description}"), BarColumn(12), TaskProgressColumn(), DownloadColumn(), Speed())
    with Progress(*columns, TimeRemainingColumn(compact=True), console=console, transient=True) as progress:
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


def _print_labelled(console: Console, label: Text, text: str) -> None:
    """`text` behind `label`, and below itself where it is wrapped."""
    if not console.is_terminal:
        console.print(Text.assemble(label, text))
        return
    grid = Table.grid()
    grid.add_column(no_wrap=True)
    grid.add_column(overflow="fold")
    grid.add_row(label, text)
    console.print(grid)


def _align(rows: Rows) -> Text:
    width = max(len(name) for name, _ in rows)
    return Text("\n").join(Text.assemble((f"{name:<{width}}  ", "dim"), value) for name, value in rows)

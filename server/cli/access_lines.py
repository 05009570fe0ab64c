"""The access log as it is read again: which lines are wanted, and how people see them.

1. `read_backwards`  what is there already, the last line first
2. `follow`          what comes, through rotations
3. `Wanted`          which of it
4. `describe`        a line for people
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from server.cli.errors import USAGE, CliError

BLOCK = 64 * 1024  # bytes read at a time

_COMBINED = re.compile(r'" (?P<status>[0-9]{3}) [0-9]+ "')
_STATUS = re.compile(r"(?P<first>[1-5][0-9]{2})(?:-(?P<last>[1-5][0-9]{2}))?|(?P<hundred>[1-5])xx")


def read_backwards(path: Path, end: int) -> Iterator[str]:
    """The file's lines up to byte `end`, the last first. Raises `OSError`."""
    rest = b""
    with path.open("rb") as file:
        while end > 0:
            start = max(0, end - BLOCK)
            file.seek(start)
            lines = (file.read(end - start) + rest).split(b"\n")
            end = start
            rest = lines.pop(0)
            yield from (line.decode("utf-8", "replace") for line in reversed(lines) if line)
    if rest:
        yield rest.decode("utf-8", "replace")


def follow(path: Path, start: int, wait: Callable[[], object]) -> Iterator[str]:
    """The lines that come behind byte `start`, for ever; `wait` is called when there are none just now.

    A file that was moved away is read to its end first, then the new one of that name.
    """
    file = path.open("rb")
    try:
        file.seek(start)
        rest = b""
        while True:
            *lines, rest = (rest + file.read()).split(b"\n")
            yield from (line.decode("utf-8", "replace") for line in lines if line)
            if not lines:
                if _has_moved(path, file.fileno()):
                    file.close()
                    file = path.open("rb")
                    rest = b""
                else:
                    wait()
    finally:
        file.close()


def _has_moved(path: Path, descriptor: int) -> bool:
    """Whether there is another file of that name by now, or this one was cut short and begun anew."""
    try:
        now = os.stat(path)
    except FileNotFoundError:
        return False  # moved, and the server has had nothing to write since
    return not os.path.samestat(now, os.fstat(descriptor)) or now.st_size < os.lseek(descriptor, 0, os.SEEK_CUR)


@dataclass(frozen=True, slots=True)
class Wanted:
    """`site`: a domain or a site's id; `statuses`: ranges of them. None and nothing stand for all."""

    site: str | None
    statuses: tuple[range, ...]

    def takes(self, line: str) -> bool:
        """Raises `CliError` if the line does not say what is asked."""
        fields = parse_line(line)
        if fields is None:
            return not self.site and not self.statuses
        if self.site and "host" not in fields:
            raise CliError(
                "this log does not say which site a line is of.",
                "Serve with --access-log-format json, or leave --site away.",
            )
        if self.statuses and not any(fields["status"] in each for each in self.statuses):
            return False
        return not self.site or self.site in (fields["site"], _host(fields["host"]))


def parse_statuses(texts: list[str]) -> tuple[range, ...]:
    """Of 404, 4xx or 400-499. Raises `CliError`."""
    found = []
    for text in texts:
        match = _STATUS.fullmatch(text.lower())
        if match is None:
            raise CliError(f"--status {text!r} is no status.", "Give one such as 404, 5xx or 400-499.", exit_code=USAGE)
        first = int(match["first"] or match["hundred"] + "00")
        last = int(match["last"] or match["first"] or match["hundred"] + "99")
        found.append(range(first, last + 1))
    return tuple(found)


def parse_line(line: str) -> dict[str, Any] | None:
    """A line's fields: all of them in JSON, the status alone in the combined format; None for any other line."""
    if line.startswith("{"):
        try:
            fields = json.loads(line)
        except ValueError:
            return None
        return fields if {"status", "host", "site"} <= fields.keys() else None
    match = _COMBINED.search(line)
    return {"status": int(match["status"])} if match else None


def _host(authority: str) -> str:
    """Without its port, as domains are written."""
    host, colon, port = authority.rpartition(":")
    return (host if colon and port.isdigit() else authority).lower().removesuffix(".")

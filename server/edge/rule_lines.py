"""What the rule files `_redirects` and `_headers` have in common: numbered lines, and problems reported by line.

A line that cannot be understood costs its author that line, never the file: it is reported and the rest works.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

MAX_FILE = 512 * 1024  # characters; the longest file that the limits on rules make sense of is a fraction of it
MAX_PROBLEMS = 100  # that are listed in full: a file of nothing but mistakes must not fill memory with reports of them
_MAX_QUOTED = 200  # characters of a line that a report repeats

# Tab aside: controls of ASCII and Latin-1, the separators that some programs take for the end of a line, and lone
# surrogates, which no file in UTF-8 holds. CR is among them unless it ends the line.
_CONTROL = re.compile("[\x00-\x08\x0a-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")


class RuleError(ValueError):
    """A line cannot be understood. The text says what is wrong with it and how to mend it."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One finding. `left_out`: the line has no effect. Otherwise it works, though not as its author may think."""

    line: int
    text: str
    reason: str
    left_out: bool = True


class Report:
    """Collects problems while a file is compiled, or afterwards more than there were then."""

    def __init__(self, problems: Iterable[Problem] = (), unlisted: int = 0) -> None:
        self._problems = list(problems)
        self.unlisted = unlisted

    def add(self, line: int, text: str, reason: str, *, left_out: bool = True) -> None:
        """One more; `text` is the line it is about."""
        if len(self._problems) == MAX_PROBLEMS:
            self.unlisted += 1
            return
        quoted = text if len(text) <= _MAX_QUOTED else text[:_MAX_QUOTED] + "…"
        self._problems.append(Problem(line, quoted, reason, left_out))

    @property
    def problems(self) -> tuple[Problem, ...]:
        """Those that are listed, in the order of lines."""
        return tuple(sorted(self._problems, key=lambda problem: problem.line))


def read_lines(text: str, report: Report) -> Iterator[tuple[int, str]]:
    """(number, line) of what is neither blank nor a comment, numbers from 1, without white space at the end.

    Lines end in LF or CRLF, as editors count them; `str.splitlines` knows ends that editors do not show.
    """
    lines = text[:MAX_FILE].removeprefix("\ufeff").split("\n")
    if len(text) > MAX_FILE:
        cut = lines.pop()  # its end is missing
        report.add(
            len(lines) + 1,
            cut,
            f"the file is longer than {MAX_FILE} characters: this line and all after it are left out; shorten the file",
        )
    for number, raw in enumerate(lines, 1):
        line = raw.removesuffix("\r").rstrip(" \t")
        if line and not line.lstrip(" \t").startswith("#"):
            yield number, line


def check_line(line: str, max_length: int) -> None:
    """Raises `RuleError` for a line that is too long or has a character that no rule may have."""
    if len(line) > max_length:
        raise RuleError(f"is {len(line)} characters long: shorten it to {max_length} at most")
    if found := _CONTROL.search(line):
        raise RuleError(f"has a control character (U+{ord(found[0]):04X}) in column {found.start() + 1}: remove it")

"""The tables of docs/http.md, made from the corpus: `python -m tests.support.corpus_table` writes them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from itertools import groupby
from pathlib import Path

from tests.support.corpus import Case, Expected, headings, load_cases

_SPECIAL = re.compile(r"[|*<`_\[]")  # in Markdown
_ESCAPED = r"\\\g<0>"

PAGE = Path(__file__).parent.parent.parent / "docs" / "http.md"


def render(page: str) -> str:
    """`page` with what is between its markers made anew."""
    cases = load_cases()
    page = _between(page, "otherwise", _otherwise(cases))
    page = _between(page, "count", [f"{len(cases)} cases, by what they are about:"])
    return _between(page, "cases", _all(cases))


def _between(page: str, name: str, lines: Iterable[str]) -> str:
    text = "\n".join(lines)
    marked, count = re.subn(
        rf"(<!-- {name} -->\n).*?(<!-- end of {name} -->)",
        lambda found: f"{found[1]}\n{text}\n\n{found[2]}",
        page,
        flags=re.DOTALL,
    )
    assert count == 1, f"the page has to have the markers of {name} once"
    return marked


def _otherwise(cases: Iterable[Case]) -> Iterator[str]:
    yield "| request | the hardened listener | hypercorn |"
    yield "|---|---|---|"
    for case in cases:
        if case.by_hypercorn is not None:
            yield _row(case.shown, _answers(case.answers), _by_hypercorn(case))


def _all(cases: Iterable[Case]) -> Iterator[str]:
    titles = headings()
    for file, group in groupby(cases, key=lambda case: case.file):
        yield from (
            f"### {titles[file]}",
            "",
            "| what is shown | asked for by | answer | behind hypercorn |",
            "|---|---|---|---|",
        )
        for case in group:
            yield _row(case.shown, case.source, _answers(case.answers), _by_hypercorn(case))
        yield ""


def _row(*cells: str) -> str:
    return f"| {' | '.join(_SPECIAL.sub(_ESCAPED, cell) for cell in cells)} |"


def _answers(answers: Iterable[Expected]) -> str:
    closes = False
    words = []
    for status, group in groupby(answers, key=lambda answer: answer.status):
        same = list(group)
        words.append(f"{status}" if len(same) == 1 else f"{status} ({len(same)} times)")
        closes = same[-1].closes
    return ", ".join([*words, *(["closes"] if closes else [])])


def _by_hypercorn(case: Case) -> str:
    if case.by_hypercorn is None:
        return "refuses too" if case.hardened else ""
    return case.by_hypercorn if isinstance(case.by_hypercorn, str) else _answers(case.by_hypercorn)


if __name__ == "__main__":
    PAGE.write_text(render(PAGE.read_text()))

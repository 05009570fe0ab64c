"""However many spaces are exported, in whichever form, the server needs no more memory; and CSV reads back equal."""

from __future__ import annotations

import asyncio
import csv
import io
import json
import os
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import yaml
from sqlalchemy import insert

from storage import edits
from storage.models import NewSpace
from storage.sql import open_sql
from storage.sql.rows import SPACE
from storage.sql.tables import spaces
from tests.control.test_forms import undo
from tests.faults.test_memory import peak_mib
from tests.support.process import Serve

pytestmark = pytest.mark.slow

SPACES = int(os.environ.get("SPACELANE_TEST_SPACES", "4000"))
MOST_MIB = 15  # that an export may add to the most that the server ever had
NAMES = ("=SUM(A1)", "'=x", "plain", 'q"uo,te', "line\nbreak", "@é", "-1", "'")
META = {"tier": "gold", "=f": ["-", {"x": None}]}
FORMS = ("application/json", "application/jsonl", "text/csv")


def name_of(number: int) -> str:
    return f"{NAMES[number % len(NAMES)]} {number}"


async def fill(database: Path) -> None:
    """Put the spaces there by the thousand: one at a time would take an hour."""
    store = await open_sql(f"sqlite:///{database}")
    try:
        for start in range(0, SPACES, 1000):
            made = [
                edits.make_space(
                    NewSpace(workspace_id="workspace_default", name=name_of(number), meta={**META, "n": number}), 1, 1
                )
                for number in range(start, min(start + 1000, SPACES))
            ]
            async with store._database.transaction() as transaction:
                rows = [{**SPACE.values(space), "settings_at": 0} for space in made]
                await transaction.connection.execute(insert(spaces), rows)
    finally:
        await store.close()


def rows_of(accept: str, text: str) -> Iterator[tuple[str, object]]:
    """Each record's name and meta; a few metas of CSV only, whose YAML takes long to read."""
    if accept == "application/json":
        yield from ((item["name"], item["meta"]) for item in json.loads(text)["items"])
    elif accept == "application/jsonl":
        yield from ((item["name"], item["meta"]) for item in map(json.loads, text.split("\n")[:-1]))
    else:
        for number, row in enumerate(csv.DictReader(io.StringIO(text, newline=""))):
            meta = yaml.safe_load(undo(row["meta"])) if number % 500 == 0 else {**META, "n": number}
            yield undo(row["name"]), meta


@pytest.mark.timeout(1200)
def test_an_export_of_everything_takes_no_memory(tmp_path: Path) -> None:
    with Serve(tmp_path) as serve:
        assert serve.stop() == 0
    asyncio.run(fill(tmp_path / "spacelane.db"))
    for accept in FORMS:
        with Serve(tmp_path) as serve:
            before = peak_mib(serve.process.pid)
            with httpx.stream(
                "GET",
                f"{serve.control}/api/v1/space/export?order=asc",
                headers={**serve.api.headers, "accept": accept},
                timeout=600,
            ) as answer:
                assert answer.status_code == 200
                text = b"".join(answer.iter_raw()).decode()
            after = peak_mib(serve.process.pid)
        print(f"{SPACES} spaces as {accept}: {len(text)} characters, {before:.0f} MiB before, {after:.0f} MiB at most")
        assert after - before < MOST_MIB
        number = -1
        for number, (name, meta) in enumerate(rows_of(accept, text)):
            assert (name, meta) == (name_of(number), {**META, "n": number})
        assert number == SPACES - 1

"""The forms of records: what a reader gets back is what was kept."""

from __future__ import annotations

import csv
import io
import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from server.control.forms import Csv, Json, JsonLines, render_cell
from server.control.views import SpaceView

PAGE = (Path(__file__).resolve().parent.parent.parent / "docs" / "api.md").read_text()

texts = st.text(alphabet=st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=20)
hostile = st.text(alphabet="'=+-@\t\r\n,\";ａ＝＠a", max_size=8)
scalars = st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats(allow_nan=False, allow_infinity=False)
values = st.recursive(
    scalars | texts | hostile,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts | hostile, inner, max_size=3),
    max_leaves=8,
)
metas = st.dictionaries(texts | hostile, values, max_size=3)


def undo(cell: str) -> str:
    """By the code that the documentation gives."""
    (code,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    names: dict[str, Any] = {}
    exec(code, names)
    undone: str = names["undo"](cell)
    return undone


def view(**fields: Any) -> SpaceView:
    kept: dict[str, Any] = {"alias": None, "name": "", "description": "", "contact_id": None, "meta": {}}
    return SpaceView.model_validate({"id": "space_1", **kept, "created_at": 1, "updated_at": 1001, **fields})


@given(texts | hostile)
def test_a_cell_is_no_formula_and_reads_back(text: str) -> None:
    cell = render_cell(text)
    assert cell[:1] not in tuple("=+-@\t\r\n＝＋－＠")
    assert undo(cell) == text


@pytest.mark.parametrize(
    ("text", "cell"),
    [
        ("=1+1", "'=1+1"),
        ("+1", "'+1"),
        ("-1", "'-1"),
        ("@x", "'@x"),
        ("\tx", "'\tx"),
        ("\rx", "'\rx"),
        ("＝1", "'＝1"),
        ("'=1", "''=1"),
        ("''=1", "'''=1"),
        ("'quoted'", "'quoted'"),
        ("'", "'"),
        ("a=1", "a=1"),
        ("", ""),
    ],
)
def test_where_an_apostrophe_goes(text: str, cell: str) -> None:
    assert (render_cell(text), undo(cell)) == (cell, text)


@given(metas)
def test_meta_reads_back_from_yaml(meta: dict[str, Any]) -> None:
    assert yaml.safe_load(undo(render_cell(meta))) == meta


def nested(value: Any) -> dict[str, Any]:
    """Meta with `value` as deep as a parser lets it be."""
    for _ in range(180):
        value = [value]
    return {"deep": value}


@pytest.mark.parametrize(
    "meta",
    [
        nested([1] * 7_000),
        nested({f"{number:x}": 1 for number in range(1_500)}),
        nested("x\n" * 5_000),
        nested(["x\n", "\u2028"] * 1_000),
        {"k" * 200: {"k" * 200: "\x7f" * 15_000}},
    ],
)
def test_a_cell_is_about_as_large_as_its_meta(meta: dict[str, Any]) -> None:
    cell = render_cell(meta)
    assert len(cell) <= 4 * len(json.dumps(meta, separators=(",", ":"), ensure_ascii=False)) < csv.field_size_limit()
    assert yaml.safe_load(cell) == meta


@given(st.lists(st.tuples(texts | hostile, texts | hostile, metas), max_size=3))
def test_csv_reads_back(records: list[tuple[str, str, dict[str, Any]]]) -> None:
    form = Csv(SpaceView)
    views = [view(name=name, description=description, meta=meta) for name, description, meta in records]
    text = form.begin() + form.write(views, sdk=False) + form.end("")
    head, *rows = csv.reader(io.StringIO(text, newline=""))
    assert head == ["id", "alias", "name", "description", "contactId", "meta", "createdAt", "updatedAt"]
    undone = [[undo(cell) for cell in row] for row in rows]
    assert [(row[2], row[3], yaml.safe_load(row[5])) for row in undone] == records


def test_csv_as_bytes() -> None:
    form = Csv(SpaceView)
    views = [view(name='a "b", c', contact_id="=c", meta={"b": [1, None], "a": "yes"}), view(alias="x", name="é\n")]
    assert form.begin() + form.write(views, sdk=False) + form.end("more") == (
        "id,alias,name,description,contactId,meta,createdAt,updatedAt\r\n"
        'space_1,,"a ""b"", c",,\'=c,"b: [1, null]\na: \'yes\'",'
        "1970-01-01T00:00:00.001Z,1970-01-01T00:00:01.001Z\r\n"
        'space_1,x,"é\n",,,{},1970-01-01T00:00:00.001Z,1970-01-01T00:00:01.001Z\r\n'
    )
    assert form.write(views[1:], sdk=True) == 'space_1,x,"é\n",,,{},1,1001\r\n'


def test_json_is_one_document_however_it_is_cut() -> None:
    form = Json()
    views = [view(name=str(number)) for number in range(3)]
    text = form.begin() + form.write(views[:1], sdk=False) + form.write([], sdk=False)
    text += form.write(views[1:], sdk=True) + form.end('"\n')
    document = json.loads(text)
    assert [item["name"] for item in document["items"]] == ["0", "1", "2"]
    assert [item["createdAt"] for item in document["items"]] == ["1970-01-01T00:00:00.001Z", 1, 1]
    assert document["cursor"] == '"\n'
    empty = Json()
    assert empty.begin() + empty.end("") == '{"items":[],"cursor":""}'


def test_json_lines_have_no_line_breaks_within() -> None:
    form = JsonLines()
    lines = form.write([view(name="a\nb\u2028"), view()], sdk=False).split("\n")
    assert [json.loads(line)["name"] for line in lines[:-1]] == ["a\nb\u2028", ""]
    (line,) = form.write([view()], sdk=True).splitlines()
    assert json.loads(line) == {"type": "item", "data": json.loads(view().dump_json(sdk=True))}

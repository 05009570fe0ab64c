"""The forms that records are written in: JSON, JSON lines, CSV. Each takes views a page at a time and gives bytes.

CSV is RFC 4180 with a header row. `meta` is written as YAML, a key a line. A cell that a spreadsheet would run as a
formula gets an apostrophe in front; so does one that looks like the outcome of that, so that whoever takes one
apostrophe away from every cell that begins with apostrophes and a formula's first character has the very text again.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterable, Mapping
from typing import Any, Protocol

import yaml

from server.control.views import View

JSON = "application/json"
JSONL = "application/jsonl"
CSV = "text/csv"

# What spreadsheets take for the beginning of a formula, fullwidth forms too, or skip in front of one.
_FORMULA = re.compile(r"'*[=+\-@\t\r\n\uff1d\uff0b\uff0d\uff20]")

_LINE_BREAK = re.compile(r"[\n\r\x85\u2028\u2029]")  # YAML 1.1 §5.4

# libyaml's, many times faster, where PyYAML was built with it; what they write reads the same.
_Dumper: Any = getattr(yaml, "CSafeDumper", yaml.SafeDumper)


class _Yaml(_Dumper):  # type: ignore[misc]
    """The outermost mapping a key a line, and each value on that line, line breaks escaped. Indentation would make
    megabytes of 16 KiB of deep meta: a page of them takes more memory than there may be, and Python's csv refuses them.
    """

    def serialize(self, node: yaml.CollectionNode) -> None:
        node.flow_style = False
        super().serialize(node)

    def represent_text(self, text: str) -> yaml.ScalarNode:
        style = '"' if _LINE_BREAK.search(text) else None
        node: yaml.ScalarNode = self.represent_scalar("tag:yaml.org,2002:str", text, style)
        return node


_Yaml.add_representer(str, _Yaml.represent_text)


class Form(Protocol):
    """One answer's form. `sdk`: for keys of that dialect."""

    content_type: str

    def begin(self) -> str:
        """What comes before the records."""
        ...

    def write(self, views: Iterable[View], *, sdk: bool) -> str:
        """The next records."""
        ...

    def end(self, cursor: str) -> str:
        """What comes after the last; `cursor` continues the list."""
        ...


class Json:
    """The object that lists answer."""

    content_type = JSON

    def __init__(self) -> None:
        self._comma = ""

    def begin(self) -> str:
        return '{"items":['

    def write(self, views: Iterable[View], *, sdk: bool) -> str:
        texts = []
        for view in views:
            texts += [self._comma, view.dump_json(sdk=sdk)]
            self._comma = ","
        return "".join(texts)

    def end(self, cursor: str) -> str:
        return f'],"cursor":{json.dumps(cursor)}}}'


class JsonLines:
    """A record a line. In the `sdk` dialect each is an event that carries the record."""

    content_type = JSONL

    def begin(self) -> str:
        return ""

    def write(self, views: Iterable[View], *, sdk: bool) -> str:
        before, after = ('{"type":"item","data":', "}\n") if sdk else ("", "\n")
        return "".join(f"{before}{view.dump_json(sdk=sdk)}{after}" for view in views)

    def end(self, cursor: str) -> str:
        return ""


class Csv:
    """A row for each record of one kind, `view`."""

    content_type = f"{CSV}; charset=utf-8; header=present"

    def __init__(self, view: type[View]) -> None:
        self._columns = [field.alias or name for name, field in view.model_fields.items()]

    def begin(self) -> str:
        return _render_rows([self._columns])

    def write(self, views: Iterable[View], *, sdk: bool) -> str:
        records = (view.dump(sdk=sdk) for view in views)
        return _render_rows([render_cell(record[column]) for column in self._columns] for record in records)

    def end(self, cursor: str) -> str:
        return ""


def _render_rows(rows: Iterable[list[str]]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\r\n").writerows(rows)
    return text.getvalue()


def render_cell(value: object) -> str:
    """A field's value as the text of a cell; None is empty."""
    match value:
        case None:
            return ""
        case Mapping():
            text = _render_yaml(value)
        case _:
            text = str(value)
    return f"'{text}" if _FORMULA.match(text) else text


def _render_yaml(value: Mapping[str, Any]) -> str:
    options: dict[str, Any] = {"default_flow_style": True, "allow_unicode": True, "sort_keys": False, "width": 1 << 20}
    text: str = yaml.dump(dict(value), Dumper=_Yaml, **options)
    return text.rstrip("\n")

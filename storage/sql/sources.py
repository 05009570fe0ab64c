"""What a caller names, as tables: any number of paths or files is one parameter of one statement.

A statement over these is compiled once, and needs no temporary table; reading ten thousand rows out of JSON takes a
few milliseconds.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping
from itertools import islice

from sqlalchemy import BigInteger, ColumnElement, Text, bindparam, cast, column, literal_column, select
from sqlalchemy.sql.expression import TableValuedAlias

from storage.models import Blob, Coding, Digest
from storage.sql.dialects import json_rows

_CHUNK = 10_000  # files in one parameter: a megabyte or two


def _rows(parameter: str) -> TableValuedAlias:
    return json_rows(bindparam(parameter, type_=Text())).table_valued(column("value", Text()), name=f"{parameter}_rows")


def _member(rows: TableValuedAlias, index: int) -> ColumnElement[str]:
    return rows.c.value.op("->>", return_type=Text())(literal_column(str(index)))


_paths = _rows("paths")
PATHS = select(_member(_paths, 0).label("path")).subquery("named")
"""The parameter `paths`, in the form of `paths_json`."""

_files = _rows("files")
FILES = select(
    _member(_files, 0).label("path"),
    _member(_files, 1).label("digest"),
    cast(_member(_files, 2), BigInteger).label("size"),
).subquery("source")
"""The parameter `files`, in a form that `files_json` gives."""

_tries = _rows("tries")
TRIES = select(
    _member(_tries, 0).label("source_digest"),
    _member(_tries, 1).label("coding"),
    _member(_tries, 2).label("digest"),
    cast(_member(_tries, 3), BigInteger).label("size"),
).subquery("tries")
"""The parameter `tries`, in a form that `tries_json` gives."""


def paths_json(paths: Collection[str]) -> str:
    return json.dumps([[path] for path in paths], ensure_ascii=False)


def files_json(files: Mapping[str, Blob]) -> Iterator[str]:
    """In pieces, so that no parameter grows without bound."""
    rows = ((path, blob.digest, blob.size) for path, blob in files.items())
    while chunk := list(islice(rows, _CHUNK)):
        yield json.dumps(chunk, ensure_ascii=False)


def tries_json(contents: Mapping[Digest, Mapping[Coding, Blob | None]]) -> str:
    rows = [
        (source, coding, blob and blob.digest, blob and blob.size)
        for source, tried in contents.items()
        for coding, blob in tried.items()
    ]
    return json.dumps(rows)

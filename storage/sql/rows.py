"""Between values and rows: each kind of value, its table, and how lists of it are read a page at a time."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Generic, Protocol, TypeVar

from sqlalchemy import ColumnElement, Executable, Row, Table, select

from storage import edits
from storage.calls import Attempt, AuditEntry
from storage.errors import NotFound
from storage.models import Deployment, File, Key, Meta, Page, PageQuery, Site, Space
from storage.sql import tables
from storage.sql.dialects import position_of
from storage.widgets import Purge, Secret, Widget, WidgetSession, folded
from storage.workspaces import Workspace

T = TypeVar(
    "T",
    Workspace,
    Key,
    Space,
    Site,
    File,
    Deployment,
    AuditEntry,
    Attempt,
    Widget,
    Secret,
    WidgetSession,
    Purge,
)


class Reader(Protocol):
    """Whatever answers a query: a pooled connection, a transaction under way, the edge's own connection."""

    async def rows(self, statement: Executable, parameters: Mapping[str, Any] | None = None) -> Sequence[Row[Any]]:
        """All of the answer."""
        ...


@dataclass(frozen=True)
class Noun(Generic[T]):
    """One kind of value: its columns are fields of `make`."""

    kind: str
    table: Table
    make: type[T]

    @property
    def columns(self) -> list[ColumnElement[Any]]:
        """In the order of the fields."""
        return [self.table.c[field] for field in self.field_names]

    @property
    def field_names(self) -> list[str]:
        """Of the value: those that the table has a column for."""
        return [field.name for field in fields(self.make) if field.name in self.table.c]

    def value(self, row: Row[Any]) -> T:
        """The value that a row of `columns` holds."""
        return self.make(**row._mapping)

    def values(self, value: T) -> dict[str, Any]:
        """The row that holds `value`."""
        row = {field: getattr(value, field) for field in self.field_names}
        if "meta" in row:
            row["meta_labels"] = meta_labels(row["meta"])
        if "folded_name" in self.table.c:
            row["folded_name"] = folded(row["business_name"])
        return row

    async def find(self, reader: Reader, *where: ColumnElement[bool]) -> T | None:
        """The one value of which `where` is true."""
        rows = await reader.rows(select(*self.columns).where(*where))
        return self.value(rows[0]) if rows else None

    async def get(self, reader: Reader, ref: str) -> T:
        """The value of that id; raises `NotFound`."""
        value = await self.find(reader, self.table.c.id == ref)
        if value is None:
            raise NotFound(self.kind, ref)
        return value

    async def list_page(self, reader: Reader, query: PageQuery, *where: ColumnElement[bool]) -> Page[T]:
        """Those of which `where` is true, by id."""
        column = self.table.c.id
        statement = select(*self.columns).where(*where, *after(column, query))
        rows = await reader.rows(statement.order_by(direction(column, query)).limit(query.take + 1))
        page = edits.cut_page(rows, query.take, lambda row: str(row.id))
        return Page(items=tuple(self.value(row) for row in page.items), next=page.next)


WORKSPACE = Noun("workspace", tables.workspaces, Workspace)
KEY = Noun("key", tables.keys, Key)
SPACE = Noun("space", tables.spaces, Space)
SITE = Noun("site", tables.sites, Site)
FILE = Noun("file", tables.files, File)
AUDIT = Noun("audit entry", tables.audit, AuditEntry)
ATTEMPT = Noun("attempt", tables.attempts, Attempt)
WIDGET = Noun("widget", tables.widgets, Widget)
SECRET = Noun("secret", tables.widget_secrets, Secret)
SESSION = Noun("session", tables.widget_sessions, WidgetSession)
PURGE = Noun("purge", tables.widget_purges, Purge)
DEPLOYMENT = Noun("deployment", tables.deployments, Deployment)


def after(column: ColumnElement[str], query: PageQuery) -> list[ColumnElement[bool]]:
    """What keeps a list's rest."""
    if query.after is None:
        return []
    return [column < query.after if query.descending else column > query.after]


def direction(column: ColumnElement[str], query: PageQuery) -> ColumnElement[str]:
    """What a list is ordered by."""
    return column.desc() if query.descending else column.asc()


def meta_labels(meta: Meta) -> str:
    """The entries of `meta` that a filter can ask for, one a line: JSON has no line break within."""
    texts = ((key, edits.meta_text(value)) for key, value in meta.items())
    return "\n" + "".join(json.dumps(pair) + "\n" for pair in texts if pair[1] is not None)


def has_meta(table: Table, wanted: Mapping[str, str] | None) -> list[ColumnElement[bool]]:
    """What `edits.matches_meta` says, of a row."""
    return [position_of(table.c.meta_labels, meta_labels({key: value})) > 0 for key, value in (wanted or {}).items()]

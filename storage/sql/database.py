"""One database: reads, and writes one at a time.

A write that concerns visitors is a `Change`:

1. begin; look up the next revision, which waits for the writer before
2. read, refuse, write
3. append to the change log, which draws a revision for each entry, and to the audit log; commit
4. announce the last revision
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from copy import copy
from dataclasses import asdict, dataclass, field
from functools import wraps
from typing import Any, ParamSpec, TypeVar

from sqlalchemy import URL, Executable, Row, Table, bindparam, insert, select, text, update
from sqlalchemy.ext.asyncio import AsyncConnection

from storage import audit
from storage.audit import Act
from storage.calls import Actor, AuditEntry
from storage.errors import StorageError
from storage.models import Millis
from storage.sql import tables
from storage.sql.engines import create_edge_reader, create_reader, create_writer
from storage.sql.failures import conflicts, translated

P = ParamSpec("P")
T = TypeVar("T")

_VERSION = text("SELECT version_num FROM alembic_version")  # what Alembic noted

# SQLite has no FOR UPDATE and needs none: a transaction that writes has the database's lock from its beginning.
_LATEST = select(tables.store_state.c.revision).with_for_update()
_DRAW = update(tables.store_state).values(revision=bindparam("latest"))


@dataclass
class Transaction:
    """A write under way, at the time `now`."""

    connection: AsyncConnection
    now: Millis
    actor: Actor
    told: list[AuditEntry] = field(default_factory=list, init=False)  # for the audit log

    def record(self, act: Act) -> None:
        """What the audit log shall say; nothing unless the write is kept."""
        self.told.append(audit.entry(act, self.actor, self.now))

    async def commit(self) -> None:
        """Keep the write, and tell of it."""
        if self.told:
            await self.connection.execute(insert(tables.audit), [asdict(entry) for entry in self.told])
        await self.connection.commit()

    @property
    def dialect(self) -> str:
        """The kind of database: "sqlite" or "postgresql"."""
        return self.connection.dialect.name

    async def rows(self, statement: Executable, parameters: Mapping[str, Any] | None = None) -> Sequence[Row[Any]]:
        """All of the answer."""
        return (await self.connection.execute(statement, parameters)).all()

    async def execute(self, statement: Executable, parameters: Mapping[str, Any] | None = None) -> int:
        """How many rows it wrote."""
        return (await self.connection.execute(statement, parameters)).rowcount

    async def insert(self, table: Table, values: Mapping[str, Any]) -> None:
        """Raises `Conflict`."""
        with conflicts(values):
            await self.connection.execute(insert(table), values)

    async def insert_all(self, table: Table, values: Sequence[Mapping[str, Any]]) -> None:
        """Rows that conflict with nothing, which has been looked up."""
        await self.connection.execute(insert(table), values)

    async def update(self, table: Table, values: Mapping[str, Any]) -> None:
        """Write over the row of that id. Raises `Conflict`."""
        with conflicts(values):
            await self.connection.execute(update(table).where(table.c.id == values["id"]).values(values))


@dataclass
class Change(Transaction):
    """A write whose first entry in the log draws `revision`. If it logs nothing no revision is drawn, and nothing is
    kept unless it says `keep`."""

    revision: int = field(kw_only=True)
    entries: list[dict[str, Any]] = field(default_factory=list, init=False)
    kept: bool = field(default=False, init=False)
    new_files: int = field(default=0, init=False)  # paths that have a file and had none, less those that lost theirs

    @property
    def latest(self) -> int:
        """The revision of the last entry."""
        return self.revision + len(self.entries) - 1

    def log(
        self, kind: str, hosts: Sequence[str] = (), space_id: str | None = None, *, widget: str | None = None
    ) -> None:
        """What the change log shall say, at the next revision; see `storage.models.Change`."""
        revision = self.revision + len(self.entries)
        entry = {"revision": revision, "kind": kind, "hosts": hosts, "space_id": space_id, "widget": widget}
        self.entries.append(entry)

    def keep(self) -> None:
        """Keep what was written even if it concerns nobody yet, and is not logged."""
        self.kept = True


class Database:
    """Raises `Unavailable` wherever the database cannot be reached."""

    def __init__(self, url: URL, clock: Callable[[], Millis], announce: Callable[[int], None]) -> None:
        self.dialect = url.get_backend_name()
        self._clock = clock
        self._announce = announce
        self._actor = audit.SYSTEM
        self._writer = create_writer(url)
        self._reader = create_reader(url)
        self.edge = create_edge_reader(url)

    def acting(self, actor: Actor) -> Database:
        """The same database, by way of which `actor` writes."""
        same = copy(self)
        same._actor = actor
        return same

    async def rows(self, statement: Executable, parameters: Mapping[str, Any] | None = None) -> Sequence[Row[Any]]:
        """All of the answer, as of the latest commit."""
        # Asyncpg can stop at any time, and a visitor's deadline must not wait for an answer from PostgreSQL.
        read = whole(self._reader.rows) if self.dialect == "sqlite" else self._reader.rows
        return await read(statement, parameters)

    async def require_version(self) -> None:
        """Raises `StorageError` unless the tables are those of this version."""
        version = ", ".join(row.version_num for row in await self.edge.rows(_VERSION)) or "none"
        if version != tables.HEAD:
            raise StorageError(
                f"the database's tables are at {version} and this version of Spacelane needs them at {tables.HEAD}: "
                "migrate it, or start the version that it belongs to"
            )

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Transaction]:
        """A write that draws no revision."""
        with translated():
            async with self._writer.connect() as connection:
                transaction = Transaction(connection, self._clock(), self._actor)
                yield transaction
                await transaction.commit()

    @asynccontextmanager
    async def change(self) -> AsyncIterator[Change]:
        """A write that does; the writers wait for each other here, so the order of commits is that of revisions."""
        with translated():
            async with self._writer.connect() as connection:
                revision = (await connection.execute(_LATEST)).scalar_one() + 1
                change = Change(connection, self._clock(), self._actor, revision=revision)
                yield change
                if change.entries:
                    await connection.execute(_DRAW, {"latest": change.latest})
                    await connection.execute(insert(tables.changes), change.entries)
                if change.entries or change.kept:
                    await change.commit()
                if change.entries:
                    self._announce(change.latest)

    async def close(self) -> None:
        """Let go of all connections; again is harmless."""
        await self.edge.close()
        await self._reader.close()
        await self._writer.dispose()


class Verbs:
    """What the verbs of each kind of value stand on."""

    def __init__(self, database: Database) -> None:
        self._database = database


def whole(verb: Callable[P, Coroutine[Any, Any, T]]) -> Callable[P, Coroutine[Any, Any, T]]:
    """A verb whose work ends as it would have when its caller is cancelled, and only then is the caller gone.

    So what is committed is also announced, and no connection is left in the midst of a statement: aiosqlite's thread
    cannot be called back.
    """

    @wraps(verb)
    async def run(*args: P.args, **kwargs: P.kwargs) -> T:
        task = asyncio.ensure_future(verb(*args, **kwargs))
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            while not task.done():
                with suppress(asyncio.CancelledError):
                    await asyncio.wait([task])
            raise

    return run

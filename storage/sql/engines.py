"""Connections to SQLite and to PostgreSQL: for writes, for reads, and for the edge's reads."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Engine, Executable, Row, create_engine, event, make_url
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from storage.sql.failures import translated

_DRIVERS = {"sqlite": "aiosqlite", "postgresql": "asyncpg"}

_BUSY_SECONDS = 10  # how long a write waits for another process's
_EDGE_BUSY_SECONDS = 1  # the edge would wait in the event loop; and WAL readers wait for a recovery at most
_CONNECT_SECONDS = 5
_ANSWER_SECONDS = 60

_WRITER_PRAGMAS = ("synchronous=FULL", "foreign_keys=ON")
_READER_PRAGMAS = ("query_only=ON",)


def parse_url(url: str) -> URL:
    """`sqlite:///PATH` or `postgresql://…`, with or without a driver, for the driver used here. Raises `ValueError`."""
    parsed = make_url(url)
    backend = parsed.get_backend_name()
    if backend not in _DRIVERS:
        raise ValueError(f"{backend!r} is not a database that is supported: use sqlite:///PATH or postgresql://…")
    return parsed.set(drivername=f"{backend}+{_DRIVERS[backend]}")


def create_writer(url: URL) -> AsyncEngine:
    """An engine whose transactions write. On SQLite it has one connection and takes the database's lock at once.

    Its pool is its own: writes that wait for each other keep no reader waiting.
    """
    if url.get_backend_name() == "postgresql":
        return _create_postgres(url, pool_size=4, max_overflow=0)
    # Without an isolation level the driver leaves BEGIN to us.
    options = {"isolation_level": None, "timeout": _BUSY_SECONDS}
    engine = create_async_engine(url, pool_size=1, max_overflow=0, connect_args=options)
    _set_pragmas(engine.sync_engine, _WRITER_PRAGMAS)
    event.listen(engine.sync_engine, "begin", _begin_immediate)
    return engine


def create_reader(url: URL) -> AsyncEngine:
    """An engine whose every statement sees the latest commit."""
    if url.get_backend_name() == "postgresql":
        return _create_postgres(url, pool_size=5, max_overflow=5, isolation_level="AUTOCOMMIT")
    engine = create_async_engine(url, isolation_level="AUTOCOMMIT", connect_args={"timeout": _BUSY_SECONDS})
    _set_pragmas(engine.sync_engine, _READER_PRAGMAS)
    return engine


def keep_write_ahead_log(url: URL) -> None:
    """Make a SQLite database one whose readers and writer do not wait for each other; the file remembers it.

    Whoever comes second while the first switches is told "database is locked" at once, without any waiting, so those
    who start together take turns at a lock on the directory (one on the file itself would interfere with SQLite's).
    """
    directory = os.open(Path(url.database or "").parent, os.O_RDONLY)
    engine = create_engine(url.set(drivername="sqlite"), isolation_level="AUTOCOMMIT")
    try:
        fcntl.flock(directory, fcntl.LOCK_EX)
        with engine.connect() as connection:
            connection.exec_driver_sql("PRAGMA journal_mode=WAL")
    finally:
        engine.dispose()
        os.close(directory)


class DirectReader:
    """SQLite, read in the calling thread: a point query takes tens of microseconds, a hop to a thread hundreds."""

    def __init__(self, url: URL) -> None:
        url = url.set(drivername="sqlite")
        self._engine = create_engine(url, isolation_level="AUTOCOMMIT", connect_args={"timeout": _EDGE_BUSY_SECONDS})
        _set_pragmas(self._engine, _READER_PRAGMAS)
        self._connection: Connection | None = None

    async def rows(self, statement: Executable, parameters: Mapping[str, Any] | None = None) -> Sequence[Row[Any]]:
        """All of the answer; never suspends."""
        with translated():
            if self._connection is None:
                self._connection = self._engine.connect()
            return self._connection.execute(statement, parameters).all()

    def close(self) -> None:
        """Let go of the connection; again is harmless."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None
        self._engine.dispose()


def _create_postgres(url: URL, **options: Any) -> AsyncEngine:
    timeouts = {"timeout": _CONNECT_SECONDS, "command_timeout": _ANSWER_SECONDS}
    return create_async_engine(url, pool_pre_ping=True, connect_args=timeouts, **options)


def _set_pragmas(engine: Engine, pragmas: Sequence[str]) -> None:
    def on_connect(connection: DBAPIConnection, record: object) -> None:
        cursor = connection.cursor()
        for pragma in pragmas:
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()

    event.listen(engine, "connect", on_connect)


def _begin_immediate(connection: Connection) -> None:
    connection.exec_driver_sql("BEGIN IMMEDIATE")

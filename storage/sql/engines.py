"""Connections to SQLite and to PostgreSQL: for writes, for reads, and for the edge's reads."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Engine, Executable, Row, create_engine, event, make_url
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import ArgumentError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from storage.sql.failures import translated

_DRIVERS = {"sqlite": "aiosqlite", "postgresql": "asyncpg"}

_BUSY_SECONDS = 10  # how long a write waits for another process's
_EDGE_BUSY_SECONDS = 1  # the edge would wait in the event loop; and WAL readers wait for a recovery at most
_CONNECT_SECONDS = 5
_ANSWER_SECONDS = 60
_EDGE_ANSWER_SECONDS = 3  # a visitor waits

_SSL_MODES = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")
_OPTIONS = {"sqlite": (), "postgresql": ("host", "port", "sslmode")}  # of a URL, after the "?"

# What is deleted from a page is overwritten: credentials are to be gone. FAST: save where that would take more writes.
# 16 MiB of pages are kept: what an activation of 10,000 files touches, which else would go to the disk more than once.
_WRITER_PRAGMAS = ("synchronous=FULL", "foreign_keys=ON", "secure_delete=FAST", "cache_size=-16384")
_READER_PRAGMAS = ("query_only=ON",)


def parse_url(url: str) -> URL:
    """`sqlite:///PATH` or `postgresql://…`, with or without a driver, for the driver used here. Raises `ValueError`."""
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):  # without their text, which may have the password
        raise ValueError("is not the URL of a database: use sqlite:///PATH or postgresql://USER@HOST/NAME") from None
    backend = parsed.get_backend_name()
    if backend not in _DRIVERS:
        raise ValueError(f"{backend!r} is not a database that is supported: use sqlite:///PATH or postgresql://…")
    if unknown := [name for name in parsed.query if name not in _OPTIONS[backend]]:
        raise ValueError(f"has the option {unknown[0]!r}: of these, {backend} takes {_OPTIONS[backend] or 'none'}")
    return _name_ssl(parsed).set(drivername=f"{backend}+{_DRIVERS[backend]}")


def _name_ssl(url: URL) -> URL:
    """`sslmode`, which is what PostgreSQL's own tools call it, by the driver's name for it."""
    if "sslmode" not in url.query:
        return url
    mode = url.query["sslmode"]
    if mode not in _SSL_MODES:
        raise ValueError(f"has the sslmode {mode!r}: use one of {', '.join(_SSL_MODES)}")
    return url.difference_update_query(["sslmode"]).update_query_dict({"ssl": mode})


def create_writer(url: URL) -> AsyncEngine:
    """An engine whose transactions write. On SQLite it has one connection and takes the database's lock at once.

    Its pool is its own: writes that wait for each other keep no reader waiting.
    """
    if url.get_backend_name() == "postgresql":
        return _create_postgres(url, pool_size=4, max_overflow=0)
    # Without an isolation level the driver leaves BEGIN to us.
    options = {"isolation_level": None, "timeout": _BUSY_SECONDS}
    engine = create_async_engine(url, pool_size=1, max_overflow=0, connect_args=options, hide_parameters=True)
    _set_pragmas(engine.sync_engine, _WRITER_PRAGMAS)
    event.listen(engine.sync_engine, "begin", _begin_immediate)
    return engine


def create_reader(url: URL) -> PooledReader:
    """Whose every statement sees the latest commit."""
    if url.get_backend_name() == "postgresql":
        return PooledReader(_create_postgres(url, pool_size=5, max_overflow=5, isolation_level="AUTOCOMMIT"))
    engine = create_async_engine(
        url, isolation_level="AUTOCOMMIT", connect_args={"timeout": _BUSY_SECONDS}, hide_parameters=True
    )
    _set_pragmas(engine.sync_engine, _READER_PRAGMAS)
    return PooledReader(engine)


def create_edge_reader(url: URL) -> PooledReader | DirectReader:
    """What the edge's look-ups go through: no other reads keep them waiting, and they give up soon."""
    if url.get_backend_name() == "sqlite":
        return DirectReader(url)
    seconds = _EDGE_ANSWER_SECONDS
    options: dict[str, Any] = {"pool_size": 5, "max_overflow": 5, "pool_timeout": seconds}
    return PooledReader(_create_postgres(url, seconds, isolation_level="AUTOCOMMIT", **options))


def keep_write_ahead_log(url: URL) -> None:
    """Make a SQLite database one whose readers and writer do not wait for each other; the file remembers it.

    Whoever comes second while the first switches is told "database is locked" at once, without any waiting, so those
    who start together take turns at a lock on the directory (one on the file itself would interfere with SQLite's).
    """
    directory = os.open(Path(url.database or "").parent, os.O_RDONLY)
    engine = create_engine(url.set(drivername="sqlite"), isolation_level="AUTOCOMMIT", hide_parameters=True)
    try:
        fcntl.flock(directory, fcntl.LOCK_EX)
        with engine.connect() as connection:
            connection.exec_driver_sql("PRAGMA journal_mode=WAL")
    finally:
        engine.dispose()
        os.close(directory)


class PooledReader:
    """Reads through an engine's connections."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def rows(self, statement: Executable, parameters: Mapping[str, Any] | None = None) -> Sequence[Row[Any]]:
        """All of the answer."""
        with translated():
            async with self._engine.connect() as connection:
                return (await connection.execute(statement, parameters)).all()

    def rows_nowait(self, statement: Executable, parameters: Mapping[str, Any] | None = None) -> None:
        """Not to be had without waiting."""

    async def close(self) -> None:
        """Let go of all connections; again is harmless."""
        await self._engine.dispose()


class DirectReader:
    """SQLite, read in the calling thread: a point query takes tens of microseconds, a hop to a thread hundreds."""

    def __init__(self, url: URL) -> None:
        url = url.set(drivername="sqlite")
        self._engine = create_engine(
            url, isolation_level="AUTOCOMMIT", connect_args={"timeout": _EDGE_BUSY_SECONDS}, hide_parameters=True
        )
        _set_pragmas(self._engine, _READER_PRAGMAS)
        self._connection: Connection | None = None

    async def rows(self, statement: Executable, parameters: Mapping[str, Any] | None = None) -> Sequence[Row[Any]]:
        """All of the answer; never suspends."""
        return self.rows_nowait(statement, parameters)

    def rows_nowait(self, statement: Executable, parameters: Mapping[str, Any] | None = None) -> Sequence[Row[Any]]:
        """All of the answer."""
        with translated():
            if self._connection is None:
                self._connection = self._engine.connect()
            return self._connection.execute(statement, parameters).all()

    async def close(self) -> None:
        """Let go of the connection; again is harmless."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None
        self._engine.dispose()


def _create_postgres(url: URL, answer_seconds: float = _ANSWER_SECONDS, **options: Any) -> AsyncEngine:
    timeouts = {"timeout": min(_CONNECT_SECONDS, answer_seconds), "command_timeout": answer_seconds}
    # A failure's text must not carry parameters: logs are kept where secrets' hashes and tenants' data are not.
    return create_async_engine(url, pool_pre_ping=True, connect_args=timeouts, hide_parameters=True, **options)


def _set_pragmas(engine: Engine, pragmas: Sequence[str]) -> None:
    def on_connect(connection: DBAPIConnection, record: object) -> None:
        cursor = connection.cursor()
        for pragma in pragmas:
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()

    event.listen(engine, "connect", on_connect)


def _begin_immediate(connection: Connection) -> None:
    connection.exec_driver_sql("BEGIN IMMEDIATE")

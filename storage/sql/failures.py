"""What a database's own errors mean to a caller; the only place that knows.

| the database says                                    | raised         |
|------------------------------------------------------|----------------|
| a unique index refuses the row                       | `Conflict`     |
| it cannot be reached, is busy or shutting down       | `Unavailable`  |
| its disk is full                                     | `OutOfSpace`   |
| it is damaged                                        | `Corrupt`      |
| the value cannot be kept (NUL, a lone surrogate)     | `Invalid`      |
| there is no such table, the file is no database      | `StorageError` |

Anything else is a mistake of ours and passes as it is.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from asyncpg import InterfaceError, PostgresError
from sqlalchemy import exc

from storage.errors import Conflict, Corrupt, Invalid, OutOfSpace, StorageError, Unavailable
from storage.sql.tables import UNIQUE

# Classes of SQLSTATE (PostgreSQL's appendix A): connection, contention, resources, object in use, operator, system.
_UNAVAILABLE_STATES = ("08", "40", "53", "55", "57", "58")
_INVALID_STATES = ("22",)
_UNDEFINED_TABLE = "42P01"
_FULL = ("53100", "SQLITE_FULL")

# Of asyncpg's own, those of a connection that is not made yet: SQLAlchemy wraps the others.
_REFUSED = (PostgresError, InterfaceError)
_UNAVAILABLE = (exc.OperationalError, exc.InterfaceError, exc.TimeoutError, TimeoutError, OSError, *_REFUSED)
_INVALID = (exc.DataError, UnicodeEncodeError)


@contextmanager
def translated() -> Iterator[None]:
    """Raises what the table above says, from the database's error."""
    try:
        yield
    except (exc.SQLAlchemyError, OSError, TimeoutError, UnicodeEncodeError, *_REFUSED) as error:
        meaning = _meaning(error)
        if meaning is None:
            raise
        raise meaning from error


@contextmanager
def starting() -> Iterator[None]:
    """As `translated`; what else the database refuses is a `StorageError` too: nothing has worked with it so far."""
    try:
        with translated():
            yield
    except exc.SQLAlchemyError as error:
        raise StorageError(f"the database cannot be used: {getattr(error, 'orig', None) or error}") from error


@contextmanager
def conflicts(values: Mapping[str, Any]) -> Iterator[None]:
    """Raises `Conflict` if a unique index refuses `values`, the row being written."""
    try:
        yield
    except exc.IntegrityError as error:
        kind, field = UNIQUE.get(_refusal(error), ("", ""))
        if not kind:
            raise
        raise Conflict(kind, field, str(values[field])) from error


def _meaning(error: Exception) -> StorageError | None:
    orig = getattr(error, "orig", None) or error
    state = str(getattr(orig, "sqlstate", None) or getattr(orig, "sqlite_errorname", None) or "")
    if isinstance(error, _INVALID) or state.startswith(_INVALID_STATES):
        return Invalid("text", "has a character that the store cannot keep")
    if state == _UNDEFINED_TABLE or "no such table" in str(getattr(error, "orig", "")):
        return StorageError("the database has not been prepared: migrate it")
    if state in _FULL:
        return OutOfSpace(f"the database has no room: {orig}")
    if state == "SQLITE_NOTADB":
        return StorageError("the file is not a database: name another, or move it away")
    if state.startswith("SQLITE_CORRUPT"):
        return Corrupt(f"the database is damaged: {orig}")
    lost = isinstance(error, exc.DBAPIError) and error.connection_invalidated
    if lost or isinstance(error, _UNAVAILABLE) or state.startswith(_UNAVAILABLE_STATES):
        return Unavailable(f"the database is not available: {str(orig) or 'it did not answer in time'}")
    return None


def _refusal(error: exc.IntegrityError) -> str:
    """What refused: the index (PostgreSQL), or its columns (SQLite, at the end of the message)."""
    index = getattr(error.orig.__cause__, "constraint_name", None) if error.orig else None
    return index or str(error.orig).removeprefix("UNIQUE constraint failed: ")

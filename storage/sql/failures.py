"""What a database's own errors mean to a caller; the only place that knows.

| the database says                                    | raised         |
|------------------------------------------------------|----------------|
| a unique index refuses the row                       | `Conflict`     |
| it cannot be reached, is busy, full or shutting down | `Unavailable`  |
| the value cannot be kept (NUL, a lone surrogate)     | `Invalid`      |
| there is no such table                               | `StorageError` |

Anything else is a mistake of ours and passes as it is.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from sqlalchemy import exc

from storage.errors import Conflict, Invalid, StorageError, Unavailable
from storage.sql.tables import UNIQUE

# Classes of SQLSTATE (PostgreSQL's appendix A): connection, contention, resources, object in use, operator, system.
_UNAVAILABLE_STATES = ("08", "40", "53", "55", "57", "58")
_INVALID_STATES = ("22",)
_UNDEFINED_TABLE = "42P01"

_UNAVAILABLE = (exc.OperationalError, exc.InterfaceError, exc.TimeoutError, TimeoutError, OSError)
_INVALID = (exc.DataError, UnicodeEncodeError)


@contextmanager
def translated() -> Iterator[None]:
    """Raises what the table above says, from the database's error."""
    try:
        yield
    except (exc.SQLAlchemyError, OSError, TimeoutError, UnicodeEncodeError) as error:
        meaning = _meaning(error)
        if meaning is None:
            raise
        raise meaning from error


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
    state = str(getattr(getattr(error, "orig", None), "sqlstate", None) or "")
    if isinstance(error, _INVALID) or state.startswith(_INVALID_STATES):
        return Invalid("text", "has a character that the store cannot keep")
    if state == _UNDEFINED_TABLE or "no such table" in str(getattr(error, "orig", "")):
        return StorageError("the database has not been prepared: migrate it")
    lost = isinstance(error, exc.DBAPIError) and error.connection_invalidated
    if lost or isinstance(error, _UNAVAILABLE) or state.startswith(_UNAVAILABLE_STATES):
        return Unavailable(
            f"the database is not available: {getattr(error, 'orig', error) or 'it did not answer in time'}"
        )
    return None


def _refusal(error: exc.IntegrityError) -> str:
    """What refused: the index (PostgreSQL), or its columns (SQLite, at the end of the message)."""
    index = getattr(error.orig.__cause__, "constraint_name", None) if error.orig else None
    return index or str(error.orig).removeprefix("UNIQUE constraint failed: ")

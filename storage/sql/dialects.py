"""The few things that SQLite and PostgreSQL spell differently, each under one name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import BigInteger, ColumnElement, Integer, Select, Table
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import GenericFunction
from sqlalchemy.types import NullType

_INSERT: Mapping[str, type[sqlite.Insert] | type[postgresql.Insert]] = {
    "sqlite": sqlite.Insert,
    "postgresql": postgresql.Insert,
}


def insert_into(dialect: str, table: Table) -> sqlite.Insert | postgresql.Insert:
    """An INSERT that knows ON CONFLICT."""
    return _INSERT[dialect](table)


class position_of(GenericFunction[int]):
    """`position_of(text, part)`: where `part` first occurs, counting characters from 1; 0 if it does not."""

    inherit_cache = True
    type = Integer()


@compiles(position_of, "sqlite")
def _instr(element: position_of, compiler: SQLCompiler, **options: Any) -> str:
    return f"instr({compiler.process(element.clauses, **options)})"


@compiles(position_of, "postgresql")
def _strpos(element: position_of, compiler: SQLCompiler, **options: Any) -> str:
    return f"strpos({compiler.process(element.clauses, **options)})"


class octets_of(GenericFunction[int]):
    """How many bytes a text has in UTF-8."""

    inherit_cache = True
    type = Integer()


@compiles(octets_of, "sqlite")
def _length_of_blob(element: octets_of, compiler: SQLCompiler, **options: Any) -> str:
    # octet_length came with SQLite 3.43.
    return f"length(CAST({compiler.process(element.clauses, **options)} AS BLOB))"


@compiles(octets_of, "postgresql")
def _octet_length(element: octets_of, compiler: SQLCompiler, **options: Any) -> str:
    return f"octet_length({compiler.process(element.clauses, **options)})"


class greater_of(GenericFunction[int]):
    """`greater_of(one, other)`, neither of them null: each is evaluated once."""

    inherit_cache = True
    type = BigInteger()


@compiles(greater_of, "sqlite")
def _max(element: greater_of, compiler: SQLCompiler, **options: Any) -> str:
    return f"max({compiler.process(element.clauses, **options)})"


@compiles(greater_of, "postgresql")
def _greatest(element: greater_of, compiler: SQLCompiler, **options: Any) -> str:
    return f"greatest({compiler.process(element.clauses, **options)})"


class is_among(GenericFunction[Any]):
    """`is_among(column, select)`: `column IN (select)`, by an index of the column.

    PostgreSQL might plan the plain form as a scan of the whole table for each row of the select.
    """

    inherit_cache = True
    # Not Boolean: of such a function SQLAlchemy asks SQLite whether it "= 1", and that is by no index.
    type = NullType()

    def __init__(self, column: ColumnElement[Any], among: Select[Any]) -> None:
        super().__init__(column, among.scalar_subquery())


@compiles(is_among, "sqlite")
def _in(element: is_among, compiler: SQLCompiler, **options: Any) -> str:
    column, among = element.clauses
    return f"{compiler.process(column, **options)} IN {compiler.process(among, **options)}"


@compiles(is_among, "postgresql")
def _any(element: is_among, compiler: SQLCompiler, **options: Any) -> str:
    column, among = element.clauses
    return f"{compiler.process(column, **options)} = ANY(ARRAY{compiler.process(among, **options)})"


class json_rows(GenericFunction[str]):
    """The elements of a JSON array, given as text, as rows with the one column `value`."""

    inherit_cache = True


@compiles(json_rows, "sqlite")
def _json_each(element: json_rows, compiler: SQLCompiler, **options: Any) -> str:
    return f"json_each({compiler.process(element.clauses, **options)})"


@compiles(json_rows, "postgresql")
def _json_array_elements(element: json_rows, compiler: SQLCompiler, **options: Any) -> str:
    return f"json_array_elements(CAST({compiler.process(element.clauses, **options)} AS json))"

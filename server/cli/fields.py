"""The fields of spaces and sites as options, and what the API gets of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, TypeAlias

import typer

from server.cli.errors import USAGE, CliError

AliasField: TypeAlias = Annotated[
    str | None,
    typer.Option("--alias", metavar="ALIAS", help="A short name that stands for its id: a-z 0-9 _ -; '' for none."),
]
NameField: TypeAlias = Annotated[str | None, typer.Option("--name", metavar="NAME", help="What people call it.")]
DescriptionField: TypeAlias = Annotated[
    str | None, typer.Option("--description", metavar="TEXT", help="What it is for, in words.")
]
MetaField: TypeAlias = Annotated[
    list[str] | None,
    typer.Option("--meta", metavar="KEY=VALUE", help="A fact of your own; KEY= removes it. Repeat for several."),
]


def collect_fields(meta: Sequence[str] | None, **fields: str | bool | None) -> dict[str, object]:
    """The API's fields for the options that were given."""
    given: dict[str, object] = {name: value for name, value in fields.items() if value is not None}
    if meta:
        given["meta"] = dict(_parse_pair(text) for text in meta)
    return given


def require_some(fields: dict[str, object]) -> None:
    """Raises `CliError` if there is nothing to change."""
    if not fields:
        raise CliError(
            "there is nothing to change.", "Name what is to change, such as --name 'New name'.", exit_code=USAGE
        )


def _parse_pair(text: str) -> tuple[str, str | None]:
    key, equals, value = text.partition("=")
    if not key or not equals:
        raise CliError(f"--meta {text!r} is not KEY=VALUE.", "Write it like --meta owner=ann.", exit_code=USAGE)
    return key, value or None

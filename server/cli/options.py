"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, TypeAlias

import typer

SERVER_PANEL = "The server to talk to"

UrlOption: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--url",
        envvar="SPACELANE_URL",
        metavar="URL",
        help="The control API. Default: this machine's, http://127.0.0.1:8081 unless configured otherwise.",
        rich_help_panel=SERVER_PANEL,
    ),
]
KeyOption: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--key",
        envvar="SPACELANE_KEY",
        metavar="KEY",
        help="A secret key, sk-…. Default, on the server's own machine: the root key in its data directory.",
        rich_help_panel=SERVER_PANEL,
    ),
]
DataDirOption: TypeAlias = Annotated[
    Path | None,
    typer.Option(
        "--data-dir",
        envvar="SPACELANE_DATA_DIR",
        metavar="DIR",
        help="Where the server on this machine keeps its data and root key. Default: .spacelane.",
        rich_help_panel=SERVER_PANEL,
    ),
]


WorkspaceOption: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--workspace", metavar="REF", help="Id or alias of another workspace; for the root key. Default: the key's own."
    ),
]
JsonOption: TypeAlias = Annotated[bool, typer.Option("--json", help="Answer with one JSON object, errors too.")]
LinesOption: TypeAlias = Annotated[bool, typer.Option("--json", help="Answer with a JSON object a line, errors too.")]
SpaceOption: TypeAlias = Annotated[
    str | None,
    typer.Option("--space", metavar="SPACE", help="Id or alias of the space. Default: the one named after the domain."),
]
YesOption: TypeAlias = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask whether it is meant.")]
TakeOption: TypeAlias = Annotated[
    int, typer.Option("--take", metavar="N", min=1, max=100, help="How many at most, the newest first.")
]


def examples(*lines: tuple[str, str], title: str = "Examples", footer: str = "") -> str:
    """The end of a command's help: commands, each with what it does below it."""
    commands = "\n".join(f"[cyan]$ {command}[/cyan]\n  [dim]{meaning}[/dim]" for command, meaning in lines)
    return "\n".join([f"[bold]{title}[/bold]", commands, *(["", footer] if footer else [])])

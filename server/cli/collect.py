"""`spacelane collect`: let go of contents that nothing refers to."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated

import typer

from server.cli import console
from server.cli.errors import CliError
from server.cli.options import JsonOption, examples
from server.cli.serve import DatabaseUrl
from storage.errors import StorageError

COLLECT_EXAMPLES = examples(
    ("spacelane collect --dry-run", "say how much would go"),
    ("spacelane collect --data-dir /var/lib/spacelane", "let it go"),
    footer="A running server does this by itself every few hours; it may run meanwhile.",
)


def collect(
    data_dir: Annotated[
        Path | None, typer.Option("--data-dir", metavar="DIR", help="Everything kept. Default: .spacelane.")
    ] = None,
    database_url: DatabaseUrl = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only look; nothing goes.")] = False,
    json: JsonOption = False,
) -> None:
    """Let go of contents that no file and no deployment refers to, of deleted spaces for the most part.

    They go once nobody has uploaded them for the time that the setting blob_grace_hours says.
    """
    # Imported here as in `serve`: the other commands need not wait for it.
    from server.cli.connect import read_settings
    from server.collector import collect_now

    flags = {"data_dir": data_dir, "database_url": database_url}
    settings = read_settings({name: value for name, value in flags.items() if value is not None})
    try:
        done = asyncio.run(collect_now(settings, dry_run=dry_run))
    except (StorageError, ValueError) as exc:
        raise CliError(
            f"{exc}.", "Name the server's data with --data-dir, and its database with --database-url if it has one."
        ) from exc
    if json:
        console.print_json({"ok": True, "dryRun": dry_run, "contents": done.count, "bytes": done.size})
        return
    would = "would go" if dry_run else "gone"
    typer.echo(f"{console.count(done.count, 'content')}, {console.size(done.size)}: {would}.")

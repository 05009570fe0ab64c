"""`spacelane keys rotate`: a new key for the credentials that are kept encrypted."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated

import typer

from server.cli import console
from server.cli.errors import CliError
from server.cli.options import examples
from server.cli.serve import DatabaseUrl

ROTATE_EXAMPLES = examples(
    ("spacelane keys rotate --data-dir /var/lib/spacelane", "encrypt every site's credentials anew"),
    footer="A running server takes the new key by itself. The key before stays in the file until the next rotation.",
)


def rotate(
    data_dir: Annotated[
        Path | None, typer.Option("--data-dir", metavar="DIR", help="Everything kept. Default: .spacelane.")
    ] = None,
    database_url: DatabaseUrl = None,
) -> None:
    """Make a new key, encrypt with it what sites of the Sites API have left here, and let go of older keys.

    It works on the file that the setting credential_keys names, and may be run beside a server or again if it was
    cut short.
    """
    # Imported here as in `serve`: the other commands need not wait for it.
    from server.cli.connect import read_settings

    flags = {"data_dir": data_dir, "database_url": database_url}
    settings = read_settings({name: value for name, value in flags.items() if value is not None})
    from server.root_key import RootKeyError
    from server.stores import open_stores
    from server.vault import rotate as rotate_keys
    from storage.errors import StorageError

    path = settings.credential_keys_file

    async def run() -> int:
        if not path.is_file():
            raise RootKeyError(f"{path} is not there: no server has made it yet")
        async with open_stores(settings) as stores:
            return await rotate_keys(path, stores.metadata)

    try:
        renewed = asyncio.run(run())
    except (StorageError, RootKeyError, OSError, ValueError) as exc:
        raise CliError(
            f"{exc}.", "Name the server's data with --data-dir, and its database with --database-url if it has one."
        ) from exc
    typer.echo(f"{console.count(renewed, 'secret')} encrypted with a new key, which is in {path}.")

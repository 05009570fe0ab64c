"""`spacelane key create`, `key list` and `key revoke`: secret keys."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Annotated, Any

import typer

from server.cli import console
from server.cli.client import Client
from server.cli.connect import connect
from server.cli.errors import USAGE, CliError
from server.cli.options import DataDirOption, JsonOption, KeyOption, UrlOption, WorkspaceOption, examples
from server.cli.scan import printable

KEY_CREATE_EXAMPLES = examples(
    (
        "spacelane key create --name ci "
        + " ".join(f"--scope {kind}:{right}" for kind in ("spaces", "sites", "files") for right in ("read", "write")),
        "all that `spacelane deploy` needs, and no more",
    ),
    ("spacelane key create --name reader --scope sites:read --expires 90d", "a key that ends by itself"),
    ("export SPACELANE_KEY=$(spacelane key create --name me --scope files:read)", "the secret alone is printed"),
    footer="Where the first key comes from: `spacelane serve` makes a root key in its data directory when it first "
    "starts. Commands on the same machine find it there by themselves.",
)
KEY_LIST_EXAMPLES = examples(
    ("spacelane key list", "id, name, scopes, and what became of each key"),
    ("spacelane key list --workspace acme --json", "another workspace's, for programs to read"),
)
KEY_REVOKE_EXAMPLES = examples(
    ("spacelane key revoke key_01h…", "whoever holds it is refused from the next call on"),
    footer="The ids are what `spacelane key list` shows.",
)
UNITS = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
_DURATION = re.compile(rf"([1-9][0-9]{{0,4}})([{''.join(UNITS)}])")


class Dialect(StrEnum):
    """How the API speaks to the key's holder."""

    SPACELANE = "spacelane"
    SDK = "sdk"
    SITES = "sites"


class Scope(StrEnum):
    """What a key may do."""

    SPACES_READ = "spaces:read"
    SPACES_WRITE = "spaces:write"
    SITES_READ = "sites:read"
    SITES_WRITE = "sites:write"
    FILES_READ = "files:read"
    FILES_WRITE = "files:write"
    KEYS_WRITE = "keys:write"


def parse_expiry(text: str, now: datetime) -> str:
    """The ISO 8601 time (UTC, milliseconds) that is `text`, such as 90d, after `now`."""
    match = _DURATION.fullmatch(text.strip().lower())
    if not match:
        raise CliError(
            f"--expires {text!r} is not a duration.",
            "Give a number and m, h, d or w for minutes, hours, days or weeks, such as 90d.",
            exit_code=USAGE,
        )
    end = now + timedelta(**{UNITS[match[2]]: int(match[1])})
    return end.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def create(
    name: Annotated[str, typer.Option("--name", metavar="NAME", help="Who or what will use it.")],
    scope: Annotated[list[Scope], typer.Option("--scope", help="What it may do; repeat for several.")],
    expires: Annotated[
        str | None, typer.Option("--expires", metavar="TIME", help="Ends after, such as 12h or 90d. Default: never.")
    ] = None,
    dialect: Annotated[
        Dialect | None,
        typer.Option("--dialect", help="sdk: as published client libraries expect it; sites: for the Sites API."),
    ] = None,
    workspace: WorkspaceOption = None,
    url: UrlOption = None,
    key: KeyOption = None,
    data_dir: DataDirOption = None,
) -> None:
    """Make a secret key. Its secret is printed now and never again."""
    expires_at = parse_expiry(expires, datetime.now(UTC)) if expires else None
    connection = connect(url, key, data_dir)

    async def run() -> None:
        async with Client(connection.endpoint) as client:
            key_id, secret = await client.create_key(
                name, [*scope], expires_at=expires_at, dialect=dialect, workspace=workspace
            )
        typer.echo(secret)
        console.print_note(
            f"Key {key_id} for {name!r}. Keep the secret above now: it cannot be shown again.",
            "Use it as SPACELANE_KEY, with --key, or in the header `Authorization: Bearer sk-…`.",
        )

    asyncio.run(run())


def list_(
    workspace: WorkspaceOption = None,
    json: JsonOption = False,
    url: UrlOption = None,
    key: KeyOption = None,
    data_dir: DataDirOption = None,
) -> None:
    """List the workspace's keys, the oldest first. Secrets are not kept, and so not shown."""
    connection = connect(url, key, data_dir)

    async def run() -> None:
        async with Client(connection.endpoint) as client:
            items = [item async for item in client.list_keys(workspace)]
        if json:
            console.print_json({"items": items})
        else:
            rows = [(item["id"], printable(item["name"]), " ".join(item["scopes"]), _state(item)) for item in items]
            console.print_table([("id", "name", "scopes", "state"), *rows])

    asyncio.run(run())


def _state(item: Mapping[str, Any]) -> str:
    """What became of a key, in words."""
    if item["revokedAt"]:
        return f"revoked {item['revokedAt']}"
    used = f"last used {item['lastUsedAt']}" if item["lastUsedAt"] else "never used"
    return f"{used}, ends {item['expiresAt']}" if item["expiresAt"] else used


def revoke(
    key_id: Annotated[str, typer.Argument(metavar="KEY_ID", help="Which one: its id, not its secret.")],
    url: UrlOption = None,
    key: KeyOption = None,
    data_dir: DataDirOption = None,
) -> None:
    """Revoke a key: the next call with it, or with a token that it made, is refused."""
    connection = connect(url, key, data_dir)

    async def run() -> None:
        async with Client(connection.endpoint) as client:
            await client.revoke_key(key_id)
        console.print_note(f"Key {key_id} is revoked.")

    asyncio.run(run())

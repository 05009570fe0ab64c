"""`spacelane key create`, `list`, `revoke` and `token`: secret keys, and the tokens made from them."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated, Any

import typer

from server.cli import console
from server.cli.names import parse_duration, segment
from server.cli.options import (
    DataDirOption,
    JsonOption,
    KeyOption,
    LinesOption,
    UrlOption,
    WorkspaceOption,
    examples,
)
from server.cli.scan import printable
from server.cli.session import Where, call

CREATE_EXAMPLES = examples(
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
LIST_EXAMPLES = examples(
    ("spacelane key list", "id, name, scopes, and what became of each key"),
    ("spacelane key list --workspace acme --json", "another workspace's, for programs to read"),
)
REVOKE_EXAMPLES = examples(
    ("spacelane key revoke key_01h…", "whoever holds it is refused from the next call on"),
    footer="The ids are what `spacelane key list` shows.",
)
TOKEN_EXAMPLES = examples(
    (
        "spacelane key token --scope files:write --space my_localhost --expires 30m",
        "for a job that publishes to one space",
    ),
    ("SPACELANE_KEY=$(spacelane key token --scope sites:read) spacelane site list", "the token alone is printed"),
    footer="Revoking the key ends its tokens too.",
)


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
    end = now + parse_duration("--expires", text)
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
    json: JsonOption = False,
    url: UrlOption = None,
    key: KeyOption = None,
    data_dir: DataDirOption = None,
) -> None:
    """Make a secret key. Its secret is printed now and never again."""
    expires_at = parse_expiry(expires, datetime.now(UTC)) if expires else None
    optional = {"expiresAt": expires_at, "dialect": dialect, "workspace": workspace}
    body = {"name": name, "scopes": [*scope], **{field: value for field, value in optional.items() if value}}
    answer = call(Where(url, key, data_dir), lambda client: client.post("key/create", body, secret=True))
    if json:
        console.print_json(answer)
        return
    typer.echo(answer["secret"])
    console.print_note(
        f"Key {answer['id']} for {name!r}. Keep the secret above now: it cannot be shown again.",
        "Use it as SPACELANE_KEY, with --key, or in the header `Authorization: Bearer sk-…`.",
    )


def list_(
    workspace: WorkspaceOption = None,
    json: LinesOption = False,
    url: UrlOption = None,
    key: KeyOption = None,
    data_dir: DataDirOption = None,
) -> None:
    """List the workspace's keys, the oldest first. Secrets are not kept, and so not shown."""
    query = {"workspace": workspace} if workspace else {}
    header = ("id", "name", "scopes", "state")
    call(
        Where(url, key, data_dir),
        lambda client: console.print_items(client.records("key/list", **query), header, _row, json=json),
    )


def _row(item: Mapping[str, Any]) -> tuple[str, ...]:
    return item["id"], printable(item["name"]), " ".join(item["scopes"]), _state(item)


def _state(item: Mapping[str, Any]) -> str:
    """What became of a key, in words."""
    if item["revokedAt"]:
        return f"revoked {console.when(item['revokedAt'])}"
    used = f"last used {console.when(item['lastUsedAt'])}" if item["lastUsedAt"] else "never used"
    return f"{used}, ends {console.when(item['expiresAt'])}" if item["expiresAt"] else used


def revoke(
    key_id: Annotated[str, typer.Argument(metavar="KEY_ID", help="Which one: its id, not its secret.")],
    json: JsonOption = False,
    url: UrlOption = None,
    key: KeyOption = None,
    data_dir: DataDirOption = None,
) -> None:
    """Revoke a key: the next call with it, or with a token that it made, is refused."""
    path = f"key/{segment(key_id)}/revoke"
    answer = call(Where(url, key, data_dir), lambda client: client.post(path))
    console.print_done(answer, f"Key {key_id} is revoked.", json=json)


def token(
    scope: Annotated[list[Scope], typer.Option("--scope", help="What it may do; repeat for several.")],
    space: Annotated[
        list[str] | None,
        typer.Option("--space", metavar="SPACE", help="Confine it to this space, an id or alias; repeat for several."),
    ] = None,
    expires: Annotated[
        str | None, typer.Option("--expires", metavar="TIME", help="Ends after, a day at most. Default: 1h.")
    ] = None,
    json: JsonOption = False,
    url: UrlOption = None,
    key: KeyOption = None,
    data_dir: DataDirOption = None,
) -> None:
    """Make a token, which stands for the key for a while, with fewer rights if you like. Prints it."""
    expires_at = parse_expiry(expires, datetime.now(UTC)) if expires else None
    optional = {"expiresAt": expires_at, "spaces": space}
    body = {"scopes": [*scope], **{field: value for field, value in optional.items() if value}}
    answer = call(Where(url, key, data_dir), lambda client: client.post("key/token", body, secret=True))
    if json:
        console.print_json(answer)
        return
    typer.echo(answer["token"])
    console.print_note(f"It ends at {console.when(answer['expiresAt'])}. Use it wherever a key goes.")

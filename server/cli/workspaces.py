"""`spacelane workspace create`, `list` and `update`: tenants, and what each may have."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, TypeAlias

import typer

from server.cli import console
from server.cli.errors import USAGE, CliError
from server.cli.names import segment
from server.cli.options import DataDirOption, JsonOption, KeyOption, LinesOption, UrlOption, examples
from server.cli.scan import printable
from server.cli.session import Where, call

CREATE_EXAMPLES = examples(
    ("spacelane workspace create --alias acme --name 'Acme Inc.'", "a tenant of its own, without limits"),
    ("spacelane workspace create --alias trial --max-sites 3 --max-bytes 100000000", "one that has limits"),
    ("spacelane key create --workspace acme --name ci --scope files:write", "then a key for it"),
    footer="Workspaces are for the root key, which a server makes when it first starts.",
)
LIST_EXAMPLES = examples(
    ("spacelane workspace list", "id, alias, name and limits of each"),
    ("spacelane workspace list --json", "the same for programs to read"),
)
UPDATE_EXAMPLES = examples(
    ("spacelane workspace update acme --max-sites 50", "more room; what is not named stays as it is"),
    ("spacelane workspace update acme --max-sites none", "no limit any more"),
)
LIMITS = {
    "max_sites": "maxSites",
    "max_files": "maxFiles",
    "max_bytes": "maxBytes",
    "max_widgets": "maxWidgets",
    "requests_per_minute": "requestsPerMinute",
}
NO_LIMIT = "none"

Name: TypeAlias = Annotated[str | None, typer.Option("--name", metavar="NAME", help="Whose it is, in words.")]
Alias: TypeAlias = Annotated[
    str | None, typer.Option("--alias", metavar="ALIAS", help="A short name that stands for its id: a-z 0-9 _ -")
]
MaxSites: TypeAlias = Annotated[
    str | None, typer.Option("--max-sites", metavar="N", help="Sites it may have; none: no limit.")
]
MaxFiles: TypeAlias = Annotated[
    str | None, typer.Option("--max-files", metavar="N", help="Files that may be live; none: no limit.")
]
MaxBytes: TypeAlias = Annotated[
    str | None,
    typer.Option("--max-bytes", metavar="N", help="Bytes of content, older versions included; none: no limit."),
]
MaxWidgets: TypeAlias = Annotated[
    str | None, typer.Option("--max-widgets", metavar="N", help="Sites of the Sites API; none: no limit.")
]
RequestsPerMinute: TypeAlias = Annotated[
    str | None,
    typer.Option("--requests-per-minute", metavar="N", help="API calls of all its keys together; none: no limit."),
]


def create(
    alias: Alias = None,
    name: Name = None,
    max_sites: MaxSites = None,
    max_files: MaxFiles = None,
    max_bytes: MaxBytes = None,
    max_widgets: MaxWidgets = None,
    requests_per_minute: RequestsPerMinute = None,
    json: JsonOption = False,
    url: UrlOption = None,
    key: KeyOption = None,
    data_dir: DataDirOption = None,
) -> None:
    """Make a workspace, whose spaces and keys no other workspace's key can reach. Prints its id."""
    fields = _fields(alias, name, max_sites, max_files, max_bytes, max_widgets, requests_per_minute)
    answer = call(Where(url, key, data_dir), lambda client: client.post("workspace/create", fields))
    next_step = f"Next: a key for it, with `spacelane key create --workspace {alias or answer['id']}`."
    console.print_made(answer, next_step, json=json)


def list_(
    json: LinesOption = False, url: UrlOption = None, key: KeyOption = None, data_dir: DataDirOption = None
) -> None:
    """List every workspace and its limits."""
    header = ("id", "alias", "name", "limits")
    call(
        Where(url, key, data_dir),
        lambda client: console.print_items(client.records("workspace/list"), header, _row, json=json),
    )


def _row(item: Mapping[str, Any]) -> tuple[str, ...]:
    return item["id"], console.shown(item["alias"]), printable(item["name"]), _limits(item)


def update(
    ref: Annotated[str, typer.Argument(metavar="WORKSPACE", help="Its id or alias.")],
    alias: Alias = None,
    name: Name = None,
    max_sites: MaxSites = None,
    max_files: MaxFiles = None,
    max_bytes: MaxBytes = None,
    max_widgets: MaxWidgets = None,
    requests_per_minute: RequestsPerMinute = None,
    json: JsonOption = False,
    url: UrlOption = None,
    key: KeyOption = None,
    data_dir: DataDirOption = None,
) -> None:
    """Change a workspace: what is named and nothing else. A limit below what there is takes nothing away."""
    fields = _fields(alias, name, max_sites, max_files, max_bytes, max_widgets, requests_per_minute)
    if not fields:
        raise CliError(
            "there is nothing to change.", "Name what is to change, such as --max-sites 50.", exit_code=USAGE
        )
    path = f"workspace/{segment(ref)}/update"
    answer = call(Where(url, key, data_dir), lambda client: client.post(path, fields))
    console.print_done(answer, f"Workspace {ref} is changed.", json=json)


def _fields(alias: str | None, name: str | None, *limits: str | None) -> dict[str, object]:
    """The API's fields for the options that were given; `limits` in the order of `LIMITS`."""
    fields: dict[str, object] = {
        field: value for field, value in (("alias", alias), ("name", name)) if value is not None
    }
    for (option, field), text in zip(LIMITS.items(), limits, strict=True):
        if text is not None:
            fields[field] = _parse_limit(option, text)
    return fields


def _parse_limit(option: str, text: str) -> int | None:
    if text == NO_LIMIT:
        return None
    if not (text.isascii() and text.isdigit()):
        raise CliError(
            f"--{option.replace('_', '-')} {text!r} is not a number.",
            f"Give a whole number, or {NO_LIMIT} for no limit.",
            exit_code=USAGE,
        )
    return int(text)


def _limits(item: Mapping[str, Any]) -> str:
    return ", ".join(f"{field} {item[field]}" for field in LIMITS.values() if item[field] is not None) or NO_LIMIT

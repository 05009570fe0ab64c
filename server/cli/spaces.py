"""`spacelane space create`, `list`, `update`, `delete` and `export`."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from server.cli import console
from server.cli.fields import AliasField, DescriptionField, MetaField, NameField, collect_fields, require_some
from server.cli.names import segment
from server.cli.options import DataDirOption, JsonOption, KeyOption, LinesOption, UrlOption, YesOption, examples
from server.cli.session import Where, call

if TYPE_CHECKING:
    from server.cli.client import Client

CREATE_EXAMPLES = examples(
    ("spacelane space create --alias shared --name 'Shared sites'", "prints the new space's id"),
    ("spacelane space create --alias acme --contact-id c-42 --meta plan=pro", "with facts of your own"),
    footer="`spacelane deploy` makes the space that it needs by itself.",
)
LIST_EXAMPLES = examples(
    ("spacelane space list", "every space, the oldest first"),
    ("spacelane space list --meta plan=pro --json", "those of a kind, a JSON object a line"),
)
UPDATE_EXAMPLES = examples(
    ("spacelane space update shared --name 'Everybody'", "what is not named stays as it is"),
    ("spacelane space update shared --alias '' --meta plan=", "no alias any more, and that fact is gone"),
)
DELETE_EXAMPLES = examples(
    ("spacelane space delete shared", "asks first"),
    ("spacelane space delete shared --yes", "for scripts"),
    footer="Its sites, files and history go with it, at once and for good.",
)
EXPORT_EXAMPLES = examples(
    ("spacelane space export > spaces.csv", "all spaces, for a spreadsheet"),
    ("spacelane space export --format jsonl | jq -r .alias", "for programs"),
    footer="In CSV, a cell that a spreadsheet would run as a formula has an apostrophe in front.",
)

SpaceArgument = Annotated[str, typer.Argument(metavar="SPACE", help="Its id or alias.")]
ContactField = Annotated[
    str | None, typer.Option("--contact-id", metavar="ID", help="Whose it is, as your own records say it.")
]


class Format(StrEnum):
    """What an export is written in."""

    CSV = "csv"
    JSONL = "jsonl"
    JSON = "json"


MEDIA_TYPES = {Format.CSV: "text/csv", Format.JSONL: "application/jsonl", Format.JSON: "application/json"}


def create(
    alias: AliasField = None,
    name: NameField = None,
    description: DescriptionField = None,
    contact_id: ContactField = None,
    meta: MetaField = None,
    json: JsonOption = False,
    url: UrlOption = None,
    key: KeyOption = None,
    data_dir: DataDirOption = None,
) -> None:
    """Make a space, which owns files and the sites that serve them. Prints its id."""
    fields = collect_fields(meta, alias=alias, name=name, description=description, contactId=contact_id)
    answer = call(Where(url, key, data_dir), lambda client: client.post("space/create", fields))
    console.print_made(answer, json=json)


def list_(
    contact_id: ContactField = None,
    meta: MetaField = None,
    json: LinesOption = False,
    url: UrlOption = None,
    key: KeyOption = None,
    data_dir: DataDirOption = None,
) -> None:
    """List the workspace's spaces, the oldest first."""
    query = _query(contact_id, meta)
    header = ("id", "alias", "name", "made")
    call(
        Where(url, key, data_dir),
        lambda client: console.print_items(client.records("space/list", **query), header, _row, json=json),
    )


def update(
    space: SpaceArgument,
    alias: AliasField = None,
    name: NameField = None,
    description: DescriptionField = None,
    contact_id: ContactField = None,
    meta: MetaField = None,
    json: JsonOption = False,
    url: UrlOption = None,
    key: KeyOption = None,
    data_dir: DataDirOption = None,
) -> None:
    """Change a space: what is named and nothing else."""
    fields = collect_fields(meta, alias=alias, name=name, description=description, contactId=contact_id)
    require_some(fields)
    path = f"space/{segment(space)}/update"
    answer = call(Where(url, key, data_dir), lambda client: client.post(path, fields))
    console.print_done(answer, f"Space {space} is changed.", json=json)


def delete(
    space: SpaceArgument,
    yes: YesOption = False,
    json: JsonOption = False,
    url: UrlOption = None,
    key: KeyOption = None,
    data_dir: DataDirOption = None,
) -> None:
    """Delete a space with its sites, files and deployments. There is no way back."""
    console.confirm(f"Delete the space {space}, its sites, files and history, for good?", yes=yes)
    path = f"space/{segment(space)}/delete"
    answer = call(Where(url, key, data_dir), lambda client: client.post(path))
    console.print_done(answer, f"Space {space} is deleted; its domains are free.", json=json)


def export(
    form: Annotated[Format, typer.Option("--format", help="What to write.")] = Format.CSV,
    contact_id: ContactField = None,
    meta: MetaField = None,
    url: UrlOption = None,
    key: KeyOption = None,
    data_dir: DataDirOption = None,
) -> None:
    """Write every space to standard output, however many there are."""
    query = _query(contact_id, meta)

    async def run(client: Client) -> None:
        async for chunk in client.stream("space/export", MEDIA_TYPES[form], **query):
            sys.stdout.buffer.write(chunk)
        sys.stdout.flush()

    call(Where(url, key, data_dir), run)


def _query(contact_id: str | None, meta: list[str] | None) -> dict[str, str]:
    fields = collect_fields(meta, contactId=contact_id)
    wanted: Any = fields.pop("meta", {})
    return {str(name): str(value) for name, value in fields.items()} | {
        f"meta[{name}]": value or "" for name, value in wanted.items()
    }


def _row(item: Mapping[str, Any]) -> tuple[str, ...]:
    return item["id"], console.shown(item["alias"]), console.shown(item["name"]), console.when(item["createdAt"])

"""`spacelane site create`, `list`, `update`, `delete`, `status` and `explain`."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import aclosing
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias

import typer

from server.cli import console
from server.cli.fields import AliasField, DescriptionField, MetaField, NameField, collect_fields, require_some
from server.cli.lookup import domain_of, get_site
from server.cli.names import derive_alias, normalise_domain, segment
from server.cli.options import (
    DataDirOption,
    JsonOption,
    KeyOption,
    LinesOption,
    SpaceOption,
    UrlOption,
    YesOption,
    examples,
)
from server.cli.session import Where, call, converse
from server.cli.site_views import explanation_lines, status_rows

if TYPE_CHECKING:
    from server.cli.client import Client
    from server.cli.connect import Connection

CREATE_EXAMPLES = examples(
    ("spacelane site create docs.localhost --space shared --prefix docs", "a domain for a folder of a space"),
    ("spacelane site create old.example.com --space my_localhost", "a second domain for the same files"),
    footer="`spacelane deploy` makes the site that it needs by itself.",
)
LIST_EXAMPLES = examples(
    ("spacelane site list", "every site of every space"),
    ("spacelane site list --space shared --json", "those of one space, a JSON object a line"),
)
UPDATE_EXAMPLES = examples(
    ("spacelane site update my.localhost --not-found lost.html", "another page for what is missing"),
    ("spacelane site update my.localhost --domain www.example.com", "the old domain is free at once"),
)
DELETE_EXAMPLES = examples(
    ("spacelane site delete old.localhost", "asks first; the files stay in their space"),
    ("spacelane site delete old.localhost --yes", "for scripts"),
)
STATUS_EXAMPLES = examples(
    ("spacelane site status my.localhost", "its files, DNS, certificate, processes, and rules by line"),
    ("spacelane site status my.localhost --json | jq .problems", "for programs"),
)
EXPLAIN_EXAMPLES = examples(
    ("spacelane site explain http://my.localhost/old", "what a visitor gets, and which rule says so"),
    (
        "spacelane site explain /de/ --site my.localhost --header 'Accept-Language: de'",
        "for a visitor of a certain kind",
    ),
)


class Previews(StrEnum):
    """Who may see previews of deployments."""

    PUBLIC = "public"
    PRIVATE = "private"


class Switch(StrEnum):
    """Yes or no, where not saying is a third."""

    ON = "on"
    OFF = "off"


SiteArgument: TypeAlias = Annotated[
    str, typer.Argument(metavar="SITE", help="Its domain; with --space, its id or alias will do.")
]
InSpaceOption: TypeAlias = Annotated[
    str | None, typer.Option("--space", metavar="SPACE", help="Id or alias of its space. Default: looked for.")
]
PrefixField: TypeAlias = Annotated[
    str | None, typer.Option("--prefix", metavar="FOLDER", help="Folder of the space that it serves; '' for all of it.")
]
IndexField: TypeAlias = Annotated[
    str | None, typer.Option("--index", metavar="FILE", help="What a folder shows; '' for index.html.")
]
NotFoundField: TypeAlias = Annotated[
    str | None, typer.Option("--not-found", metavar="FILE", help="What is shown for what is missing; '' for 404.html.")
]
PreviewsField: TypeAlias = Annotated[
    Previews | None,
    typer.Option(
        "--previews",
        metavar="WHO",
        help="public or private: who sees previews of deployments: anybody, or who has a signed link.",
    ),
]
SkewField: TypeAlias = Annotated[
    Switch | None,
    typer.Option(
        "--skew-protection",
        metavar="on|off",
        help="Whether scripts, styles, fonts and images are served for a while after they are gone.",
    ),
]


def create(
    domain: Annotated[str, typer.Argument(metavar="DOMAIN", help="Where visitors find it, such as my.localhost.")],
    space: SpaceOption = None,
    prefix: PrefixField = None,
    index: IndexField = None,
    not_found: NotFoundField = None,
    alias: AliasField = None,
    name: NameField = None,
    description: DescriptionField = None,
    meta: MetaField = None,
    previews: PreviewsField = None,
    skew_protection: SkewField = None,
    json: JsonOption = False,
    url: UrlOption = None,
    key: KeyOption = None,
    data_dir: DataDirOption = None,
) -> None:
    """Bind a domain to files that a space has. Prints the new site's id."""
    domain = normalise_domain(domain)
    where = segment(space or f"@{derive_alias(domain)}")
    fields = collect_fields(
        meta,
        domain=domain,
        prefix=prefix,
        index=index,
        notFound=not_found,
        alias=alias,
        name=name,
        description=description,
        previews=previews,
        skewProtection=None if skew_protection is None else skew_protection is Switch.ON,
    )
    answer = call(Where(url, key, data_dir), lambda client: client.post(f"space/{where}/site/create", fields))
    console.print_made(answer, json=json)


def list_(
    space: Annotated[str | None, typer.Option("--space", metavar="SPACE", help="Of this space only.")] = None,
    json: LinesOption = False,
    url: UrlOption = None,
    key: KeyOption = None,
    data_dir: DataDirOption = None,
) -> None:
    """List sites, those of the oldest space first."""
    header = ("domain", "folder", "alias", "id")
    call(
        Where(url, key, data_dir),
        lambda client: console.print_items(_sites(client, space), header, _row, json=json),
    )


def _row(item: Mapping[str, Any]) -> tuple[str, ...]:
    return item["domain"], console.shown(item["prefix"]), console.shown(item["alias"]), item["id"]


async def _sites(client: Client, space: str | None) -> AsyncIterator[dict[str, Any]]:
    if space is not None:
        async for item in client.records(f"space/{segment(space)}/site/list"):
            yield item
        return
    async with aclosing(client.records("space/list")) as spaces:
        async for each in spaces:
            async for item in client.records(f"space/{each['id']}/site/list"):
                yield item


def update(
    site: SiteArgument,
    space: InSpaceOption = None,
    domain: Annotated[str | None, typer.Option("--domain", metavar="DOMAIN", help="Another domain.")] = None,
    prefix: PrefixField = None,
    index: IndexField = None,
    not_found: NotFoundField = None,
    alias: AliasField = None,
    name: NameField = None,
    description: DescriptionField = None,
    meta: MetaField = None,
    previews: PreviewsField = None,
    skew_protection: SkewField = None,
    json: JsonOption = False,
    url: UrlOption = None,
    key: KeyOption = None,
    data_dir: DataDirOption = None,
) -> None:
    """Change a site: what is named and nothing else."""
    fields = collect_fields(
        meta,
        domain=None if domain is None else normalise_domain(domain),
        prefix=prefix,
        index=index,
        notFound=not_found,
        alias=alias,
        name=name,
        description=description,
        previews=previews,
        skewProtection=None if skew_protection is None else skew_protection is Switch.ON,
    )
    require_some(fields)

    async def run(client: Client) -> dict[str, Any]:
        return await client.post(f"{await _path(client, site, space)}/update", fields)

    console.print_done(call(Where(url, key, data_dir), run), f"Site {site} is changed.", json=json)


def delete(
    site: SiteArgument,
    space: InSpaceOption = None,
    yes: YesOption = False,
    json: JsonOption = False,
    url: UrlOption = None,
    key: KeyOption = None,
    data_dir: DataDirOption = None,
) -> None:
    """Delete a site: its domain stops at once and is free again. The space keeps the files."""
    console.confirm(f"Delete the site {site}, whose visitors then find nothing?", yes=yes)

    async def run(client: Client) -> dict[str, Any]:
        return await client.post(f"{await _path(client, site, space)}/delete")

    console.print_done(call(Where(url, key, data_dir), run), f"Site {site} is deleted.", json=json)


def status(
    site: SiteArgument,
    space: InSpaceOption = None,
    json: JsonOption = False,
    url: UrlOption = None,
    key: KeyOption = None,
    data_dir: DataDirOption = None,
) -> None:
    """Tell whether visitors can get at a site, and what is wrong with its rules, line by line."""

    async def run(client: Client, connection: Connection) -> tuple[dict[str, Any], str | None]:
        answer = await client.get(f"{await _path(client, site, space)}/status")
        return answer, await client.find_url(connection, answer["domain"])

    answer, visit = converse(Where(url, key, data_dir), run)
    if json:
        console.print_json(answer)
    else:
        console.print_rows([*status_rows(answer), ("Visit", console.address(visit, answer["domain"]))])


def explain(
    target: Annotated[str, typer.Argument(metavar="URL", help="A whole URL of the site, or a path with --site.")],
    site: Annotated[str | None, typer.Option("--site", metavar="SITE", help="The site. Default: the URL's.")] = None,
    space: InSpaceOption = None,
    header: Annotated[
        list[str] | None,
        typer.Option("--header", "-H", metavar="'NAME: VALUE'", help="A header of the request; repeat for several."),
    ] = None,
    method: Annotated[str, typer.Option("--method", metavar="NAME", help="Of the request.")] = "GET",
    json: JsonOption = False,
    url: UrlOption = None,
    key: KeyOption = None,
    data_dir: DataDirOption = None,
) -> None:
    """Tell what a visitor gets for a URL and why: names tried, the rule, and where each header is from."""
    ref = site or domain_of(target)
    if ref is None:
        raise console.usage(f"{target} does not say of which site it is.", "Give the whole URL, or --site.")

    async def run(client: Client) -> dict[str, Any]:
        where = await _path(client, ref, space)
        query: dict[str, Any] = {"url": target, "header": header or [], "method": method}
        return await client.get(f"{where}/explain", **query)

    answer = call(Where(url, key, data_dir), run)
    if json:
        console.print_json(answer)
    else:
        for line in explanation_lines(answer):
            console.print_line(line)


async def _path(client: Client, ref: str, space: str | None) -> str:
    found = await get_site(client, ref, space)
    return f"space/{found['spaceId']}/site/{found['id']}"

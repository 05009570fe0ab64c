"""`spacelane deployments list`, `diff`, `activate` and `rollback`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, TypeAlias

import typer

from server.cli import console
from server.cli.deploy_report import change_rows, loss_rows
from server.cli.errors import BROKEN_URLS
from server.cli.history import State, find_previous, read_history
from server.cli.lookup import get_site, get_space
from server.cli.names import SECOND, parse_duration, segment
from server.cli.options import DataDirOption, JsonOption, KeyOption, LinesOption, TakeOption, UrlOption, examples
from server.cli.session import Where, call, converse
from server.cli.site_views import problem_lines, problem_rows

if TYPE_CHECKING:
    from server.cli.client import Client
    from server.cli.connect import Connection

LIST_EXAMPLES = examples(
    ("spacelane deployments list my.localhost", "what was published, the newest first, and what is live"),
    ("spacelane deployments list my.localhost --take 1 --json | jq -r .id", "the newest one's id"),
)
ROLLBACK_EXAMPLES = examples(
    ("spacelane deployments rollback my.localhost", "back to what was live before the last publish"),
    ("spacelane deployments rollback my.localhost deployment_06f3…", "back to any that is listed"),
    footer="Visitors get all of the older tree at once. Rolling back again goes forward.",
)
ACTIVATE_EXAMPLES = examples(
    ("spacelane deployments activate my.localhost deployment_06f3…", "after a look at its preview"),
)
DIFF_EXAMPLES = examples(
    ("spacelane deployments diff my.localhost deployment_06f3…", "what would change, and which URLs would break"),
    ("spacelane deployments diff my.localhost deployment_06f3… --json | jq .broken.total", "for programs"),
)

PREVIEW_EXAMPLES = examples(
    ("spacelane deployments preview my.localhost deployment_06f3…", "the address of its preview"),
    ("spacelane deployments preview my.localhost deployment_06f3… --expires 2h", "a link that soon ends"),
)

PlaceArgument: TypeAlias = Annotated[
    str, typer.Argument(metavar="SITE", help="The site's domain, or the id or alias of a space.")
]
DeploymentArgument: TypeAlias = Annotated[
    str | None,
    typer.Argument(metavar="[DEPLOYMENT]", help="Its id. Default: the one that was live before.", show_default=False),
]


def list_(
    place: PlaceArgument,
    take: TakeOption = 20,
    json: LinesOption = False,
    url: UrlOption = None,
    key: KeyOption = None,
    data_dir: DataDirOption = None,
) -> None:
    """List what was published, the newest first."""

    async def run(client: Client) -> list[tuple[State, dict[str, Any]]]:
        space_id, site = await get_space(client, place)
        return await read_history(client, space_id, site, take)

    history = call(Where(url, key, data_dir), run)
    if json:
        for state, item in history:
            console.print_record({**item, "state": state})
        return
    rows = [
        (item["id"], state, console.when(item["createdAt"]), _holds(item), item["message"]) for state, item in history
    ]
    console.print_table(("id", "state", "made", "holds", "message"), [(*map(console.shown, row),) for row in rows])


def rollback(
    place: PlaceArgument,
    deployment: DeploymentArgument = None,
    json: JsonOption = False,
    url: UrlOption = None,
    key: KeyOption = None,
    data_dir: DataDirOption = None,
) -> None:
    """Make an older deployment live again; by default the one before what is live now."""

    _make_live(Where(url, key, data_dir), place, deployment, json=json)


def diff(
    place: PlaceArgument,
    deployment: Annotated[str, typer.Argument(metavar="DEPLOYMENT", help="Its id.")],
    against: Annotated[
        str | None,
        typer.Option("--against", metavar="DEPLOYMENT", help="Compare with another instead of what is live."),
    ] = None,
    fail_on_broken_urls: Annotated[
        bool, typer.Option("--fail-on-broken-urls", help="Exit code 3 if URLs would stop working.")
    ] = False,
    json: JsonOption = False,
    url: UrlOption = None,
    key: KeyOption = None,
    data_dir: DataDirOption = None,
) -> None:
    """Tell what making a deployment live would change: files, URLs that would stop working, and wrong rules."""

    async def run(client: Client) -> dict[str, Any]:
        space_id, _ = await get_space(client, place)
        return await client.diff(space_id, deployment, **({"against": against} if against else {}))

    answer = call(Where(url, key, data_dir), run)
    if json:
        console.print_json(answer)
    else:
        rows = [row for kind in ("added", "changed", "removed") for row in change_rows(kind.title(), answer[kind])]
        lost = loss_rows(answer)
        console.print_rows([*rows, *(lost or [("Would break", "no URL")]), *problem_rows(answer)])
    if fail_on_broken_urls and answer["broken"]["total"]:
        raise typer.Exit(BROKEN_URLS)


def preview(
    site: Annotated[str, typer.Argument(metavar="SITE", help="The site's domain.")],
    deployment: Annotated[str, typer.Argument(metavar="DEPLOYMENT", help="Its id.")],
    expires: Annotated[
        str | None,
        typer.Option("--expires", metavar="TIME", help="How long the link to a private one works. Default: 7d."),
    ] = None,
    json: JsonOption = False,
    url: UrlOption = None,
    key: KeyOption = None,
    data_dir: DataDirOption = None,
) -> None:
    """Print where a deployment can be looked at, live or not."""
    query = {"seconds": str(parse_duration("--expires", expires) // SECOND)} if expires else {}

    async def run(client: Client, connection: Connection) -> dict[str, Any]:
        found = await get_site(client, site, None)
        path = f"space/{found['spaceId']}/site/{found['id']}/preview/{segment(deployment)}"
        told = await client.get(path, **query)
        return {**told, "url": connection.reachable(told["url"])}

    answer = converse(Where(url, key, data_dir), run)
    if json:
        console.print_json(answer)
        return
    console.print_line(console.link(answer["url"]))
    if answer["expiresAt"]:
        console.print_note(f"The link works until {console.when(answer['expiresAt'])}, for whoever has it.")


def activate(
    place: PlaceArgument,
    deployment: Annotated[str, typer.Argument(metavar="DEPLOYMENT", help="Its id.")],
    json: JsonOption = False,
    url: UrlOption = None,
    key: KeyOption = None,
    data_dir: DataDirOption = None,
) -> None:
    """Make a deployment live that was uploaded with `deploy --no-activate`, or any other."""
    _make_live(Where(url, key, data_dir), place, deployment, json=json)


def _make_live(where: Where, place: str, deployment: str | None, *, json: bool) -> None:
    """`deployment`, or by default the one that was live before."""

    async def run(client: Client, connection: Connection) -> dict[str, Any]:
        space_id, site = await get_space(client, place)
        chosen = segment(deployment or await find_previous(client, space_id, site))
        told = await client.get(f"space/{space_id}/deployment/{chosen}/fetch")
        answer = await client.post(f"space/{space_id}/deployment/{chosen}/activate")
        visit = await client.find_url(connection, site["domain"]) if site else None
        return {"ok": True, **told, **answer, "url": visit}

    answer = converse(where, run)
    if json:
        console.print_json(answer)
        return
    for problem in problem_lines(answer):
        console.print_warning(problem)
    rows: list[tuple[str, Any]] = [
        ("Live", answer["id"]),
        ("Made", console.when(answer["createdAt"])),
        ("Holds", _holds(answer)),
    ]
    rows += [("Message", console.shown(answer["message"]))] if answer["message"] else []
    console.print_rows(rows + ([("Visit", console.link(answer["url"]))] if answer["url"] else []))


def _holds(item: dict[str, Any]) -> str:
    return f"{console.count(item['fileCount'], 'file')}, {console.size(item['byteCount'])}"

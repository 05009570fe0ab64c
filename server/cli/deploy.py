"""`spacelane deploy`: publish a directory as a site."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeAlias

import typer

from server.cli import console
from server.cli.deploy_report import Report, published, rehearsed
from server.cli.errors import BROKEN_URLS, INTERRUPTED, CliError
from server.cli.names import normalise_domain
from server.cli.options import DataDirOption, JsonOption, KeyOption, SpaceOption, UrlOption, examples
from server.cli.publish import Target, find_change, find_place, publish
from server.cli.scan import Scan, scan
from server.cli.session import Where, converse
from server.cli.upload import Uploading

if TYPE_CHECKING:
    from server.cli.client import Client
    from server.cli.connect import Connection

DEPLOY_EXAMPLES = examples(
    ("spacelane deploy ./public --domain my.localhost", "publish ./public at http://my.localhost:8080/"),
    ("spacelane deploy ./public --domain my.localhost --dry-run", "say what would be published, and change nothing"),
    ("spacelane deploy ./public --domain my.localhost --no-activate", "upload it, for a look before visitors get it"),
    (
        "spacelane deploy ./docs --domain docs.localhost --space shared --prefix docs",
        "to a folder of a space, so that other folders can hold other sites",
    ),
    (
        "SPACELANE_KEY=sk-… spacelane deploy ./public --domain example.com --url https://control.example "
        "--fail-on-broken-urls",
        "from a CI: exit code 3, and nothing changed, if URLs that work now would not any more",
    ),
    footer="A platform domain such as localhost needs no DNS. For your own domain, point its DNS at the server. "
    "Interrupted, run it again: what was sent is not sent again.",
)

INTERRUPTED_MESSAGE = "interrupted. Visitors have noticed nothing, unless it was the very end."
INTERRUPTED_NEXT = "Run the command again: what was sent is not sent again."


Directory: TypeAlias = Annotated[
    Path, typer.Argument(metavar="DIR", help="The finished site: the directory of index.html.")
]
Domain: TypeAlias = Annotated[
    str, typer.Option("--domain", metavar="DOMAIN", help="Where visitors find it, such as my.localhost.")
]
Prefix: TypeAlias = Annotated[
    str | None,
    typer.Option("--prefix", metavar="FOLDER", help="Folder of the space to publish to. Default: the site's own."),
]
Message: TypeAlias = Annotated[str, typer.Option("--message", "-m", metavar="TEXT", help="A note for the history.")]
NoActivate: TypeAlias = Annotated[
    bool, typer.Option("--no-activate", help="Leave it at a preview: visitors get what they got.")
]
SpareUrls: TypeAlias = Annotated[
    bool, typer.Option("--fail-on-broken-urls", help="Stop before it is live if URLs would stop working: exit code 3.")
]
Force: TypeAlias = Annotated[
    bool, typer.Option("--force", help="Publish even if that removes files of the space's other sites.")
]
DryRun: TypeAlias = Annotated[bool, typer.Option("--dry-run", help="Say what would happen; change nothing.")]


def deploy(
    directory: Directory,
    domain: Domain,
    space: SpaceOption = None,
    prefix: Prefix = None,
    message: Message = "",
    no_activate: NoActivate = False,
    fail_on_broken_urls: SpareUrls = False,
    force: Force = False,
    dry_run: DryRun = False,
    json: JsonOption = False,
    url: UrlOption = None,
    key: KeyOption = None,
    data_dir: DataDirOption = None,
) -> None:
    """Publish a directory as a site, whole and at once.

    Visitors see the old site until the new one is complete. What the server has already is not sent again.

    The files replace all that was published there before; what is removed is said.

    What cannot be published is named with the reason; names that start with a dot stay at home, save .well-known.
    """
    if dry_run and fail_on_broken_urls:
        raise console.usage(
            "--dry-run sends nothing, so nobody can judge which URLs would stop working.",
            "Give --no-activate instead of --dry-run: it stays at a preview, and the exit code tells.",
        )
    target = Target(
        domain=normalise_domain(domain),
        space=space,
        prefix=prefix,
        message=message,
        force=force,
        activate=not no_activate,
        spare_urls=fail_on_broken_urls,
    )
    with console.working(f"Reading {directory}"):
        found = scan(directory)
    if not json:
        console.print_skipped(found.skipped)

    async def run(client: Client, connection: Connection) -> Report:
        if dry_run:
            return await _rehearse(client, connection, target, found, directory)
        uploading = console.hide_uploading if json else console.show_uploading
        return await _publish(client, connection, target, found, directory, uploading)

    try:
        report = converse(Where(url, key, data_dir), run)
    except KeyboardInterrupt:
        raise CliError(INTERRUPTED_MESSAGE, INTERRUPTED_NEXT, exit_code=INTERRUPTED) from None
    if json:
        console.print_json(report.facts)
    else:
        for warning in report.warnings:
            console.print_warning(warning)
        console.print_rows(report.rows)
    if report.is_held:
        raise typer.Exit(BROKEN_URLS)


async def _rehearse(client: Client, connection: Connection, target: Target, found: Scan, directory: Path) -> Report:
    place = await find_place(client, target)
    change = await find_change(client, place, found, force=target.force)
    url = await client.find_url(connection, target.domain)
    return rehearsed(target, found, place, change, url=url, directory=directory)


async def _publish(
    client: Client, connection: Connection, target: Target, found: Scan, directory: Path, uploading: Uploading
) -> Report:
    started = time.monotonic()
    outcome = await publish(client, found, target, uploading)
    seconds = time.monotonic() - started
    if outcome.preview is not None:
        outcome = replace(outcome, preview=connection.reachable(outcome.preview))
    url = await client.find_url(connection, target.domain)
    return published(target, found, outcome, url=url, directory=directory, seconds=seconds)

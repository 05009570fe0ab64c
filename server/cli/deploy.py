"""`spacelane deploy`: publish a directory as a site."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, TypeAlias

import typer

from server.cli import console
from server.cli.client import Client
from server.cli.connect import Connection, connect
from server.cli.console import count, size
from server.cli.errors import CliError
from server.cli.options import DataDirOption, KeyOption, UrlOption, examples
from server.cli.publish import Target, Uploading, find_change, find_place, find_warnings, normalise_domain, publish
from server.cli.scan import Scan, printable, scan
from storage.models import DEFAULT_INDEX

DEPLOY_EXAMPLES = examples(
    ("spacelane deploy ./public --domain my.localhost", "publish ./public at http://my.localhost:8080/"),
    ("spacelane deploy ./public --domain my.localhost --dry-run", "say what would be published, and change nothing"),
    (
        "spacelane deploy ./docs --domain docs.localhost --space shared --prefix docs",
        "to a folder of a space, so that other folders can hold other sites",
    ),
    ("SPACELANE_KEY=sk-… spacelane deploy ./public --domain example.com --url https://control.example", "from a CI"),
    footer="A platform domain such as localhost needs no DNS. For your own domain, point its DNS at the server.",
)


REMOVED_NAMED = 3  # removed files that are named before the rest is only counted

_Wishes: TypeAlias = tuple[str, str | None, str | None, str, bool]  # domain, space, prefix, message, force
_Where: TypeAlias = tuple[str | None, str | None, Path | None]  # url, key, data directory


@dataclass(frozen=True, slots=True)
class _Report:
    """What is told at the end: `facts` to programs, `rows` to people."""

    facts: dict[str, object]
    rows: console.Rows
    warnings: list[str]


def deploy(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="The finished site: the directory of index.html.")],
    domain: Annotated[
        str, typer.Option("--domain", metavar="DOMAIN", help="Where visitors find it, such as my.localhost.")
    ],
    space: Annotated[
        str | None,
        typer.Option("--space", metavar="SPACE", help="Id or alias of the space. Default: one named after the domain."),
    ] = None,
    prefix: Annotated[
        str | None,
        typer.Option("--prefix", metavar="FOLDER", help="Folder of the space to publish to. Default: the site's own."),
    ] = None,
    message: Annotated[str, typer.Option("--message", metavar="TEXT", help="A note for the history.")] = "",
    force: Annotated[
        bool, typer.Option("--force", help="Publish even if that removes files of the space's other sites.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would happen; change nothing.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Answer with one JSON object, errors too.")] = False,
    url: UrlOption = None,
    key: KeyOption = None,
    data_dir: DataDirOption = None,
) -> None:
    """Publish a directory as a site, whole and at once.

    Visitors see the old site until the new one is complete. What the server has already is not sent again.

    The files replace all that was published there before; what is removed is said.

    What cannot be published is named with the reason; names that start with a dot stay at home, save .well-known.
    """
    wishes = (domain, space, prefix, message, force)
    asyncio.run(_deploy(directory, wishes, (url, key, data_dir), dry_run=dry_run, as_json=as_json))


async def _deploy(directory: Path, wishes: _Wishes, where: _Where, *, dry_run: bool, as_json: bool) -> None:
    try:
        target = Target(normalise_domain(wishes[0]), *wishes[1:])
        with console.working(f"Reading {directory}"):
            found = scan(directory)
        connection = connect(*where)
        if not as_json:
            console.print_skipped(found.skipped)
        if dry_run:
            report = await _rehearse(connection, target, found, directory)
        else:
            uploading = console.hide_uploading if as_json else console.show_uploading
            report = await _publish(connection, target, found, directory, uploading)
    except CliError as exc:
        if not as_json:
            raise
        console.print_json({"ok": False, "error": {"message": exc.message, "next": exc.next_step}})
        raise typer.Exit(exc.exit_code) from exc
    if as_json:
        skipped = [{"name": entry.name, "reason": entry.reason} for entry in found.skipped]
        console.print_json({**report.facts, "skipped": skipped, "warnings": report.warnings})
    else:
        for warning in report.warnings:
            console.print_warning(warning)
        console.print_rows(report.rows)


async def _rehearse(connection: Connection, target: Target, found: Scan, directory: Path) -> _Report:
    async with Client(connection.endpoint) as client:
        place = await find_place(client, target)
        change = await find_change(client, place, found, force=target.force)
        url = await _find_url(client, connection, target.domain)
    facts = {
        **_common_facts(target, url, found, change.removed),
        "dryRun": True,
        "space": place.space_id,
        "site": place.site.id if place.site else None,
        "prefix": place.prefix,
    }
    rows: console.Rows = [
        ("Dry run", "nothing was changed"),
        ("Would publish", f"{count(len(found.files), 'file')}, {size(found.size)}"),
        *_removed_rows("Would remove", change.removed, directory),
        ("at", console.address(url, target.domain) + ("" if place.site else " (a new site)")),
        ("from space", place.alias + ("" if place.space_id else " (a new space)")),
    ]
    return _Report(facts, rows, find_warnings(found, place.site.index if place.site else DEFAULT_INDEX))


async def _publish(
    connection: Connection, target: Target, found: Scan, directory: Path, uploading: Uploading
) -> _Report:
    started = time.monotonic()
    async with Client(connection.endpoint) as client:
        outcome = await publish(client, found, target, uploading)
        seconds = time.monotonic() - started
        url = await _find_url(client, connection, target.domain)
    facts = {
        **_common_facts(target, url, found, outcome.removed),
        "dryRun": False,
        "space": outcome.space_id,
        "site": outcome.site.id,
        "prefix": outcome.site.prefix,
        "deployment": outcome.deployment_id,
        "sentFiles": outcome.sent_files,
        "sentBytes": outcome.sent_bytes,
        "seconds": round(seconds, 3),
    }
    saved = found.size - outcome.sent_bytes
    rows: console.Rows = [
        (
            "Published" if outcome.deployment_id else "Unchanged",
            f"{count(len(found.files), 'file')}, {size(found.size)}",
        ),
        ("Sent", f"{size(outcome.sent_bytes)} in {seconds:.1f} s; {size(saved)} were there already"),
        *_removed_rows("Removed", outcome.removed, directory),
        ("Visit", console.address(url, target.domain)),
    ]
    return _Report(facts, rows, find_warnings(found, outcome.site.index))


async def _find_url(client: Client, connection: Connection, domain: str) -> str | None:
    """Where a browser finds the site; None for a wildcard, which is no name that a browser could look up."""
    return None if "*" in domain else connection.visitors_url(domain, await client.find_visitors())


def _removed_rows(label: str, removed: Sequence[str], directory: Path) -> console.Rows:
    if not removed:
        return []
    names = [printable(path) for path in removed[:REMOVED_NAMED]] + ["…"] * (len(removed) > REMOVED_NAMED)
    verb = "is" if len(removed) == 1 else "are"
    return [(label, f"{count(len(removed), 'file')} that {verb} not in {directory}: {', '.join(names)}")]


def _common_facts(target: Target, url: str | None, found: Scan, removed: Sequence[str]) -> dict[str, object]:
    return {
        "ok": True,
        "domain": target.domain,
        "url": url,
        "files": len(found.files),
        "bytes": found.size,
        "removed": list(removed),
    }

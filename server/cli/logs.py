"""`spacelane logs`: what visitors asked for and got."""

from __future__ import annotations

import time
from itertools import islice
from pathlib import Path
from typing import Annotated, Any

import typer

from server.cli import console
from server.cli.access_lines import Wanted, follow, parse_line, parse_statuses, read_backwards
from server.cli.errors import CliError
from server.cli.options import examples

LOGS_EXAMPLES = examples(
    ("spacelane logs", "the last 20 answers"),
    ("spacelane logs --site my.localhost --status 404 --lines 100", "what visitors of a site look for in vain"),
    ("spacelane logs --follow --status 5xx", "trouble as it comes, until Ctrl-C"),
    ("spacelane logs --lines 10000 --json | jq -r .target | sort | uniq -c", "for programs"),
    footer="For the machine that serves: it reads the file that `spacelane serve --access-log` writes.",
)
LOOK_SECONDS = 0.2  # between looks for more

SWITCH_ON = (
    "Start it with --access-log access.log, or unset SPACELANE_ACCESS_LOG: a file in the data directory is usual."
)


def logs(
    site: Annotated[
        str | None, typer.Option("--site", metavar="SITE", help="Of this site only: its domain, or its id.")
    ] = None,
    status: Annotated[
        list[str] | None, typer.Option("--status", metavar="STATUS", help="404, 5xx or 400-499; repeat for several.")
    ] = None,
    lines: Annotated[int, typer.Option("--lines", "-n", metavar="N", min=0, help="How many of the last.")] = 20,
    following: Annotated[bool, typer.Option("--follow", "-f", help="Go on with what comes.")] = False,
    file: Annotated[
        Path | None, typer.Option("--file", metavar="FILE", help="Another log, such as one that was rotated away.")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="The lines as they are: an object each.")] = False,
    data_dir: Annotated[
        Path | None,
        typer.Option(
            "--data-dir", envvar="SPACELANE_DATA_DIR", metavar="DIR", help="The server's. Default: .spacelane."
        ),
    ] = None,
) -> None:
    """Show the last answers that visitors got, and go on as they come.

    Reads the server's access log. Each line has the time, the status, what was asked for, and the bytes sent.
    """
    wanted = Wanted(site.lower() if site else None, parse_statuses(status or []))
    path = file or _find_log(data_dir)
    try:
        end = path.stat().st_size
        found = [*islice(filter(wanted.takes, read_backwards(path, end)), lines)]
        for line in reversed(found):
            _show(line, json=json)
        if not found and not following and lines:
            console.print_note("There are none.")
        if following:
            for line in filter(wanted.takes, follow(path, end, lambda: time.sleep(LOOK_SECONDS))):
                _show(line, json=json)
    except FileNotFoundError as exc:
        raise CliError(
            f"there is no access log at {path} yet.",
            "It is made when the server starts. Say where the server keeps its data with --data-dir.",
        ) from exc
    except BrokenPipeError:  # whoever read this has seen enough
        raise
    except OSError as exc:
        raise CliError(f"{path} cannot be read: {exc.strerror}.", "Run as the user that runs the server.") from exc


def _find_log(data_dir: Path | None) -> Path:
    # Imported here as in `serve`.
    from server.access_log import OFF, STANDARD_OUTPUT
    from server.cli.connect import read_settings

    settings = read_settings({"data_dir": data_dir} if data_dir else {})
    if settings.access_log == OFF:
        raise CliError("the setting access_log is off, so the server writes none.", SWITCH_ON)
    if settings.access_log == STANDARD_OUTPUT:
        raise CliError(
            "the server writes its access log to standard output.", "Look where that goes, or give a file with --file."
        )
    return settings.data_dir / settings.access_log


def _show(line: str, *, json: bool) -> None:
    fields: dict[str, Any] | None = None if json else parse_line(line)
    if fields is None or "host" not in fields:
        print(line, flush=True)
        return
    asked = f"{fields['method']} {fields['host']}{fields['target']}"
    console.print_log_line(console.when(fields["time"]), fields["status"], asked, console.size(fields["bytes"]))

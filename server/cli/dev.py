"""`spacelane dev`: a folder as visitors would get it, reloaded in the browser as it changes."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from json import loads
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from server.cli import console
from server.cli.errors import USAGE, CliError
from server.cli.options import examples
from server.cli.scan import VISIBLE_DOT_NAMES, LocalFile, printable, scan

if TYPE_CHECKING:
    from server.dev import Published

DEV_EXAMPLES = examples(
    ("spacelane dev ./public", "then open http://localhost:8000/ and edit"),
    ("spacelane dev ./public --port 9000", "where the usual port is taken"),
    footer="Clean URLs, index files, 404 page, _redirects and _headers are as they will be. Every name that leads to "
    "this machine works, such as http://my.localhost:8000/. Nobody else's machine is answered.",
)
NAMED = 5  # changed files that are named before the rest is only counted


def dev(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="The site: the directory of index.html.")],
    port: Annotated[
        int, typer.Option("--port", "-p", metavar="PORT", min=0, max=65535, help="Of this machine.")
    ] = 8000,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Do not show each answer.")] = False,
) -> None:
    """Serve a folder as visitors would get it, and reload the browser when a file changes.

    The files are read into memory; nothing is published. Problems of _redirects and _headers are told by line.
    """
    if not directory.is_dir():
        problem = "is not a directory" if directory.exists() else "does not exist"
        raise CliError(f"{directory} {problem}.", "Give the directory that holds your index.html.", exit_code=USAGE)
    from server import dev as serving  # here as in `serve`

    try:
        sock = serving.bind(port)
    except OSError as exc:
        raise CliError(
            f"port {port} of 127.0.0.1 cannot be had: {exc.strerror}.", "Choose another with --port."
        ) from exc
    work = serving.run(
        directory.resolve(),
        sock,
        read=lambda: _read(directory),
        is_watched=_is_watched,
        on_serving=lambda: _welcome(directory, sock.getsockname()[1]),
        on_published=_tell,
        on_answers=(lambda lines: None) if quiet else _show_answers,
    )
    try:
        with sock:
            asyncio.run(work)
    except KeyboardInterrupt:
        return  # as it is meant to end
    except OSError as exc:
        raise CliError(
            f"{directory} cannot be watched: {exc}.", "Perhaps too much is: see fs.inotify.max_user_watches."
        ) from exc


def _read(directory: Path) -> Sequence[LocalFile] | None:
    try:
        return scan(directory).files
    except CliError as exc:  # perhaps in the midst of a build; the next change is looked at again
        console.print_warning(exc.message)
        return None


def _is_watched(path: str) -> bool:
    return all(name in VISIBLE_DOT_NAMES or not name.startswith(".") for name in path.split("/"))


def _welcome(directory: Path, port: int) -> None:
    url = f"http://localhost:{port}/"
    console.print_rows([("Serving", str(directory)), ("Visit", console.link(url)), ("Stop", "Ctrl-C")])


def _tell(done: Published) -> None:
    for paths, verb in ((done.changed, "published"), (done.removed, "removed")):
        if paths:
            names = ", ".join(map(printable, paths[:NAMED])) + (", …" if len(paths) > NAMED else "")
            console.print_note(f"{console.count(len(paths), 'file')} {verb}: {names}")
    for problem in done.problems:
        console.print_warning(printable(problem))


def _show_answers(lines: bytes) -> None:
    for line in lines.decode("utf-8").splitlines():
        fields = loads(line)
        asked = f"{fields['method']} {fields['target']}"
        console.print_log_line(console.when(fields["time"]), fields["status"], asked, console.size(fields["bytes"]))

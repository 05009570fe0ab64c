"""The command line as a whole: the commands, what `--help` teaches about them, and how each of them ends."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Annotated, NoReturn

import typer

from server import __version__
from server.cli import keys as key_commands
from server.cli import workspaces as workspace_commands
from server.cli.collect import COLLECT_EXAMPLES, collect
from server.cli.console import print_error
from server.cli.deploy import DEPLOY_EXAMPLES, deploy
from server.cli.errors import CliError
from server.cli.options import examples
from server.cli.rotate import ROTATE_EXAMPLES, rotate
from server.cli.serve import DEMO_EXAMPLES, SERVE_EXAMPLES, demo, serve

FIRST_STEPS = examples(
    ("spacelane demo", "a finished site to look at, served from this machine"),
    ("spacelane serve", "your own server, which keeps its data in .spacelane"),
    ("spacelane deploy ./public --domain my.localhost", "your own site, at http://my.localhost:8080/"),
    title="First steps",
    footer="Exit codes: 0 done, 1 failed, 2 wrong use. Every command explains itself with --help.",
)

app = typer.Typer(
    name="spacelane",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
keys = typer.Typer(no_args_is_help=True, rich_markup_mode="rich")
credentials = typer.Typer(no_args_is_help=True, rich_markup_mode="rich")
workspaces = typer.Typer(no_args_is_help=True, rich_markup_mode="rich")

app.command(epilog=SERVE_EXAMPLES)(serve)
app.command(epilog=DEPLOY_EXAMPLES)(deploy)
app.command(epilog=DEMO_EXAMPLES)(demo)
app.command(epilog=COLLECT_EXAMPLES)(collect)
app.add_typer(keys, name="key", help="Make, list and revoke the secret keys that let people and programs in.")
keys.command(epilog=key_commands.KEY_CREATE_EXAMPLES)(key_commands.create)
keys.command("list", epilog=key_commands.KEY_LIST_EXAMPLES)(key_commands.list_)
keys.command(epilog=key_commands.KEY_REVOKE_EXAMPLES)(key_commands.revoke)
app.add_typer(credentials, name="keys", help="Renew what credentials are encrypted with; not the keys of `key`.")
credentials.command(epilog=ROTATE_EXAMPLES)(rotate)
app.add_typer(workspaces, name="workspace", help="Make tenants, list them, and limit what each may have.")
workspaces.command(epilog=workspace_commands.CREATE_EXAMPLES)(workspace_commands.create)
workspaces.command("list", epilog=workspace_commands.LIST_EXAMPLES)(workspace_commands.list_)
workspaces.command(epilog=workspace_commands.UPDATE_EXAMPLES)(workspace_commands.update)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"spacelane {__version__}")
        raise typer.Exit


@app.callback(epilog=FIRST_STEPS)
def spacelane(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Say which version this is.")
    ] = False,
) -> None:
    """Serve static sites, many to one server, and publish them in one move."""


@keys.callback()
def key() -> None:
    """Make, list and revoke the secret keys that let people and programs in."""


@credentials.callback()
def keys_() -> None:
    """Renew what credentials are encrypted with; not the keys of `key`."""


@workspaces.callback()
def workspace() -> None:
    """Make tenants, list them, and limit what each may have."""


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the command that `arguments` (default: the process's) name, and exit: 0 done, 1 failed, 2 wrong use."""
    try:
        sys.exit(app(args=arguments, prog_name="spacelane"))
    except CliError as exc:
        print_error(exc)
        sys.exit(exc.exit_code)

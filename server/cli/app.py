"""The command line as a whole: the commands, what `--help` teaches about them, and how each of them ends."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from functools import wraps
from typing import Annotated, Any, NoReturn

import typer

from server.cli import deployments, keys, sites, spaces, workspaces
from server.cli.collect import COLLECT_EXAMPLES, collect
from server.cli.deploy import DEPLOY_EXAMPLES, deploy
from server.cli.dev import DEV_EXAMPLES, dev
from server.cli.doctor import DOCTOR_EXAMPLES, doctor
from server.cli.errors import INTERRUPTED, CliError
from server.cli.logs import LOGS_EXAMPLES, logs
from server.cli.options import examples
from server.cli.rotate import ROTATE_EXAMPLES, rotate
from server.cli.serve import DEMO_EXAMPLES, SERVE_EXAMPLES, demo, serve

FIRST_STEPS = examples(
    ("spacelane demo", "a finished site to look at, served from this machine"),
    ("spacelane dev ./public", "a folder as visitors would get it, reloaded as you edit"),
    ("spacelane serve", "your own server, which keeps its data in .spacelane"),
    ("spacelane deploy ./public --domain my.localhost", "your own site, at http://my.localhost:8080/"),
    title="First steps",
    footer="Exit codes: 0 done, 1 failed, 2 wrong use, 3 URLs would break. Every command explains itself with --help.",
)
GROUPS = {
    "deployments": "Look back at what was published, compare, and go back.",
    "site": "Make, list, change and delete sites; tell how they are and why they answer as they do.",
    "space": "Make, list, change, delete and export spaces, which own files and the sites that serve them.",
    "key": "Make, list and revoke the secret keys that let people and programs in.",
    "keys": "Renew what credentials are encrypted with; not the keys of `key`.",
    "workspace": "Make tenants, list them, and limit what each may have.",
}
COMMANDS: dict[str, dict[str, tuple[Callable[..., None], str]]] = {
    "": {
        "dev": (dev, DEV_EXAMPLES),
        "deploy": (deploy, DEPLOY_EXAMPLES),
        "serve": (serve, SERVE_EXAMPLES),
        "demo": (demo, DEMO_EXAMPLES),
        "logs": (logs, LOGS_EXAMPLES),
        "doctor": (doctor, DOCTOR_EXAMPLES),
        "collect": (collect, COLLECT_EXAMPLES),
    },
    "deployments": {
        "list": (deployments.list_, deployments.LIST_EXAMPLES),
        "diff": (deployments.diff, deployments.DIFF_EXAMPLES),
        "preview": (deployments.preview, deployments.PREVIEW_EXAMPLES),
        "activate": (deployments.activate, deployments.ACTIVATE_EXAMPLES),
        "rollback": (deployments.rollback, deployments.ROLLBACK_EXAMPLES),
    },
    "site": {
        "create": (sites.create, sites.CREATE_EXAMPLES),
        "list": (sites.list_, sites.LIST_EXAMPLES),
        "update": (sites.update, sites.UPDATE_EXAMPLES),
        "delete": (sites.delete, sites.DELETE_EXAMPLES),
        "status": (sites.status, sites.STATUS_EXAMPLES),
        "explain": (sites.explain, sites.EXPLAIN_EXAMPLES),
    },
    "space": {
        "create": (spaces.create, spaces.CREATE_EXAMPLES),
        "list": (spaces.list_, spaces.LIST_EXAMPLES),
        "update": (spaces.update, spaces.UPDATE_EXAMPLES),
        "delete": (spaces.delete, spaces.DELETE_EXAMPLES),
        "export": (spaces.export, spaces.EXPORT_EXAMPLES),
    },
    "key": {
        "create": (keys.create, keys.CREATE_EXAMPLES),
        "list": (keys.list_, keys.LIST_EXAMPLES),
        "revoke": (keys.revoke, keys.REVOKE_EXAMPLES),
        "token": (keys.token, keys.TOKEN_EXAMPLES),
    },
    "keys": {"rotate": (rotate, ROTATE_EXAMPLES)},
    "workspace": {
        "create": (workspaces.create, workspaces.CREATE_EXAMPLES),
        "list": (workspaces.list_, workspaces.LIST_EXAMPLES),
        "update": (workspaces.update, workspaces.UPDATE_EXAMPLES),
    },
}


def _ending(command: Callable[..., None]) -> Callable[..., None]:
    """`command`, whose failures are told in JSON where its answers are."""

    @wraps(command)
    def run(**options: Any) -> None:
        from server.cli import console

        try:
            command(**options)
        except CliError as exc:
            if options.get("json"):
                console.print_record({"ok": False, "error": {"message": exc.message, "next": exc.next_step}})
            else:
                console.print_error(exc)
            raise typer.Exit(exc.exit_code) from exc
        except KeyboardInterrupt:
            raise typer.Exit(INTERRUPTED) from None

    return run


def _build() -> typer.Typer:
    root = typer.Typer(
        name="spacelane",
        no_args_is_help=True,
        rich_markup_mode="rich",
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    root.callback(epilog=FIRST_STEPS)(spacelane)
    for group, commands in COMMANDS.items():
        parent = root
        if group:
            parent = typer.Typer(no_args_is_help=True, rich_markup_mode="rich", help=GROUPS[group])
            root.add_typer(parent, name=group)
        for name, (command, epilog) in commands.items():
            parent.command(name, epilog=epilog)(_ending(command))
    return root


def _print_version(wanted: bool) -> None:
    if wanted:
        from server import __version__

        typer.echo(f"spacelane {__version__}")
        raise typer.Exit


def spacelane(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Say which version this is.")
    ] = False,
) -> None:
    """Serve static sites, many to one server, and publish them in one move."""


app = _build()


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the command that `arguments` (default: the process's) name, and exit; `docs/cli.md` has the exit codes."""
    sys.exit(app(args=arguments, prog_name="spacelane"))

"""`spacelane serve`, the server, and `spacelane demo`, the server with a finished site on it."""

from __future__ import annotations

import asyncio
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeAlias

import typer

from server.cli import console
from server.cli.errors import CliError
from server.cli.options import examples
from server.cli.publish import Target, publish
from server.cli.scan import scan

if TYPE_CHECKING:
    from server.cli.connect import Connection
    from server.config import Settings

SERVE_EXAMPLES = examples(
    ("spacelane serve", "visitors at 127.0.0.1:8080, the control API at 127.0.0.1:8081, data in .spacelane"),
    ("spacelane serve --edge 0.0.0.0:80 --workers 0 --data-dir /var/lib/spacelane", "for the world, on every core"),
    ("spacelane serve --workers 4 --print-config", "every setting in force, and where each comes from"),
    footer="Each option is also a variable, such as SPACELANE_DATA_DIR, and a line of spacelane.toml; options win over "
    "variables, those over the file. The first start makes a root key, DATA_DIR/root.key, that the other commands "
    "find by themselves. Ctrl-C or SIGTERM stops it when running requests are answered.",
)
DEMO_EXAMPLES = examples(
    ("spacelane demo", "then open http://demo.localhost:8080/"),
    ("spacelane demo --edge 127.0.0.1:9080 --control 127.0.0.1:9081", "where the usual ports are taken"),
    footer="Next: publish a directory of your own beside it with `spacelane deploy`.",
)
DEMO_DOMAIN = "demo.localhost"
DEMO_SITE = Path(__file__).resolve().parent.parent / "demo" / "site"

DataDir: TypeAlias = Annotated[
    Path | None, typer.Option("--data-dir", metavar="DIR", help="Everything kept. Default: .spacelane.")
]
Edge: TypeAlias = Annotated[
    str | None, typer.Option("--edge", metavar="HOST:PORT", help="For visitors. Default: 127.0.0.1:8080.")
]
Control: TypeAlias = Annotated[
    str | None,
    typer.Option("--control", metavar="HOST:PORT", help="For operators; keep it private. Default: 127.0.0.1:8081."),
]
Workers: TypeAlias = Annotated[
    int | None, typer.Option("--workers", metavar="N", help="Edge processes; 0: one a core. Default: 1.")
]
PlatformDomains: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(
        "--platform-domain",
        metavar="DOMAIN",
        help="Sites may take one label under it; repeat for several. Default: localhost.",
    ),
]
DatabaseUrl: TypeAlias = Annotated[
    str | None,
    typer.Option("--database-url", metavar="URL", help="postgresql://…. Default: SQLite in the data directory."),
]
HttpServer: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--http-server", metavar="NAME", help="uvicorn, hardened, or hypercorn, which is not. Default: uvicorn."
    ),
]
TlsCert: TypeAlias = Annotated[
    Path | None, typer.Option("--tls-cert", metavar="FILE", help="PEM certificate with its chain, to serve over TLS.")
]
TlsKey: TypeAlias = Annotated[
    Path | None, typer.Option("--tls-key", metavar="FILE", help="PEM private key of the certificate.")
]
CacheSize: TypeAlias = Annotated[
    str | None,
    typer.Option("--cache-size", metavar="SIZE", help="Memory for responses, a worker, such as 256MiB."),
]
AccessLog: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--access-log",
        metavar="FILE",
        help="A line for each answer; - is standard output, off none. Default: access.log.",
    ),
]
AccessLogFormat: TypeAlias = Annotated[
    str | None, typer.Option("--access-log-format", metavar="NAME", help="json or combined. Default: json.")
]
LogLevel: TypeAlias = Annotated[
    str | None, typer.Option("--log-level", metavar="LEVEL", help="debug, info, warning or error. Default: info.")
]


def serve(
    data_dir: DataDir = None,
    edge: Edge = None,
    control: Control = None,
    workers: Workers = None,
    platform_domain: PlatformDomains = None,
    database_url: DatabaseUrl = None,
    http_server: HttpServer = None,
    tls_cert: TlsCert = None,
    tls_key: TlsKey = None,
    cache_size: CacheSize = None,
    access_log: AccessLog = None,
    access_log_format: AccessLogFormat = None,
    log_level: LogLevel = None,
    print_config: Annotated[
        bool, typer.Option("--print-config", help="Print the settings in force and their sources, and stop.")
    ] = False,
) -> None:
    """Serve: sites to visitors, and the control API to you.

    Starts from nothing: makes the data directory, the database and the first key.
    """
    flags = _given(
        data_dir=data_dir,
        edge=edge,
        control=control,
        workers=workers,
        platform_domains=platform_domain,
        database_url=database_url,
        http_server=http_server,
        tls_cert=tls_cert,
        tls_key=tls_key,
        cache_bytes=cache_size,
        access_log=access_log,
        access_log_format=access_log_format,
        log_level=log_level,
    )
    # Imported here because the other commands need not wait for it; the second brings the whole server.
    from server.cli.connect import read_settings

    settings = read_settings(flags)
    if print_config:
        from server.config import describe

        console.print_table(("setting", "value", "source"), describe(settings, flags))
        return
    from server import run

    raise typer.Exit(run.serve(settings))


def demo(
    data_dir: Annotated[
        Path | None, typer.Option("--data-dir", metavar="DIR", help="Everything kept. Default: .spacelane/demo.")
    ] = None,
    edge: Edge = None,
    control: Control = None,
    workers: Workers = None,
    log_level: LogLevel = None,
) -> None:
    """Serve, with a small finished site on it, to look around."""
    from server import run  # here as in `serve`
    from server.cli.connect import DEMO_DIR, read_settings

    data_dir = data_dir or read_settings({}).data_dir / DEMO_DIR
    flags = _given(data_dir=data_dir, edge=edge, control=control, workers=workers, log_level=log_level)
    settings = read_settings(flags)
    raise typer.Exit(run.serve(settings, on_ready=publish_demo))


def publish_demo(settings: Settings) -> None:
    """Publish the demo site to the server that runs with `settings`, and say what to do with it. Blocks."""
    from server.cli.connect import Connection, local_endpoint, local_url

    try:
        connection = Connection(local_endpoint(local_url(settings.control), settings), settings)
        asyncio.run(_publish_demo(connection))
    except CliError as exc:
        console.print_error(exc)
    else:
        _welcome(connection)


async def _publish_demo(connection: Connection) -> None:
    from server.cli.client import Client

    async with Client(connection.endpoint) as client:
        await publish(client, scan(DEMO_SITE), Target(DEMO_DOMAIN), console.hide_uploading)


def _welcome(connection: Connection) -> None:
    url, data_dir = connection.endpoint.url, connection.settings.data_dir
    # As it was called: the command of a virtual environment is rarely on the path.
    command = "spacelane" if shutil.which("spacelane") else sys.argv[0]
    options = f"--data-dir {data_dir}" + (f" --url {url}" if url != connection.usual_url else "")
    rows: console.Rows = [
        ("Demo site", console.link(connection.visitors_url(DEMO_DOMAIN, None))),
        ("API reference", console.link(f"{url}/docs")),
        ("Secret key", connection.endpoint.key),
        ("kept in", connection.endpoint.source),
    ]
    footer = [
        "Try next, in another terminal, in this directory:",
        f"  {command} deploy DIR --domain my.localhost {options}",
        f"  curl -H 'Authorization: Bearer {connection.endpoint.key}' {url}/api/v1/space/list",
        f"Ctrl-C stops the server. What was published stays in {data_dir}.",
    ]
    console.print_panel("Spacelane is serving", rows, footer)


def _given(**flags: object) -> dict[str, object]:
    """Those of the options that were given."""
    return {name: value for name, value in flags.items() if value is not None and value != []}

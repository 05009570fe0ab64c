"""A command's conversation with the server.

What it takes, an HTTP client and the settings, is imported when a command runs: of what a command costs altogether that
is two thirds, and `--help` and shell completion can do without.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from server.cli.client import Client
    from server.cli.connect import Connection

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Where:
    """Which server, as the options of a command say it."""

    url: str | None = None
    key: str | None = None
    data_dir: Path | None = None


def converse(where: Where, work: Callable[[Client, Connection], Awaitable[T]]) -> T:
    """What `work` gives with an open client. Raises `CliError`."""
    from server.cli.client import Client
    from server.cli.connect import connect

    connection = connect(where.url, where.key, where.data_dir)

    async def run() -> T:
        async with Client(connection.endpoint) as client:
            return await work(client, connection)

    return asyncio.run(run())


def call(where: Where, work: Callable[[Client], Awaitable[T]]) -> T:
    """The same where the server alone matters."""
    return converse(where, lambda client, _: work(client))

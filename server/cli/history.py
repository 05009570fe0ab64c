"""What was published of a site: which deployment is live, and which was before it.

A space may hold several sites, each in a folder of its own: of a site's history are the deployments to its folder. The
live one is the last that was activated, since each activation makes the space's next revision.
"""

from __future__ import annotations

from contextlib import aclosing
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from server.cli.errors import CliError

if TYPE_CHECKING:
    from server.cli.client import Client

State: TypeAlias = Literal["live", "earlier", "unfinished"]

MOST = 1000  # deployments that are looked through


async def read_history(
    client: Client, space_id: str, site: dict[str, Any] | None, take: int
) -> list[tuple[State, dict[str, Any]]]:
    """The newest `take` deployments, each with what has become of it."""
    found = await _read(client, space_id, site)
    live = _latest(found)
    return [(_state(item, live), item) for item in found[:take]]


async def find_previous(client: Client, space_id: str, site: dict[str, Any] | None) -> str:
    """The id of what was live before that. Raises `CliError` if there was nothing."""
    found = await _read(client, space_id, site)
    live = _latest(found)
    before = _latest([item for item in found if item is not live])
    if before is None:
        raise CliError("there is nothing to go back to.", "`spacelane deployments list` shows what was published.")
    return str(before["id"])


async def _read(client: Client, space_id: str, site: dict[str, Any] | None) -> list[dict[str, Any]]:
    folder = None if site is None else site["prefix"]
    found: list[dict[str, Any]] = []
    async with aclosing(client.records(f"space/{space_id}/deployment/list", order="desc")) as items:
        async for item in items:
            if folder is None or item["prefix"] == folder:
                found.append(item)
            if len(found) == MOST:
                break
    return found


def _latest(found: list[dict[str, Any]]) -> dict[str, Any] | None:
    activated = [item for item in found if item["revision"] is not None]
    return max(activated, key=lambda item: int(item["revision"]), default=None)


def _state(item: dict[str, Any], live: dict[str, Any] | None) -> State:
    if item is live:
        return "live"
    return "unfinished" if item["revision"] is None else "earlier"

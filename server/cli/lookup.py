"""Which space or site people mean who name a domain, an id or an alias."""

from __future__ import annotations

import re
from contextlib import aclosing
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from server.cli.errors import USAGE, CliError
from server.cli.names import derive_alias, normalise_domain, segment

if TYPE_CHECKING:
    from server.cli.client import Client

# `docs/previews.md` has the form. A site that is named by its id has a `--` within its part, save behind `xn`.
_PREVIEW = re.compile(r"[0-9a-z]{20}--(?:(?P<domain>(?:xn--)?[a-z0-9]+(?:-[a-z0-9]+)*\..+)|[a-z0-9-]+\..+)")

MOST_SPACES = 200  # that are looked through for a domain, the newest first


async def get_site(client: Client, ref: str, space: str | None) -> dict[str, Any]:
    """The site that `ref` names: a domain or, in `space`, an id or alias too. Raises `CliError` if there is none."""
    if _is_domain(ref):
        return await _get_site_at(client, normalise_domain(ref), space)
    if space is None:
        raise CliError(
            f"{ref} is no domain, and so it could be in any space.",
            "Give the site's domain, or name its space with --space.",
            exit_code=USAGE,
        )
    return await client.get(f"space/{segment(space)}/site/{segment(ref)}/fetch")


async def get_space(client: Client, ref: str) -> tuple[str, dict[str, Any] | None]:
    """The id of the space that `ref` names, an id, an alias or a site's domain; and that site if it is one."""
    if _is_domain(ref):
        site = await _get_site_at(client, normalise_domain(ref), None)
        return site["spaceId"], site
    return (await client.get(f"space/{segment(ref)}/fetch"))["id"], None


def domain_of(url: str) -> str | None:
    """The domain of the site that a whole URL is of, be it of a preview; None where it does not say: for a path, and
    for a preview that is named by the site's id."""
    try:
        host = urlsplit(url).hostname
    except ValueError as exc:
        raise CliError(
            f"{url!r} is not a URL.", "Give a whole one, or a path that begins with /.", exit_code=USAGE
        ) from exc
    preview = _PREVIEW.fullmatch(host or "")
    return host if preview is None else preview["domain"]


async def _get_site_at(client: Client, domain: str, space: str | None) -> dict[str, Any]:
    found = await _find_in(client, space or f"@{derive_alias(domain)}", domain)
    if found is None and space is None:
        found = await _search(client, domain)
    if found is not None:
        return found
    where = f"the space {space}" if space is not None else "any space that this key may look at"
    raise CliError(f"there is no site at {domain} in {where}.", "`spacelane site list` shows the sites that there are.")


async def _search(client: Client, domain: str) -> dict[str, Any] | None:
    async with aclosing(client.records("space/list", order="desc")) as found:
        number = 0
        async for each in found:
            number += 1
            if number > MOST_SPACES:
                raise CliError(
                    f"{domain} is in none of the {MOST_SPACES} newest spaces.", "Name its space with --space."
                )
            if site := await _find_in(client, each["id"], domain):
                return site
    return None


async def _find_in(client: Client, space: str, domain: str) -> dict[str, Any] | None:
    answer = await client.find(f"space/{segment(space)}/site/list", domain=domain)
    items = answer["items"] if answer else []
    return items[0] if items else None


def _is_domain(ref: str) -> bool:
    """No id and no alias has a dot, and every domain has one."""
    return "." in ref

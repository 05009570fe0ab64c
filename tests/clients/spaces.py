"""Spaces and sites by the published Python client, against the server at BASE_URL with the key SECRET.

A script of its own: it runs in an environment that has the client, which the tests' need not. Fails on the first thing
that is not as it should be.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Awaitable
from typing import Any

from chatbotkit import APIError, ChatBotKit  # type: ignore[import-not-found]


async def failure(call: Awaitable[Any]) -> tuple[int, str]:
    """The status and code of a refusal."""
    try:
        await call
    except APIError as exc:
        return exc.status_code, exc.code
    raise AssertionError("nothing was refused")


async def check_spaces(client: ChatBotKit) -> str:
    """Leaves one space behind: its id."""
    created = await client.space.create({"name": "Python", "contactId": "c", "meta": {"tier": "gold"}, "alias": "py"})
    space = await client.space.fetch(created.id)
    assert (space.id, space.name, space.contact_id, space.alias) == (created.id, "Python", "c", "py")
    assert space.meta == {"tier": "gold"}
    assert abs(time.time() * 1000 - space.created_at) < 600_000
    updated = await client.space.update(created.id, {"name": "Renamed", "description": "d"})
    assert updated.id == created.id
    space = await client.space.fetch("py")
    assert (space.name, space.description, space.contact_id) == ("Renamed", "d", "c")

    others = [(await client.space.create({"name": f"other {number}"})).id for number in range(4)]
    assert await list_pages(client.space.list, {}) == [created.id, *others]
    assert await list_pages(client.space.list, {"meta": {"tier": "gold"}}) == [created.id]
    assert await stream(client.space.list({"order": "asc"})) == [created.id, *others]
    for other in others:
        assert (await client.space.delete(other)).id == other
    assert await failure(client.space.fetch(others[0]).json()) == (404, "NOT_FOUND")
    return str(created.id)


async def check_sites(client: ChatBotKit, space: str) -> None:
    sites = []
    for number in range(5):
        fields = {"domain": f"site{number}.localhost", "name": f"n{number}", "alias": f"a{number}"}
        sites.append((await client.space.site.create(space, fields)).id)
    site = await client.space.site.fetch(space, sites[0])
    assert (site.id, site.space_id, site.domain, site.name) == (sites[0], space, "site0.localhost", "n0")
    assert (site.index, site.not_found, site.prefix) == ("index.html", "404.html", "")
    patch = {"domain": "other.localhost", "prefix": "/v2", "meta": {"a": 1}}
    assert (await client.space.site.update(space, sites[0], patch)).id == sites[0]
    site = await client.space.site.fetch(space, "a0")
    assert (site.domain, site.prefix, site.meta) == ("other.localhost", "/v2", {"a": 1})

    async def page(request: dict[str, Any]) -> Any:
        return await client.space.site.list(space, request)

    assert await list_pages(page, {}) == sites
    assert await stream(client.space.site.list(space, {"order": "asc"})) == sites
    taken = client.space.site.create(space, {"domain": "site1.localhost"}).json()
    assert await failure(taken) == (409, "CONFLICT")
    missing = client.space.site.update(space, sites[1], {"index": "home.html"}).json()
    assert await failure(missing) == (400, "BAD_REQUEST")
    for each in sites:
        assert (await client.space.site.delete(space, each)).id == each
    assert (await client.space.site.list(space)).items == []


async def list_pages(list_: Any, request: dict[str, Any]) -> list[str]:
    """The ids of a whole list, oldest first, two at a time."""
    ids: list[str] = []
    cursor = ""
    while not ids or cursor:
        page = await list_({"take": 2, "order": "asc", **request, **({"cursor": cursor} if cursor else {})})
        assert len(page.items) <= 2
        ids += [item.id for item in page.items]
        cursor = page.cursor
    return ids


async def stream(response: Any) -> list[str]:
    events = [event async for event in response.stream()]
    assert {event.type.value for event in events} == {"item"}
    return [event.data.id for event in events]


async def main() -> None:
    async with ChatBotKit(base_url=os.environ["BASE_URL"], secret=os.environ["SECRET"]) as client:
        space = await check_spaces(client)
        await check_sites(client, space)
        assert (await client.space.delete(space)).id == space
        assert (await client.space.list()).items == []
    async with ChatBotKit(base_url=os.environ["BASE_URL"], secret="sk-nobody") as stranger:
        assert await failure(stranger.space.list().json()) == (401, "NOT_AUTHENTICATED")
    print("ok")


asyncio.run(main())

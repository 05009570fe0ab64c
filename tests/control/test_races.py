"""Fifty clients at once: one wins what only one can have, and nobody's change is lost."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import pytest

from storage.models import PageQuery
from tests.control.api import WORKSPACE, Api

CLIENTS = 50

pytestmark = pytest.mark.slow


async def race(call: Callable[[int], Awaitable[httpx.Response]]) -> list[httpx.Response]:
    return await asyncio.gather(*(call(number) for number in range(CLIENTS)))


def statuses(answers: list[httpx.Response]) -> Counter[int]:
    return Counter(answer.status_code for answer in answers)


async def test_a_domain_has_one_site(api: Api) -> None:
    spaces = [await api.space() for _ in range(5)]
    key = await api.key()
    body = {"domain": "wanted.localhost"}
    answers = await race(lambda n: api.post(f"space/{spaces[n % 5]}/site/create", body, key=key if n % 2 else None))
    assert statuses(answers) == {200: 1, 409: 49}
    assert {answer.json()["error"]["code"] for answer in answers if answer.status_code == 409} == {"CONFLICT"}
    sites = [item for space in spaces for item in (await api.fetched(f"space/{space}/site/list"))["items"]]
    (winner,) = [answer.json()["id"] for answer in answers if answer.is_success]
    assert [site["id"] for site in sites] == [winner]


@pytest.mark.parametrize("kind", ["space", "site"])
async def test_an_alias_has_one_holder(api: Api, kind: str) -> None:
    space = await api.space()
    path = "space/create" if kind == "space" else f"space/{space}/site/create"

    async def call(number: int) -> httpx.Response:
        fields = {"domain": f"{number}.localhost"} if kind == "site" else {}
        return await api.post(path, {"alias": "wanted", **fields})

    answers = await race(call)
    assert statuses(answers) == {200: 1, 409: 49}
    (winner,) = [answer.json()["id"] for answer in answers if answer.is_success]
    found = "space/@wanted/fetch" if kind == "space" else f"space/{space}/site/@wanted/fetch"
    assert (await api.fetched(found))["id"] == winner


async def test_an_idempotency_key_makes_one_call(api: Api) -> None:
    answers = await race(lambda n: api.post("space/create", {"name": "x"}, headers={"Idempotency-Key": "once"}))
    assert set(statuses(answers)) <= {200, 409}
    assert all(answer.headers["retry-after"] == "1" for answer in answers if answer.status_code == 409)
    (made,) = {answer.json()["id"] for answer in answers if answer.is_success}
    assert sum(answer.is_success and "idempotency-replayed" not in answer.headers for answer in answers) == 1
    assert [item["id"] for item in (await api.fetched("space/list"))["items"]] == [made]
    again = await race(lambda n: api.post("space/create", {"name": "x"}, headers={"Idempotency-Key": "once"}))
    assert {answer.json()["id"] for answer in again} == {made}


async def test_no_update_of_a_site_is_lost(api: Api) -> None:
    space = await api.space()
    site = await api.site(space)
    answers = await race(
        lambda n: api.post(f"space/{space}/site/{site}/update", {"name": str(n), "meta": {f"by{n}": n}})
    )
    assert statuses(answers) == {200: 50}
    fetched = await api.fetched(f"space/{space}/site/{site}/fetch")
    assert fetched["meta"] == {f"by{number}": number for number in range(CLIENTS)}
    told = await api.metadata.list_audit(WORKSPACE, PageQuery(take=100, descending=False), action="site.update")
    assert len(told.items) == CLIENTS
    # Each began where the one before had ended.
    ends = ["", *(str(entry.after["name"]) for entry in told.items if entry.after)]
    assert [entry.before["name"] for entry in told.items if entry.before] == ends[:-1]
    assert fetched["name"] == ends[-1]


async def test_a_space_that_goes_leaves_nothing_of_what_was_uploaded_meanwhile(api: Api) -> None:
    space = await api.space()

    async def call(number: int) -> httpx.Response:
        if number == CLIENTS // 2:
            return await api.post(f"space/{space}/delete")
        return await api.post(f"space/{space}/storage/upload/{number}", content=str(number).encode())

    answers = await race(call)
    assert set(statuses(answers)) <= {200, 404}
    assert answers[CLIENTS // 2].status_code == 200
    assert (await api.get(f"space/{space}/fetch")).status_code == 404
    assert (await api.metadata.list_files(space, "", recursive=True, query=PageQuery())).items == ()
    told = await api.metadata.list_audit(WORKSPACE, PageQuery(take=100), action="file.put")
    assert len(told.items) == statuses(answers)[200] - 1


async def test_a_file_is_whole_whoever_writes_and_deletes_it(api: Api) -> None:
    space = await api.space()
    path = f"space/{space}/storage"

    async def call(number: int) -> httpx.Response:
        if number % 2:
            return await api.post(f"{path}/delete/wanted")
        return await api.post(f"{path}/upload/wanted", content=bytes([number]) * 10_000)

    answers = await race(call)
    assert statuses(answers[::2]) == {200: 25}
    assert set(statuses(answers[1::2])) <= {200, 404}
    left: Any = await api.get(f"{path}/download/wanted")
    assert left.status_code in (200, 404)
    if left.is_success:
        assert left.content in {bytes([number]) * 10_000 for number in range(0, CLIENTS, 2)}

"""Exports and streams: one page or everything, in each form, over real HTTP."""

from __future__ import annotations

import csv
import io
import json
from typing import Any

import httpx
import pytest
import yaml
from structlog.testing import capture_logs

from storage.errors import Unavailable
from storage.memory.blobs import MemoryBlobs
from storage.memory.metadata import MemoryMetadata
from storage.models import NewSpace, Page, PageQuery, Space
from tests.control.api import WORKSPACE, Api, one_store, refused

JSON, JSONL, CSV = "application/json", "application/jsonl", "text/csv"
FIELDS = ["id", "alias", "name", "description", "contactId", "meta", "createdAt", "updatedAt"]


def ids_of(answer: httpx.Response) -> list[str]:
    """Of the records, in whichever form."""
    assert answer.status_code == 200, answer.text
    kind = answer.headers["content-type"].partition(";")[0]
    if kind == JSON:
        return [item["id"] for item in answer.json()["items"]]
    if kind == JSONL:
        return [json.loads(line)["id"] for line in answer.text.splitlines()]
    head, *rows = csv.reader(io.StringIO(answer.text, newline=""))
    assert (kind, head) == (CSV, FIELDS)
    return [row[0] for row in rows]


async def ask(api: Api, path: str, accept: str, **extra: str) -> httpx.Response:
    return await api.get(path, headers={"Accept": accept}, **extra)


@pytest.mark.parametrize(
    ("accept", "content_type"),
    [(JSON, JSON), ("*/*", JSON), (JSONL, JSONL), (CSV, "text/csv; charset=utf-8; header=present")],
)
async def test_an_export_is_everything_or_a_page(api: Api, accept: str, content_type: str) -> None:
    made = [await api.space(name=f"n{number}") for number in range(23)]
    answer = await ask(api, "space/export", accept)
    assert answer.headers["content-type"] == content_type
    assert answer.headers["cache-control"] == "no-store"
    assert "content-length" not in answer.headers
    assert "x-cursor" not in answer.headers
    assert ids_of(answer) == made[::-1]
    assert ids_of(await ask(api, "space/export?order=asc", accept)) == made

    paged: list[str] = []
    cursor = ""
    while not paged or cursor:
        answer = await ask(api, f"space/export?take=10&order=asc&cursor={cursor}", accept)
        paged += ids_of(answer)
        cursor = answer.headers["x-cursor"]
        if content_type == JSON:
            assert answer.json()["cursor"] == cursor
    assert paged == made
    middle = (await ask(api, "space/export?limit=20&order=asc", accept)).headers["x-cursor"]
    rest = await ask(api, f"space/export?order=asc&cursor={middle}", accept)
    assert ids_of(rest) == made[20:]


@pytest.mark.slow
async def test_an_export_of_more_than_is_read_at_once(api: Api) -> None:
    made = [(await api.metadata.create_space(NewSpace(workspace_id=WORKSPACE))).id for _ in range(201)]
    for accept in (JSON, JSONL, CSV):
        assert ids_of(await ask(api, "space/export?order=asc", accept)) == made
    assert (await api.fetched("space/export"))["cursor"] == ""


async def test_nothing_to_export(api: Api) -> None:
    assert (await ask(api, "space/export", JSON)).json() == {"items": [], "cursor": ""}
    assert (await ask(api, "space/export", JSONL)).text == ""
    assert (await ask(api, "space/export", CSV)).text == ",".join(FIELDS) + "\r\n"


async def test_an_export_takes_the_filters_of_the_list(api: Api) -> None:
    first = await api.space(contactId="c1", meta={"tier": "gold"})
    second = await api.space(contactId="c1", meta={"tier": "tin", "x": 1})
    await api.space(contactId="c2", meta={"tier": "gold"})
    for accept in (JSON, JSONL, CSV):
        assert ids_of(await ask(api, "space/export?contactId=c1", accept)) == [second, first]
        assert ids_of(await ask(api, "space/export?contactId=c1&meta[tier]=gold", accept)) == [first]
        assert ids_of(await ask(api, "space/export?meta.x=1&meta[tier]=tin", accept)) == [second]


async def test_what_is_exported_of_a_space(api: Api) -> None:
    id = await api.space(name="=1", description="a\nb", alias="docs", contactId="c", meta={"a": [1, {"b": None}]})
    fetched = await api.fetched("space/docs/fetch")
    assert (await ask(api, "space/export", JSON)).json() == {"items": [fetched], "cursor": ""}
    assert json.loads((await ask(api, "space/export", JSONL)).text) == fetched
    row = [id, "docs", "'=1", '"a\nb"', "c", '"a: [1, {b: null}]"', fetched["createdAt"], fetched["updatedAt"]]
    assert (await ask(api, "space/export", CSV)).content.decode() == ",".join(FIELDS) + "\r\n" + ",".join(row) + "\r\n"


async def test_meta_as_deep_as_it_may_be_is_exported(api: Api) -> None:
    meta: Any = 1
    for _ in range(98):
        meta = {"a": [meta]}
    await api.space(meta=meta)
    assert (await api.post("space/create", {"meta": {"a": [[[meta]]]}})).status_code == 400
    (row,) = list(csv.DictReader(io.StringIO((await ask(api, "space/export", CSV)).text, newline="")))
    assert yaml.safe_load(row["meta"]) == meta


@one_store
async def test_the_sdk_dialect_of_records(api: Api) -> None:
    key = await api.key(dialect="sdk")
    id = await api.created("space/create", {"name": "n"}, key=key)
    fetched = await api.fetched(f"space/{id}/fetch", key=key)
    assert isinstance(fetched["createdAt"], int)
    for path in ("space/export", "space/list", "space/list?take=1"):
        answer = await api.get(path, key=key, headers={"Accept": JSONL})
        assert [json.loads(line) for line in answer.text.splitlines()] == [{"type": "item", "data": fetched}]
    answer = await api.get("space/export", key=key, headers={"Accept": CSV})
    assert answer.text.endswith(f",{fetched['createdAt']},{fetched['updatedAt']}\r\n")


@pytest.mark.slow
async def test_every_list_streams_its_records(api: Api) -> None:
    space = await api.space()
    for number in range(22):
        await api.upload(space, f"{number:02}")
    sites = [await api.site(space, f"s{number}.localhost") for number in range(2)]
    deployments = [await api.created(f"space/{space}/deployment/create", {"files": {}}) for _ in range(2)]
    keys = [await api.created("key/create", {"name": "x", "scopes": ["spaces:read"]}) for _ in range(2)]
    for path, ids in [
        ("space/list", [space]),
        (f"space/{space}/site/list", sites[::-1]),
        (f"space/{space}/deployment/list", deployments[::-1]),
        ("key/list?order=asc", keys),
    ]:
        assert ids_of(await ask(api, path, JSONL)) == ids
    listed = f"space/{space}/storage/list"
    assert [json.loads(line)["path"] for line in (await ask(api, listed, JSONL)).text.splitlines()] == [
        f"{number:02}" for number in range(22)
    ]
    assert ids_of(await ask(api, f"{listed}?recursive=true&take=2", JSONL)) == ["MDA", "MDE"]
    assert len((await ask(api, listed, "text/csv")).json()["items"]) == 20


@one_store
async def test_a_bad_query_is_refused_before_anything_is_streamed(api: Api) -> None:
    for accept in (JSON, JSONL, CSV):
        refused(await ask(api, "space/export?take=101", accept), 400, "BAD_REQUEST", "take")
        refused(await ask(api, "space/export?cursor=nonsense", accept), 400, "BAD_REQUEST", "cursor")
        refused(await ask(api, "space/nothing/storage/list", accept), 404, "NOT_FOUND")


class Vanishing(MemoryMetadata):
    """A store that goes away once its first page has been read."""

    async def list_spaces(self, workspace_id: str, query: PageQuery, **filters: object) -> Page[Space]:
        if query.after is not None:
            raise Unavailable("the database has gone")
        return await super().list_spaces(workspace_id, query)


class TestVanishing:
    @pytest.fixture
    def stores(self) -> tuple[MemoryMetadata, MemoryBlobs]:
        return Vanishing(), MemoryBlobs()

    async def test_an_export_that_cannot_go_on_ends_early(self, api: Api, caplog: pytest.LogCaptureFixture) -> None:
        for _ in range(101):
            await api.space()
        with capture_logs() as logs, pytest.raises(httpx.RemoteProtocolError):
            await api.get("space/export")
        await api.settled()
        assert [entry["event"] for entry in logs] == ["control.failure"]

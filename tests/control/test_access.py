"""Every endpoint, out of the OpenAPI document: who may call it, and that another workspace's key gets nowhere."""

from __future__ import annotations

from typing import Any, NamedTuple

import httpx
import pytest

from server.control.app import create_app
from server.control.auth import SCOPES
from server.control.config import ControlConfig
from storage.memory.blobs import MemoryBlobs
from storage.memory.metadata import MemoryMetadata
from tests.control.api import OTHER_WORKSPACE, ROOT_SECRET, Api, one_store, refused
from tests.control.test_deployments import create, manifest

FILE = b"the first workspace's content"


class Endpoint(NamedTuple):
    method: str
    path: str
    scope: str
    media: tuple[str, ...]  # of its body

    @property
    def takes_only_json(self) -> bool:
        return self.media == ("application/json",)


def list_endpoints() -> list[Endpoint]:
    document = create_app(MemoryMetadata(), MemoryBlobs(), ControlConfig()).openapi()
    return [
        Endpoint(
            method=method.upper(),
            path=path,
            scope=facts["security"][0]["secretKey"][0],
            media=tuple(facts.get("requestBody", {}).get("content", {})),
        )
        for path, methods in document["paths"].items()
        for method, facts in methods.items()
        if facts["security"]  # a link's signature is its key: see test_downloads
    ]


ENDPOINTS = list_endpoints()
every_endpoint = pytest.mark.parametrize("endpoint", ENDPOINTS, ids=[each.path for each in ENDPOINTS])

# Bodies that would do something if they were let in.
BODIES: dict[str, dict[str, Any]] = {
    "/space/{spaceId}/update": {"name": "taken over", "alias": "taken"},
    "/site/create": {"domain": "intruder.localhost"},
    "/site/{siteId}/update": {"name": "taken over"},
    "/deployment/create": {"files": {}},
    "/storage/upload/{path}": {"file": "data:,intruder"},
    "/storage/delete/{path}": {"recursive": True},
    "/storage/copy/{path}": {"destinationPath": "copied"},
    "/storage/move/{path}": {"destinationPath": "moved"},
    "/key/create": {"name": "intruder", "scopes": ["spaces:read"]},
}


class Estate:
    """A workspace with one of everything, and how to address it."""

    def __init__(self, api: Api) -> None:
        self.api = api
        self.names: dict[str, str] = {}
        self.aliases: dict[str, str] = {}

    async def build(self) -> None:
        space = await self.api.space(name="private name", alias="private-space", meta={"private": "meta"})
        await self.api.upload(space, "folder/private.txt", FILE)
        created = await create(self.api, space, manifest({"private.html": b"missing"}), message="private message")
        key = await self.api.post("key/create", {"name": "private key", "scopes": ["spaces:read"]})
        self.names = {
            "spaceId": space,
            "siteId": await self.api.site(space, "private.localhost", alias="private-site"),
            "deploymentId": created["id"],
            "digest": created["missing"][0],
            "keyId": key.json()["id"],
            "path": "folder",
        }
        self.aliases = {**self.names, "spaceId": "@private-space", "siteId": "@private-site"}

    async def snapshot(self) -> list[Any]:
        space = self.names["spaceId"]
        lists = ("space/list", "key/list", *(f"space/{space}/{kind}/list" for kind in ("site", "deployment")))
        seen = [await self.api.fetched(f"{path}?take=100") for path in lists]
        return [*seen, await self.api.fetched(f"space/{space}/storage/list?recursive=true")]

    async def call(self, endpoint: Endpoint, names: dict[str, str], key: str) -> httpx.Response:
        path = endpoint.path.format(**names)
        if endpoint.path.endswith("/download/{path}"):
            path += "/private.txt"
        if endpoint.path.endswith("/explain"):
            path += "?url=/private.txt"
        if endpoint.method == "GET":
            return await self.api.get(path, key=key)
        if not endpoint.media or "application/json" in endpoint.media:
            body = next((body for end, body in BODIES.items() if endpoint.path.endswith(end)), {})
            return await self.api.post(path, body, key=key)
        return await self.api.post(path, content=b"missing", key=key)


@pytest.fixture
async def estate(api: Api) -> Estate:
    estate = Estate(api)
    await estate.build()
    return estate


def test_the_matrices_cover_what_there_is() -> None:
    assert len(ENDPOINTS) == 28
    assert {each.scope for each in ENDPOINTS} == SCOPES
    assert all(each.path.startswith("/api/v1/") for each in ENDPOINTS)
    assert {each.method for each in ENDPOINTS} == {"GET", "POST"}


@every_endpoint
async def test_another_workspaces_key_reads_and_changes_nothing(estate: Estate, endpoint: Endpoint) -> None:
    key = await estate.api.key(workspace=OTHER_WORKSPACE)
    before = await estate.snapshot()
    answer = await estate.call(endpoint, estate.names, key)
    if "{" in endpoint.path:
        refused(answer, 401, "NOT_AUTHORIZED")
        if "{spaceId}" in endpoint.path:
            refused(await estate.call(endpoint, estate.aliases, key), 404, "NOT_FOUND")
    else:
        assert answer.status_code == 200
    assert "private" not in answer.text
    assert await estate.snapshot() == before


@every_endpoint
async def test_ids_of_another_workspace_lead_nowhere_from_ones_own_space(estate: Estate, endpoint: Endpoint) -> None:
    key = await estate.api.key(workspace=OTHER_WORKSPACE)
    own = await estate.api.created("space/create", {"alias": "own"}, key=key)
    before = await estate.snapshot()
    for names in (estate.names, estate.aliases):
        answer = await estate.call(endpoint, {**names, "spaceId": own}, key)
        if "{siteId}" in endpoint.path or "{deploymentId}" in endpoint.path or "download" in endpoint.path:
            refused(answer, 404, "NOT_FOUND")
        # The refusal repeats the alias that the caller sent, and nothing else.
        assert "private" not in answer.text.replace("@private-site", "").replace("folder/private.txt", "")
    assert await estate.snapshot() == before


@one_store
@every_endpoint
async def test_an_endpoint_wants_its_scope_and_no_other(estate: Estate, endpoint: Endpoint) -> None:
    before = await estate.snapshot()
    lacking = await estate.api.key(*(SCOPES - {endpoint.scope}))
    message = refused(await estate.call(endpoint, estate.names, lacking), 403, "NOT_AUTHORIZED")
    assert endpoint.scope in message
    after = await estate.snapshot()
    assert [item for item in after[1]["items"] if item["name"] != "test"] == before[1]["items"]
    assert [after[0], *after[2:]] == [before[0], *before[2:]]
    # A key can only give what it has: this one asks for a key with a scope of its own.
    bearer = await estate.api.key(endpoint.scope)
    answer = await estate.call(endpoint, estate.names, bearer)
    unfinished = endpoint.path.endswith("/activate")
    assert answer.status_code == (403 if endpoint.path.endswith("/key/create") else 400 if unfinished else 200)


@one_store
@every_endpoint
async def test_an_endpoint_has_one_method_and_the_order_of_judgement(estate: Estate, endpoint: Endpoint) -> None:
    path = endpoint.path.format(**estate.names)
    before = await estate.snapshot()
    for method in {"GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "HEAD"} - {endpoint.method}:
        answer = await estate.api.call(method, path, key="sk-wrong")
        assert answer.status_code == 405
        assert answer.headers["allow"] == endpoint.method
        if method != "HEAD":
            refused(answer, 405, "METHOD_NOT_ALLOWED")
    if endpoint.takes_only_json:
        wrong: dict[str, Any] = {"content": b"{", "headers": {"Content-Type": "text/plain"}}
        refused(await estate.api.post(path, key="sk-wrong", **wrong), 401, "NOT_AUTHENTICATED")
        lacking = await estate.api.key(*(SCOPES - {endpoint.scope}))
        refused(await estate.api.post(path, key=lacking, **wrong), 403, "NOT_AUTHORIZED")
        refused(await estate.api.post(path, **wrong), 415, "UNSUPPORTED_MEDIA_TYPE")
        wrong["headers"] = {"Content-Type": "application/json"}
        missing = endpoint.path.format(**dict.fromkeys(estate.names, "nothing"))
        refused(await estate.api.post(missing, **wrong), 400, "BAD_REQUEST", "body")
    assert (await estate.snapshot())[2:] == before[2:]


@one_store
@every_endpoint
@pytest.mark.parametrize("mark", ["", "@"])
async def test_an_alias_does_wherever_an_id_does(estate: Estate, endpoint: Endpoint, mark: str) -> None:
    aliases = {name: mark + ref.removeprefix("@") if ref[0] == "@" else ref for name, ref in estate.aliases.items()}
    answer = await estate.call(endpoint, aliases, ROOT_SECRET)
    assert answer.status_code == (400 if endpoint.path.endswith("/activate") else 200), answer.text

"""Every endpoint, out of the OpenAPI document: who may call it, and that a credential gets nowhere it has no business.

The matrices are made from the document, so an endpoint that is added is in them. What is kept is compared as a whole,
table by table, before and after.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import httpx
import pytest
from sqlalchemy import select

from server.control.app import create_app
from server.control.auth import SCOPES
from server.control.config import ControlConfig
from server.control.gate import CONFINABLE
from storage.memory.blobs import MemoryBlobs
from storage.memory.metadata import MemoryMetadata
from storage.sql import SqlMetadata
from storage.sql.tables import metadata as tables
from tests.control.api import OTHER_WORKSPACE, ROOT_SECRET, WORKSPACE, Api, one_store, refused
from tests.control.test_deployments import create, manifest
from tests.control.test_upload import pack_tar

FILE = b"the first workspace's private content"
ARCHIVE = pack_tar([("intruder.html", b"")])


class Endpoint(NamedTuple):
    method: str
    path: str
    scope: str | None  # None: any key's holder may
    media: tuple[str, ...]  # of its body
    confinable: bool

    @property
    def takes_only_json(self) -> bool:
        return self.media == ("application/json",)


def list_endpoints() -> list[Endpoint]:
    document = create_app(MemoryMetadata(), MemoryBlobs(), ControlConfig()).openapi()
    return [
        Endpoint(
            method=method.upper(),
            path=path,
            scope=next(iter(facts["security"][0]["secretKey"]), None),
            media=tuple(facts.get("requestBody", {}).get("content", {})),
            confinable=facts.get(CONFINABLE, False),
        )
        for path, methods in document["paths"].items()
        for method, facts in methods.items()
        if facts["security"]  # a link's signature is its key: see test_downloads
    ]


ENDPOINTS = list_endpoints()
SCOPED = [each for each in ENDPOINTS if each.scope in SCOPES]
IN_SPACES = [each for each in ENDPOINTS if "{spaceId}" in each.path]


def over(endpoints: list[Endpoint]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("endpoint", endpoints, ids=[f"{each.method} {each.path}" for each in endpoints])


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
    "/key/token": {"scopes": ["spaces:read"]},
    "/workspace/create": {"name": "intruder"},
    "/workspace/{workspaceId}/update": {"name": "taken over", "maxSites": 0},
    "/v1/sites": {"business_name": "intruder", "domain": "intruder.example"},
    "/sites/{ref}": {"business_name": "taken over", "data_connection": None},
}
QUERIES = {"/explain": "?url=/"}
WANT_CONTENTS = ("/activate", "/preview/{deploymentId}")  # which the deployment here lacks


SITE_CONFIG: dict[str, Any] = {
    "business_name": "private business",
    "domain": "private.example",
    "site_id": "privatesite",
    "data_connection": {"type": "postgres", "host": "127.0.0.1", "database": "d", "user": "u", "password": "private"},
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
            "workspaceId": WORKSPACE,
            "path": "folder",
        }
        config = await self.api.post("/v1/sites", SITE_CONFIG)
        self.names["ref"] = config.json()["data"]["id"]
        named = {"spaceId": "@private-space", "siteId": "@private-site", "ref": SITE_CONFIG["site_id"]}
        self.aliases = {**self.names, **named}

    async def call(self, endpoint: Endpoint, names: dict[str, str], key: str) -> httpx.Response:
        path = endpoint.path.format(**names)
        path += next((query for end, query in QUERIES.items() if endpoint.path.endswith(end)), "")
        if endpoint.path.endswith("/download/{path}"):
            path += "/private.txt"
        if endpoint.method in ("GET", "DELETE"):
            return await self.api.call(endpoint.method, path, key=key)
        if not endpoint.media or "application/json" in endpoint.media:
            body = next((body for end, body in BODIES.items() if endpoint.path.endswith(end)), {})
            return await self.api.call(endpoint.method, path, json=body, key=key)
        if endpoint.path.endswith("/blobs"):
            return await self.api.post(path, files={names["digest"]: b"missing"}, content=None, key=key)
        content = ARCHIVE if endpoint.path.endswith("/deployment/upload") else b"missing"
        return await self.api.post(path, content=content, key=key)

    async def dump(self, workspace: str | None = None) -> dict[str, list[str]]:
        """All that is kept, or all of one workspace, but when keys were last used."""
        await self.api.settled()
        if isinstance(self.api.metadata, SqlMetadata):
            return await _dump_tables(self.api.metadata, workspace)
        assert isinstance(self.api.metadata, MemoryMetadata)
        return _dump_memory(self.api.metadata, workspace)


async def _dump_tables(metadata: SqlMetadata, workspace: str | None) -> dict[str, list[str]]:
    """Rows that refer to no workspace belong to whichever their parent does: they count for every one."""
    dumped = {}
    for table in tables.sorted_tables:
        statement = select(*[column for column in table.c if column.name != "last_used_at"])
        if workspace is not None and "workspace_id" in table.c:
            statement = statement.where(table.c.workspace_id == workspace)
        if workspace is None or table.name not in ("changes", "store_state", "workspaces", "widget_names"):
            dumped[table.name] = sorted(str(tuple(row)) for row in await metadata._database.rows(statement))
    return dumped


def _dump_memory(metadata: MemoryMetadata, workspace: str | None) -> dict[str, list[str]]:
    """What is kept by a space's id belongs to the space's workspace."""
    owners = {space.id: space.workspace_id for space in metadata._spaces.values()}
    # When keys were last used is with the keys; of several workspaces at once are the last.
    left_out = {"_keys"} if workspace is None else {"_keys", "_workspaces", "_possessions", "_variants", "_attempts"}

    def show(kept: dict[str, object]) -> list[str]:
        own = [
            value
            for key, value in kept.items()
            if workspace in (None, getattr(value, "workspace_id", owners.get(key, workspace)))
        ]
        return sorted(str(getattr(value, "_rows", value)) for value in own)

    return {
        name: show(kept) for name, kept in vars(metadata).items() if isinstance(kept, dict) and name not in left_out
    }


@pytest.fixture
async def estate(api: Api) -> Estate:
    estate = Estate(api)
    await estate.build()
    return estate


def test_the_matrices_cover_what_there_is() -> None:
    assert len(ENDPOINTS) == 45
    assert {each.scope for each in ENDPOINTS} == SCOPES | {None, "root"}
    spaces = [each for each in ENDPOINTS if each.path.startswith("/api/v1/")]
    sites = [each for each in ENDPOINTS if each.path.startswith("/v1/sites")]
    assert (len(spaces), len(sites)) == (39, 6)
    assert {each.method for each in spaces} == {"GET", "POST"}
    assert {each.method for each in sites} == {"GET", "POST", "PATCH", "DELETE"}
    assert {each.path for each in ENDPOINTS if each.confinable} == {
        f"/api/v1/{name}" for name in ("space/list", "space/export", "audit/list")
    }


async def test_a_dump_sees_every_change(estate: Estate) -> None:
    before = await estate.dump(), await estate.dump(WORKSPACE)
    await estate.api.created(f"space/{estate.names['spaceId']}/update", {"name": "changed"})
    assert await estate.dump() != before[0]
    assert await estate.dump(WORKSPACE) != before[1]
    between = await estate.dump()
    await estate.api.upload(estate.names["spaceId"], "more")
    assert await estate.dump() != between


async def with_another_workspaces_key(estate: Estate) -> tuple[str, str]:
    """The key, and a space that it may enter."""
    key = await estate.api.key(workspace=OTHER_WORKSPACE)
    return key, await estate.api.created("space/create", {"alias": "own"}, key=key)


async def with_a_token_confined_to_another_space(estate: Estate) -> tuple[str, str]:
    own = await estate.api.space(alias="own")
    answer = await estate.api.post("key/token", {"scopes": sorted(SCOPES), "spaces": [own]})
    return answer.json()["token"], own


Intruder = Callable[[Estate], Any]
INTRUDERS = [with_another_workspaces_key, with_a_token_confined_to_another_space]
every_intruder = pytest.mark.parametrize("intruder", INTRUDERS)


async def test_another_workspaces_key_reads_and_changes_nothing(estate: Estate, subtests: pytest.Subtests) -> None:
    key, _ = await with_another_workspaces_key(estate)
    before = await estate.dump(WORKSPACE)
    for endpoint in ENDPOINTS:
        with subtests.test(endpoint.path):
            answer = await estate.call(endpoint, estate.names, key)
            if endpoint.scope == "root":
                refused(answer, 403, "NOT_AUTHORIZED")
            elif "{ref}" in endpoint.path:
                refused(answer, 404, "NOT_FOUND")
            elif "{" in endpoint.path:
                refused(answer, 401, "NOT_AUTHORIZED")
            else:
                assert answer.is_success
            assert "private" not in answer.text
            assert await estate.dump(WORKSPACE) == before


async def test_a_token_confined_to_another_space_reads_and_changes_nothing(
    estate: Estate, subtests: pytest.Subtests
) -> None:
    token, own = await with_a_token_confined_to_another_space(estate)
    before = await estate.dump()
    for endpoint in ENDPOINTS:
        with subtests.test(endpoint.path):
            answer = await estate.call(endpoint, estate.names, token)
            if "{spaceId}" in endpoint.path:
                refused(answer, 401, "NOT_AUTHORIZED")
            elif endpoint.confinable:
                assert answer.status_code == 200
                shown = [item.get("spaceId", item["id"]) for item in answer.json()["items"]]
                assert set(shown) == {own}
            else:
                refused(answer, 403, "NOT_AUTHORIZED")
            assert "private" not in answer.text
            assert estate.names["spaceId"] not in answer.text
            assert await estate.dump() == before


@every_intruder
async def test_an_alias_leads_nowhere_from_outside(
    estate: Estate, intruder: Intruder, subtests: pytest.Subtests
) -> None:
    credential, _ = await intruder(estate)
    before = await estate.dump(WORKSPACE)
    for endpoint in IN_SPACES:
        with subtests.test(endpoint.path):
            refused(await estate.call(endpoint, estate.aliases, credential), 404, "NOT_FOUND")
            assert await estate.dump(WORKSPACE) == before


@every_intruder
async def test_ids_lead_nowhere_from_ones_own_space(
    estate: Estate, intruder: Intruder, subtests: pytest.Subtests
) -> None:
    credential, own = await intruder(estate)
    space = await estate.api.fetched(f"space/{estate.names['spaceId']}/fetch")
    for endpoint in sorted(IN_SPACES, key=lambda each: each.path.endswith("/{spaceId}/delete")):
        with subtests.test(endpoint.path):
            await _from_own_space(estate, endpoint, own, credential)
            assert await estate.api.fetched(f"space/{estate.names['spaceId']}/fetch") == space
            assert (await estate.api.fetched(f"space/{space['id']}/site/list"))["items"][0]["name"] == ""
            assert (await estate.api.get(f"space/{space['id']}/storage/download/folder/private.txt")).content == FILE


async def _from_own_space(estate: Estate, endpoint: Endpoint, own: str, credential: str) -> None:
    for names in (estate.names, estate.aliases):
        answer = await estate.call(endpoint, {**names, "spaceId": own}, credential)
        if "{siteId}" in endpoint.path or "{deploymentId}" in endpoint.path or "download" in endpoint.path:
            refused(answer, 404, "NOT_FOUND")
        # The refusal repeats the alias that the caller sent, and nothing else.
        assert "private" not in answer.text.replace("@private-site", "").replace("folder/private.txt", "")
        if endpoint.path.endswith("/{spaceId}/delete"):
            break


@one_store
@over(SCOPED)
async def test_an_endpoint_wants_its_scope_and_no_other(estate: Estate, endpoint: Endpoint) -> None:
    assert endpoint.scope is not None
    lacking = await estate.api.key(*(SCOPES - {endpoint.scope}))
    before = await estate.dump()
    message = refused(await estate.call(endpoint, estate.names, lacking), 403, "NOT_AUTHORIZED")
    assert endpoint.scope in message
    assert await estate.dump() == before
    # A key can only give what it has: this one asks for a key with a scope of its own.
    bearer = await estate.api.key(endpoint.scope)
    answer = await estate.call(endpoint, estate.names, bearer)
    unfinished = endpoint.path.endswith(WANT_CONTENTS)
    if unfinished or endpoint.path.endswith("/key/create"):
        assert answer.status_code == (400 if unfinished else 403)
    else:
        assert answer.is_success


@one_store
async def test_an_endpoint_has_one_method_and_the_order_of_judgement(estate: Estate, subtests: pytest.Subtests) -> None:
    lacking = {scope: await estate.api.key(*(SCOPES - {scope})) for scope in SCOPES}
    before = await estate.dump()
    for endpoint in ENDPOINTS:
        with subtests.test(endpoint.path):
            await _has_one_method(estate, endpoint)
            if endpoint.takes_only_json:
                await _judges_in_order(estate, endpoint, lacking)
            assert await estate.dump() == before


async def _has_one_method(estate: Estate, endpoint: Endpoint) -> None:
    path = endpoint.path.format(**estate.names)
    allowed = sorted(each.method for each in ENDPOINTS if each.path == endpoint.path)
    for method in {"GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "HEAD"} - set(allowed):
        answer = await estate.api.call(method, path, key="sk-wrong")
        assert answer.status_code == 405
        assert answer.headers["allow"] == ", ".join(allowed)
        if method != "HEAD":
            refused(answer, 405, "METHOD_NOT_ALLOWED")


async def _judges_in_order(estate: Estate, endpoint: Endpoint, lacking: dict[str, str]) -> None:
    path = endpoint.path.format(**estate.names)
    call = partial(estate.api.call, endpoint.method)
    wrong: dict[str, Any] = {"content": b"{", "headers": {"Content-Type": "text/plain"}}
    refused(await call(path, key="sk-wrong", **wrong), 401, "NOT_AUTHENTICATED")
    if endpoint.scope in lacking:
        refused(await call(path, key=lacking[endpoint.scope], **wrong), 403, "NOT_AUTHORIZED")
    refused(await call(path, **wrong), 415, "UNSUPPORTED_MEDIA_TYPE")
    wrong["headers"] = {"Content-Type": "application/json"}
    missing = endpoint.path.format(**dict.fromkeys(estate.names, "nothing"))
    refused(await call(missing, **wrong), 400, "BAD_REQUEST", "body")


@one_store
@over(ENDPOINTS)
@pytest.mark.parametrize("mark", ["", "@"])
async def test_an_alias_does_wherever_an_id_does(estate: Estate, endpoint: Endpoint, mark: str) -> None:
    aliases = {name: mark + ref.removeprefix("@") if ref[0] == "@" else ref for name, ref in estate.aliases.items()}
    answer = await estate.call(endpoint, aliases, ROOT_SECRET)
    if endpoint.path.endswith(WANT_CONTENTS):
        assert answer.status_code == 400, answer.text
    else:
        assert answer.is_success, answer.text

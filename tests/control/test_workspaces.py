"""Workspaces: made, listed, limited by the root key, and by nobody else."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from server.control.app import create_app
from server.control.auth import SCOPES
from tests.control.api import OTHER_WORKSPACE, ROOT_SECRET, WORKSPACE, Api, one_store, port_of, refused, served
from tests.control.conftest import Setup
from tests.control.test_deployments import create, manifest


async def make(api: Api, **fields: Any) -> tuple[str, str]:
    """A new workspace's id, and a full key of it."""
    workspace = await api.created("workspace/create", fields)
    answer = await api.post("key/create", {"name": "own", "scopes": sorted(SCOPES), "workspace": workspace})
    assert answer.status_code == 200, answer.text
    return workspace, answer.json()["secret"]


async def test_a_workspace_from_creation_to_update(api: Api) -> None:
    workspace = await api.created("workspace/create", {"alias": "acme", "name": "Acme", "maxSites": 2})
    fetched = await api.fetched("workspace/@acme/fetch")
    assert fetched.pop("createdAt") == fetched.pop("updatedAt")
    assert fetched == {
        "id": workspace,
        "alias": "acme",
        "name": "Acme",
        "maxSites": 2,
        "maxFiles": None,
        "maxBytes": None,
        "maxWidgets": None,
        "requestsPerMinute": None,
        "usage": {"sites": 0, "files": 0, "bytes": 0, "widgets": 0},
    }
    update = {"name": None, "maxSites": None, "maxFiles": 10.0, "maxBytes": 1_000_000, "requestsPerMinute": 6000}
    assert await api.created("workspace/acme/update", update) == workspace
    listed = await api.fetched("workspace/list?order=asc")
    assert [item["id"] for item in listed["items"]] == sorted([workspace, WORKSPACE])
    (item,) = [item for item in listed["items"] if item["id"] == workspace]
    assert (item["name"], item["maxSites"], item["maxFiles"]) == ("", None, 10)
    assert (item["maxBytes"], item["requestsPerMinute"]) == (1_000_000, 6000)
    assert "usage" not in item
    assert item["updatedAt"] > item["createdAt"]


async def test_the_default_workspace_is_one(api: Api) -> None:
    space = await api.space()
    await api.upload(space, "a", b"12345")
    await api.site(space)
    fetched = await api.fetched(f"workspace/{WORKSPACE}/fetch")
    assert (fetched["name"], fetched["usage"]) == ("default", {"sites": 1, "files": 1, "bytes": 5, "widgets": 0})


@one_store
async def test_a_default_workspace_that_is_not_there(setup: Setup, api: Api) -> None:
    """It is made when the server starts; a store that was put in its place may lack it."""
    config = replace(setup.config, default_workspace_id="workspace_none")
    async with served(create_app(api.metadata, api.blobs, config)) as server:
        url = f"http://127.0.0.1:{port_of(server)}/api/v1/space/list"
        refused(await api.http.get(url, headers={"Authorization": f"Bearer {ROOT_SECRET}"}), 404, "NOT_FOUND")


async def test_an_alias_is_unique(api: Api) -> None:
    await api.created("workspace/create", {"alias": "acme"})
    refused(await api.post("workspace/create", {"alias": "acme"}), 409, "CONFLICT")


@one_store
@pytest.mark.parametrize("ref", ["nothing", "@nothing", f"workspace_{'0' * 38}", "@workspace_default", "A", "%40"])
async def test_a_workspace_that_is_not_there(api: Api, ref: str) -> None:
    refused(await api.get(f"workspace/{ref}/fetch"), 404, "NOT_FOUND")
    refused(await api.post(f"workspace/{ref}/update"), 404, "NOT_FOUND")
    refused(await api.get(f"key/list?workspace={ref}"), 404, "NOT_FOUND")


@one_store
@pytest.mark.parametrize(
    ("fields", "path"),
    [
        ({"maxSites": -1}, "maxSites"),
        ({"maxFiles": 1.5}, "maxFiles"),
        ({"maxBytes": 2**53}, "maxBytes"),
        ({"requestsPerMinute": "many"}, "requestsPerMinute"),
        ({"maxSites": True}, "maxSites"),
        ({"alias": "A B"}, "alias"),
        ({"name": "x" * 257}, "name"),
        ({"id": "workspace_mine"}, "id"),
    ],
)
async def test_a_bad_field_is_named(api: Api, fields: dict[str, Any], path: str) -> None:
    refused(await api.post("workspace/create", fields), 400, "BAD_REQUEST", path)


async def test_only_the_root_key_names_workspaces(api: Api) -> None:
    key = await api.key()
    token = (await api.post("key/token", {"scopes": sorted(SCOPES)})).json()["token"]
    for credential in (key, token):
        for path in ("workspace/list", f"workspace/{WORKSPACE}/fetch", f"key/list?workspace={WORKSPACE}"):
            message = refused(await api.get(path, key=credential), 403, "NOT_AUTHORIZED")
            assert message == "Only the root key may do this"
        refused(await api.post("workspace/create", key=credential), 403, "NOT_AUTHORIZED")
        refused(await api.post(f"workspace/{WORKSPACE}/update", key=credential), 403, "NOT_AUTHORIZED")
        fields = {"name": "x", "scopes": ["spaces:read"], "workspace": WORKSPACE}
        refused(await api.post("key/create", fields, key=credential), 403, "NOT_AUTHORIZED")
    refused(await api.post("key/token", {"scopes": ["root"]}), 400, "BAD_REQUEST", "scopes.0")


async def test_the_root_key_makes_lists_and_revokes_keys_of_any_workspace(api: Api) -> None:
    workspace, secret = await make(api, alias="acme")
    space = await api.created("space/create", {"alias": "theirs"}, key=secret)
    assert [item["id"] for item in (await api.fetched("space/list", key=secret))["items"]] == [space]
    assert (await api.fetched("space/list"))["items"] == []
    assert (await api.fetched("key/list"))["items"] == []
    (key,) = (await api.fetched("key/list?workspace=acme"))["items"]
    other = await api.key(workspace=OTHER_WORKSPACE)
    refused(await api.post(f"key/{key['id']}/revoke", key=other), 401, "NOT_AUTHORIZED")
    await api.created(f"key/{key['id']}/revoke")
    refused(await api.get("space/list", key=secret), 401, "NOT_AUTHENTICATED")


async def test_limits_are_told_with_what_to_do(api: Api) -> None:
    workspace, key = await make(api, maxSites=1, maxFiles=2, maxBytes=10)
    space = await api.created("space/create", key=key)
    upload = f"space/{space}/storage/upload"
    await api.created(f"{upload}/a", content=b"12345", key=key)
    await api.created(f"{upload}/b", content=b"54321", key=key)
    message = refused(await api.post(f"{upload}/c", content=b"12345", key=key), 429, "LIMITS_REACHED")
    assert message == (
        "This would pass the workspace's maxBytes of 10: delete spaces that are no longer needed (older versions of "
        "files count too), or ask whoever runs this server to raise it"
    )
    message = refused(await api.post(f"{upload}/c", {"file": "data:,12345"}, key=key), 429, "LIMITS_REACHED")
    assert message.startswith("This would pass the workspace's maxFiles of 2: delete files, or ask")
    await api.created(f"space/{space}/site/create", {"domain": "a.localhost"}, key=key)
    answer = await api.post(f"space/{space}/site/create", {"domain": "b.localhost"}, key=key)
    assert "maxSites of 1: delete a site, or" in refused(answer, 429, "LIMITS_REACHED")
    assert "retry-after" not in answer.headers
    assert await api.fetched(f"workspace/{workspace}/fetch") | {
        "usage": {"sites": 1, "files": 2, "bytes": 10, "widgets": 0}
    } == (await api.fetched(f"workspace/{workspace}/fetch"))


async def test_a_blob_beyond_the_limit_is_refused_before_it_is_read(api: Api) -> None:
    _, key = await make(api, maxBytes=10)
    space = await api.created("space/create", key=key)
    content = b"x" * 1000
    answer = await api.post(f"space/{space}/deployment/create", {"files": manifest({"a": content})}, key=key)
    (digest,) = answer.json()["missing"]
    blob = f"space/{space}/deployment/{answer.json()['id']}/blob/{digest}"
    refused(await api.post(blob, content=content, key=key), 429, "LIMITS_REACHED")

    async def unannounced() -> Any:
        yield content

    refused(await api.post(blob, content=unannounced(), key=key), 429, "LIMITS_REACHED")
    assert (await api.post(f"space/{space}/deployment/create", {"files": {}}, key=key)).is_success


async def test_other_workspaces_are_not_limited_by_it(api: Api) -> None:
    await make(api, maxBytes=0, maxSites=0)
    space = await api.space()
    await api.upload(space, "a")
    await api.site(space)
    await create(api, space, manifest({"b": b"1"}))

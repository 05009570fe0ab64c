"""The audit log as its readers see it."""

from __future__ import annotations

from typing import Any

import pytest

from tests.control.api import OTHER_WORKSPACE, Api, one_store, refused


async def entries(api: Api, query: str = "", **extra: Any) -> list[dict[str, Any]]:
    listed = await api.fetched(f"audit/list?order=asc&take=100&{query}", **extra)
    items: list[dict[str, Any]] = [item for item in listed["items"] if item["actor"]["kind"] != "system"]
    return items


async def test_an_entry_says_who_what_and_when(api: Api) -> None:
    space = await api.created("space/create", {"name": "Docs", "meta": {"a": 1}}, headers={"X-Request-Id": "first"})
    key = await api.post("key/create", {"name": "ci", "scopes": ["spaces:write"]})
    update = {"name": "Papers", "meta": {"b": 2}}
    await api.created(f"space/{space}/update", update, key=key.json()["secret"], headers={"X-Request-Id": "second"})
    token = (await api.post("key/token", {"scopes": ["spaces:write"]}, key=key.json()["secret"])).json()["token"]
    await api.created(f"space/{space}/delete", key=token)
    created, made, updated, deleted = await entries(api)
    assert created.pop("createdAt").endswith("Z")
    assert created.pop("id").startswith("audit_")
    assert created == {
        "actor": {"kind": "root", "keyId": None},
        "requestId": "first",
        "action": "space.create",
        "kind": "space",
        "objectId": space,
        "spaceId": space,
        "before": None,
        "after": {"alias": None, "name": "Docs", "description": "", "contactId": None, "meta": {"a": 1}},
    }
    assert (made["action"], made["objectId"], made["spaceId"]) == ("key.create", key.json()["id"], None)
    assert key.json()["secret"] not in str(made)
    assert updated["actor"] == {"kind": "key", "keyId": key.json()["id"]}
    assert (updated["requestId"], updated["action"]) == ("second", "space.update")
    assert updated["before"] == {"name": "Docs", "meta": {"a": 1}}
    assert updated["after"] == {"name": "Papers", "meta": {"a": 1, "b": 2}}
    assert deleted["actor"] == {"kind": "token", "keyId": key.json()["id"]}
    assert deleted["after"] is None


async def test_times_are_written_as_the_reader_wants_them(api: Api) -> None:
    await api.post("key/create", {"name": "x", "scopes": ["spaces:read"], "expiresAt": 1_800_000_000_000})
    (entry,) = await entries(api)
    assert entry["after"]["expiresAt"] == "2027-01-15T08:00:00.000Z"
    sdk = await api.key("keys:write", dialect="sdk")
    (entry,) = await entries(api, key=sdk)
    assert entry["after"]["expiresAt"] == 1_800_000_000_000
    assert isinstance(entry["createdAt"], int)
    assert entry["after"]["revokedAt"] is None


async def test_files_are_told_by_their_contents(api: Api) -> None:
    space = await api.space()
    await api.upload(space, "a/b.txt", b"one")
    await api.upload(space, "a/b.txt", b"two")
    await api.created(f"space/{space}/storage/delete/a/b.txt")
    _, first, second, third = await entries(api)
    digests = [entry["after"]["files"].get("a/b.txt") for entry in (first, second, third)]
    assert first["before"] == {"files": {}, "count": 1}
    assert second["before"] == {"files": {"a/b.txt": digests[0]}, "count": 1}
    assert (third["action"], third["before"]["files"], digests[2]) == ("file.delete", {"a/b.txt": digests[1]}, None)
    assert {first["objectId"], second["objectId"], third["objectId"]} == {"YS9iLnR4dA"}
    assert len(await entries(api, "id=YS9iLnR4dA&action=file.put")) == 2


async def test_the_log_is_filtered_and_paged(api: Api) -> None:
    space = await api.space()
    site = await api.site(space)
    await api.created(f"space/{space}/site/{site}/update", {"name": "x"})
    assert [entry["action"] for entry in await entries(api, "kind=site")] == ["site.create", "site.update"]
    assert [entry["action"] for entry in await entries(api, f"id={space}")] == ["space.create"]
    assert [entry["action"] for entry in await entries(api, "action=site.update")] == ["site.update"]
    assert await entries(api, "kind=none") == []
    first = await api.fetched("audit/list?take=2")
    assert [item["action"] for item in first["items"]] == ["site.update", "site.create"]
    rest = await api.fetched(f"audit/list?take=2&cursor={first['cursor']}")
    assert rest["items"][0]["action"] == "space.create"
    assert len((await api.fetched("audit/list?limit=1"))["items"]) == 1


async def test_a_refused_call_is_not_told(api: Api) -> None:
    space = await api.space(alias="docs")
    refused(await api.post("space/create", {"alias": "docs"}), 409, "CONFLICT")
    refused(await api.post(f"space/{space}/update", {"alias": "?"}), 400, "BAD_REQUEST", "alias")
    assert len(await entries(api)) == 1


async def test_each_workspace_has_a_log_of_its_own(api: Api) -> None:
    other = await api.key(workspace=OTHER_WORKSPACE)
    await api.created("space/create", key=other)
    assert await entries(api) == []
    assert [entry["action"] for entry in await entries(api, key=other)] == ["space.create"]
    assert [entry["action"] for entry in await entries(api, f"workspace={OTHER_WORKSPACE}")] == ["space.create"]
    refused(await api.get(f"audit/list?workspace={OTHER_WORKSPACE}", key=other), 403, "NOT_AUTHORIZED")


async def test_what_the_root_key_does_in_a_workspace_is_told_there(api: Api) -> None:
    other = await api.key(workspace=OTHER_WORKSPACE)
    fields = {"name": "by root", "scopes": ["spaces:read"], "workspace": OTHER_WORKSPACE}
    id = (await api.post("key/create", fields)).json()["id"]
    await api.created(f"key/{id}/revoke")
    assert await entries(api) == []
    told = await entries(api, key=other)
    assert [(entry["action"], entry["actor"]["kind"]) for entry in told] == [
        ("key.create", "root"),
        ("key.revoke", "root"),
    ]


async def test_a_confined_token_sees_what_concerns_its_spaces(api: Api) -> None:
    own, other = await api.space(), await api.space()
    await api.upload(own, "a")
    await api.upload(other, "b")
    token = (await api.post("key/token", {"scopes": ["keys:write"], "spaces": [own]})).json()["token"]
    assert [entry["action"] for entry in await entries(api, key=token)] == ["space.create", "file.put"]
    assert await entries(api, f"id={other}", key=token) == []


@one_store
@pytest.mark.parametrize("query", ["take=0", "order=up", "cursor=x", "kind=%00"])
async def test_a_bad_query(api: Api, query: str) -> None:
    path = "query" if "%00" in query else query.partition("=")[0]
    refused(await api.get(f"audit/list?{query}"), 400, "BAD_REQUEST", path)

"""Secret keys: created, listed, used, expired, revoked."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from server.control.auth import SCOPES, TOUCH_INTERVAL, hash_secret
from tests.control.api import OTHER_WORKSPACE, ROOT_SECRET, Api, one_store, refused
from tests.control.conftest import Setup


async def create(api: Api, key: str | None = None, **fields: Any) -> tuple[str, str]:
    """A new key's id and secret."""
    answer = await api.post("key/create", {"name": "ci", "scopes": ["spaces:read"], **fields}, key=key)
    assert answer.status_code == 200, answer.text
    assert set(answer.json()) == {"id", "secret"}
    return answer.json()["id"], answer.json()["secret"]


async def test_a_key_from_creation_to_revocation(api: Api, setup: Setup) -> None:
    id, secret = await create(api, scopes=["files:write", "files:read", "files:read"])
    assert secret.startswith("sk-")
    assert len(secret) >= 46
    listed = await api.get("key/list")
    assert secret not in listed.text
    assert hash_secret(secret.encode()) not in listed.text
    (key,) = listed.json()["items"]
    assert key.pop("createdAt").endswith("Z")
    assert key == {
        "id": id,
        "name": "ci",
        "scopes": ["files:read", "files:write"],
        "dialect": "spacelane",
        "expiresAt": None,
        "revokedAt": None,
        "lastUsedAt": None,
    }
    space = await api.space()
    assert (await api.get(f"space/{space}/storage/list", key=secret)).status_code == 200
    assert await api.created(f"key/{id}/revoke") == id
    refused(await api.get(f"space/{space}/storage/list", key=secret), 401, "NOT_AUTHENTICATED")
    assert await api.created(f"key/{id}/revoke") == id
    assert (await api.fetched("key/list"))["items"][0]["revokedAt"].endswith("Z")


async def test_a_key_expires(api: Api, setup: Setup) -> None:
    _, secret = await create(api, expiresAt=setup.now + 1000)
    assert (await api.get("space/list", key=secret)).status_code == 200
    setup.now += 999
    assert (await api.get("space/list", key=secret)).status_code == 200
    setup.now += 1
    assert refused(await api.get("space/list", key=secret), 401, "NOT_AUTHENTICATED") == "This key has expired"


@one_store
@pytest.mark.parametrize(
    ("expires_at", "answered"),
    [
        (1_800_000_000_123, "2027-01-15T08:00:00.123Z"),
        (1.8e12, "2027-01-15T08:00:00.000Z"),
        ("2027-01-15T08:00:00.123Z", "2027-01-15T08:00:00.123Z"),
        ("2027-01-15T09:00:00+01:00", "2027-01-15T08:00:00.000Z"),
        ("9999-12-31T23:59:59.999Z", "9999-12-31T23:59:59.999Z"),
        (None, None),
    ],
)
async def test_an_expiry_is_a_time_with_a_zone_or_a_number(api: Api, expires_at: object, answered: str | None) -> None:
    await create(api, expiresAt=expires_at)
    (key,) = (await api.fetched("key/list"))["items"]
    assert key["expiresAt"] == answered


@one_store
@pytest.mark.parametrize(
    ("fields", "path"),
    [
        ({"expiresAt": 1_790_000_000_000}, "expiresAt"),
        ({"expiresAt": 1}, "expiresAt"),
        ({"expiresAt": "2020-01-01T00:00:00Z"}, "expiresAt"),
        ({"expiresAt": "2030-01-01T00:00:00"}, "expiresAt"),
        ({"expiresAt": "2030-01-01"}, "expiresAt"),
        ({"expiresAt": "soon"}, "expiresAt"),
        ({"expiresAt": ""}, "expiresAt"),
        ({"expiresAt": True}, "expiresAt"),
        ({"expiresAt": 1.5}, "expiresAt"),
        ({"expiresAt": 10**18}, "expiresAt"),
        ({"name": ""}, "name"),
        ({"name": None}, "name"),
        ({"name": "x" * 257}, "name"),
        ({"scopes": []}, "scopes"),
        ({"scopes": "spaces:read"}, "scopes"),
        ({"scopes": ["everything"]}, "scopes.0"),
        ({"scopes": ["spaces:read", 1]}, "scopes.1"),
        ({"dialect": "latin"}, "dialect"),
        ({"secret": "sk-mine"}, "secret"),
    ],
)
async def test_a_bad_field_is_named_and_makes_no_key(api: Api, fields: dict[str, Any], path: str) -> None:
    answer = await api.post("key/create", {"name": "ci", "scopes": ["spaces:read"], **fields})
    refused(answer, 400, "BAD_REQUEST", path)
    assert (await api.fetched("key/list"))["items"] == []


async def test_a_key_gives_only_what_it_has(api: Api) -> None:
    _, secret = await create(api, scopes=["keys:write", "spaces:read"])
    fields = {"name": "more", "scopes": ["spaces:read", "files:read", "files:write"]}
    message = refused(await api.post("key/create", fields, key=secret), 403, "NOT_AUTHORIZED")
    assert message == "This key cannot give what it lacks: files:read, files:write"
    _, weaker = await create(api, key=secret, scopes=["spaces:read"])
    assert (await api.get("space/list", key=weaker)).status_code == 200
    assert len((await api.fetched("key/list"))["items"]) == 2


async def test_keys_belong_to_a_workspace(api: Api) -> None:
    id, _ = await create(api)
    other = await api.key(workspace=OTHER_WORKSPACE)
    assert len((await api.fetched("key/list", key=other))["items"]) == 1
    refused(await api.post(f"key/{id}/revoke", key=other), 401, "NOT_AUTHORIZED")
    for missing in ("key_1", "nothing", f"key_{'0' * 38}"):
        refused(await api.post(f"key/{missing}/revoke", key=other), 404, "NOT_FOUND")
    assert (await api.fetched("key/list"))["items"][0]["revokedAt"] is None


async def test_the_root_key_has_every_scope(api: Api) -> None:
    await create(api, scopes=sorted(SCOPES))
    (key,) = (await api.fetched("key/list"))["items"]
    assert key["scopes"] == sorted(SCOPES)


@one_store
@pytest.mark.parametrize(
    "credential",
    [
        None,
        "",
        "Bearer",
        f"Basic {ROOT_SECRET}",
        ROOT_SECRET,
        "Bearer sk-wrong",
        f"Bearer {ROOT_SECRET}x",
        f"Bearer {ROOT_SECRET[:-1]}",
        "Bearer \xff\xfe",
        "Bearer " + "x" * 10_000,
    ],
)
async def test_a_bad_credential_is_401(api: Api, credential: str | None) -> None:
    headers = [] if credential is None else [(b"Authorization", credential.encode("latin-1"))]
    answer = await api.http.post("/api/v1/space/create", json={}, headers=headers)
    refused(answer, 401, "NOT_AUTHENTICATED")
    assert answer.headers["www-authenticate"] == "Bearer"
    assert (await api.fetched("space/list"))["items"] == []


async def test_two_credentials_are_one_too_many(api: Api) -> None:
    headers = [("Authorization", f"Bearer {ROOT_SECRET}")] * 2
    refused(await api.http.get("/api/v1/space/list", headers=headers), 401, "NOT_AUTHENTICATED")


async def test_the_scheme_is_read_in_any_case(api: Api) -> None:
    headers = {"Authorization": f"bearer  {ROOT_SECRET}"}
    assert (await api.http.get("/api/v1/space/list", headers=headers)).status_code == 200


async def last_used(api: Api) -> list[str | None]:
    await api.settled()
    return [key["lastUsedAt"] for key in (await api.fetched("key/list"))["items"]]


def iso(millis: int) -> str:
    time = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=millis)
    return time.isoformat(timespec="milliseconds").replace("+00:00", "Z")


async def test_use_is_noted_once_a_minute(api: Api, setup: Setup) -> None:
    _, secret = await create(api)
    start = setup.now
    await api.get("space/list", key=secret)
    assert await last_used(api) == [iso(start)]
    setup.now += TOUCH_INTERVAL - 1
    await api.get("space/list", key=secret)
    assert await last_used(api) == [iso(start)]
    setup.now += 1
    refused(await api.post("space/create", key=secret), 403, "NOT_AUTHORIZED")
    assert await last_used(api) == [iso(start + TOUCH_INTERVAL)]


async def test_the_sdk_dialect_has_epoch_times_and_flat_errors(api: Api, setup: Setup) -> None:
    _, secret = await create(api, scopes=["spaces:read", "spaces:write", "keys:write"], dialect="sdk")
    space = await api.created("space/create", {"name": "x"}, key=secret)
    ours = await api.fetched(f"space/{space}/fetch")
    theirs = await api.fetched(f"space/{space}/fetch", key=secret)
    assert iso(theirs["createdAt"]) == ours["createdAt"]
    assert isinstance(theirs["updatedAt"], int)
    await api.settled()  # a use is noted behind the answer
    (key,) = (await api.fetched("key/list", key=secret))["items"]
    assert (key["expiresAt"], key["dialect"]) == (None, "sdk")
    assert isinstance(key["lastUsedAt"], int)

    answer = await api.post("space/create", {"name": 1}, key=secret)
    assert answer.status_code == 400
    details = [{"path": "name", "message": "Input should be a valid string"}]
    message = "name: Input should be a valid string"
    assert answer.json() == {
        "message": message,
        "code": "BAD_REQUEST",
        "error": {"message": message, "code": "BAD_REQUEST", "details": details},
    }
    # Where nobody has looked yet who calls, both forms are there.
    for answer, code in [
        (await api.get("bot/list", key=secret), "NOT_FOUND"),
        (await api.call("PUT", "space/create", key=secret), "METHOD_NOT_ALLOWED"),
    ]:
        error = answer.json()["error"]
        assert answer.json() == {"error": error, **error}
        assert error["code"] == code
    assert set((await api.get("space/none/fetch")).json()) == {"error"}
    await api.post(f"key/{key['id']}/revoke")
    answer = await api.get("space/list", key=secret)
    assert answer.json()["code"] == answer.json()["error"]["code"] == "NOT_AUTHENTICATED"

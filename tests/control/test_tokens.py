"""Tokens: made by a key, believed for a while, confined to spaces, ended with their key."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from dataclasses import replace
from typing import Any

import pytest

from server.control.auth import SCOPES
from tests.control.api import OTHER_WORKSPACE, WORKSPACE, Api, one_store, refused
from tests.control.conftest import Setup

SECRET = "the secret that tokens are signed with"
OLD_SECRET = "the secret that tokens were signed with"
HOUR = 3_600_000
HEAD = {"alg": "HS256", "typ": "JWT"}


@pytest.fixture
def setup(setup: Setup) -> Setup:
    setup.config = replace(setup.config, token_secrets=(SECRET, OLD_SECRET))
    return setup


async def make(api: Api, *scopes: str, key: str | None = None, **fields: Any) -> str:
    """A new token, which is checked to be of the form that its makers promise."""
    answer = await api.post("key/token", {"scopes": list(scopes), **fields}, key=key)
    assert answer.status_code == 200, answer.text
    assert set(answer.json()) == {"token", "expiresAt"}
    return str(answer.json()["token"])


def encode(part: bytes) -> str:
    return base64.urlsafe_b64encode(part).decode().rstrip("=")


def sign(claims: object, secret: str = SECRET, head: object = HEAD, hash: str = "sha256") -> str:
    """A token made by hand."""
    text = f"{encode(json.dumps(head).encode())}.{encode(json.dumps(claims).encode())}"
    return f"{text}.{encode(hmac.new(secret.encode(), text.encode(), hash).digest())}"


def claims_of(token: str) -> Any:
    part = token.split(".")[1]
    return json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))


async def test_a_token_says_what_was_asked_for(api: Api, setup: Setup) -> None:
    space = await api.space(alias="docs")
    answer = await api.post("key/token", {"scopes": ["files:write", "files:read", "files:read"], "spaces": ["@docs"]})
    token = answer.json()["token"]
    assert token.split(".")[0] == encode(b'{"alg":"HS256","typ":"JWT"}')
    start = setup.now // 1000
    assert claims_of(token) == {
        "aud": "api",
        "sub": "root",
        "workspace": WORKSPACE,
        "iat": start,
        "exp": start + 3600,
        "scopes": ["files:read", "files:write"],
        "spaces": [space],
    }
    assert answer.json()["expiresAt"] == "2026-09-21T15:13:20.000Z"


async def test_a_token_has_its_scopes_and_no_more(api: Api) -> None:
    key = await api.key("spaces:read", "spaces:write")
    token = await make(api, "spaces:read", key=key)
    assert (await api.get("space/list", key=token)).status_code == 200
    message = refused(await api.post("space/create", key=token), 403, "NOT_AUTHORIZED")
    assert message == "This token lacks the scope spaces:write: use one that has it"


async def test_a_key_gives_a_token_only_what_it_has(api: Api) -> None:
    key = await api.key("spaces:read", "spaces:write")
    answer = await api.post("key/token", {"scopes": ["spaces:read", "sites:read"]}, key=key)
    assert refused(answer, 403, "NOT_AUTHORIZED") == "This key cannot give what it lacks: sites:read"


async def test_a_token_makes_no_tokens(api: Api) -> None:
    token = await make(api, *SCOPES)
    answer = await api.post("key/token", {"scopes": ["spaces:read"]}, key=token)
    assert refused(answer, 403, "NOT_AUTHORIZED") == "A token cannot make tokens: use a secret key"


async def test_a_token_ends(api: Api, setup: Setup) -> None:
    token = await make(api, "spaces:read")
    setup.now += HOUR - 1
    assert (await api.get("space/list", key=token)).status_code == 200
    setup.now += 1
    assert "expired" in refused(await api.get("space/list", key=token), 401, "NOT_AUTHENTICATED")


async def test_a_token_never_outlives_its_key(api: Api, setup: Setup) -> None:
    key = await api.key("spaces:read", expires_at=setup.now + 10_000)
    answer = await api.post("key/token", {"scopes": ["spaces:read"], "expiresAt": setup.now + HOUR}, key=key)
    assert claims_of(answer.json()["token"])["exp"] * 1000 == setup.now + 10_000


async def test_revoking_a_key_ends_its_tokens(api: Api) -> None:
    made = await api.post("key/create", {"name": "ci", "scopes": ["spaces:read"]})
    token = await make(api, "spaces:read", key=made.json()["secret"])
    assert claims_of(token)["sub"] == made.json()["id"]
    assert (await api.get("space/list", key=token)).status_code == 200
    await api.created(f"key/{made.json()['id']}/revoke")
    assert refused(await api.get("space/list", key=token), 401, "NOT_AUTHENTICATED") == "This key was revoked"


async def test_a_token_speaks_its_keys_dialect_and_counts_as_its_use(api: Api, setup: Setup) -> None:
    key = await api.key("spaces:read", "keys:write", dialect="sdk")
    answer = await api.post("key/token", {"scopes": ["spaces:read"]}, key=key)
    assert answer.json()["expiresAt"] == (setup.now // 1000) * 1000 + HOUR
    await api.settled()
    setup.now += 60_000
    refusal = await api.post("space/create", key=answer.json()["token"])
    assert refusal.json()["code"] == "NOT_AUTHORIZED"
    await api.settled()
    (listed,) = (await api.fetched("key/list", key=key))["items"]
    assert listed["lastUsedAt"] == setup.now


@one_store
@pytest.mark.parametrize(
    ("fields", "path"),
    [
        ({}, "scopes"),
        ({"scopes": []}, "scopes"),
        ({"scopes": ["everything"]}, "scopes.0"),
        ({"scopes": ["spaces:read"], "spaces": []}, "spaces"),
        ({"scopes": ["spaces:read"], "spaces": [1]}, "spaces.0"),
        ({"scopes": ["spaces:read"], "spaces": ["docs"] * 101}, "spaces"),
        ({"scopes": ["spaces:read"], "expiresAt": 1}, "expiresAt"),
        ({"scopes": ["spaces:read"], "expiresAt": 1_790_000_000_000}, "expiresAt"),
        ({"scopes": ["spaces:read"], "expiresAt": 1_790_000_000_001 + 24 * HOUR}, "expiresAt"),
        ({"scopes": ["spaces:read"], "expiresAt": "tomorrow"}, "expiresAt"),
        ({"scopes": ["spaces:read"], "sub": "root"}, "sub"),
    ],
)
async def test_a_bad_field_is_named(api: Api, fields: dict[str, Any], path: str) -> None:
    refused(await api.post("key/token", fields), 400, "BAD_REQUEST", path)


async def test_a_token_is_confined_only_to_spaces_that_are_there(api: Api) -> None:
    other = await api.key(workspace=OTHER_WORKSPACE)
    foreign = await api.created("space/create", {"alias": "foreign"}, key=other)
    fields = {"scopes": ["spaces:read"]}
    refused(await api.post("key/token", {**fields, "spaces": ["nothing"]}), 404, "NOT_FOUND")
    refused(await api.post("key/token", {**fields, "spaces": ["foreign"]}), 404, "NOT_FOUND")
    refused(await api.post("key/token", {**fields, "spaces": [foreign]}), 401, "NOT_AUTHORIZED")


async def test_a_confined_token_sees_its_spaces_alone(api: Api) -> None:
    own, also, other = [await api.space(alias=alias, meta={"of": alias}) for alias in ("own", "also", "other")]
    token = await make(api, *SCOPES, spaces=["own", also])
    listed = await api.fetched("space/list?take=1&order=asc", key=token)
    assert [item["id"] for item in listed["items"]] == [own]
    rest = await api.fetched(f"space/list?take=1&order=asc&cursor={listed['cursor']}", key=token)
    assert ([item["id"] for item in rest["items"]], rest["cursor"]) == ([also], "")
    assert (await api.fetched("space/list?meta.of=other", key=token))["items"] == []
    for ref in (own, "own", "@also"):
        assert (await api.get(f"space/{ref}/fetch", key=token)).status_code == 200
    for ref in ("other", "@other"):
        refused(await api.get(f"space/{ref}/fetch", key=token), 404, "NOT_FOUND")
    message = refused(await api.get(f"space/{other}/fetch", key=token), 401, "NOT_AUTHORIZED")
    assert message == "This token is confined to other spaces"
    refused(await api.post("space/create", key=token), 403, "NOT_AUTHORIZED")
    refused(await api.get("key/list", key=token), 403, "NOT_AUTHORIZED")
    await api.created(f"space/{own}/delete", key=token)
    refused(await api.get(f"space/{own}/fetch", key=token), 404, "NOT_FOUND")


GOOD = {"aud": "api", "sub": "root", "workspace": WORKSPACE, "exp": 1_790_000_100, "scopes": ["spaces:read"]}


@one_store
@pytest.mark.parametrize(
    ("token", "status"),
    [
        (sign(GOOD), 200),
        (sign(GOOD, OLD_SECRET), 200),
        (sign({**GOOD, "exp": 1_790_000_000.5, "nbf": 1_790_000_000, "iat": 9e9, "jti": "x"}), 200),
        (sign({**GOOD, "scopes": ["spaces:read", "stars:read"]}), 200),
        (sign({**GOOD, "scopes": []}), 403),
        (sign({**GOOD, "scopes": ["stars:read"]}), 403),
        (sign(GOOD, "another secret, of which nobody here knows"), 401),
        (sign(GOOD)[:-1], 401),
        (sign(GOOD).rpartition(".")[0] + ".", 401),
        (sign(GOOD, head={"alg": "none"}), 401),
        (sign(GOOD, head={"alg": "none"}).rpartition(".")[0] + ".", 401),
        (sign(GOOD, head={"alg": "HS512"}, hash="sha512"), 401),
        (sign(GOOD, head={"alg": "hs256"}), 401),
        (sign(GOOD, head={"alg": ["HS256"]}), 401),
        (sign(GOOD, head={"alg": None}), 401),
        (sign(GOOD, head={}), 401),
        (sign(GOOD, head=[]), 401),
        (sign(GOOD, head={**HEAD, "crit": ["exp"]}), 401),
        (sign(GOOD, head={**HEAD, "b64": False}), 401),
        (sign(None), 401),
        (sign([GOOD]), 401),
        *((sign({name: value for name, value in GOOD.items() if name != left_out}), 401) for left_out in GOOD),
        (sign({**GOOD, "aud": "web"}), 401),
        (sign({**GOOD, "aud": ["api"]}), 401),
        (sign({**GOOD, "aud": None}), 401),
        (sign({**GOOD, "sub": 1}), 401),
        (sign({**GOOD, "sub": ""}), 401),
        (sign({**GOOD, "sub": f"key_{'0' * 38}"}), 401),
        (sign({**GOOD, "workspace": OTHER_WORKSPACE}), 401),
        (sign({**GOOD, "workspace": None}), 401),
        (sign({**GOOD, "exp": 1_790_000_000}), 401),
        (sign({**GOOD, "exp": "1790000100"}), 401),
        (sign({**GOOD, "exp": None}), 401),
        (sign({**GOOD, "exp": float("inf")}), 401),
        (sign({**GOOD, "exp": float("nan")}), 401),
        (sign({**GOOD, "nbf": 1_790_000_001}), 401),
        (sign({**GOOD, "scopes": "spaces:read"}), 401),
        (sign({**GOOD, "scopes": {"spaces:read": 1}}), 401),
        (sign({**GOOD, "scopes": [["spaces:read"]]}), 401),
        (sign({**GOOD, "spaces": []}), 401),
        (sign({**GOOD, "spaces": "space_1"}), 401),
        (encode(b"[" * 5000) + "." + sign(GOOD).partition(".")[2], 401),
        (encode(b'{"alg":' * 1500) + "." + sign(GOOD).partition(".")[2], 401),
        (encode(b"1" * 6000) + "." + sign(GOOD).partition(".")[2], 401),
        ("..", 401),
        ("a.b.c", 401),
        ("\xff.\xff.\xff", 401),
    ],
)
async def test_what_counts_as_a_token(api: Api, token: str, status: int) -> None:
    headers = [(b"Authorization", b"Bearer " + token.encode("latin-1"))]
    answer = await api.http.get("/api/v1/space/list", headers=headers)
    if status != 200:
        refused(answer, status, "NOT_AUTHENTICATED" if status == 401 else "NOT_AUTHORIZED")
    assert answer.status_code == status


async def test_a_token_of_another_workspaces_key(api: Api) -> None:
    secret = await api.key("spaces:read", workspace=OTHER_WORKSPACE)
    key = await api.metadata.find_key_by_hash(hashlib.sha256(secret.encode()).hexdigest())
    assert key is not None
    forged = sign({**GOOD, "sub": key.id})
    refused(await api.get("space/list", key=forged), 401, "NOT_AUTHENTICATED")
    assert (await api.get("space/list", key=sign({**GOOD, "sub": key.id, "workspace": OTHER_WORKSPACE}))).is_success

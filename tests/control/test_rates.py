"""How often a key, a workspace and an address may call."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import httpx
import pytest
from starlette.requests import Request

from server.control import rates
from server.control.app import create_app
from server.control.auth import MAX_PROVEN, Authenticator, find_address
from server.control.config import ControlConfig
from server.control.rates import Rates, render_headers
from storage.memory import MemoryBlobs, MemoryMetadata
from tests.control.api import OTHER_WORKSPACE, ROOT_SECRET, WORKSPACE, Api, port_of, refused, served
from tests.control.conftest import Setup


@pytest.fixture
def stores() -> tuple[MemoryMetadata, MemoryBlobs]:
    """What is counted is in no store."""
    return MemoryMetadata(), MemoryBlobs()


@pytest.fixture
def setup(setup: Setup) -> Setup:
    setup.config = replace(setup.config, requests_per_minute=5, bad_credentials_per_minute=3)
    return setup


class Clock:
    now = 1_790_000_000_123

    def __call__(self) -> int:
        return self.now


class TestRates:
    """The windows, without any request."""

    def test_a_window_moves(self) -> None:
        clock = Clock()
        counted = Rates(clock)
        lefts = []
        for _ in range(3):
            lefts.append(counted.count("key", "a", 3).left)
            clock.now += 20_000
        assert lefts == [2, 1, 0]
        # The first has just left the window.
        standing = counted.count("key", "a", 3)
        assert (standing.allowed, standing.left, standing.wait) == (True, 0, 20)
        standing = counted.count("key", "a", 3)
        assert (standing.allowed, standing.left, standing.wait) == (False, 0, 20)
        clock.now += 19_999
        standing = counted.look("key", "a", 3)
        assert (standing.allowed, standing.wait) == (False, 1)
        clock.now += 1
        assert counted.look("key", "a", 3).allowed
        assert counted.look("key", "a", 3).left == 1

    def test_what_is_refused_does_not_count(self) -> None:
        clock = Clock()
        counted = Rates(clock)
        for _ in range(100):
            counted.count("key", "a", 2)
        clock.now += 60_000
        assert counted.count("key", "a", 2).left == 1

    def test_nobody_counts_for_another(self) -> None:
        counted = Rates(Clock())
        assert counted.count("key", "a", 1).allowed
        assert counted.count("key", "b", 1).allowed
        assert counted.count("workspace", "a", 1).allowed
        assert not counted.count("key", "a", 1).allowed

    def test_nothing_at_all_is_allowed(self) -> None:
        standing = Rates(Clock()).count("key", "a", 0)
        assert (standing.allowed, standing.left, standing.wait) == (False, 0, 60)

    def test_those_who_did_nothing_for_a_minute_are_forgotten(self) -> None:
        clock = Clock()
        counted = Rates(clock)
        windows: Any = counted._windows.storage
        for number in range(100):
            counted.count("key", str(number), 5)
        clock.now += 30_000
        counted.count("key", "0", 5)
        clock.now += 30_000
        counted.look("key", "1", 5)
        counted.count("key", "new", 5)
        assert len(windows._times) == 2

    def test_a_crowd_is_forgotten_from_its_beginning(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(rates, "MAX_COUNTED", 10)
        counted = Rates(Clock())
        for number in range(20):
            counted.count("key", "busy", 100)
            counted.count("key", str(number), 1)
        assert counted.look("key", "0", 1).allowed
        assert not counted.look("key", "19", 1).allowed
        assert counted.look("key", "busy", 100).left == 80

    def test_what_is_kept_is_for_moving_windows_only(self) -> None:
        windows: Any = Rates(Clock())._windows.storage
        calls = {"incr": ("a", 60), "get": ("a",), "get_expiry": ("a",), "check": (), "reset": (), "clear": ("a",)}
        for name, arguments in calls.items():
            with pytest.raises(NotImplementedError):
                getattr(windows, name)(*arguments)

    def test_headers(self) -> None:
        counted = Rates(Clock())
        first = counted.count("key", "a", 600)
        second = counted.count("workspace", "w", 0)
        assert render_headers([]) == {}
        assert render_headers([first]) == {"RateLimit-Policy": '"key";q=600;w=60', "RateLimit": '"key";r=599;t=60'}
        assert render_headers([first, second]) == {
            "RateLimit-Policy": '"key";q=600;w=60, "workspace";q=0;w=60',
            "RateLimit": '"key";r=599;t=60, "workspace";r=0;t=60',
            "Retry-After": "60",
        }


async def test_a_key_is_told_how_much_is_left_and_when_to_come_back(api: Api, setup: Setup) -> None:
    key = await api.key("spaces:read", dialect="sdk")
    for left in (4, 3, 2, 1, 0):
        answer = await api.get("space/list", key=key)
        assert answer.status_code == 200
        assert answer.headers["ratelimit-policy"] == '"key";q=5;w=60'
        assert answer.headers["ratelimit"] == f'"key";r={left};t={60 - (4 - left) * 10}'
        assert "retry-after" not in answer.headers
        setup.now += 10_000
    answer = await api.get("space/list", key=key)
    assert answer.status_code == 429
    message = "This key has made its 5 requests of this minute: wait 10 seconds"
    body = {"message": message, "code": "TOO_MANY_REQUESTS"}
    assert answer.json() == {"error": body, **body}
    assert answer.headers["retry-after"] == "10"
    assert answer.headers["ratelimit"] == '"key";r=0;t=10'
    assert (await api.get("space/list")).headers["ratelimit"] == '"key";r=4;t=60'
    setup.now += 10_000
    assert (await api.get("space/list", key=key)).status_code == 200
    assert (await api.get("space/list", key=key)).status_code == 429


async def test_refused_calls_count_as_well(api: Api) -> None:
    key = await api.key("spaces:read")
    for left in (4, 3, 2):
        answer = await api.post("space/create", key=key)
        refused(answer, 403, "NOT_AUTHORIZED")
        assert answer.headers["ratelimit"] == f'"key";r={left};t=60'
    assert (await api.get("space/nothing/fetch", key=key)).headers["ratelimit"] == '"key";r=1;t=60'


async def test_tokens_count_with_their_key(api: Api) -> None:
    key = await api.key("spaces:read")
    token = (await api.post("key/token", {"scopes": ["spaces:read"]}, key=key)).json()["token"]
    assert (await api.get("space/list", key=token)).headers["ratelimit"] == '"key";r=3;t=60'


async def test_a_workspace_may_be_limited_over_all_its_keys(api: Api) -> None:
    await api.metadata.put_workspace(OTHER_WORKSPACE, "other")
    await api.metadata.update_workspace(OTHER_WORKSPACE, {"requests_per_minute": 3})
    first, second = [await api.key(workspace=OTHER_WORKSPACE) for _ in range(2)]
    answer = await api.get("space/list", key=first)
    assert answer.headers["ratelimit-policy"] == '"key";q=5;w=60, "workspace";q=3;w=60'
    assert answer.headers["ratelimit"] == '"key";r=4;t=60, "workspace";r=2;t=60'
    assert (await api.get("space/list", key=second)).is_success
    assert (await api.get("space/list", key=first)).is_success
    answer = await api.get("space/list", key=second)
    assert refused(answer, 429, "LIMITS_REACHED") == (
        "This would pass the workspace's requestsPerMinute of 3: wait 60 seconds, or ask whoever runs this server to "
        "raise it"
    )
    assert answer.headers["retry-after"] == "60"
    assert (await api.get("space/list")).is_success


async def test_the_root_key_can_always_raise_a_workspaces_limit(api: Api) -> None:
    key = await api.key()
    await api.created(f"workspace/{WORKSPACE}/update", {"requestsPerMinute": 0})
    refused(await api.get("space/list", key=key), 429, "LIMITS_REACHED")
    await api.created(f"workspace/{WORKSPACE}/update", {"requestsPerMinute": None})
    assert (await api.get("space/list", key=key)).is_success


@asynccontextmanager
async def without_limit(setup: Setup) -> AsyncIterator[httpx.AsyncClient]:
    metadata = MemoryMetadata()
    await metadata.put_workspace(WORKSPACE, "default")
    config = replace(setup.config, requests_per_minute=0)
    async with (
        served(create_app(metadata, MemoryBlobs(), config)) as server,
        httpx.AsyncClient(base_url=f"http://127.0.0.1:{port_of(server)}", trust_env=False) as http,
    ):
        yield http


async def test_there_need_be_no_limit(setup: Setup) -> None:
    async with without_limit(setup) as http:
        for _ in range(20):
            answer = await http.get("/api/v1/space/list", headers={"Authorization": f"Bearer {ROOT_SECRET}"})
            assert answer.status_code == 200
            assert "ratelimit" not in answer.headers


async def test_guessing_costs(api: Api, setup: Setup) -> None:
    proven, fresh = await api.key("spaces:read"), await api.key("spaces:read")
    assert (await api.get("space/list", key=proven)).is_success
    for guess in ("sk-a", "sk-b", "a.b.c"):
        refused(await api.get("space/list", key=guess), 401, "NOT_AUTHENTICATED")
    for guess in ("sk-d", fresh, "a.b.c"):
        answer = await api.get("space/list", key=guess)
        message = refused(answer, 429, "TOO_MANY_REQUESTS")
        assert message == "Too many bad credentials came from this address: wait 60 seconds"
        assert answer.headers["retry-after"] == "60"
        assert answer.headers["ratelimit"] == '"bad-credentials";r=0;t=60'
    assert (await api.get("space/list", key=proven)).is_success
    refused(await api.http.get("/api/v1/space/list"), 401, "NOT_AUTHENTICATED")
    setup.now += 60_000
    assert (await api.get("space/list", key=fresh)).is_success


async def test_a_missing_credential_is_no_guess(api: Api) -> None:
    for _ in range(10):
        refused(await api.http.get("/api/v1/space/list"), 401, "NOT_AUTHENTICATED")
    assert (await api.get("space/list")).is_success


def test_credentials_that_were_good_are_remembered_up_to_a_bound() -> None:
    authenticator = Authenticator(MemoryMetadata(), ControlConfig())
    for number in range(MAX_PROVEN + 10):
        authenticator._prove(str(number))
        authenticator._prove("busy")
    assert len(authenticator._proven) == MAX_PROVEN
    assert "busy" in authenticator._proven
    assert "0" not in authenticator._proven


@pytest.mark.parametrize(
    ("client", "address"),
    [
        (("192.0.2.7", 1), "192.0.2.7"),
        (("2001:db8:1:2:3:4:5:6", 1), "2001:db8:1:2::/64"),
        (("2001:db8:1:2::9", 1), "2001:db8:1:2::/64"),
        (("fe80::1%eth0", 1), "fe80::/64"),
        (("::ffff:192.0.2.7", 1), "192.0.2.7"),
        (("testclient", 1), "testclient"),
        (None, ""),
    ],
)
def test_an_address(client: tuple[str, int] | None, address: str) -> None:
    assert find_address(Request({"type": "http", "client": client, "headers": []})) == address

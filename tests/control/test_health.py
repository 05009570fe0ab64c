"""Health, without a key."""

from __future__ import annotations

import asyncio

import pytest

from server.control.config import ControlConfig, Readiness
from server.control.health import store_answers
from storage.errors import Unavailable
from storage.memory.metadata import MemoryMetadata
from tests.control.api import Api, one_store
from tests.control.conftest import Setup


class AwayMetadata(MemoryMetadata):
    async def get_revision(self) -> int:
        raise Unavailable("the database at /var/secret is away")


class SlowMetadata(MemoryMetadata):
    async def get_revision(self) -> int:
        await asyncio.Event().wait()
        return 0


@one_store
async def test_healthy_and_ready(api: Api) -> None:
    answer = await api.http.get("/healthz")
    assert (answer.status_code, answer.json()) == (200, {"status": "alive"})
    answer = await api.http.get("/readyz")
    facts = {"status": "ready", "store": "reachable", "workers": {"worker-0": "serving"}, "visitors": None}
    assert (answer.status_code, answer.json()) == (200, facts)


@one_store
async def test_not_ready_until_every_worker_serves(api: Api, setup: Setup) -> None:
    setup.readiness = Readiness(ready=False, workers={"worker-0": "serving", "worker-1": "starting"})
    answer = await api.http.get("/readyz")
    workers = {"worker-0": "serving", "worker-1": "starting"}
    assert (answer.status_code, answer.json()) == (
        503,
        {"status": "not ready", "store": "reachable", "workers": workers, "visitors": None},
    )
    assert (await api.http.get("/healthz")).status_code == 200


async def test_a_store_that_is_away_does_not_answer() -> None:
    assert not await store_answers(AwayMetadata())


@pytest.mark.slow
async def test_a_store_that_takes_too_long_does_not_answer() -> None:
    assert not await store_answers(SlowMetadata())


@one_store
async def test_calls_are_counted_by_their_route(api: Api, setup: Setup) -> None:
    space = await api.space()
    await api.get(f"space/{space}/fetch")
    await api.http.get(f"/api/v1/space/{space}/fetch")
    await api.http.request("PUT", f"/api/v1/space/{space}/fetch")
    await api.http.post("/healthz")
    await api.http.get(f"/{space}")
    text = (await api.http.get("/metrics")).text
    assert [
        line.partition("{")[2] for line in text.splitlines() if line.startswith("spacelane_api_requests_total{")
    ] == [
        'method="GET",route="/api/v1/space/{spaceId}/fetch",status="200"} 1.0',
        'method="GET",route="/api/v1/space/{spaceId}/fetch",status="401"} 1.0',
        'method="GET",route="none",status="404"} 1.0',
        'method="POST",route="/api/v1/space/create",status="200"} 1.0',
        'method="POST",route="/healthz",status="405"} 1.0',
        'method="other",route="/api/v1/space/{spaceId}/fetch",status="405"} 1.0',
    ]


def test_the_defaults_are_ready_and_know_the_time() -> None:
    config = ControlConfig()
    assert config.readiness() == Readiness(ready=True)
    assert config.clock() > 1_700_000_000_000
    assert config.max_file_bytes == 5 * 1024**3

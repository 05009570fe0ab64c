"""Whatever is sent, the answer is a 200 or a clear 4xx: never a failure."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from urllib.parse import quote, urlencode

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from server.control.app import create_app
from storage.memory.blobs import MemoryBlobs
from storage.memory.metadata import MemoryMetadata
from tests.control.api import ROOT_SECRET, WORKSPACE
from tests.control.conftest import Setup

FIELDS = (
    "alias",
    "name",
    "description",
    "contactId",
    "meta",
    "domain",
    "prefix",
    "index",
    "notFound",
    "previews",
    "skewProtection",
    "files",
    "mode",
    "message",
    "digest",
    "size",
    "scopes",
    "dialect",
    "expiresAt",
    "recursive",
    "$update",
    "file",
)
HOSTILE = ("", "@a", "..", "/", "\0", "é.localhost", "*.example.com", "data:,x", "spaces:read", "a" * 300)

texts = st.text(max_size=20) | st.sampled_from(HOSTILE)
parameters = st.sampled_from(("cursor", "take", "order", "domain", "meta[a]")) | texts
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts | st.sampled_from(FIELDS), inner, max_size=4),
    max_leaves=12,
)
bodies = st.dictionaries(st.sampled_from(FIELDS) | texts, values, max_size=6) | values
raw_bodies = bodies.map(lambda body: json.dumps(body).encode()) | st.binary(max_size=60)

PATHS = (
    "space/create",
    "space/{space}/update",
    "space/{space}/site/create",
    "space/{space}/site/{site}/update",
    "space/{space}/deployment/create",
    "space/{space}/storage/upload/a",
    "space/{space}/storage/delete/a",
    "key/create",
)


class World:
    """One application that all examples of a test share; in process, as thousands of them go through it."""

    def __init__(self) -> None:
        self.runner = asyncio.Runner()
        metadata = MemoryMetadata()
        self.runner.run(metadata.put_workspace(WORKSPACE, "default"))
        transport = httpx.ASGITransport(create_app(metadata, MemoryBlobs(), Setup().config))
        headers = {"Authorization": f"Bearer {ROOT_SECRET}"}
        self.http = httpx.AsyncClient(transport=transport, base_url="http://test/api/v1", headers=headers)
        self.names: dict[str, str] = {}
        self.names["space"] = self.post("space/create", b"{}").json()["id"]
        self.names["site"] = self.post("space/{space}/site/create", b'{"domain": "fuzz.localhost"}').json()["id"]

    def post(self, path: str, body: bytes) -> httpx.Response:
        headers = {"Content-Type": "application/json"}
        return self.runner.run(self.http.post(path.format(**self.names), content=body, headers=headers))

    def get(self, path: str, rest: str) -> httpx.Response:
        return self.runner.run(self.http.get(path.format(**self.names) + rest))

    def close(self) -> None:
        self.runner.run(self.http.aclose())
        self.runner.close()


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    world = World()
    yield world
    world.close()


@pytest.mark.slow
@pytest.mark.parametrize("path", PATHS)
@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(body=raw_bodies)
def test_no_body_is_a_failure(world: World, path: str, body: bytes) -> None:
    answer = world.post(path, body)
    assert answer.status_code in (200, 400, 404, 409, 413), answer.text
    assert json.loads(answer.content.decode())


@pytest.mark.slow
@settings(max_examples=100, deadline=None)
@given(name=st.text(max_size=30), query=st.dictionaries(parameters, texts, max_size=4))
def test_no_url_is_a_failure(world: World, name: str, query: dict[str, str]) -> None:
    for path in ("space/list", "space/{space}/site/list", "space/{space}/storage/list/"):
        answer = world.get(path, f"?{urlencode(query)}")
        assert answer.status_code in (200, 400), answer.text
    segment = quote(name, safe="")
    for path, rest in (("space/", f"{segment}/fetch"), ("space/{space}/site/", f"{segment}/fetch")):
        answer = world.get(path, rest)
        assert answer.status_code in (200, 400, 404), answer.text
    answer = world.get("space/{space}/storage/download/", segment)
    assert answer.status_code in (400, 404), answer.text

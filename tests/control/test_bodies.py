"""Bodies that would take long or much memory: each is refused early, or worked on where nobody waits for it."""

from __future__ import annotations

import asyncio
import base64
import os
import threading
import tracemalloc
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.requests import Request
from structlog.testing import capture_logs

from server.control import bodies, deployments
from server.control.errors import MAX_DETAILS, ApiError
from server.control.fields import MAX_FIELDS, MAX_META_KEYS
from storage.errors import Invalid
from tests.control.api import Api, one_store, refused
from tests.control.conftest import Setup

FILE = {"digest": "0" * 64, "size": 1}


@pytest.fixture(autouse=True)
def folder(setup: Setup, tmp_path: Path) -> Path:
    """Where large bodies wait; they may be very large."""
    folder = tmp_path / "bodies"
    folder.mkdir()
    setup.config = replace(setup.config, max_json_bytes=1024**2, max_large_json_bytes=16 * 1024**2, body_folder=folder)
    return folder


@pytest.fixture
async def create(api: Api) -> Callable[[Any], Awaitable[Any]]:
    """Asks for a deployment of these files."""
    space = await api.space()

    async def post(files: Any, **fields: Any) -> Any:
        return await api.post(f"space/{space}/deployment/create", {"files": files, **fields})

    return post


@one_store
async def test_far_too_many_fields_are_not_named_one_by_one(api: Api, create: Callable[[Any], Awaitable[Any]]) -> None:
    many = {f"k{number}": 1 for number in range(MAX_FIELDS + 1)}
    assert "1001 fields" in refused(await api.post("space/create", many), 400, "BAD_REQUEST", "body")
    assert "1001 fields" in refused(await create({"a": many}), 400, "BAD_REQUEST", "files.a")
    upload = await api.post(f"space/{await api.space()}/storage/upload/a", many)
    assert "1001 fields" in refused(upload, 400, "BAD_REQUEST", "body")


@one_store
@pytest.mark.parametrize("wrap", [lambda meta: meta, lambda meta: {"$update": meta}])
async def test_far_too_many_keys_of_meta(api: Api, wrap: Callable[[Any], Any]) -> None:
    meta = {f"_{number}": 1 for number in range(MAX_META_KEYS + 1)}
    message = refused(await api.post("space/create", {"meta": wrap(meta)}), 400, "BAD_REQUEST", "meta")
    assert "more than 4096 keys" in message
    assert await api.space(meta=wrap({f"{number}": None for number in range(MAX_META_KEYS)}))


@one_store
async def test_only_the_first_bad_scope_is_named(api: Api) -> None:
    answer = await api.post("key/create", {"name": "x", "scopes": [1] * 1000})
    refused(answer, 400, "BAD_REQUEST", "scopes.0")


@one_store
async def test_a_manifest_has_a_limit_of_files(
    monkeypatch: pytest.MonkeyPatch, create: Callable[[Any], Awaitable[Any]]
) -> None:
    monkeypatch.setattr(deployments, "MAX_FILES", 3)
    assert (await create({str(number): FILE for number in range(3)})).status_code == 200
    answer = await create({str(number): FILE for number in range(4)})
    assert "more than 3" in refused(answer, 400, "BAD_REQUEST", "files")


@one_store
async def test_a_manifest_is_judged_up_to_enough_mistakes(create: Callable[[Any], Awaitable[Any]]) -> None:
    paths = [f"files.{number}.{field}" for number in range(MAX_DETAILS) for field in ("digest", "size")]
    refused(await create({str(number): {} for number in range(1000)}), 400, "BAD_REQUEST", *paths[:MAX_DETAILS])
    answer = await create({"good": FILE, "a": 1, "b": {**FILE, "size": "1"}, "c": FILE})
    refused(answer, 400, "BAD_REQUEST", "files.a", "files.b.size")


@one_store
async def test_too_many_values_are_refused_before_they_are_parsed(api: Api) -> None:
    space = await api.space()

    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(20):
            yield b"[]," * 20_000

    headers = {"Content-Type": "application/json"}
    answer = await api.post(f"space/{space}/deployment/create", content=chunks(), headers=headers)
    assert "400000 values" in refused(answer, 400, "BAD_REQUEST", "body")


def large_request() -> Request:
    """One whose body is large and says nothing."""

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"{}".ljust(bodies.SMALL_JSON + 1)}

    return Request({"type": "http", "method": "POST", "headers": []}, receive)


async def test_large_bodies_take_turns_and_are_parsed_in_a_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    turns = asyncio.Semaphore(1)
    threads: list[threading.Thread] = []
    parse = bodies.parse_json

    def noted(body: bytes) -> Any:
        threads.append(threading.current_thread())
        return parse(body)

    monkeypatch.setattr(bodies, "parse_json", noted)
    async with bodies.open_json(large_request(), 10**6, turns) as body:
        assert body.value == {}
        assert turns.locked()
        second = asyncio.ensure_future(bodies.open_json(large_request(), 10**6, turns).__aenter__())
        await asyncio.sleep(0)
        assert not second.done()
    assert (await second).value == {}
    assert threading.main_thread() not in threads


@one_store
async def test_memory_does_not_grow_with_bodies_that_are_on_their_way(api: Api) -> None:
    space = await api.space()
    clients, block, blocks = 8, b"QUFB" * 16_384, 64
    waiting, go_on = asyncio.Semaphore(0), asyncio.Event()

    async def chunks() -> AsyncIterator[bytes]:
        yield b'{"file":"data:;base64,'
        for _ in range(blocks):
            yield block
        waiting.release()
        await go_on.wait()
        yield b'"}'

    async def upload() -> httpx.Response:
        headers = {"Content-Type": "application/json"}
        return await api.post(f"space/{space}/storage/upload/a", content=chunks(), headers=headers)

    tracemalloc.start()
    try:
        uploads = [asyncio.ensure_future(upload()) for _ in range(clients)]
        for _ in uploads:
            await waiting.acquire()
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < clients * blocks * len(block) / 4
    go_on.set()
    for answer in await asyncio.gather(*uploads):
        assert refused(answer, 413, "PAYLOAD_TOO_LARGE") == "larger than the limit of 100000 bytes"


@one_store
async def test_a_folder_that_takes_no_large_body(api: Api, folder: Path) -> None:
    await asyncio.to_thread(folder.rmdir)
    large: dict[str, Any] = {"content": b"{}".ljust(bodies.SMALL_JSON + 1), "headers": {"Content-Type": bodies.JSON}}
    with capture_logs() as logs:
        answer = await api.post("space/create", **large)
    refused(answer, 503, "SERVICE_UNAVAILABLE")
    assert answer.headers["retry-after"] == "1"
    assert "cannot be kept until it is whole" in logs[0]["traceback"]
    await asyncio.to_thread(folder.mkdir)
    assert (await api.post("space/create", **large)).is_success
    assert await asyncio.to_thread(os.listdir, folder) == []


@one_store
async def test_a_turn_ends_with_a_body_that_is_refused(api: Api) -> None:
    space = await api.space()
    body = b"nonsense".ljust(bodies.SMALL_JSON + 1)
    headers = {"Content-Type": "application/json"}
    for _ in range(bodies.LARGE_AT_ONCE + 1):
        answer = await api.post(f"space/{space}/deployment/create", content=body, headers=headers)
        refused(answer, 400, "BAD_REQUEST", "body")
    with pytest.raises(ApiError):
        bodies.parse_json(body)


def test_a_long_data_url_has_to_be_in_base64() -> None:
    content = bytes(range(256)) * 2000
    url = "data:;base64," + base64.b64encode(content).decode()
    assert bodies.parse_data_url(url, field="file") == content
    assert bodies.parse_data_url("data:;base64,aGk%3D", field="file") == b"hi"
    with pytest.raises(Invalid, match="send it in base64"):
        bodies.parse_data_url("data:," + "%41" * bodies.MAX_ESCAPED_URL, field="file")
    with pytest.raises(Invalid, match="is not a data: URL"):
        bodies.parse_data_url("data:" + "x" * bodies.MAX_URL_HEAD + ",", field="file")

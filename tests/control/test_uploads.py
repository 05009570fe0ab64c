"""Uploads on the wire: broken off, endless, too large by announcement, and forms that are not well made."""

from __future__ import annotations

import asyncio
import tracemalloc
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from server.control.multipart import read_file
from storage.errors import Invalid
from storage.local import LOCK_FILE
from tests.control.api import ROOT_SECRET, Api, one_store, refused
from tests.control.conftest import Setup

FORM = "multipart/form-data; boundary=B"


async def connect(api: Api, path: str, *headers: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A connection on which a POST has begun; its body is still to be sent."""
    reader, writer = await asyncio.open_connection("127.0.0.1", api.port)
    lines = (f"POST /api/v1/{path} HTTP/1.1", "Host: x", f"Authorization: Bearer {ROOT_SECRET}", *headers)
    writer.write("".join(f"{line}\r\n" for line in (*lines, "")).encode())
    return reader, writer


def stored_files(tmp_path: Path) -> list[Path]:
    """The contents that a local blob store holds, or parts of them."""
    return [path for path in tmp_path.rglob("*") if path.is_file() and path.name != LOCK_FILE]


async def read_answer(reader: asyncio.StreamReader) -> bytes:
    """The head and body of one answer."""
    head = await reader.readuntil(b"\r\n\r\n")
    length = next(line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
    return head + await reader.readexactly(int(length.partition(b":")[2]))


@pytest.mark.parametrize("content_type", ["application/octet-stream", FORM, "application/json"])
async def test_an_upload_broken_off_half_way_leaves_nothing(
    api: Api, tmp_path: Path, caplog: pytest.LogCaptureFixture, content_type: str
) -> None:
    space = await api.space()
    path = f"space/{space}/storage/upload/file"
    with capture_logs() as logs:
        headers = ("Content-Length: 90000", "Expect: 100-continue", f"Content-Type: {content_type}")
        reader, writer = await connect(api, path, *headers)
        assert await reader.readline() == b"HTTP/1.1 100 Continue\r\n"
        writer.write(b'--B\r\nContent-Disposition: form-data; name="file"\r\n\r\n' + b"x" * 40_000)
        await writer.drain()
        writer.close()
        await writer.wait_closed()
        await api.settled()
    assert await api.paths(space) == []
    assert stored_files(tmp_path / "blobs") == []
    assert logs == []
    assert [record for record in caplog.records if record.levelname in ("WARNING", "ERROR")] == []


@one_store
async def test_a_body_that_is_announced_too_large_is_not_waited_for(api: Api) -> None:
    space = await api.space()
    for path, content_type, length in (
        (f"space/{space}/storage/upload/file", "application/octet-stream", 100_001),
        (f"space/{space}/storage/upload/file", FORM, 100_001 + 64 * 1024),
        (f"space/{space}/storage/upload/file", "application/json", 200_001),
        ("space/create", "application/json", 40_001),
        ("space/create", "application/json", 10**18),
    ):
        reader, writer = await connect(api, path, f"Content-Type: {content_type}", f"Content-Length: {length}")
        answer = await read_answer(reader)
        writer.close()
        await writer.wait_closed()
        assert answer.startswith(b"HTTP/1.1 413 "), answer
        assert b"PAYLOAD_TOO_LARGE" in answer
        assert (b"connection: close\r\n" in answer.lower()) == (length > 64 * 1024)


@one_store
@pytest.mark.parametrize("key", [ROOT_SECRET, "sk-wrong"])
async def test_a_client_that_sends_first_and_reads_then_gets_its_refusal(api: Api, key: str) -> None:
    space = await api.space()

    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(32):
            yield b"x" * 65_536

    answer = await api.post(f"space/{space}/storage/upload/file", content=chunks(), key=key)
    assert answer.status_code == (413 if key == ROOT_SECRET else 401)
    assert answer.headers["connection"] == "close"
    assert await api.paths(space) == []


@one_store
async def test_an_endless_body_is_cut(api: Api) -> None:
    space = await api.space()
    reader, writer = await connect(api, f"space/{space}/storage/upload/file", "Transfer-Encoding: chunked")
    sent = 0

    async def send() -> None:
        nonlocal sent
        while sent < 1024**3:
            writer.write(b"10000\r\n" + b"x" * 65_536 + b"\r\n")
            sent += 65_536
            await writer.drain()

    with pytest.raises(ConnectionError):  # the server closes while we still send
        await send()
    writer.close()
    await api.settled()
    assert sent < 64 * 1024**2  # what the server lingers for, and what the sockets' buffers take
    assert await api.paths(space) == []


async def test_a_small_unread_body_keeps_the_connection(api: Api) -> None:
    answer = await api.post("space/create", {"name": "x"}, key="sk-wrong")
    refused(answer, 401, "NOT_AUTHENTICATED")
    assert "connection" not in answer.headers
    assert answer.headers["www-authenticate"] == "Bearer"


def part(name: str, content: str = "content", disposition: str = "form-data") -> str:
    return f'--B\r\nContent-Disposition: {disposition}; name="{name}"; filename="f"\r\nX: y\r\n\r\n{content}\r\n'


@one_store
@pytest.mark.parametrize(
    ("body", "path"),
    [
        ("--B--\r\n", "file"),
        ("", "body"),
        ("no form at all", "body"),
        (part("file"), "body"),
        (part("file").rstrip(), "body"),
        (part("other") + "--B--\r\n", "other"),
        (part("file") + part("other") + "--B--\r\n", "other"),
        (part("file") + part("file") + "--B--\r\n", "file"),
        ("--B\r\n\r\nno headers\r\n--B--\r\n", "body"),
        ("--B\r\nX: " + "y" * 10_000 + "\r\n\r\n\r\n--B--\r\n", "body"),
        ("--B\r\nbad header\r\n\r\n\r\n--B--\r\n", "body"),
    ],
)
async def test_a_form_that_is_not_one_file_is_refused(api: Api, body: str, path: str) -> None:
    space = await api.space()
    upload = f"space/{space}/storage/upload/file"
    answer = await api.post(upload, content=body.encode(), headers={"Content-Type": FORM})
    refused(answer, 400, "BAD_REQUEST", path)
    assert await api.paths(space) == []


@one_store
@pytest.mark.parametrize(
    "content_type",
    ["multipart/form-data", "multipart/form-data; boundary=", f"multipart/form-data; boundary={'B' * 300}"],
)
async def test_a_form_needs_a_boundary(api: Api, content_type: str) -> None:
    space = await api.space()
    answer = await api.post(
        f"space/{space}/storage/upload/file", content=b"--B--", headers={"Content-Type": content_type}
    )
    refused(answer, 400, "BAD_REQUEST", "body")


async def test_a_form_without_end_is_cut_after_it(api: Api) -> None:
    space = await api.space()
    body = part("file") + "--B--\r\n"

    async def chunks() -> AsyncIterator[bytes]:
        yield body.encode()
        for _ in range(100):
            yield b"epilogue" * 1000

    answer = await api.post(f"space/{space}/storage/upload/file", content=chunks(), headers={"Content-Type": FORM})
    refused(answer, 413, "PAYLOAD_TOO_LARGE")
    assert await api.paths(space) == []


async def test_a_form_is_the_same_however_it_is_cut() -> None:
    body = (part("file", "one\r\n--Bx\r\n--C\r\ntwo") + "--B--\r\nepilogue").encode()

    async def read(size: int) -> bytes:
        async def chunks() -> AsyncIterator[bytes]:
            for start in range(0, len(body), size):
                yield body[start : start + size]

        return b"".join([data async for data in read_file(chunks(), FORM)])

    for size in range(1, len(body) + 1):
        assert await read(size) == b"one\r\n--Bx\r\n--C\r\ntwo"


async def test_a_refused_form_says_so_to_its_reader() -> None:
    async def chunks() -> AsyncIterator[bytes]:
        yield part("file").encode()

    with pytest.raises(Invalid, match="ends before its last boundary"):
        assert [data async for data in read_file(chunks(), FORM)]


@pytest.fixture
def roomy(setup: Setup) -> None:
    setup.config = replace(setup.config, max_file_bytes=1024**3)


@pytest.mark.slow
@pytest.mark.parametrize("stores", ["sqlite"], indirect=True)
@pytest.mark.parametrize("kind", ["raw", "form"])
async def test_memory_does_not_grow_with_the_upload(roomy: None, api: Api, kind: str) -> None:
    space = await api.space()
    block, blocks = b"x" * 65_536, 1024

    async def chunks() -> AsyncIterator[bytes]:
        if kind == "form":
            yield b'--B\r\nContent-Disposition: form-data; name="file"\r\n\r\n'
        for _ in range(blocks):
            yield block
        if kind == "form":
            yield b"\r\n--B--\r\n"

    headers = {"Content-Type": FORM} if kind == "form" else {}
    tracemalloc.start()
    try:
        await api.created(f"space/{space}/storage/upload/file", content=chunks(), headers=headers)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 8 * 1024**2
    (item,) = (await api.fetched(f"space/{space}/storage/list"))["items"]
    assert item["size"] == len(block) * blocks

"""Uploading the contents of a deployment, many in a call."""

from __future__ import annotations

import asyncio
import hashlib
import tracemalloc
from collections.abc import AsyncIterator, Iterable, Mapping
from dataclasses import replace

import httpx
import pytest

from server.control import contents
from storage.errors import Unavailable
from tests.control.api import WORKSPACE, Api, one_store, refused
from tests.control.conftest import Setup
from tests.control.test_deployments import create, manifest

BOUNDARY = "B"
FORM = f"multipart/form-data; boundary={BOUNDARY}"
END = f"--{BOUNDARY}--\r\n".encode()
TEXTS = {f"{number}.txt": b"%d " % number * 500 for number in range(5)}
LARGE = bytes(range(256)) * 8192  # too large to wait in memory


def digest_of(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def part(name: str, content: bytes) -> bytes:
    head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"; filename="f"\r\n\r\n'
    return head.encode() + content + b"\r\n"


def form(parts: Iterable[tuple[str, bytes]]) -> bytes:
    return b"".join(part(*each) for each in parts) + END


def named(files: Iterable[bytes]) -> list[tuple[str, bytes]]:
    return [(digest_of(content), content) for content in files]


class Deploying:
    """A deployment whose contents are to be uploaded."""

    def __init__(self, api: Api, space: str, id: str) -> None:
        self.api = api
        self.url = f"space/{space}/deployment/{id}"

    async def send(self, body: bytes | AsyncIterator[bytes], **extra: str) -> httpx.Response:
        return await self.api.post(f"{self.url}/blobs", content=body, headers={"Content-Type": FORM}, **extra)

    async def missing(self) -> list[str]:
        answer = await self.api.fetched(f"{self.url}/missing")
        assert self.url.endswith(answer["id"])
        missing: list[str] = answer["missing"]
        return missing


async def begin(api: Api, files: Mapping[str, bytes]) -> Deploying:
    space = await api.space()
    return Deploying(api, space, (await create(api, space, manifest(files)))["id"])


@pytest.fixture
def roomy(setup: Setup) -> None:
    setup.config = replace(setup.config, max_file_bytes=1024**3)


async def test_many_in_a_call(roomy: None, api: Api) -> None:
    files = {**TEXTS, "again.txt": TEXTS["0.txt"], "empty": b"", "large.bin": LARGE, "short.txt": b"short"}
    deploying = await begin(api, files)
    sent = named({*files.values()})
    assert await deploying.missing() == sorted(digest for digest, _ in sent)
    answer = await deploying.send(form(sent))
    assert answer.status_code == 200, answer.text
    assert sorted(answer.json()["taken"]) == sorted(digest for digest, _ in sent)
    assert await deploying.missing() == []
    await api.created(f"{deploying.url}/activate")
    space = deploying.url.split("/")[1]
    for path, content in files.items():
        assert (await api.get(f"space/{space}/storage/download/{path}")).content == content
    live = await api.metadata.find_files(space, list(files), await api.metadata.get_revision())
    assert {path for path, file in live.items() if file.variants} == {*TEXTS, "again.txt"}
    (variant,) = live["1.txt"].variants
    assert (variant.coding, variant.size) == ("gzip", len(await api.blobs.read(variant.digest)))


async def test_more_than_wait_together(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (contents, "server.control.deployment_blobs"):
        monkeypatch.setattr(f"{getattr(module, '__name__', module)}.BATCH", 2)
    deploying = await begin(api, TEXTS)
    answer = await deploying.send(form(named(TEXTS.values())))
    assert answer.json()["taken"] == [digest for digest, _ in named(TEXTS.values())]


async def test_sending_them_again_is_harmless(api: Api) -> None:
    deploying = await begin(api, TEXTS)
    sent = named(TEXTS.values())
    for _ in range(2):
        assert len((await deploying.send(form([*sent, *sent]))).json()["taken"]) == len(sent)
    assert (await deploying.send(END)).json()["taken"] == []


@pytest.mark.parametrize(
    ("bad", "status", "code", "path"),
    [
        ((digest_of(b"1"), b"2"), 400, "BAD_REQUEST", [digest_of(b"1")]),
        ((digest_of(b"stranger"), b"stranger"), 404, "NOT_FOUND", []),
        ((digest_of(b"stranger"), LARGE), 404, "NOT_FOUND", []),
        ((digest_of(b"1"), LARGE), 413, "PAYLOAD_TOO_LARGE", []),
        (("index.html", b"1"), 400, "BAD_REQUEST", ["index.html"]),
        (("", b"1"), 400, "BAD_REQUEST", ["body"]),
    ],
)
async def test_a_bad_part_ends_the_call_and_what_came_before_stays(
    roomy: None, api: Api, bad: tuple[str, bytes], status: int, code: str, path: list[str]
) -> None:
    deploying = await begin(api, {"one": b"1", "before": b"before", "beside": b"beside", "large": LARGE})
    answer = await deploying.send(form([*named([b"before"]), bad]))
    refused(answer, status, code, *path)
    assert set(await deploying.missing()) == {digest_of(content) for content in (b"1", b"beside", LARGE)}


async def test_a_size_that_lies_is_found_out(api: Api) -> None:
    files = manifest({"file": b"content", "good": b"good"})
    files["file"]["size"] = 8
    space = await api.space()
    deploying = Deploying(api, space, (await create(api, space, files))["id"])
    refused(await deploying.send(form(named([b"content", b"good"]))), 400, "BAD_REQUEST", "size")
    assert await deploying.missing() == [digest_of(b"content")]


@one_store
async def test_only_a_form_of_the_deployments_size_is_taken(api: Api) -> None:
    deploying = await begin(api, TEXTS)
    refused(await api.post(f"{deploying.url}/blobs", content=b"x"), 400, "BAD_REQUEST", "body")
    refused(await deploying.send(form(named(TEXTS.values()))[: -len(END)]), 400, "BAD_REQUEST", "body")
    assert await deploying.missing() == [digest_of(TEXTS["4.txt"])]  # its end was not seen

    async def endless() -> AsyncIterator[bytes]:
        yield form([])
        for _ in range(100):
            yield b"epilogue" * 1000

    for body in (endless(), b"x" * 200_000):  # one announces its size
        refused(await deploying.send(body), 413, "PAYLOAD_TOO_LARGE")


async def test_a_call_that_breaks_off_keeps_what_was_whole(roomy: None, api: Api) -> None:
    deploying = await begin(api, {**TEXTS, "large": LARGE})
    body = form(named([*list(TEXTS.values())[:3], LARGE]))
    length = len(body) - 5
    reader, writer = await asyncio.open_connection("127.0.0.1", api.port)
    head = f"POST /api/v1/{deploying.url}/blobs HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {api.secret}\r\n"
    writer.write(f"{head}Content-Type: {FORM}\r\nContent-Length: {length}\r\n\r\n".encode() + body[: length - 100])
    await writer.drain()
    writer.close()
    await writer.wait_closed()
    assert await reader.read() == b""
    while len(await deploying.missing()) > 3:  # the server sees the end a moment later
        await api.settled()
    assert set(await deploying.missing()) == {digest_of(each) for each in (TEXTS["3.txt"], TEXTS["4.txt"], LARGE)}


async def test_a_workspace_without_room(roomy: None, api: Api) -> None:
    deploying = await begin(api, {**TEXTS, "large": LARGE})
    key = await api.key()
    await api.metadata.update_workspace(WORKSPACE, {"max_bytes": 3000})

    async def unannounced() -> AsyncIterator[bytes]:
        yield form(named([LARGE]))

    for body in (form(named([LARGE])), unannounced(), form(named(TEXTS.values()))):
        refused(await deploying.send(body, key=key), 429, "LIMITS_REACHED")
    assert len(await deploying.missing()) == len(TEXTS) + 1
    assert (await deploying.send(form(named(TEXTS.values())[:1]), key=key)).status_code == 200
    assert len(await deploying.missing()) == len(TEXTS)


@one_store
async def test_a_store_that_is_away(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    async def fail(*_: object) -> None:
        raise Unavailable("away")

    deploying = await begin(api, TEXTS)
    monkeypatch.setattr(api.blobs, "put_all", fail)
    refused(await deploying.send(form(named(TEXTS.values()))), 503, "SERVICE_UNAVAILABLE")
    refused(await deploying.send(form([*named(TEXTS.values()), ("x", b"")])), 400, "BAD_REQUEST", "x")


@pytest.mark.slow
@pytest.mark.parametrize("stores", ["sqlite"], indirect=True)
async def test_memory_does_not_grow_with_the_call(roomy: None, api: Api) -> None:
    files = {f"{number}.bin": bytes([number]) * (8 if number % 2 else 2) * 250_000 for number in range(48)}
    deploying = await begin(api, files)
    sent = [(digest_of(content), content[0], len(content)) for content in files.values()]
    files.clear()

    async def body() -> AsyncIterator[bytes]:
        for digest, byte, size in sent:
            yield part(digest, b"")[:-2]
            for _ in range(size // 50_000):
                yield bytes([byte]) * 50_000
            yield b"\r\n"
        yield END

    tracemalloc.start()
    try:
        answer = await deploying.send(body())
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert (answer.status_code, len(answer.json()["taken"])) == (200, 48)
    assert peak < 12 * 1024**2

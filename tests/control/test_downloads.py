"""Downloads: ranges and preconditions, and links that work without a key."""

from __future__ import annotations

import hashlib
import re
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest

from server.control import links
from storage.models import Digest
from tests.control.api import Api, one_store, refused
from tests.control.conftest import Setup
from tests.control.test_files import path_id

CONTENT = bytes(range(256)) * 4
ETAG = f'"{hashlib.sha256(CONTENT).hexdigest()[:32]}"'


@pytest.fixture
async def space(api: Api) -> str:
    """A space with one file."""
    space = await api.space(alias="docs")
    await api.upload(space, "a/ü b.html", CONTENT)
    return space


async def get(api: Api, **headers: str) -> httpx.Response:
    fields = {name.replace("_", "-"): value for name, value in headers.items()}
    return await api.get("space/@docs/storage/download/a/ü b.html", headers=fields)


@pytest.mark.usefixtures("space")
async def test_a_whole_file(api: Api) -> None:
    for accept in ("*/*", "text/html", "application/octet-stream", "application/json, text/plain, */*"):
        answer = await get(api, accept=accept)
        assert (answer.status_code, answer.content) == (200, CONTENT)
        expected = {
            "content-type": "text/html; charset=utf-8",
            "content-length": "1024",
            "etag": ETAG,
            "accept-ranges": "bytes",
            "content-disposition": "attachment",
            "x-content-type-options": "nosniff",
            "cache-control": "no-store",
        }
        assert {name: answer.headers.get(name) for name in expected} == expected
        assert re.fullmatch(r"\w{3}, \d\d \w{3} \d{4} \d\d:\d\d:\d\d GMT", answer.headers["last-modified"])


@pytest.mark.usefixtures("space")
@pytest.mark.parametrize(
    ("wanted", "start", "stop"),
    [("bytes=0-99", 0, 100), ("bytes=1000-", 1000, 1024), ("bytes=-24", 1000, 1024), ("bytes=0-9999", 0, 1024)],
)
async def test_a_range(api: Api, wanted: str, start: int, stop: int) -> None:
    answer = await get(api, range=wanted, if_range=ETAG)
    assert (answer.status_code, answer.content) == (206, CONTENT[start:stop])
    assert answer.headers["content-range"] == f"bytes {start}-{stop - 1}/1024"
    assert answer.headers["content-length"] == str(stop - start)
    assert answer.headers["content-disposition"] == "attachment"


@pytest.mark.usefixtures("space")
async def test_several_ranges(api: Api) -> None:
    answer = await get(api, range="bytes=0-1,10-11")
    assert answer.status_code == 206
    boundary = answer.headers["content-type"].removeprefix("multipart/byteranges; boundary=")
    parts = answer.content.split(f"--{boundary}".encode())
    assert [part.rpartition(b"\r\n\r\n")[2][:2] for part in parts[1:3]] == [CONTENT[:2], CONTENT[10:12]]
    assert int(answer.headers["content-length"]) == len(answer.content)


@pytest.mark.usefixtures("space")
async def test_a_range_that_the_file_does_not_have(api: Api) -> None:
    answer = await get(api, range="bytes=1024-")
    refused(answer, 416, "RANGE_NOT_SATISFIABLE")
    assert answer.headers["content-range"] == "bytes */1024"


@pytest.mark.usefixtures("space")
async def test_a_range_that_no_longer_applies(api: Api) -> None:
    for headers in ({"if_range": '"other"'}, {"if_range": "Mon, 21 Sep 2020 00:00:00 GMT"}):
        assert (await get(api, range="bytes=0-1", **headers)).content == CONTENT
    assert (await get(api, range="lines=0-1")).content == CONTENT


@pytest.mark.usefixtures("space")
async def test_what_the_caller_has_already(api: Api, setup: Setup) -> None:
    setup.now = 4_000_000_000_000  # later than the stores' clock says
    modified = (await get(api)).headers["last-modified"]
    for headers in ({"if_none_match": ETAG}, {"if_none_match": "*"}, {"if_modified_since": modified}):
        answer = await get(api, **headers)
        assert (answer.status_code, answer.content, answer.headers["etag"]) == (304, b"", ETAG)
        assert "content-type" not in answer.headers
    refused(await get(api, if_match='"other"'), 412, "PRECONDITION_FAILED")
    assert (await get(api, if_match=ETAG)).status_code == 200


async def test_an_empty_file(api: Api, space: str) -> None:
    await api.upload(space, "empty", b"")
    answer = await api.get(f"space/{space}/storage/download/empty")
    assert (answer.status_code, answer.content, answer.headers["content-length"]) == (200, b"", "0")


async def test_what_is_not_there(api: Api, space: str) -> None:
    for accept in ("*/*", "application/json"):
        for path in ("nothing", "a"):
            answer = await api.get(f"space/{space}/storage/download/{path}", headers={"accept": accept})
            assert refused(answer, 404, "NOT_FOUND") == f"file '{path}' does not exist"


async def link(api: Api, **headers: str) -> str:
    """A link to the file."""
    answer = await get(api, accept="application/json", **headers)
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/json"
    body = answer.json()
    assert set(body) == {"id", "url"}
    assert body["id"] == path_id("a/ü b.html")
    return str(body["url"])


async def test_a_link_works_without_a_key(api: Api, space: str) -> None:
    url = await link(api)
    shown = re.escape(f"http://127.0.0.1:{api.port}/api/v1/space/{space}/storage/signed/a/%C3%BC%20b.html")
    assert re.fullmatch(shown + r"\?expires=1790000300&signature=[0-9a-f]{64}", url)
    answer = await api.http.get(url)
    assert (answer.status_code, answer.content) == (200, CONTENT)
    assert answer.headers["content-disposition"] == "attachment"
    assert (await api.http.get(url, headers={"Range": "bytes=0-0"})).status_code == 206
    # What counts is the file, not what it held: it is the newest content, and ends with the file.
    await api.upload(space, "a/ü b.html", b"newer")
    assert (await api.http.get(url)).content == b"newer"
    await api.created(f"space/{space}/storage/delete/a/ü b.html")
    refused(await api.http.get(url), 404, "NOT_FOUND")
    await api.created(f"space/{space}/delete")
    refused(await api.http.get(url), 404, "NOT_FOUND")


@pytest.mark.usefixtures("space")
async def test_a_link_is_to_where_the_caller_found_the_server(api: Api) -> None:
    urls = [
        await link(api, host="api.example.com", x_forwarded_proto="https"),
        await link(api, host="api.example.com:81", x_forwarded_proto="gopher"),
    ]
    assert [urlsplit(url)[:2] for url in urls] == [("https", "api.example.com"), ("http", "api.example.com:81")]


@one_store
async def test_a_link_ends(api: Api, setup: Setup, space: str) -> None:
    url = await link(api)
    setup.now += links.LINK_SECONDS * 1000 - 1
    assert (await api.http.get(url)).status_code == 200
    setup.now += 1
    assert "ask for a new one" in refused(await api.http.get(url), 403, "NOT_AUTHORIZED")
    assert space in url


@one_store
async def test_a_link_is_for_one_file_and_one_time(api: Api, space: str) -> None:
    await api.upload(space, "a/other.html")
    other = await api.space()
    await api.upload(other, "a/ü b.html")
    url = await link(api)
    query = parse_qs(urlsplit(url).query)
    signature = query["signature"][0]
    forged = f"{int(signature[0], 16) ^ 1:x}{signature[1:]}"
    for wrong in (
        url.replace("%C3%BC%20b", "other"),
        url.replace(space, other),
        url.replace("expires=1790000300", "expires=1790000301"),
        url.replace(signature, forged),
        url.replace(space, "docs"),
    ):
        assert wrong != url
        refused(await api.http.get(wrong), 403, "NOT_AUTHORIZED")
    for wrong, field in (
        (url.replace(signature, "é"), "signature"),
        (url.replace(signature, signature.upper() + "0"), "signature"),
        (url.replace("expires=1790000300", "expires=soon"), "expires"),
        (url.replace("expires=1790000300", f"expires={10**30}"), "expires"),
        (url.replace("a/%C3%BC", "a/%2E%2E/%C3%BC"), "path"),
        (url.replace("a/%C3%BC", "%FF"), "path"),
    ):
        refused(await api.http.get(wrong), 400, "BAD_REQUEST", field)
    refused(await api.http.get(url.partition("?")[0]), 400, "BAD_REQUEST", "expires", "signature")
    assert (await api.http.get(url)).status_code == 200


def test_another_key_signs_otherwise() -> None:
    given = links.sign(b"one", "space_1", "a", 0)
    assert links.holds(b"one", "space_1", "a", given, 0)
    assert not links.holds(b"two", "space_1", "a", given, 0)
    assert given.expires == 300


async def test_a_blob_that_is_lost_is_a_failure_that_tells_nothing(api: Api, space: str) -> None:
    digest: Digest = hashlib.sha256(CONTENT).hexdigest()
    await api.blobs.delete(digest)
    message = refused(await get(api), 500, "INTERNAL_SERVER_ERROR")
    assert digest not in message
    assert (await get(api, if_none_match=ETAG)).status_code == 304
    assert space

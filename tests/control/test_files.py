"""Files: what uploads keep, what lists show, what downloads and deletions do."""

from __future__ import annotations

import base64
import hashlib
from typing import Any

import pytest

from tests.control.api import Api, one_store, refused
from tests.control.test_spaces import TIME


def path_id(path: str) -> str:
    return base64.urlsafe_b64encode(path.encode()).decode().rstrip("=")


async def download(api: Api, space: str, path: str) -> bytes:
    answer = await api.get(f"space/{space}/storage/download/{path}")
    assert answer.status_code == 200, answer.text
    return answer.content


@pytest.mark.parametrize("kind", ["raw", "untyped", "curl", "form", "base64", "percent"])
async def test_each_kind_of_upload_keeps_the_same_bytes(api: Api, kind: str) -> None:
    space = await api.space()
    content = bytes(range(256)) * 100 + b"\r\n--boundary--\r\n"
    url = "data:application/octet-stream;base64," + base64.b64encode(content).decode()
    ways: dict[str, dict[str, Any]] = {
        "raw": {"content": content, "headers": {"Content-Type": "application/octet-stream"}},
        "untyped": {"content": content},
        "curl": {"content": content, "headers": {"Content-Type": "application/x-www-form-urlencoded"}},
        "form": {"files": {"file": ("name.bin", content)}},
        "base64": {"json": {"file": url}},
        "percent": {"json": {"file": "data:," + "".join(f"%{byte:02x}" for byte in content)}},
    }
    answer = await api.call("POST", f"space/{space}/storage/upload/a/b.bin", **ways[kind])
    assert (answer.status_code, answer.json()) == (200, {"id": path_id("a/b.bin"), "path": "a/b.bin"})
    answer = await api.get(f"space/{space}/storage/download/a/b.bin")
    assert answer.content == content
    assert answer.headers["content-length"] == str(len(content))
    assert answer.headers["content-type"] == "application/octet-stream"
    assert answer.headers["content-disposition"] == "attachment"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["cache-control"] == "no-store"


async def test_an_upload_takes_the_place_of_what_was_there(api: Api) -> None:
    space = await api.space()
    await api.upload(space, "index.html", b"old")
    await api.upload(space, "index.html", b"")
    assert await download(api, space, "index.html") == b""
    assert await api.paths(space) == ["index.html"]


async def test_paths_are_decoded_once_and_kept_as_nfc(api: Api) -> None:
    space = await api.space()
    await api.upload(space, "a%20b//e%CC%81%2Fc%2525.txt")
    assert await api.paths(space) == ["a b/é/c%25.txt"]
    assert await download(api, space, "a%20b/%C3%A9/c%2525.txt") == b"content"


async def test_lists_show_one_level_or_everything(api: Api) -> None:
    space = await api.space()
    for path in ("index.html", "img/a.png", "img/deep/b.svg", "z"):
        await api.upload(space, path, path.encode())

    listed = await api.fetched(f"space/{space}/storage/list")
    for item in listed["items"]:
        assert TIME.fullmatch(item.pop("updatedAt"))
    assert listed == {
        "items": [
            {
                "id": path_id("img"),
                "path": "img",
                "size": 0,
                "isDirectory": True,
                "contentType": None,
                "digest": None,
            },
            {
                "id": path_id("index.html"),
                "path": "index.html",
                "size": 10,
                "isDirectory": False,
                "contentType": "text/html; charset=utf-8",
                "digest": hashlib.sha256(b"index.html").hexdigest(),
            },
            {
                "id": path_id("z"),
                "path": "z",
                "size": 1,
                "isDirectory": False,
                "contentType": "application/octet-stream",
                "digest": hashlib.sha256(b"z").hexdigest(),
            },
        ],
        "cursor": "",
    }

    async def paths(query: str) -> list[str]:
        return [item["path"] for item in (await api.fetched(f"space/{space}/storage/{query}"))["items"]]

    assert await paths("list/img") == ["img/a.png", "img/deep"]
    assert await paths("list/img/") == ["img/a.png", "img/deep"]
    assert await paths("list/") == ["img", "index.html", "z"]
    assert await paths("list/img?recursive=true") == ["img/a.png", "img/deep/b.svg"]
    assert await paths("list?recursive=true&order=desc") == ["z", "index.html", "img/deep/b.svg", "img/a.png"]
    assert await paths("list/nothing") == []
    refused(await api.get(f"space/{space}/storage/list/a%2F..%2Fb"), 400, "BAD_REQUEST", "path")
    refused(await api.get(f"space/{space}/storage/list?recursive=perhaps"), 400, "BAD_REQUEST", "recursive")


async def test_a_file_and_then_a_folder_are_deleted(api: Api) -> None:
    space = await api.space()
    for path in ("a", "a/one", "a/two/three", "ab/four", "b", "b/five", "c/six"):
        await api.upload(space, path)
    delete = f"space/{space}/storage/delete"
    answer = await api.post(f"{delete}/a")
    assert (answer.status_code, answer.json()) == (200, {"id": path_id("a"), "path": "a"})
    refused(await api.post(f"{delete}/a"), 400, "BAD_REQUEST", "recursive")
    refused(await api.post(f"{delete}/a", {"recursive": False}), 400, "BAD_REQUEST", "recursive")
    assert await api.paths(space) == ["a/one", "a/two/three", "ab/four", "b", "b/five", "c/six"]
    assert await api.created(f"{delete}/a", {"recursive": True}) == path_id("a")
    assert await api.created(f"{delete}/b?recursive=true") == path_id("b")
    assert await api.created(f"{delete}/c/six", {"recursive": True}) == path_id("c/six")
    assert await api.paths(space) == ["ab/four"]
    refused(await api.post(f"{delete}/a"), 404, "NOT_FOUND")
    refused(await api.post(f"{delete}/a", {"recursive": True}), 404, "NOT_FOUND")
    refused(await api.post(f"{delete}/", {"recursive": True}), 400, "BAD_REQUEST", "path")
    refused(await api.post(f"{delete}/ab", {"recursive": "true"}), 400, "BAD_REQUEST", "recursive")
    refused(await api.post(f"{delete}/ab", {"all": True}), 400, "BAD_REQUEST", "all")
    assert await api.paths(space) == ["ab/four"]


async def test_a_file_that_is_not_there_is_404(api: Api) -> None:
    space = await api.space()
    await api.upload(space, "folder/file")
    for path in ("nothing", "folder", "folder/file/more"):
        refused(await api.get(f"space/{space}/storage/download/{path}"), 404, "NOT_FOUND")
    refused(await api.get(f"space/{space}/storage/download/"), 400, "BAD_REQUEST", "path")


@one_store
@pytest.mark.parametrize(
    "path",
    [
        "",
        "%2F",
        "a/%2E%2E/b",
        "%2E",
        "a%5Cb",
        "a%0Ab".replace("%0A", "%09"),
        "x" * 256,
        "a/" * 65 + "b",
        "a%00b",
        "%FF",
    ],
)
async def test_a_bad_path_is_refused_before_the_body_is_read(api: Api, path: str) -> None:
    space = await api.space()
    answer = await api.post(f"space/{space}/storage/upload/{path}", content=b"content")
    refused(answer, 400, "BAD_REQUEST", "path")
    assert await api.paths(space) == []


@one_store
@pytest.mark.parametrize(
    ("json", "path"),
    [
        ({}, "file"),
        ({"file": 1}, "file"),
        ({"file": "aGk="}, "file"),
        ({"file": "data:text/plain;base64"}, "file"),
        ({"file": "data:text/plain;base64,a"}, "file"),
        ({"file": "data:text/plain;base64,ü==="}, "file"),
        ({"file": "data:,x", "name": "y"}, "name"),
        ([1], "body"),
        ("data:,x", "body"),
    ],
)
async def test_a_bad_data_url_is_refused(api: Api, json: Any, path: str) -> None:
    space = await api.space()
    refused(await api.post(f"space/{space}/storage/upload/file", json), 400, "BAD_REQUEST", path)
    assert await api.paths(space) == []


async def test_a_range_of_neither_too_many_nor_too_few_bytes(api: Api) -> None:
    space = await api.space()
    upload = f"space/{space}/storage/upload/file"
    full, over = b"x" * 100_000, b"x" * 100_001
    await api.created(upload, content=full)
    refused(await api.post(upload, content=over), 413, "PAYLOAD_TOO_LARGE")
    refused(await api.call("POST", upload, files={"file": over}), 413, "PAYLOAD_TOO_LARGE")
    url = "data:;base64," + base64.b64encode(over).decode()
    refused(await api.post(upload, {"file": url}), 413, "PAYLOAD_TOO_LARGE")
    refused(await api.post(upload, {"file": "data:," + "x" * 200_000}), 413, "PAYLOAD_TOO_LARGE")
    assert await download(api, space, "file") == full
    answer = await api.call("POST", upload, files={"file": full})
    assert answer.status_code == 200


async def test_a_file_and_then_a_folder_are_copied_and_moved(api: Api) -> None:
    space = await api.space(alias="docs")
    for path in ("a/x", "a/ü/y", "b/x"):
        await api.upload(space, path, path.encode())
    storage = "space/@docs/storage"
    answer = await api.post(f"{storage}/copy/a/x", {"destinationPath": "/c//e\u0301 f/%41"})
    assert (answer.status_code, answer.json()) == (200, {"id": path_id("c/é f/%41"), "path": "c/é f/%41"})
    assert await download(api, space, "c/%C3%A9%20f/%2541") == b"a/x"
    answer = await api.post(f"{storage}/copy/a", {"destinationPath": "b/"})
    assert (answer.status_code, answer.json()) == (200, {"id": path_id("b"), "path": "b"})
    assert await api.paths(space) == ["a/x", "a/ü/y", "b/x", "b/ü/y", "c/é f/%41"]
    assert await download(api, space, "b/x") == b"a/x"
    answer = await api.post(f"{storage}/move/a", {"destinationPath": "d"})
    assert (answer.status_code, answer.json()) == (200, {"id": path_id("d"), "path": "d"})
    answer = await api.post(f"{storage}/move/d/x", {"destinationPath": "b/x/z"})
    assert (answer.status_code, answer.json()) == (200, {"id": path_id("b/x/z"), "path": "b/x/z"})
    assert await api.paths(space) == ["b/x", "b/x/z", "b/ü/y", "c/é f/%41", "d/ü/y"]


@pytest.mark.parametrize("verb", ["copy", "move"])
@pytest.mark.parametrize(
    ("path", "body", "field"),
    [
        ("a", {}, "destinationPath"),
        ("a", {"destinationPath": 1}, "destinationPath"),
        ("a", {"destinationPath": None}, "destinationPath"),
        ("a", {"destinationPath": ""}, "destinationPath"),
        ("a", {"destinationPath": "/"}, "destinationPath"),
        ("a", {"destinationPath": "b/../c"}, "destinationPath"),
        ("a", {"destinationPath": "b\0"}, "destinationPath"),
        ("a", {"destinationPath": "x" * 256}, "destinationPath"),
        ("a", {"destinationPath": "a"}, "destinationPath"),
        ("a", {"destinationPath": "a/b"}, "destinationPath"),
        ("a", {"destinationPath": "b", "overwrite": True}, "overwrite"),
        ("a", {"destination_path": "b"}, "destinationPath"),
        ("%2E%2E", {"destinationPath": "b"}, "path"),
        ("", {"destinationPath": "b"}, "path"),
    ],
)
async def test_a_bad_copy_is_refused_and_changes_nothing(
    api: Api, verb: str, path: str, body: dict[str, Any], field: str
) -> None:
    space = await api.space()
    await api.upload(space, "a/x")
    answer = await api.post(f"space/{space}/storage/{verb}/{path}", body)
    details = answer.json()["error"]["details"]
    assert (answer.status_code, details[0]["path"]) == (400, field)
    assert await api.paths(space) == ["a/x"]


@pytest.mark.parametrize("verb", ["copy", "move"])
async def test_a_copy_of_what_is_not_there_is_404(api: Api, verb: str) -> None:
    space = await api.space()
    answer = await api.post(f"space/{space}/storage/{verb}/a", {"destinationPath": "b"})
    assert refused(answer, 404, "NOT_FOUND") == "file 'a' does not exist"
    answer = await api.post(f"space/nothing/storage/{verb}/a", {"destinationPath": "b"})
    assert refused(answer, 404, "NOT_FOUND") == "space 'nothing' does not exist"

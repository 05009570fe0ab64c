"""A deployment as one archive."""

from __future__ import annotations

import io
import tarfile
import zipfile
from collections.abc import Callable, Iterable
from typing import Any

import httpx
import pytest

from tests.control.api import Api, one_store, refused

Files = Iterable[tuple[str, bytes]]
Pack = Callable[[Files], bytes]


def pack_tar(files: Files, mode: str = "w:gz") -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode=mode) as archive:  # type: ignore[call-overload]
        for name, content in files:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return packed.getvalue()


def pack_plain_tar(files: Files) -> bytes:
    return pack_tar(files, "w")


def pack_zip(files: Files) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files:
            archive.writestr(zipfile.ZipInfo(name), content, zipfile.ZIP_DEFLATED)
    return packed.getvalue()


every_format = pytest.mark.parametrize("pack", [pack_tar, pack_plain_tar, pack_zip])


async def upload(api: Api, space: str, archive: bytes, query: str = "") -> httpx.Response:
    return await api.post(f"space/{space}/deployment/upload{query}", content=archive)


async def uploaded(api: Api, space: str, archive: bytes, query: str = "") -> dict[str, Any]:
    answer = await upload(api, space, archive, query)
    assert answer.status_code == 200, answer.text
    told: dict[str, Any] = answer.json()
    return told


@every_format
async def test_an_archive_is_live_when_the_call_returns(api: Api, pack: Pack) -> None:
    space = await api.space()
    await api.upload(space, "old.html")
    big = bytes(range(256)) * 300
    files = [("./index.html", b"<p>hello</p>" * 50), ("docs/", b""), ("docs/ä b.html", b"umlaut"), ("big.bin", big)]
    files += [("copy.bin", big), (".git/config", b"secret"), ("__MACOSX/x", b""), (".well-known/x", b"known")]
    told = await uploaded(api, space, pack([each for each in files if not each[0].endswith("/")]), "?message=one")
    assert await api.paths(space) == [".well-known/x", "big.bin", "copy.bin", "docs/ä b.html", "index.html"]
    assert (await api.get(f"space/{space}/storage/download/big.bin")).content == big
    revision = told.pop("revision")
    assert told == {
        "id": told["id"],
        "fileCount": 5,
        "byteCount": 600 + 6 + 5 + 2 * len(big),
        "newCount": 4,
        "newBytes": 600 + 6 + 5 + len(big),
        "skipped": 2,
        "problems": [],
        "unlisted": 0,
    }
    deployment = await api.fetched(f"space/{space}/deployment/{told['id']}/fetch")
    assert (deployment["message"], deployment["mode"], deployment["revision"]) == ("one", "replace", revision)
    again = await uploaded(api, space, pack(files[:1]), "?mode=merge")
    assert (again["newCount"], again["fileCount"]) == (0, 1)
    assert len(await api.paths(space)) == 5


@one_store
async def test_an_archive_may_be_a_form(api: Api) -> None:
    space = await api.space()
    archive = pack_zip([("index.html", b"x")])
    answer = await api.call("POST", f"space/{space}/deployment/upload", files={"file": archive})
    assert answer.json()["fileCount"] == 1
    assert await api.paths(space) == ["index.html"]


@one_store
async def test_folders_are_taken_off_and_put_in_front_as_asked(api: Api) -> None:
    space = await api.space()
    archive = pack_tar([("site-1/a.html", b"a"), ("site-1/b/c.html", b"c")])
    await uploaded(api, space, archive)
    assert await api.paths(space) == ["site-1/a.html", "site-1/b/c.html"]
    await uploaded(api, space, archive, "?strip=1&prefix=/v1/")
    assert await api.paths(space) == ["site-1/a.html", "site-1/b/c.html", "v1/a.html", "v1/b/c.html"]
    refused(await upload(api, space, archive, "?strip=2"), 400, "BAD_REQUEST", "files.site-1/a.html")


@one_store
async def test_an_archive_need_not_be_activated(api: Api) -> None:
    space = await api.space()
    told = await uploaded(api, space, pack_tar([("index.html", b"x")]), "?activate=false")
    assert told["revision"] is None
    assert await api.paths(space) == []
    await api.created(f"space/{space}/deployment/{told['id']}/activate")
    assert await api.paths(space) == ["index.html"]

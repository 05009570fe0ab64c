"""A deployment as one archive."""

from __future__ import annotations

import errno
import gzip
import io
import random
import stat
import tarfile
import warnings
import zipfile
from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import replace
from functools import partialmethod
from typing import Any

import httpx
import pytest

from server.control import archive_formats, archives
from server.control.contents import HELD_BYTES
from storage.errors import Unavailable
from storage.memory.blobs import MemoryBlobs
from storage.models import PageQuery
from tests.control.api import WORKSPACE, Api, one_store, refused
from tests.control.conftest import Setup

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


# What is refused.


def with_tar(*changes: dict[str, Any]) -> bytes:
    """A tar of a good file and, for each of `changes`, a member that is so."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        archive.addfile(tarfile.TarInfo("good.html"))
        for change in changes:
            info = tarfile.TarInfo("evil")
            for name, value in change.items():
                setattr(info, name, value)
            archive.addfile(info, io.BytesIO(bytes(info.size)))
    return packed.getvalue()


def with_zip(name: str = "evil", **change: Any) -> bytes:
    """A zip of a good file and a member that is so."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("good.html", b"")
        info = zipfile.ZipInfo("evil")
        for field, value in change.items():
            setattr(info, field, value)
        info.filename = name
        archive.writestr(info, b"")
    return packed.getvalue()


def encrypted() -> bytes:
    """A zip whose list says so of the last entry."""
    archive = bytearray(with_zip())
    archive[archive.rindex(b"PK\x01\x02") + 8] |= 1
    return bytes(archive)


def with_link(kind: bytes, **more: Any) -> bytes:
    return with_tar({"type": kind, "linkname": "good.html", **more})


NAMES = [
    ("../evil", "'..'"),
    ("a/../../evil", "'..'"),
    ("/etc/passwd", "absolute"),
    ("C:/evil", "absolute"),
    ("a\\..\\evil", "backslash"),
    ("a\nb", "control character"),
    (f"{'x' * 256}", "255 bytes"),
    ("/".join(["y" * 200] * 6), "1024 bytes"),
    ("GOOD.html", "only in case"),
    ("good.html", "one name"),
]


@one_store
@every_format
@pytest.mark.parametrize(("name", "reason"), NAMES)
async def test_a_bad_name_is_refused(api: Api, pack: Pack, name: str, reason: str) -> None:
    files = [("good.html", b"good"), (name, b"evil")]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the packer's, of two equal names
        archive = pack(files)
    await is_refused(api, archive, f"files.{archive_formats.shown(name)}", reason)


async def is_refused(api: Api, archive: bytes, field: str, reason: str) -> None:
    """With that entry named, and nothing kept of it."""
    space = await api.space()
    before = await api.metadata.get_revision()
    message = refused(await upload(api, space, archive), 400, "BAD_REQUEST", field)
    assert reason in message
    assert await api.metadata.get_revision() == before
    assert (await api.metadata.list_deployments(space, PageQuery())).items == ()
    assert isinstance(api.blobs, MemoryBlobs)
    assert api.blobs.contents == {}


@one_store
@every_format
async def test_names_that_differ_in_normal_form_only(api: Api, pack: Pack) -> None:
    await is_refused(api, pack([("é.html", b"1"), ("e\u0301.html", b"2")]), "files.e\u0301.html", "one name")


@one_store
@pytest.mark.parametrize(
    ("archive", "reason"),
    [
        (with_link(tarfile.SYMTYPE), "is a link"),
        (with_link(tarfile.SYMTYPE, linkname="/etc/passwd"), "is a link"),
        (with_link(tarfile.LNKTYPE), "is a link"),
        (with_tar({"type": tarfile.CHRTYPE}), "neither a file nor a folder"),
        (with_tar({"type": tarfile.BLKTYPE}), "neither a file nor a folder"),
        (with_tar({"type": tarfile.FIFOTYPE}), "neither a file nor a folder"),
        (with_tar({"type": b"Z"}), "neither a file nor a folder"),
        (with_zip(external_attr=(stat.S_IFLNK | 0o777) << 16), "is a link"),
        (with_zip(external_attr=(stat.S_IFIFO | 0o666) << 16), "neither a file nor a folder"),
        (with_zip(external_attr=(stat.S_IFCHR | 0o666) << 16), "neither a file nor a folder"),
        (with_zip(compress_type=zipfile.ZIP_LZMA), "is packed in a way"),
        (encrypted(), "encrypted"),
    ],
)
async def test_what_is_no_plain_file_is_refused(api: Api, archive: bytes, reason: str) -> None:
    await is_refused(api, archive, "files.evil", reason)


@one_store
async def test_a_link_is_refused_wherever_it_is(api: Api) -> None:
    """Also among what would be left out."""
    await is_refused(api, with_tar({"name": ".git/x", "type": tarfile.SYMTYPE}), "files..git/x", "is a link")


@one_store
async def test_a_sparse_file_is_refused(api: Api) -> None:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as archive:
        info = tarfile.TarInfo("evil")
        headers = {"GNU.sparse.major": "0", "GNU.sparse.minor": "1", "GNU.sparse.size": "99", "GNU.sparse.map": "0,0"}
        info.pax_headers = headers
        archive.addfile(info)
    await is_refused(api, packed.getvalue(), "files.evil", "sparse")


@one_store
async def test_a_name_that_is_not_utf_8_is_refused(api: Api) -> None:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w", format=tarfile.GNU_FORMAT, encoding="latin-1") as archive:
        archive.addfile(tarfile.TarInfo("caf\xe9"))
    await is_refused(api, packed.getvalue(), "files.caf\\udce9", "UTF-8")


@one_store
@pytest.mark.parametrize("mark", [True, False])
async def test_a_zip_whose_names_are_utf_8_is_read_so(api: Api, mark: bool) -> None:
    archive = bytearray(pack_zip([("ä.html", b"x")]))
    if not mark:
        for head, place in ((b"PK\x03\x04", 7), (b"PK\x01\x02", 9)):
            archive[archive.index(head) + place] &= ~0x08
    space = await api.space()
    await uploaded(api, space, bytes(archive))
    assert await api.paths(space) == ["ä.html"]


@one_store
async def test_a_zip_of_old_names_is_read_so(api: Api) -> None:
    archive = pack_zip([("xx.html", b"x")]).replace(b"xx.html", b"\x84x.html")
    space = await api.space()
    await uploaded(api, space, archive)
    assert await api.paths(space) == ["äx.html"]


# Bombs.


@pytest.fixture
def small(setup: Setup) -> Setup:
    """A server that takes no more than 60,000 bytes of an archive, and 200,000 of its files, 100,000 of each."""
    setup.config = replace(setup.config, max_archive_bytes=60_000, max_unpacked_bytes=200_000)
    return setup


@one_store
@every_format
async def test_too_large_a_file_is_refused(small: Setup, api: Api, pack: Pack) -> None:
    if pack is not pack_plain_tar:
        await is_refused(api, pack([("a", b""), ("big", bytes(100_001))]), "files.big", "limit of 100000 bytes")


@one_store
@every_format
async def test_too_much_together_is_refused(small: Setup, api: Api, pack: Pack) -> None:
    if pack is not pack_plain_tar:
        await is_refused(api, pack([(str(number), bytes(90_000)) for number in range(3)]), "archive", "200000 bytes")


@one_store
async def test_too_large_an_archive_is_refused(small: Setup, api: Api) -> None:
    space = await api.space()
    refused(await upload(api, space, bytes(60_001)), 413, "PAYLOAD_TOO_LARGE")

    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(61):
            yield bytes(1000)

    refused(await api.post(f"space/{space}/deployment/upload", content=chunks()), 413, "PAYLOAD_TOO_LARGE")


@one_store
@every_format
async def test_a_bomb_is_refused_by_its_ratio(
    setup: Setup, api: Api, pack: Pack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archives, "RATIO_FREE_BYTES", 1000)
    files = [(str(number), bytes(90_000)) for number in range(8)]
    if pack is pack_plain_tar:
        await uploaded(api, await api.space(), pack(files))
    else:
        await is_refused(api, pack(files), "archive", "200 times")


@one_store
async def test_a_size_that_is_announced_counts(setup: Setup, api: Api) -> None:
    """Whatever is there: nothing of such a file is unpacked."""
    archive = bytearray(pack_zip([("evil", b"x")]))
    place = archive.index(b"PK\x01\x02") + 24
    archive[place : place + 4] = (90_000).to_bytes(4, "little")
    await is_refused(api, bytes(archive), "archive", "shorter than it says")


@one_store
async def test_entries_that_share_their_bytes_are_refused(api: Api) -> None:
    archive = pack_zip([("a", b"x" * 50), ("b", b"y" * 50)])
    second = archive.index(b"PK\x01\x02", archive.index(b"PK\x01\x02") + 4)
    damaged = bytearray(archive)
    damaged[second + 42 : second + 46] = bytes(4)  # where it begins
    await is_refused(api, bytes(damaged), "files.b", "overlaps")


@one_store
async def test_too_many_entries_are_refused(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archives, "MAX_ENTRIES", 3)
    monkeypatch.setattr(archive_formats, "MAX_ENTRIES", 3)
    for pack in (pack_tar, pack_zip):
        await is_refused(api, pack([(str(number), b"") for number in range(4)]), "archive", "more than 3 entries")


@one_store
async def test_too_many_files_are_refused(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archives.Limits, "__init__", partialmethod(archives.Limits.__init__, files=2))
    await is_refused(api, pack_tar([(name, b"") for name in "abc"]), "archive", "more than 2 files")


@one_store
async def test_a_header_that_fills_memory_is_refused(api: Api) -> None:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz", format=tarfile.GNU_FORMAT) as archive:
        archive.addfile(tarfile.TarInfo("x" * 1_100_000))
    await is_refused(api, packed.getvalue(), "archive", "header has more than")


@one_store
async def test_a_list_that_fills_memory_is_refused(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive_formats, "MAX_ZIP_READ", 70_000)
    archive = pack_zip([(f"{number:0200}", b"") for number in range(400)])
    await is_refused(api, archive, "archive", "list of entries of more than")


# What is broken.


@one_store
@every_format
async def test_an_archive_that_is_cut_short_is_refused(api: Api, pack: Pack) -> None:
    archive = pack([("a.html", random.Random(1).randbytes(3000)), ("b.html", b"b" * 1000)])
    end = archive.rindex(b"b" * 1000) if pack is pack_plain_tar else len(archive)
    for cut in sorted({4, 100, 512, 1024, 1025, len(archive) // 2, end - 1, end - 9}):
        if cut < len(archive):
            await is_refused(api, archive[:cut], "archive", "archive: ")


@one_store
@every_format
async def test_a_damaged_archive_is_refused_or_says_the_same(api: Api, pack: Pack) -> None:
    """Whatever byte is another: nothing fails, and where a checksum covers it, nothing is taken."""
    archive = pack([("a.html", b"<p>a</p>"), ("b.html", b"<p>b</p>")])
    chooser = random.Random(2)
    for place in chooser.sample(range(len(archive)), min(150, len(archive))):
        damaged = bytearray(archive)
        damaged[place] ^= 1 << chooser.randrange(8)
        answer = await upload(api, await api.space(), bytes(damaged), "?activate=false")
        assert answer.status_code in (200, 400), answer.text


@one_store
@pytest.mark.parametrize(
    "archive", [b"", b"x", b"hello, world" * 100, bytes(20_000), gzip.compress(b"no tar" * 200, mtime=0)]
)
async def test_what_is_no_archive_is_refused(api: Api, archive: bytes) -> None:
    await is_refused(api, archive, "archive", "archive: ")


@one_store
@every_format
async def test_an_archive_without_files_is_refused(api: Api, pack: Pack) -> None:
    await is_refused(api, pack([]), "archive", "holds no file")
    await is_refused(api, pack([(".hidden", b"")]), "archive", "holds no file")


# Other refusals.


@one_store
async def test_a_query_that_makes_no_sense_is_refused(api: Api) -> None:
    space = await api.space()
    archive = pack_tar([("a", b"")])
    queries = {"mode=append": "mode", "strip=-1": "strip", "prefix=../x": "prefix", "base=1": "base"}
    for query, field in queries.items():
        refused(await upload(api, space, archive, f"?{query}"), 400, "BAD_REQUEST", field)
    refused(await upload(api, "nothing", archive), 404, "NOT_FOUND")


async def test_a_merge_that_conflicts_leaves_no_deployment(api: Api) -> None:
    space = await api.space()
    await api.upload(space, "a", b"1")
    deployments = await api.fetched(f"space/{space}/deployment/list")
    base = (await uploaded(api, space, pack_tar([("b", b"1")]), "?mode=merge"))["revision"]
    await api.upload(space, "a", b"2")
    answer = await upload(api, space, pack_tar([("a", b"3")]), f"?mode=merge&base={base}")
    refused(answer, 409, "CONFLICT")
    assert len((await api.fetched(f"space/{space}/deployment/list"))["items"]) == len(deployments["items"]) + 1


async def test_more_than_the_workspace_may_have_is_refused(api: Api) -> None:
    space = await api.space()
    await api.metadata.update_workspace(WORKSPACE, {"max_bytes": 1000})
    refused(await upload(api, space, pack_tar([("a", bytes(1001))])), 429, "LIMITS_REACHED")
    await api.metadata.update_workspace(WORKSPACE, {"max_bytes": None, "max_files": 1})
    refused(await upload(api, space, pack_tar([("a", b"1"), ("b", b"1")])), 429, "LIMITS_REACHED")
    assert (await api.fetched(f"space/{space}/deployment/list"))["items"] == []
    assert await api.paths(space) == []


@one_store
async def test_a_disk_that_is_full_says_so(setup: Setup, api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "no room")

    monkeypatch.setattr("server.control.upload.TemporaryFile", fail)
    refused(await upload(api, await api.space(), pack_tar([("a", b"")])), 503, "SERVICE_UNAVAILABLE")


async def test_a_content_that_cannot_be_kept_leaves_no_deployment(
    setup: Setup, api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(*_: object, **__: object) -> None:
        raise Unavailable("away")

    monkeypatch.setattr(api.blobs, "put_all", fail)
    space = await api.space()
    refused(await upload(api, space, pack_tar([("a", b"1"), ("b", b"2")])), 503, "SERVICE_UNAVAILABLE")
    assert (await api.fetched(f"space/{space}/deployment/list"))["items"] == []


@pytest.fixture
def roomy(setup: Setup) -> None:
    setup.config = replace(setup.config, max_file_bytes=4 * HELD_BYTES)


async def test_contents_too_large_to_wait_in_memory(roomy: None, api: Api) -> None:
    """And small ones before, between and behind them."""
    files = {"a.txt": b"a" * 500, "b.txt": b"b" * (HELD_BYTES + 1), "c.bin": b"c" * (HELD_BYTES + 1), "d": b"d"}
    space = await api.space()
    answer = await upload(api, space, pack_tar(files.items()))
    assert answer.status_code == 200, answer.text
    assert (answer.json()["newCount"], answer.json()["newBytes"]) == (4, sum(map(len, files.values())))
    for path, content in files.items():
        assert (await api.get(f"space/{space}/storage/download/{path}")).content == content
    live = await api.metadata.find_files(space, list(files), await api.metadata.get_revision())
    assert {path for path, file in live.items() if file.variants} == {"a.txt", "b.txt"}

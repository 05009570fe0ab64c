"""What is uploaded is there compressed when the call returns."""

from __future__ import annotations

import gzip
import hashlib
import random

import pytest

from storage.models import Blob, Coding, File
from tests.control.api import OTHER_WORKSPACE, Api, one_store
from tests.control.test_deployments import deploy

PAGE = b"<p>The same again.</p>\n" * 100


async def served_file(api: Api, space: str, path: str) -> File:
    return (await api.metadata.find_files(space, [path], await api.metadata.get_revision()))[path]


async def check_gzip(api: Api, space: str, path: str, content: bytes) -> None:
    [variant] = (await served_file(api, space, path)).variants
    assert variant.coding == "gzip"
    made = await api.blobs.read(variant.digest)
    assert gzip.decompress(made) == content
    assert len(made) == variant.size


async def test_an_upload(api: Api) -> None:
    space = await api.space()
    await api.upload(space, "index.html", PAGE)
    await check_gzip(api, space, "index.html", PAGE)
    # There was never a moment in which the file was live without: one change says all of it.
    changes = await api.metadata.list_changes(0)
    assert [change.kind for change in changes] == ["space.create", "files.put"]


@pytest.mark.parametrize(
    ("path", "content"), [("a.png", PAGE), ("a.txt", b"short"), ("noise.txt", random.Random(1).randbytes(1000))]
)
@one_store
async def test_uploads_that_are_not_worth_it(api: Api, path: str, content: bytes) -> None:
    space = await api.space()
    await api.upload(space, path, content)
    assert (await served_file(api, space, path)).variants == ()


async def test_a_deployment(api: Api) -> None:
    space = await api.space()
    await deploy(api, space, {"index.html": PAGE, "photo.png": PAGE + b"!"})
    await check_gzip(api, space, "index.html", PAGE)
    assert (await served_file(api, space, "photo.png")).variants == ()
    changes = await api.metadata.list_changes(0)
    assert [change.kind for change in changes] == ["space.create", "deployment.create", "deployment.activate"]


async def test_nobody_learns_of_anothers_content(api: Api) -> None:
    """What another workspace has in every coding begins anew here."""
    key = await api.key(workspace=OTHER_WORKSPACE)
    theirs = await api.created("space/create", {}, key=key)
    await api.created(f"space/{theirs}/storage/upload/a.html", content=PAGE, key=key)
    [variant] = (await served_file(api, theirs, "a.html")).variants
    more: dict[Coding, Blob | None] = {"br": Blob(digest=variant.digest, size=variant.size)}
    await api.metadata.put_variants(OTHER_WORKSPACE, {hashlib.sha256(PAGE).hexdigest(): more})
    mine = await api.space()
    await api.upload(mine, "a.html", PAGE)
    assert len((await served_file(api, theirs, "a.html")).variants) == 2
    assert len((await served_file(api, mine, "a.html")).variants) == 1

"""Deployments: nothing is visible until all of it is."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import pytest

from server.control import problems
from tests.control.api import OTHER_WORKSPACE, Api, one_store, refused


def manifest(contents: Mapping[str, bytes]) -> dict[str, dict[str, Any]]:
    """By path, each content's digest and size."""
    return {
        path: {"digest": hashlib.sha256(content).hexdigest(), "size": len(content)}
        for path, content in contents.items()
    }


async def create(api: Api, space: str, files: dict[str, Any], **fields: Any) -> dict[str, Any]:
    answer = await api.post(f"space/{space}/deployment/create", {"files": files, **fields})
    assert answer.status_code == 200, answer.text
    created: dict[str, Any] = answer.json()
    return created


async def deploy(api: Api, space: str, contents: dict[str, bytes], **fields: Any) -> str:
    """Create, upload what is missing, activate; the deployment's id."""
    by_digest = {hashlib.sha256(content).hexdigest(): content for content in contents.values()}
    files = {
        path: {"digest": hashlib.sha256(content).hexdigest(), "size": len(content)}
        for path, content in contents.items()
    }
    created = await create(api, space, files, **fields)
    for digest in created["missing"]:
        await api.created(f"space/{space}/deployment/{created['id']}/blob/{digest}", content=by_digest[digest])
    return await api.created(f"space/{space}/deployment/{created['id']}/activate")


async def test_a_deployment_from_creation_to_rollback(api: Api) -> None:
    space = await api.space()
    await api.upload(space, "app/old.html")
    await api.upload(space, "outside.html")
    files = manifest({"index.html": b"one", "copy.html": b"one", "style.css": b"two"})
    created = await create(api, space, files, prefix="/app/", message="First")
    one, two = files["index.html"]["digest"], files["style.css"]["digest"]
    assert created == {"id": created["id"], "missing": sorted([one, two]), "base": created["base"]}
    id = created["id"]

    deployment = await api.fetched(f"space/{space}/deployment/{id}/fetch")
    assert deployment.pop("createdAt").endswith("Z")
    assert deployment == {
        "id": id,
        "spaceId": space,
        "mode": "replace",
        "prefix": "/app",
        "message": "First",
        "base": created["base"],
        "fileCount": 3,
        "byteCount": 9,
        "revision": None,
        "activatedAt": None,
    }

    refused(await api.post(f"space/{space}/deployment/{id}/activate"), 400, "BAD_REQUEST", "files")
    assert await api.created(f"space/{space}/deployment/{id}/blob/{one}", content=b"one") == one
    await api.created(f"space/{space}/deployment/{id}/blob/{two}", content=b"two")
    assert await api.paths(space) == ["app/old.html", "outside.html"]

    answer = await api.post(f"space/{space}/deployment/{id}/activate")
    revision = answer.json()["revision"]
    assert answer.json() == {"id": id, "revision": revision, "problems": [], "unlisted": 0}
    assert await api.paths(space) == ["app/copy.html", "app/index.html", "app/style.css", "outside.html"]
    deployment = await api.fetched(f"space/{space}/deployment/{id}/fetch")
    assert deployment["revision"] == revision > created["base"]
    assert deployment["activatedAt"].endswith("Z")

    second = await deploy(api, space, {"index.html": b"three"}, prefix="app")
    assert await api.paths(space) == ["app/index.html", "outside.html"]
    listed = await api.fetched(f"space/{space}/deployment/list")
    assert [item["id"] for item in listed["items"]] == [second, id]
    assert listed["items"][1] == deployment

    await api.created(f"space/{space}/deployment/{id}/activate")
    assert await api.paths(space) == ["app/copy.html", "app/index.html", "app/style.css", "outside.html"]


async def test_going_back_takes_what_was_uploaded_since_along(api: Api) -> None:
    """Below the prefix, that is: what lies elsewhere is not the deployment's."""
    space = await api.space()
    first = await deploy(api, space, {"a.html": b"1"}, prefix="app")
    second = await deploy(api, space, {"a.html": b"2", "b.html": b"2"}, prefix="app")
    await api.upload(space, "app/by-hand.html")
    await api.upload(space, "app/a.html", b"3")
    await api.upload(space, "elsewhere.html")
    await api.created(f"space/{space}/deployment/{first}/activate")
    assert await api.paths(space) == ["app/a.html", "elsewhere.html"]
    assert (await api.get(f"space/{space}/storage/download/app/a.html")).content == b"1"
    await api.created(f"space/{space}/deployment/{second}/activate")
    assert await api.paths(space) == ["app/a.html", "app/b.html", "elsewhere.html"]


async def test_going_back_to_the_active_one_restores_it(api: Api) -> None:
    """What has been done to its files by hand is undone."""
    space = await api.space()
    id = await deploy(api, space, {"a.html": b"1", "b.html": b"1"})
    await api.upload(space, "a.html", b"by hand")
    await api.created(f"space/{space}/storage/delete/b.html")
    await api.created(f"space/{space}/deployment/{id}/activate")
    assert (await api.get(f"space/{space}/storage/download/a.html")).content == b"1"
    assert await api.paths(space) == ["a.html", "b.html"]


async def test_what_is_wrong_with_the_rules_is_told_where_they_are_published(api: Api) -> None:
    space = await api.space()
    await api.site(space, "one.localhost", prefix="app")
    await api.site(space, "two.localhost", prefix="app", index="")
    files = {
        "app/_redirects": b"/a /b 999\n/old /gone\n/page /x\n/x /y\n/y /x",
        "app/_headers": b"nothing",
        "app/page.html": b"1",
        "_redirects": b"/nobody /looks",
    }
    id = await deploy(api, space, files)
    answer = await api.post(f"space/{space}/deployment/{id}/activate")
    told = [(each["file"], each["line"], each["leftOut"]) for each in answer.json()["problems"]]
    redirects = [("app/_redirects", line, line == 1) for line in (1, 2, 3, 4)]
    assert (told, answer.json()["unlisted"]) == ([*redirects, ("app/_headers", 1, True)], 0)
    sites = (await api.fetched(f"space/{space}/site/list"))["items"]
    for site in sites:
        status = await api.fetched(f"space/{space}/site/{site['id']}/status")
        assert status["problems"] == answer.json()["problems"]


async def test_a_rule_file_that_is_damaged_is_told_of_and_keeps_nothing_from_being_live(api: Api) -> None:
    space = await api.space()
    await api.site(space, "one.localhost")
    files = {"index.html": b"1", "_redirects": b"/a /b 301\n", "_headers": b"nothing"}
    first = await deploy(api, space, files)
    await deploy(api, space, {"index.html": b"2"})
    await api.blobs.delete(hashlib.sha256(files["_redirects"]).hexdigest())
    answer = await api.post(f"space/{space}/deployment/{first}/activate")
    assert answer.status_code == 200
    told = [
        (each["file"], each["line"], each["leftOut"], "damaged" in each["reason"]) for each in answer.json()["problems"]
    ]
    assert told == [("_redirects", 1, True, True), ("_headers", 1, True, False)]
    assert (await api.get(f"space/{space}/storage/download/index.html")).content == b"1"
    refused(await api.get(f"space/{space}/deployment/{first}/diff"), 500, "INTERNAL_SERVER_ERROR")


async def test_rules_of_every_site_are_looked_at(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    """A page of sites at a time; of those that show the same, once."""
    monkeypatch.setattr(problems, "_SITES_AT_ONCE", 2)
    space = await api.space()
    for number, prefix in enumerate(["a", "a", "a", "a", "b"]):
        await api.site(space, f"site-{number}.localhost", prefix=prefix)
    id = await deploy(api, space, {"a/_headers": b"nothing", "b/_headers": b"nothing"})
    answer = await api.post(f"space/{space}/deployment/{id}/activate")
    assert [each["file"] for each in answer.json()["problems"]] == ["a/_headers", "b/_headers"]
    monkeypatch.setattr(problems, "MAX_VIEWS", 1)
    answer = await api.post(f"space/{space}/deployment/{id}/activate")
    assert [each["file"] for each in answer.json()["problems"]] == ["a/_headers"]
    monkeypatch.setattr(problems, "MAX_VIEWS", 2)
    monkeypatch.setattr(problems, "MAX_SITES", 4)
    answer = await api.post(f"space/{space}/deployment/{id}/activate")
    assert [each["file"] for each in answer.json()["problems"]] == ["a/_headers"]


async def test_a_merge_leaves_other_files_alone_and_conflicts_over_its_own(api: Api) -> None:
    space = await api.space()
    await deploy(api, space, {"a": b"1", "b": b"1"})
    await deploy(api, space, {"b": b"2"}, mode="merge")
    assert await api.paths(space) == ["a", "b"]
    created = await create(api, space, manifest({"b": b"1"}), mode="merge")
    assert created["missing"] == []
    await api.upload(space, "b", b"3")
    refused(await api.post(f"space/{space}/deployment/{created['id']}/activate"), 409, "CONFLICT")
    answer = await api.get(f"space/{space}/storage/download/b")
    assert answer.content == b"3"


async def test_what_another_workspace_has_counts_as_missing(api: Api) -> None:
    space = await api.space()
    await api.upload(space, "file", b"secret")
    assert (await create(api, space, manifest({"file": b"secret"})))["missing"] == []
    api.secret = await api.key(workspace=OTHER_WORKSPACE)
    elsewhere = await api.space()
    files = manifest({"file": b"secret"})
    assert (await create(api, elsewhere, files))["missing"] == [files["file"]["digest"]]


async def test_a_blob_must_be_what_the_manifest_says(api: Api) -> None:
    space = await api.space()
    files = manifest({"file": b"content"})
    digest = files["file"]["digest"]
    id = (await create(api, space, files))["id"]
    blob = f"space/{space}/deployment/{id}/blob"
    refused(await api.post(f"{blob}/{digest}", content=b"CONTENT"), 400, "BAD_REQUEST", "digest")
    refused(await api.post(f"{blob}/{digest}", content=b"conten"), 400, "BAD_REQUEST", "digest")
    refused(await api.post(f"{blob}/{digest}", content=b"content and more"), 413, "PAYLOAD_TOO_LARGE")
    refused(await api.post(f"{blob}/{hashlib.sha256(b'x').hexdigest()}", content=b"x"), 404, "NOT_FOUND")
    refused(await api.post(f"{blob}/{digest.upper()}", content=b"content"), 400, "BAD_REQUEST", "digest")
    assert (await create(api, space, files))["missing"] == [digest]


@pytest.mark.parametrize(("size", "status"), [(8, 400), (6, 413)])
async def test_a_size_that_lies_is_found_out(api: Api, size: int, status: int) -> None:
    space = await api.space()
    files = manifest({"file": b"content"})
    files["file"]["size"] = size
    created = await create(api, space, files)
    answer = await api.post(
        f"space/{space}/deployment/{created['id']}/blob/{files['file']['digest']}", content=b"content"
    )
    assert answer.status_code == status
    refused(await api.post(f"space/{space}/deployment/{created['id']}/activate"), 400, "BAD_REQUEST", "files")


@one_store
@pytest.mark.parametrize(
    ("body", "path"),
    [
        ({}, "files"),
        ({"files": []}, "files"),
        ({"files": {"a": {}}}, "files.a.digest"),
        ({"files": {"a": {"digest": "x", "size": 1}}}, "files.a.digest"),
        ({"files": {"a": {"digest": "0" * 64, "size": "1"}}}, "files.a.size"),
        ({"files": {"a": {"digest": "0" * 64, "size": True}}}, "files.a.size"),
        ({"files": {"a": {"digest": "0" * 64, "size": -1}}}, "files.a.size"),
        ({"files": {"a": {"digest": "0" * 64, "size": 100_001}}}, "files.a.size"),
        ({"files": {"a": {"digest": "0" * 64, "size": 1, "mode": 7}}}, "files.a.mode"),
        ({"files": {"../a": {"digest": "0" * 64, "size": 1}}}, "files.../a"),
        ({"files": {"": {"digest": "0" * 64, "size": 1}}, "prefix": "app"}, "files."),
        (
            {"files": {"é": {"digest": "0" * 64, "size": 1}, "e\u0301": {"digest": "0" * 64, "size": 1}}},
            "files.e\u0301",
        ),
        ({"files": {"a": {"digest": "0" * 64, "size": 1}, "b": {"digest": "0" * 64, "size": 2}}}, "files.b.size"),
        ({"files": {}, "prefix": "../x"}, "prefix"),
        ({"files": {}, "mode": "append"}, "mode"),
        ({"files": {}, "message": "x" * 4097}, "message"),
        ({"files": {}, "base": 0}, "base"),
        ({"files": {}, "mode": "merge", "base": 10**9}, "base"),
        ({"files": {}, "mode": "merge", "base": "0"}, "base"),
    ],
)
async def test_a_bad_manifest_is_refused(api: Api, body: dict[str, Any], path: str) -> None:
    space = await api.space()
    answer = await api.post(f"space/{space}/deployment/create", body)
    assert refused(answer, 400, "BAD_REQUEST", *(item["path"] for item in answer.json()["error"]["details"]))
    assert answer.json()["error"]["details"][0]["path"] == path
    assert await api.fetched(f"space/{space}/deployment/list") == {"items": [], "cursor": ""}


async def test_a_manifest_may_be_larger_than_other_bodies(api: Api) -> None:
    space = await api.space()
    files = {f"{number}.html": {"digest": "0" * 64, "size": 1} for number in range(1000)}
    assert (await create(api, space, files))["missing"] == ["0" * 64]
    files = {f"{number}.html": {"digest": "0" * 64, "size": 1} for number in range(3000)}
    answer = await api.post(f"space/{space}/deployment/create", {"files": files})
    refused(answer, 413, "PAYLOAD_TOO_LARGE")


async def test_a_deployment_is_found_in_its_own_space_only(api: Api) -> None:
    space, elsewhere = await api.space(), await api.space()
    id = await deploy(api, space, {"a": b"1"})
    for ref in (id, "deployment_1", "nothing", f"deployment_{'0' * 38}"):
        refused(await api.get(f"space/{elsewhere}/deployment/{ref}/fetch"), 404, "NOT_FOUND")
        refused(await api.post(f"space/{elsewhere}/deployment/{ref}/activate"), 404, "NOT_FOUND")
        refused(await api.post(f"space/{elsewhere}/deployment/{ref}/blob/{'0' * 64}", content=b""), 404, "NOT_FOUND")
    assert await api.paths(elsewhere) == []

"""Where previews are, who may open them, and why they answer as they do."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit

import pytest

from server.control.sites import SiteFields
from tests.control.api import Api, one_store, refused
from tests.control.conftest import Setup

DAY = 24 * 3600


def manifest(files: dict[str, bytes]) -> dict[str, Any]:
    return {
        path: {"digest": hashlib.sha256(content).hexdigest(), "size": len(content)} for path, content in files.items()
    }


async def draft(api: Api, space: str, files: dict[str, bytes], **fields: Any) -> str:
    """A deployment whose contents are there; its id."""
    made = (await api.post(f"space/{space}/deployment/create", {"files": manifest(files), **fields})).json()
    for content in files.values():
        digest = hashlib.sha256(content).hexdigest()
        await api.created(f"space/{space}/deployment/{made['id']}/blob/{digest}", content=content)
    return str(made["id"])


async def activated(api: Api, space: str, files: dict[str, bytes]) -> str:
    id = await draft(api, space, files)
    return await api.created(f"space/{space}/deployment/{id}/activate")


async def explain(api: Api, space: str, site: str, url: str, *headers: str, method: str = "GET") -> Any:
    parameters: list[tuple[str, str]] = [("url", url), ("method", method), *(("header", line) for line in headers)]
    return await api.fetched(f"space/{space}/site/{site}/explain", params=parameters)


def values(explained: Any) -> dict[str, str]:
    return {header["name"]: header["value"] for header in explained["headers"]}


def steps(explained: Any) -> dict[str, list[str]]:
    return {header["name"]: [source["step"] for source in header["sources"]] for header in explained["headers"]}


# Where


async def test_where_a_public_preview_is(api: Api) -> None:
    space = await api.space(alias="docs")
    site = await api.site(space, "shop.localhost", alias="shop")
    id = await draft(api, space, {"index.html": b"draft"})
    told = await api.fetched(f"space/@docs/site/@shop/preview/{id}")
    host = f"{id.partition('_')[2][:20]}--shop.localhost"
    assert told == {"url": f"http://{host}/", "access": "public", "expiresAt": None}
    await api.created(f"space/{space}/deployment/{id}/activate")
    assert await api.fetched(f"space/{space}/site/{site}/preview/{id}?seconds=60") == told
    status = await api.fetched(f"space/{space}/site/{site}/status")
    assert status["previews"] == {"access": "public", "host": "{deployment}--shop.localhost"}


@pytest.fixture
def listening(setup: Setup, request: pytest.FixtureRequest) -> str:
    """The start of a URL where visitors are served at the address that the test is given."""
    visitors, start = request.param
    setup.config = replace(setup.config, visitors=visitors)
    return str(start)


@one_store
@pytest.mark.parametrize(
    "listening",
    [
        ("http://127.0.0.1:8080", "http://{}:8080/"),
        ("http://0.0.0.0:80", "http://{}/"),
        ("https://[::]:443", "https://{}/"),
        ("https://127.0.0.1:8443", "https://{}:8443/"),
    ],
    indirect=True,
)
async def test_it_is_where_visitors_are_served(listening: str, api: Api) -> None:
    space = await api.space()
    site = await api.site(space, "www.example.com")
    id = await draft(api, space, {"index.html": b"draft"})
    told = await api.fetched(f"space/{space}/site/{site}/preview/{id}")
    digits = [each.partition("_")[2] for each in (id, site)]
    assert told["url"] == listening.format(f"{digits[0][:20]}--www-example-com--{digits[1][:16]}.localhost")


async def test_a_link_to_a_private_preview(api: Api, setup: Setup) -> None:
    space = await api.space()
    site = await api.site(space, previews="private")
    id = await draft(api, space, {"index.html": b"draft"})
    told = await api.fetched(f"space/{space}/site/{site}/preview/{id}")
    assert (told["access"], told["expiresAt"]) == ("private", "2026-09-28T14:13:20.000Z")
    url = urlsplit(told["url"])
    given = url.query.removeprefix("spacelane-preview=")
    end = setup.now // 1000 + 7 * DAY
    assert setup.config.previews.holds(site, id, given, end - 1) == end
    assert setup.config.previews.holds(site, id, given, end) is None
    short = await api.fetched(f"space/{space}/site/{site}/preview/{id}?seconds=60")
    assert short["expiresAt"] == "2026-09-21T14:14:20.000Z"
    sdk = await api.key(dialect="sdk")
    assert (await api.fetched(f"space/{space}/site/{site}/preview/{id}", key=sdk))["expiresAt"] == end * 1000


async def test_a_deployment_that_misses_contents_has_none(api: Api) -> None:
    space = await api.space()
    site = await api.site(space)
    new = {"files": manifest({"a": b"a", "b": b"b"})}
    id = (await api.post(f"space/{space}/deployment/create", new)).json()["id"]
    answer = await api.get(f"space/{space}/site/{site}/preview/{id}")
    assert "2 of its files' contents" in refused(answer, 400, "BAD_REQUEST", "files")


@one_store
async def test_what_has_no_preview(api: Api) -> None:
    space, other = await api.space(), await api.space()
    site, theirs = await api.site(space), await api.site(other, "two.localhost")
    id = await draft(api, space, {"a": b"a"})
    elsewhere = await draft(api, other, {"a": b"a"})
    for path in (f"{theirs}/preview/{id}", f"{site}/preview/{elsewhere}", f"{site}/preview/deployment_none"):
        refused(await api.get(f"space/{space}/site/{path}"), 404, "NOT_FOUND")
    for seconds in ("0", "59", str(30 * DAY + 1), "x"):
        answer = await api.get(f"space/{space}/site/{site}/preview/{id}?seconds={seconds}")
        refused(answer, 400, "BAD_REQUEST", "seconds")
    reader = await api.key("sites:read")
    refused(await api.get(f"space/{space}/site/{site}/preview/{id}", key=reader), 403, "NOT_AUTHORIZED")


@one_store
@pytest.mark.parametrize(
    ("given", "kept"),
    [("private", "private"), ("public", "public"), (None, "public"), ("", "public")],
)
async def test_who_may_see_previews(api: Api, given: str | None, kept: str) -> None:
    space = await api.space()
    site = await api.site(space, previews="private")
    await api.created(f"space/{space}/site/{site}/update", {"previews": given})
    assert (await api.fetched(f"space/{space}/site/{site}/fetch"))["previews"] == kept
    refused(await api.post(f"space/{space}/site/{site}/update", {"previews": "some"}), 400, "BAD_REQUEST", "previews")


@one_store
async def test_a_switch(api: Api) -> None:
    space = await api.space()
    site = await api.site(space, skewProtection=False)
    assert (await api.fetched(f"space/{space}/site/list"))["items"][0]["skewProtection"] is False
    await api.created(f"space/{space}/site/{site}/update", {"name": "n"})
    assert (await api.fetched(f"space/{space}/site/{site}/fetch"))["skewProtection"] is False
    await api.created(f"space/{space}/site/{site}/update", {"skewProtection": None})
    assert (await api.fetched(f"space/{space}/site/{site}/fetch"))["skewProtection"] is True
    answer = await api.post(f"space/{space}/site/{site}/update", {"skewProtection": "no"})
    refused(answer, 400, "BAD_REQUEST", "skewProtection")


def test_what_a_site_takes_that_says_nothing() -> None:
    given = SiteFields.model_validate({})
    assert (given.previews, given.skew_protection) == ("public", True)


# Why


async def test_a_preview_is_explained(api: Api) -> None:
    space = await api.space()
    await api.upload(space, "index.html", b"live")
    site = await api.site(space)
    id = await draft(api, space, {"index.html": b"draft", "_headers": b"/*\n  X-Robots-Tag: nofollow\n"})
    url = (await api.fetched(f"space/{space}/site/{site}/preview/{id}"))["url"]
    told = await explain(api, space, site, url)
    assert (told["status"], told["site"]["deployment"]) == (200, id)
    assert (told["file"]["path"], told["file"]["tree"]) == ("index.html", "deployment")
    assert told["words"][0] == f"The host is of a preview: it shows {id}, whatever is live."
    assert [header["value"] for header in told["headers"] if header["name"] == "x-robots-tag"] == [
        "nofollow",
        "noindex",
    ]
    assert steps(told)["x-robots-tag"] == ["_headers", "preview"]
    posted = await explain(api, space, site, url, method="POST")
    assert (posted["status"], values(posted)["x-robots-tag"]) == (405, "noindex")
    refusal = await explain(api, space, site, f"{url}%2e/")
    assert (refusal["status"], values(refusal)["x-robots-tag"]) == (400, "noindex")
    assert (await explain(api, space, site, "/"))["site"]["deployment"] is None
    nowhere = await explain(api, space, site, url.replace("--one", "--two"))
    assert (nowhere["status"], nowhere["site"]) == (None, None)


async def test_a_private_preview_is_explained(api: Api) -> None:
    space = await api.space()
    site = await api.site(space, previews="private")
    id = await draft(api, space, {"index.html": b"draft"})
    url = (await api.fetched(f"space/{space}/site/{site}/preview/{id}"))["url"]
    opened = await explain(api, space, site, url)
    assert (opened["status"], values(opened)["location"]) == (303, "/")
    assert opened["words"][0].startswith("The preview is private, and the link opens it")
    start, _, query = url.partition("?")
    closed = await explain(api, space, site, start)
    assert (closed["status"], values(closed)["cache-control"]) == (403, "private, no-store")
    assert closed["words"] == [
        "The preview is private, and neither a link nor a cookie opens it.",
        "The answer is 403 Forbidden.",
    ]
    shown = await explain(api, space, site, start, f"Cookie: {query}")
    assert (shown["status"], values(shown)["cache-control"]) == (200, "private, no-store")
    assert steps(shown)["cache-control"] == ["preview"]


async def test_a_preview_that_is_not_there_yet_is_explained(api: Api) -> None:
    space = await api.space()
    site = await api.site(space)
    id = (await api.post(f"space/{space}/deployment/create", {"files": manifest({"index.html": b"x"})})).json()["id"]
    host = f"{id.partition('_')[2][:20]}--one.localhost"
    told = await explain(api, space, site, f"http://{host}/")
    assert (told["status"], values(told)["x-robots-tag"]) == (404, "noindex")
    assert "not all of this deployment has been uploaded yet" in told["words"][0]


async def test_a_lost_file_is_explained(api: Api) -> None:
    space = await api.space()
    for path in ("a.js", "a.html"):
        await api.upload(space, path, b"old")
    site = await api.site(space)
    await activated(api, space, {"index.html": b"new"})
    told = await explain(api, space, site, "/a.js")
    assert (told["status"], told["file"]["path"], told["file"]["tree"]) == (200, "a.js", "previous")
    assert told["lookups"][0]["candidates"][0] == {"path": "a.js", "role": "file", "exists": False}
    assert told["words"][0] == (
        "/a.js is answered by a.js from the previous tree: the last deployment has removed it, and skew protection"
        " serves it a while longer to pages that are still open."
    )
    assert (await explain(api, space, site, "/a.html"))["status"] == 404
    assert (await explain(api, space, site, "/"))["file"]["tree"] == "live"
    await api.created(f"space/{space}/storage/delete/a.js")
    assert (await explain(api, space, site, "/a.js"))["status"] == 404


async def test_a_deletion_of_a_lost_file_is_told(api: Api) -> None:
    space = await api.space()
    for path in ("a.js", "dir/b.js"):
        await api.upload(space, path, b"old")
    await activated(api, space, {"index.html": b"new"})
    await api.post(f"space/{space}/storage/delete/dir", {"recursive": True})
    told = (await api.fetched("audit/list"))["items"][0]
    digest = hashlib.sha256(b"old").hexdigest()
    assert (told["action"], told["before"]) == ("file.delete", {"files": {"dir/b.js": digest}, "count": 1})
    assert await api.paths(space) == ["index.html"]
    refused(await api.post(f"space/{space}/storage/delete/dir", {"recursive": True}), 404, "NOT_FOUND")

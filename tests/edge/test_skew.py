"""Skew protection at the edge: what a page that is still open may want, and for how long."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from server.edge.library import MISSES_BEFORE_INDEX
from server.edge.media_types import is_subresource
from server.edge.path_index import PathIndex
from server.edge.paths import candidates, find_lost
from server.edge.preview_hosts import preview_host
from server.edge.request import Request
from server.edge.response import Response
from storage.models import File, NewSite
from tests.support.hosting import NOW, PREVIEWS, Hosting, memory_hosting, new_edge, sql_hosting
from tests.support.sites import hosted

HOUR = 3_600_000
OLD = {
    "index.html": b"one",
    "about.html": b"about",
    "assets/app.1.js": b"app 1",
    "assets/app.css": b"css 1",
    "logo.png": b"logo",
    "data.json": b"{}",
}
NEW = {"index.html": b"two", "assets/app.2.js": b"app 2", "assets/app.css": b"css 2", "404.html": b"lost"}


@pytest.fixture(params=["memory", "sqlite"])
async def hosting(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Hosting]:
    """One over each kind of store, with the site `a.test`."""
    if request.param == "memory":
        async with memory_hosting() as hosting:
            await hosting.site("a.test", OLD)
            yield hosting
    else:
        async with sql_hosting(f"sqlite:///{tmp_path}/test.db", tmp_path / "blobs") as hosting:
            await hosting.site("a.test", OLD)
            yield hosting


async def ask(hosting: Hosting, path: str, host: str = "a.test", **fields: str) -> Response:
    request = Request(**{"method": "GET", "authority": host, "path": path, **fields})
    known = hosting.edge.respond_nowait(request)
    response, reader = (known, None) if known is not None else await hosting.edge.respond(request)
    assert reader is None
    return response


async def bodies(hosting: Hosting, *paths: str, host: str = "a.test") -> list[object]:
    """What is shown, or the status of what is not; as read, and as kept."""
    answers = [await ask(hosting, path, host) for path in paths]
    assert answers == [await ask(hosting, path, host) for path in paths]
    return [answer.body if answer.status == 200 else answer.status for answer in answers]


@pytest.mark.parametrize(
    "path", ["a.js", "x/b.mjs", "a.CSS", "f.woff2", "f.eot", "i.svg", "favicon.ico", "m.wasm", "p.avif"]
)
def test_parts_of_pages(path: str) -> None:
    assert is_subresource(path)


@pytest.mark.parametrize(
    "path", ["a", "a.html", "a.json", "a.js.map", "a.txt", "a.pdf", "js", ".js", "feed.xml", "m.mp4"]
)
def test_what_is_no_part_of_a_page(path: str) -> None:
    assert not is_subresource(path)


async def test_parts_that_a_deployment_removes_are_still_shown(hosting: Hosting) -> None:
    await hosting.deploy("a.test", NEW, skew=HOUR)
    shown = await bodies(hosting, "/", "/assets/app.1.js", "/assets/app.2.js", "/assets/app.css", "/logo.png")
    assert shown == [b"two", b"app 1", b"app 2", b"css 2", b"logo"]
    assert await bodies(hosting, "/about", "/about.html", "/data.json", "/none.js") == [404, 404, 404, 404]


async def test_its_validators_are_what_they_were(hosting: Hosting) -> None:
    hosting.clock.now = NOW + 10
    before = dict((await ask(hosting, "/logo.png")).headers)
    await hosting.deploy("a.test", NEW, skew=HOUR)
    after = dict((await ask(hosting, "/logo.png")).headers)
    assert after == before
    again = await ask(hosting, "/logo.png", if_none_match=before[b"etag"].decode())
    assert again.status == 304


async def test_no_cache_is_to_keep_it_longer(hosting: Hosting) -> None:
    rules = b"/*\n  Cache-Control: max-age=31536000, immutable\n  CDN-Cache-Control: max-age=99\n  X-Tree: new\n"
    await hosting.deploy("a.test", {**NEW, "_headers": rules}, skew=HOUR)
    lost = dict((await ask(hosting, "/assets/app.1.js")).headers)
    assert lost[b"cache-control"] == b"public, max-age=0, must-revalidate"
    assert b"cdn-cache-control" not in lost
    assert lost[b"x-tree"] == b"new"
    assert b"immutable" in dict((await ask(hosting, "/assets/app.2.js")).headers)[b"cache-control"]


async def test_a_rule_that_is_not_forced_does_not_come_before_it(hosting: Hosting) -> None:
    rules = b"/logo.png /forced 301!\n/old.js /assets/app.1.js 200\n/* /index.html 200\n"
    await hosting.deploy("a.test", {**NEW, "_redirects": rules}, skew=HOUR)
    assert await bodies(hosting, "/assets/app.1.js", "/old.js") == [b"app 1", b"app 1"]
    assert (await ask(hosting, "/anywhere", accept="text/html")).body == b"two"
    assert (await ask(hosting, "/logo.png")).status == 301


async def test_it_is_over_when_its_time_is(hosting: Hosting) -> None:
    await hosting.deploy("a.test", NEW, skew=HOUR)
    edges = [hosting.edge, new_edge(hosting)]
    for hosting.edge in edges:
        assert await bodies(hosting, "/logo.png") == [b"logo"]
    hosting.clock.now += 3600
    assert await hosting.metadata.end_skew() == 1
    for hosting.edge in edges:
        assert await bodies(hosting, "/logo.png", "/") == [404, b"two"]


async def test_a_deletion_takes_it_down_at_once(hosting: Hosting) -> None:
    await hosting.deploy("a.test", NEW, skew=HOUR)
    assert await bodies(hosting, "/logo.png", "/assets/app.1.js") == [b"logo", b"app 1"]
    assert await hosting.metadata.delete_tree(hosting.spaces["a.test"], "logo.png") == 1
    assert await bodies(hosting, "/logo.png", "/assets/app.1.js") == [404, b"app 1"]


async def test_what_was_deleted_before_is_not_shown(hosting: Hosting) -> None:
    await hosting.publish("a.test", {}, delete=("logo.png",))
    await hosting.deploy("a.test", NEW, skew=HOUR)
    await hosting.publish("a.test", {}, delete=("assets/app.css",))
    assert await bodies(hosting, "/logo.png", "/assets/app.css", "/assets/app.1.js") == [404, 404, b"app 1"]


async def test_only_the_tree_just_before(hosting: Hosting) -> None:
    await hosting.deploy("a.test", NEW, skew=HOUR)
    await hosting.deploy("a.test", {"index.html": b"three"}, skew=HOUR)
    assert await bodies(hosting, "/assets/app.1.js", "/assets/app.2.js", "/assets/app.css") == [404, b"app 2", b"css 2"]


async def test_an_upload_does_not_end_it_and_takes_its_place(hosting: Hosting) -> None:
    await hosting.deploy("a.test", NEW, skew=HOUR)
    await hosting.publish("a.test", {"logo.png": b"new logo"})
    assert await bodies(hosting, "/logo.png", "/assets/app.1.js") == [b"new logo", b"app 1"]


async def test_a_site_may_do_without_and_previews_do(hosting: Hosting) -> None:
    new = NewSite(space_id=hosting.spaces["a.test"], domain="b.test", skew_protection=False)
    site = await hosting.metadata.create_site(new)
    deployment = await hosting.deploy("a.test", NEW, skew=HOUR)
    assert await bodies(hosting, "/logo.png") == [b"logo"]
    assert await bodies(hosting, "/logo.png", host="b.test") == [404]
    host = preview_host(deployment.id, site.id, site.domain, PREVIEWS.platform_domains)
    assert await bodies(hosting, "/", "/logo.png", host=host) == [b"two", 404]
    await hosting.metadata.update_site(site.id, {"skew_protection": True})
    assert await bodies(hosting, "/logo.png", host="b.test") == [b"logo"]
    assert await bodies(hosting, "/logo.png", host=host) == [404]


async def test_the_index_of_what_is_there_knows_of_it(hosting: Hosting) -> None:
    """Where much is missing the edge learns all names; those that may still be shown are among them."""
    await hosting.deploy("a.test", NEW, skew=HOUR)
    for number in range(MISSES_BEFORE_INDEX):
        assert (await ask(hosting, f"/none/{number}")).status == 404
    site = await hosting.metadata.find_site(["a.test"])
    assert site is not None
    await asyncio.gather(*hosting.edge._library._indexing)
    assert hosting.edge.find_plain_index(site) is not None
    assert hosting.edge.respond_nowait(Request(method="GET", authority="a.test", path="/none/x")) is not None
    assert await bodies(hosting, "/logo.png", "/about.html", "/assets/app.1.js") == [b"logo", 404, b"app 1"]


SITE = hosted(prefix="app", files_revision=2, skew_revision=2)


@pytest.mark.parametrize(
    ("path", "digest", "ended", "is_lost"),
    [
        ("/a.js", "d", 2, True),
        ("/a.js", "d", 1, False),
        ("/a.js", "", 2, False),
        ("/a.html", "d", 2, False),
        ("/.js", "d", 2, False),
        ("/a/", "d", 2, False),
    ],
)
def test_what_is_lost(path: str, digest: str, ended: int, is_lost: bool) -> None:
    wanted = candidates(path, SITE)
    rows = {
        name: File(path=name, digest=digest, size=1, modified_at=0, from_revision=1, to_revision=ended, removed_at=1)
        for name in wanted.names()
    }
    lost = find_lost(wanted, rows, SITE)
    assert (lost is not None) is is_lost
    assert find_lost(wanted, {}, SITE) is None
    assert find_lost(wanted, rows, replace(SITE, skew_revision=None)) is None


def test_the_index_has_lost_names_as_they_are_and_no_others() -> None:
    index = PathIndex(SITE, ["app/index.html"], ["app/a.js"])
    assert [path for path in ("/", "/a.js", "/a", "/app/a.js", "/b.js") if index.may_answer(path)] == ["/", "/a.js"]
    assert index.find_page("/b.js") is None

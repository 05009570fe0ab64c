"""Previews at the edge: what they show, to whom, and when they are gone."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from server.edge.edge import NO_SITE, Edge
from server.edge.hosted import find_hosted
from server.edge.preview_hosts import preview_host
from server.edge.request import Request
from server.edge.response import Response
from server.edge.router import Lookup, Router
from storage.memory import MemoryMetadata
from storage.models import Blob, Deployment, HostedSite, NewDeployment, NewSite, Site
from tests.support.hosting import NOW, PREVIEWS, Hosting, memory_hosting, new_edge, sql_hosting


@pytest.fixture(params=["memory", "sqlite"])
async def hosting(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Hosting]:
    """One over each kind of store."""
    if request.param == "memory":
        async with memory_hosting() as hosting:
            yield hosting
    else:
        async with sql_hosting(f"sqlite:///{tmp_path}/test.db", tmp_path / "blobs") as hosting:
            yield hosting


def host_of(site: Site, deployment: Deployment) -> str:
    return preview_host(deployment.id, site.id, site.domain, PREVIEWS.platform_domains)


def headers_of(response: Response) -> dict[bytes, bytes]:
    return dict(response.headers)


async def ask(edge: Edge, host: str, path: str = "/", **fields: str) -> Response:
    """As a door asks: memory first. Whatever is of a preview keeps search engines off."""
    request = Request(**{"method": "GET", "authority": host, "path": path, **fields})
    known = edge.respond_nowait(request)
    response, reader = (known, None) if known is not None else await edge.respond(request)
    if reader is not None:
        await reader.close()
    return response


async def shown(edge: Edge, host: str, path: str = "/") -> tuple[int, object]:
    """The status and body, twice the same: as read, and as kept."""
    first, again = [await ask(edge, host, path) for _ in range(2)]
    assert first == again
    assert headers_of(first).get(b"x-robots-tag") == (None if first.body == NO_SITE.body else b"noindex")
    return first.status, first.body


async def test_a_draft_is_shown_and_nothing_of_it_is_live(hosting: Hosting) -> None:
    site = await hosting.site("shop.pages.test", {"index.html": b"live", "old.html": b"old"})
    draft = await hosting.draft("shop.pages.test", {"index.html": b"draft", "new.html": b"new", "404.html": b"lost"})
    host = host_of(site, draft)
    assert await shown(hosting.edge, host) == (200, b"draft")
    assert await shown(hosting.edge, host, "/new") == (200, b"new")
    assert await shown(hosting.edge, host, "/old") == (404, b"lost")
    for path, answer in {"/": (200, b"live"), "/old": (200, b"old")}.items():
        response = await ask(hosting.edge, "shop.pages.test", path)
        assert (response.status, response.body) == answer
        assert b"x-robots-tag" not in headers_of(response)
    await hosting.metadata.activate_deployment(draft.id)
    assert (await ask(hosting.edge, "shop.pages.test")).body == b"draft"
    assert await shown(hosting.edge, host) == (200, b"draft")
    await hosting.deploy("shop.pages.test", {"index.html": b"later"})
    assert (await ask(hosting.edge, "shop.pages.test")).body == b"later"
    assert await shown(hosting.edge, host) == (200, b"draft")
    assert await shown(hosting.edge, host, "/new") == (200, b"new")


async def test_a_merge_is_shown_over_what_it_started_from(hosting: Hosting) -> None:
    site = await hosting.site("www.example.com", {"index.html": b"live", "kept.html": b"kept"}, prefix="")
    merge = await hosting.draft("www.example.com", {"index.html": b"draft"}, mode="merge")
    await hosting.publish("www.example.com", {"later.html": b"later"}, delete=("kept.html",))
    host = host_of(site, merge)
    assert await shown(hosting.edge, host) == (200, b"draft")
    assert await shown(hosting.edge, host, "/kept") == (200, b"kept")
    assert (await shown(hosting.edge, host, "/later"))[0] == 404


async def test_a_deployment_of_a_folder_leaves_the_rest(hosting: Hosting) -> None:
    site = await hosting.site("shop.pages.test", {"index.html": b"live", "docs/a.html": b"a", "docsy.html": b"docsy"})
    draft = await hosting.draft("shop.pages.test", {"docs/b.html": b"b"}, prefix="docs")
    host = host_of(site, draft)
    assert await shown(hosting.edge, host) == (200, b"live")
    assert await shown(hosting.edge, host, "/docs/b") == (200, b"b")
    assert await shown(hosting.edge, host, "/docsy") == (200, b"docsy")
    assert (await shown(hosting.edge, host, "/docs/a"))[0] == 404


async def test_it_is_shown_by_the_settings_of_the_site_and_its_own_rules(hosting: Hosting) -> None:
    files = {"_redirects": b"/go /live\n", "_headers": b"/*\n  X-Tree: live\n", "index.html": b"live"}
    files = {f"app/{name}": content for name, content in files.items()}
    site = await hosting.site("shop.pages.test", files, prefix="app", named_index="index.html")
    draft = await hosting.draft(
        "shop.pages.test",
        {
            "app/_redirects": b"/go /draft\n",
            "app/_headers": b"/*\n  X-Tree: draft\n  X-Robots-Tag: nofollow\n",
            "app/index.html": b"x",
            "app/home.html": b"home",
            "app/lost.html": b"lost",
        },
    )
    host = host_of(site, draft)
    assert headers_of(await ask(hosting.edge, host, "/go"))[b"location"] == b"/draft"
    assert headers_of(await ask(hosting.edge, "shop.pages.test", "/go"))[b"location"] == b"/live"
    page = await ask(hosting.edge, host)
    assert headers_of(page)[b"x-tree"] == b"draft"
    assert [value for name, value in page.headers if name == b"x-robots-tag"] == [b"nofollow", b"noindex"]
    await hosting.metadata.activate_deployment(draft.id)
    await hosting.metadata.update_site(site.id, {"named_index": "home.html", "named_not_found": "lost.html"})
    assert (await ask(hosting.edge, host)).body == b"home"
    assert (await ask(hosting.edge, host, "/none")).body == b"lost"


async def test_two_sites_show_one_deployment_each_its_own_way(hosting: Hosting) -> None:
    first = await hosting.site("one.pages.test", {}, prefix="one")
    new = NewSite(space_id=first.space_id, domain="two.example", prefix="two")
    second = await hosting.metadata.create_site(new)
    draft = await hosting.draft("one.pages.test", {"one/index.html": b"1", "two/index.html": b"2"})
    assert await shown(hosting.edge, host_of(first, draft)) == (200, b"1")
    assert await shown(hosting.edge, host_of(second, draft)) == (200, b"2")
    assert host_of(second, draft).endswith(".pages.test")
    mixed = host_of(first, draft).replace("--one.", "--two.")
    assert await shown(hosting.edge, mixed) == (404, NO_SITE.body)


async def test_until_its_contents_are_there_it_says_so(hosting: Hosting) -> None:
    site = await hosting.site("shop.pages.test", {"index.html": b"live", "b.html": b"b"})
    there, lacking = await hosting.store(b"there"), await hosting.store(b"lacking")  # in the store: another's
    await hosting.metadata.put_blob(site.workspace_id, there)
    files = {"index.html": there, "a": lacking, "a.html": there, "_headers": lacking}
    draft = await hosting.metadata.create_deployment(
        NewDeployment(space_id=site.space_id, files=files | {"a": lacking}, mode="merge")
    )
    host = host_of(site, draft)
    for path in ("/", "/a"):
        response = await ask(hosting.edge, host, path)
        assert response.status == 404
        assert isinstance(response.body, bytes)
        assert b"has been uploaded yet" in response.body
        assert headers_of(response)[b"cache-control"] == b"no-store"
        assert headers_of(response)[b"x-robots-tag"] == b"noindex"
    await hosting.metadata.put_blob(site.workspace_id, lacking)
    assert await shown(hosting.edge, host) == (200, b"there")
    assert await shown(hosting.edge, host, "/a") == (200, b"lacking")
    assert await shown(hosting.edge, host, "/b") == (200, b"b")


async def test_a_size_that_a_manifest_gets_wrong_is_not_believed(hosting: Hosting) -> None:
    site = await hosting.site("shop.pages.test", {})
    blob = await hosting.store(b"content")
    files = {"index.html": Blob(digest=blob.digest, size=3)}
    draft = await hosting.metadata.create_deployment(NewDeployment(space_id=site.space_id, files=files))
    await hosting.metadata.put_blob(site.workspace_id, blob)
    response = await ask(hosting.edge, host_of(site, draft))
    assert (response.body, headers_of(response)[b"content-length"]) == (b"content", b"7")


async def test_validators_and_methods(hosting: Hosting) -> None:
    site = await hosting.site("shop.pages.test", {"index.html": b"live"})
    hosting.clock.now = NOW + 100
    draft = await hosting.draft("shop.pages.test", {"index.html": b"draft"})
    host = host_of(site, draft)
    first = headers_of(await ask(hosting.edge, host))
    assert first[b"last-modified"] == b"Mon, 21 Sep 2026 14:15:00 GMT"
    again = await ask(hosting.edge, host, if_none_match=first[b"etag"].decode())
    assert again.status == 304
    assert headers_of(again)[b"x-robots-tag"] == b"noindex"
    for method, status in {"OPTIONS": 204, "POST": 405, "HEAD": 200}.items():
        response = await ask(hosting.edge, host, method=method)
        assert response.status == status
        assert headers_of(response)[b"x-robots-tag"] == b"noindex"
    refused = await ask(hosting.edge, host, "/%")
    assert (refused.status, headers_of(refused)[b"x-robots-tag"]) == (400, b"noindex")
    assert refused.site_id == site.id


# Who may see it


async def test_a_private_preview(hosting: Hosting) -> None:
    site = await hosting.site("shop.pages.test", {"index.html": b"live"}, previews="private")
    draft = await hosting.draft(
        "shop.pages.test", {"index.html": b"draft", "_headers": b"/*\n  Cache-Control: public, max-age=999\n"}
    )
    other = await hosting.draft("shop.pages.test", {"index.html": b"other"})
    host = host_of(site, draft)
    given = PREVIEWS.sign(site.id, draft.id, NOW + 60)
    cookie = f"spacelane-preview={given}"
    for _ in range(2):  # when it has been read and is kept, too
        assert (await ask(hosting.edge, host)).status == 403
        assert (await ask(hosting.edge, host, "/none", method="OPTIONS")).status == 403
        opened = await ask(hosting.edge, host, "/a//b", query=f"x=1&spacelane-preview={given}")
        assert (opened.status, headers_of(opened)[b"location"]) == (303, b"/a/b?x=1")
        page = await ask(hosting.edge, host, cookie=cookie)
        assert (page.status, page.body) == (200, b"draft")
        assert headers_of(page)[b"cache-control"] == b"private, no-store"
        assert [name for name, _ in page.headers].count(b"cache-control") == 1
        assert (await ask(hosting.edge, host, "/none", cookie=cookie)).status == 404
        assert (await ask(hosting.edge, host_of(site, other), cookie=cookie)).status == 403
    assert (await ask(hosting.edge, host, "/%5cevil", query=f"spacelane-preview={given}")).status == 400
    assert (await ask(hosting.edge, "shop.pages.test")).body == b"live"
    hosting.clock.now += 60
    assert (await ask(hosting.edge, host, cookie=cookie)).status == 403
    await hosting.metadata.update_site(site.id, {"previews": "public"})
    assert (await ask(hosting.edge, host)).body == b"draft"
    await hosting.metadata.update_site(site.id, {"previews": "private"})
    assert (await ask(hosting.edge, host)).status == 403


# When it is gone


async def test_it_goes_with_its_site_its_domain_or_its_space(hosting: Hosting) -> None:
    site = await hosting.site("shop.pages.test", {})
    new = NewSite(space_id=site.space_id, domain="goes.pages.test")
    goes = await hosting.metadata.create_site(new)
    draft = await hosting.draft("shop.pages.test", {"index.html": b"draft"})
    edges = [hosting.edge, new_edge(hosting)]
    for edge in edges:
        assert await shown(edge, host_of(site, draft)) == (200, b"draft")
        assert await shown(edge, host_of(goes, draft)) == (200, b"draft")
    await hosting.metadata.delete_site(goes.id)
    moved = await hosting.metadata.update_site(site.id, {"domain": "moved.example"})
    for edge in edges:
        assert await shown(edge, host_of(goes, draft)) == (404, NO_SITE.body)
        assert await shown(edge, host_of(site, draft)) == (404, NO_SITE.body)
        assert await shown(edge, host_of(moved, draft)) == (200, b"draft")
    await hosting.metadata.delete_space(site.space_id)
    for edge in edges:
        assert await shown(edge, host_of(moved, draft)) == (404, NO_SITE.body)


async def test_a_preview_that_was_asked_for_too_early(hosting: Hosting) -> None:
    await hosting.publish("space", {})
    draft = await hosting.draft("space", {"index.html": b"draft"})
    host = f"{draft.id.partition('_')[2][:20]}--shop.pages.test"
    assert await shown(hosting.edge, host) == (404, NO_SITE.body)
    await hosting.metadata.create_site(NewSite(space_id=hosting.spaces["space"], domain="shop.pages.test"))
    assert await shown(hosting.edge, host) == (200, b"draft")


# The router


async def test_a_name_has_one_spelling(hosting: Hosting) -> None:
    site = await hosting.site("www.example.com", {})
    draft = await hosting.draft("www.example.com", {})
    host = host_of(site, draft)
    assert await find_hosted(hosting.metadata, host, PREVIEWS.platform_domains)
    other = host.replace("--www-example-com--", "--www-example-net--")
    assert other != host
    assert await find_hosted(hosting.metadata, other, PREVIEWS.platform_domains) is None
    elsewhere = ("pages.test", "more.test")
    assert await find_hosted(hosting.metadata, host.replace("pages.test", "more.test"), elsewhere) is None


class Counting(MemoryMetadata):
    """How often a host was looked for."""

    looked = 0

    async def find_preview(
        self, deployment: str, *, domain: str | None = None, site: str | None = None
    ) -> HostedSite | None:
        self.looked += 1
        return await super().find_preview(deployment, domain=domain, site=site)


async def test_a_scan_of_previews_evicts_nothing_and_is_kept_in_mind() -> None:
    async with memory_hosting() as hosting:
        metadata = Counting()
        hosting = replace(hosting, metadata=metadata)
        site = await hosting.site("hot.pages.test", {})
        draft = await hosting.draft("hot.pages.test", {})
        router = Router(metadata, PREVIEWS.platform_domains, max_sites=2, max_misses=4)
        hot, preview = "hot.pages.test", host_of(site, draft)
        await router.find(hot)
        assert await router.find("cold.test") is None
        await router.find(preview)
        metadata.looked = 0
        for number in range(100):
            host = f"{number:020}--hot.pages.test"
            assert await router.find(host) is None
            assert router.find_nowait(host) is None
            assert await router.find(host) is None
        assert metadata.looked == 100
        assert router.find_nowait("00000000000000000000--hot.pages.test") is Lookup.UNKNOWN
        assert isinstance(router.find_nowait(hot), HostedSite)
        assert isinstance(router.find_nowait(preview), HostedSite)
        assert router.find_nowait("cold.test") is None


async def test_what_leaves_the_router_for_want_of_room_leaves_nothing_behind() -> None:
    async with memory_hosting() as hosting:
        site = await hosting.site("hot.pages.test", {})
        router = Router(hosting.metadata, PREVIEWS.platform_domains, max_sites=1)
        for _ in range(3):
            draft = await hosting.draft("hot.pages.test", {})
            assert await router.find(host_of(site, draft))
        assert {name: len(value) for name, value in vars(router).items() if name.endswith("_of")} == {
            "_names_of": 1,
            "_previews_of": 1,
        }
        await router.find("hot.pages.test")
        assert vars(router)["_previews_of"] == {}
        router.clear()
        assert vars(router)["_names_of"] == {}

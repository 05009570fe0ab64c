"""What the edge keeps where a site has rules: what memory answers, and what a change of rules does."""

from __future__ import annotations

import pytest

from server.edge import site_rules
from server.edge.request import Request
from server.edge.response import Response
from server.edge.rule_files import MAX_READ_BYTES
from storage.models import HostedSite
from tests.support.hosting import Hosting, memory_hosting

FILES = {
    "index.html": b"home",
    "page.html": b"page",
    "de.html": b"deutsch",
    "app.html": b"app",
    "_redirects": b"/old /new\n/own /own-query?x=1\n/lang /de.html 200 Language=de\n"
    b"/index.html /beta 302! Cookie=beta\n/app/* /app.html 200\n/items/:id /item/:id\n",
    "_headers": b"/*\n  X-Rule: one\n",
}


def get(path: str, **fields: str) -> Request:
    return Request(**{"method": "GET", "authority": "a.test", "path": path, **fields})


async def answer(hosting: Hosting, request: Request) -> Response:
    response, reader = await hosting.edge.respond(request)
    assert reader is None
    return response


def header(response: Response | None, name: bytes) -> bytes | None:
    assert response is not None
    return dict(response.headers).get(name)


async def test_memory_answers_by_what_the_rules_read_and_by_nothing_else() -> None:
    async with memory_hosting() as hosting:
        await hosting.site("a.test", FILES)
        german, french = {"accept_language": "de, fr"}, {"accept_language": "fr"}
        assert (await answer(hosting, get("/lang", **german))).body == b"deutsch"
        warm = hosting.edge.respond_nowait(get("/lang", accept_language="de-AT", query="x=1", cookie="a=b"))
        assert warm is not None
        assert warm.body == b"deutsch"
        assert hosting.edge.respond_nowait(get("/lang", **french)) is None
        assert (await answer(hosting, get("/lang", **french))).status == 404
        # A page that no rule reads anything for is one entry, whatever comes with the request.
        await answer(hosting, get("/page"))
        size = hosting.edge.cache.size
        for number in range(20):
            assert hosting.edge.respond_nowait(get("/page", query=f"x={number}", cookie=f"c{number}=1")) is not None
        assert hosting.edge.cache.size == size


async def test_a_forced_rule_that_reads_a_cookie_keeps_its_file_private() -> None:
    async with memory_hosting() as hosting:
        await hosting.site("a.test", FILES)
        plain = await answer(hosting, get("/index.html"))
        assert (plain.status, header(plain, b"vary")) == (200, b"cookie")
        assert header(plain, b"cache-control") == b"private, max-age=0, must-revalidate"
        beta = await answer(hosting, get("/index.html", cookie="beta=1"))
        assert (beta.status, header(beta, b"location")) == (302, b"/beta")
        assert hosting.edge.respond_nowait(get("/index.html", cookie="other=1")) == plain
        assert hosting.edge.respond_nowait(get("/index.html", cookie="beta=2")) == beta


async def test_redirects_are_kept_and_still_take_each_query_along() -> None:
    async with memory_hosting() as hosting:
        await hosting.site("a.test", FILES)
        assert header(await answer(hosting, get("/old", query="a")), b"location") == b"/new?a"
        assert hosting.edge.respond_nowait(get("/old", query="a")) is None  # made for one query
        assert header(await answer(hosting, get("/old")), b"location") == b"/new"
        assert header(hosting.edge.respond_nowait(get("/old", query="b")), b"location") == b"/new?b"
        assert header(await answer(hosting, get("/own", query="a")), b"location") == b"/own-query?x=1"
        assert header(hosting.edge.respond_nowait(get("/own", query="b")), b"location") == b"/own-query?x=1"


async def test_a_scan_of_paths_below_a_pattern_leaves_nothing_behind() -> None:
    async with memory_hosting() as hosting:
        await hosting.site("a.test", FILES)
        await answer(hosting, get("/app/0", accept="text/html"))
        size = hosting.edge.cache.size
        for number in range(30):
            page = await answer(hosting, get(f"/app/{number}", accept="text/html"))
            assert page.body == b"app"
            moved = await answer(hosting, get(f"/items/{number}"))
            assert header(moved, b"location") == f"/item/{number}".encode()
        assert hosting.edge.cache.size == size


async def test_a_change_of_rules_is_a_change_of_every_page() -> None:
    async with memory_hosting() as hosting:
        await hosting.site("a.test", FILES)
        before = await answer(hosting, get("/page"))
        since = header(before, b"last-modified")
        assert since is not None
        hosting.clock.now += 10
        await hosting.publish("a.test", {"_headers": b"/*\n  X-Rule: two\n"})
        after = await answer(hosting, get("/page", if_modified_since=since.decode()))
        assert (after.status, header(after, b"x-rule")) == (200, b"two")
        hosting.clock.now += 10
        await hosting.publish("a.test", {}, delete=("_headers", "_redirects"))
        since = header(after, b"last-modified")
        assert since is not None
        gone = await answer(hosting, get("/page", if_modified_since=since.decode()))
        assert (gone.status, header(gone, b"x-rule")) == (200, None)
        assert (await answer(hosting, get("/old"))).status == 404


async def test_rules_lie_below_the_prefix() -> None:
    async with memory_hosting() as hosting:
        files = {"v2/page.html": b"page", "_headers": b"/*\n  X: root\n", "v2/_headers": b"/page.html\n  X: v2\n"}
        await hosting.site("a.test", files, prefix="v2")
        assert header(await answer(hosting, get("/page")), b"x") is None
        assert header(await answer(hosting, get("/page.html")), b"x") == b"v2"


async def test_a_rule_file_is_read_no_further_than_it_counts() -> None:
    async with memory_hosting() as hosting:
        lines = b"/old /new\n" + b"# filled up\n" * (MAX_READ_BYTES // 12 + 1)
        await hosting.site("a.test", {"_redirects": lines})
        assert header(await answer(hosting, get("/old")), b"location") == b"/new"


async def test_rules_that_were_let_go_are_compiled_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(site_rules, "MAX_COMPILED_BYTES", 10)  # none fits
    async with memory_hosting() as hosting:
        site = await hosting.site("a.test", FILES)
        hosted = HostedSite.of(site, await hosting.metadata.get_revision(), 0)
        book = site_rules.RuleBook(hosting.metadata, hosting.blobs)
        assert book.find_nowait(hosted) is None
        rules = await book.find(hosted)
        assert rules.redirects is not None
        assert rules.headers is not None
        assert book.find_nowait(hosted) is None
        assert await book.find(hosted) == rules


async def test_rules_that_lead_to_what_is_not_there() -> None:
    async with memory_hosting() as hosting:
        rules = b"/rewritten /none.html 200\n/lost /404.html 410\n/nothing /none.html 404\n"
        await hosting.site("a.test", {"_redirects": rules, "404.html": b"lost"})
        rewritten = await answer(hosting, get("/rewritten"))
        assert (rewritten.status, rewritten.body) == (404, b"lost")
        lost = await answer(hosting, get("/lost"))
        assert (lost.status, lost.body) == (410, b"lost")
        nothing = await answer(hosting, get("/nothing"))
        assert nothing.status == 404
        assert isinstance(nothing.body, bytes)
        assert b"There is nothing at this address" in nothing.body

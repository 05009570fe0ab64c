"""The edge and variants: what it keeps of each coding, and when a late one is served."""

from __future__ import annotations

import logging

import pytest

from server.compressor import Compressor
from server.edge.edge import Edge
from server.edge.request import Request
from server.edge.response import Parts, Response
from storage.models import CODINGS
from tests.support.corpus import coded
from tests.support.hosting import CACHE_BYTES, Hosting, digest_of, memory_hosting

PAGE = b"<p>The same again.</p>\n" * 100
BROWSER = "gzip, deflate, br, zstd"


def get(path: str = "/", accept_encoding: str | None = None, **fields: str) -> Request:
    return Request(**{"method": "GET", "authority": "a.test", "path": path, **fields}, accept_encoding=accept_encoding)


async def answer(edge: Edge, request: Request) -> Response:
    response, reader = await edge.respond(request)
    assert reader is None
    return response


def header(response: Response, name: str) -> str | None:
    value = dict(response.headers).get(name.encode())
    return None if value is None else value.decode()


async def compress(hosting: Hosting) -> None:
    await Compressor(hosting.metadata, hosting.blobs, hosting.node).work()


async def test_memory_answers_in_each_coding_asked_for_before() -> None:
    async with memory_hosting() as hosting:
        await hosting.site("a.test", {"index.html": PAGE})
        await compress(hosting)
        edge = hosting.edge
        for accepted, body in [(None, PAGE), *((coding, coded(PAGE, coding)) for coding in CODINGS)]:
            assert edge.respond_nowait(get(accept_encoding=accepted)) is None
            first = await answer(edge, get(accept_encoding=accepted))
            assert (first.status, first.body) == (200, body)
            assert header(first, "content-encoding") == accepted
            assert header(first, "etag") == f'"{digest_of(body)[:32]}"'
            assert edge.respond_nowait(get(accept_encoding=accepted)) == first
        kept = edge.cache.size
        # Whatever the field's words, an answer that is there needs no second load.
        for field in (BROWSER, "br;q=0.1, identity;q=0", "x-gzip", "*;q=0", "identity"):
            assert edge.respond_nowait(get(accept_encoding=field)) is not None
        assert edge.cache.size == kept
        head = edge.respond_nowait(get(accept_encoding="gzip", method="HEAD"))
        assert head is not None
        assert (head.body, header(head, "content-length")) == (b"", str(len(coded(PAGE, "gzip"))))


async def test_error_pages_are_kept_coding_by_coding() -> None:
    async with memory_hosting() as hosting:
        await hosting.site("a.test", {"404.html": PAGE})
        await compress(hosting)
        sizes = []
        for _ in range(2):
            for accepted, body in ((None, PAGE), ("gzip", coded(PAGE, "gzip"))):
                response = await answer(hosting.edge, get("/none", accepted))
                assert (response.status, response.body) == (404, body)
                assert header(response, "content-encoding") == accepted
            sizes.append(hosting.edge.cache.size)
        assert sizes[0] == sizes[1]


async def test_a_late_variant_is_served_by_the_next_answer() -> None:
    async with memory_hosting() as hosting:
        await hosting.site("a.test", {"index.html": PAGE})
        before = await answer(hosting.edge, get(accept_encoding=BROWSER))
        assert (before.body, header(before, "vary")) == (PAGE, None)
        hosting.clock.now += 60
        await compress(hosting)
        assert hosting.edge.respond_nowait(get(accept_encoding=BROWSER)) is None
        after = await answer(hosting.edge, get(accept_encoding=BROWSER))
        assert after.body == coded(PAGE, "br")
        assert header(after, "vary") == "accept-encoding"
        # The content is what it was, and so is its date.
        since = header(before, "last-modified")
        assert since
        assert header(after, "last-modified") == since
        again = await answer(hosting.edge, get(accept_encoding=BROWSER, if_modified_since=since))
        assert (again.status, header(again, "etag")) == (304, header(after, "etag"))
        # By its entity tag, what a cache has is confirmed in the coding that it has and in no other.
        tag = header(before, "etag")
        assert tag
        assert (await answer(hosting.edge, get(if_none_match=tag))).status == 304
        assert (await answer(hosting.edge, get(accept_encoding=BROWSER, if_none_match=tag))).status == 200
        # Nor is half of one completed by half of another.
        resumed = await answer(hosting.edge, get(accept_encoding=BROWSER, range="bytes=9-", if_range=since))
        assert (resumed.status, resumed.body) == (200, coded(PAGE, "br"))


async def test_a_damaged_variant_is_done_without(caplog: pytest.LogCaptureFixture) -> None:
    async with memory_hosting() as hosting:
        await hosting.site("a.test", {"index.html": PAGE})
        await compress(hosting)
        await hosting.blobs.delete(digest_of(coded(PAGE, "br")))
        with caplog.at_level(logging.ERROR):
            response = await answer(hosting.edge, get(accept_encoding=BROWSER))
            assert (response.status, response.body) == (200, coded(PAGE, "zstd"))
            assert header(response, "vary") == "accept-encoding"
            assert hosting.edge.respond_nowait(get(accept_encoding=BROWSER)) == response
            for coding in ("zstd", "gzip"):
                await hosting.blobs.delete(digest_of(coded(PAGE, coding)))
            response = await answer(hosting.edge, get(accept_encoding="gzip"))
            assert (response.status, response.body) == (200, PAGE)
            assert header(response, "vary") == "accept-encoding"
        assert len(caplog.records) == 2
        await hosting.blobs.delete(digest_of(PAGE))
        edge = Edge(hosting.metadata, hosting.blobs, hosting.node, cache_bytes=CACHE_BYTES, clock=hosting.clock)
        assert (await answer(edge, get(accept_encoding="gzip"))).status == 500


async def test_a_variant_too_large_to_keep_is_streamed() -> None:
    page = PAGE * 40
    async with memory_hosting(cache_bytes=16 * 100) as hosting:
        await hosting.site("a.test", {"index.html": page})
        await compress(hosting)
        response, reader = await hosting.edge.respond(get(accept_encoding="gzip"))
        assert isinstance(response.body, Parts)
        assert reader is not None
        size = len(coded(page, "gzip"))
        assert size > 100
        assert (response.body.size, header(response, "content-length")) == (size, str(size))
        assert b"".join([chunk async for chunk in reader.read(0, size)]) == coded(page, "gzip")
        await reader.close()

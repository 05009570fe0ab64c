"""Widgets through the fast door: what it answers by itself is for who asks, and of what is configured now."""

from __future__ import annotations

import json
from dataclasses import replace

import brotli
import pytest

from server.doors import answers, tables
from server.edge import sessions
from storage.widgets import Widget
from tests.doors.test_fast import connected
from tests.support.hosting import WIDGET_HOST, Hosting

CONFIG = "/v1/{}/config"
A, B = "Origin: https://a.test", "Origin: https://b.test"


async def greet(hosting: Hosting, widget: Widget, greeting: str) -> None:
    await hosting.metadata.update_widget(
        widget.id, lambda old: replace(old, settings={**old.settings, "greeting": greeting})
    )


async def test_a_configuration_is_known_by_its_bytes(slowly: list[bytes], read: list[bytes]) -> None:
    async with connected() as (hosting, client):
        await hosting.widget("aaaaaaaa", "a.test", greeting="Hello! " * 60)
        path = CONFIG.format("aaaaaaaa")
        for _ in range(4):
            status, head, body = await client.get(path, A, host=WIDGET_HOST)
            assert (status, b"content-encoding: br\r\n" in head) == (200, True)
            assert b"access-control-allow-origin: https://a.test\r\n" in head
        etag = head.split(b"etag: ")[1].split(b"\r\n")[0].decode()
        for _ in range(3):
            assert (await client.get(path, A, f"If-None-Match: {etag}", host=WIDGET_HOST))[0] == 304
            assert (await client.get("/widget.js", host=WIDGET_HOST))[0] == 200
        assert slowly == [path.encode(), b"/widget.js"]
        # Once more each is read in full; then its bytes are known, save that a client comes twice before its lines are.
        assert read == [path.encode()] * 2 + [b"/widget.js"] * 2


async def test_a_long_configuration() -> None:
    async with connected() as (hosting, client):
        pages = [f"/{'x' * 200}/{number}" for number in range(100)]
        await hosting.widget("aaaaaaaa", "a.test", enabled_pages=pages)
        for _ in range(3):
            status, head, body = await client.get(CONFIG.format("aaaaaaaa"), A, host=WIDGET_HOST)
            assert (status, b"content-encoding: br\r\n" in head) == (200, True)
            assert json.loads(brotli.decompress(body))["enabled_pages"] == pages


async def test_each_origin_has_its_own_answers(slowly: list[bytes]) -> None:
    async with connected() as (hosting, client):
        await hosting.widget("aaaaaaaa", "a.test")
        path = CONFIG.format("aaaaaaaa")
        for _ in range(4):
            for port in ("", ":1", ":2"):
                _, head, _ = await client.get(path, A + port, host=WIDGET_HOST)
                assert f"allow-origin: https://a.test{port}\r\n".encode() in head
            assert (await client.get(path, B, host=WIDGET_HOST))[0] == 403
            status, head, _ = await client.get(path, host=WIDGET_HOST)
            assert (status, b"allow-origin" in head) == (200, False)
        assert len(slowly) == 4  # the origins that may, and none


async def test_a_change_shows_at_once_and_touches_no_other(slowly: list[bytes], read: list[bytes]) -> None:
    async with connected() as (hosting, client):
        one = await hosting.widget("aaaaaaaa", "a.test", greeting="0")
        await hosting.widget("bbbbbbbb", "b.test")
        for _ in range(3):
            await client.get(CONFIG.format("bbbbbbbb"), B, host=WIDGET_HOST)
        for number in range(3):
            for _ in range(3):
                _, _, body = await client.get(CONFIG.format("aaaaaaaa"), A, host=WIDGET_HOST)
                assert json.loads(body)["greeting"] == str(number)
            await greet(hosting, one, str(number + 1))
            del slowly[:], read[:]
            assert (await client.get(CONFIG.format("bbbbbbbb"), B, host=WIDGET_HOST))[0] == 200
            assert (slowly, read) == ([], [])
        await hosting.metadata.delete_widget(one.id)
        for _ in range(3):
            assert (await client.get(CONFIG.format("aaaaaaaa"), A, host=WIDGET_HOST))[0] == 404


async def test_one_that_comes_and_one_that_changes_its_domain() -> None:
    async with connected() as (hosting, client):
        path = CONFIG.format("aaaaaaaa")
        for _ in range(3):
            assert (await client.get(path, A, host=WIDGET_HOST))[0] == 404
        widget = await hosting.widget("aaaaaaaa", "a.test")
        for _ in range(3):
            assert (await client.get(path, A, host=WIDGET_HOST))[0] == 200
            assert (await client.get(path, B, host=WIDGET_HOST))[0] == 403
        await hosting.metadata.update_widget(widget.id, lambda old: replace(old, domain="b.test"))
        for _ in range(3):
            assert (await client.get(path, A, host=WIDGET_HOST))[0] == 403
            assert (await client.get(path, B, host=WIDGET_HOST))[0] == 200


async def test_a_log_that_was_not_read_is_made_up_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("server.edge.changes.TOO_MANY", 0)
    async with connected() as (hosting, client):
        widget = await hosting.widget("aaaaaaaa", "a.test", greeting="0")
        path = CONFIG.format("aaaaaaaa")
        for _ in range(3):
            await client.get(path, A, host=WIDGET_HOST)
        await greet(hosting, widget, "1")
        await greet(hosting, widget, "2")
        for _ in range(3):
            _, _, body = await client.get(path, A, host=WIDGET_HOST)
            assert json.loads(body)["greeting"] == "2"


async def test_the_tag_comes_and_goes_with_its_widget() -> None:
    async with connected() as (hosting, client):
        page = b"<!doctype html><body>page</body>"
        tag = b'<script src="//widget.test/widget.js" data-site-id="bbbbbbbb" async></script>'
        await hosting.site("b.test", {"index.html": page}, meta={"widget": True})
        tagged = page.replace(b"</body>", tag + b"</body>")
        seen = []
        for expected in (page, tagged, tagged, page):
            for _ in range(3):
                status, head, body = await client.get("/", host="b.test")
                assert (status, body) == (200, expected)
            seen.append(dict(line.split(b": ", 1) for line in head.split(b"\r\n")[1:-2]))
            match len(seen):
                case 1:
                    widget = await hosting.widget("bbbbbbbb", "b.test")
                case 2:
                    await greet(hosting, widget, "the tag says nothing of it")
                case 3:
                    await hosting.metadata.delete_widget(widget.id)
        none, one, same, gone = seen
        assert one[b"etag"] != none[b"etag"] == gone[b"etag"]
        assert (one[b"etag"], one[b"last-modified"]) == (same[b"etag"], same[b"last-modified"])
        stamps = [answer[b"last-modified"] for answer in (none, one, gone)]
        assert len(set(stamps)) == 1  # a date in the future would be a lie
        hosting.clock.now += 10
        _, head, _ = await client.get("/", f"If-Modified-Since: {stamps[0].decode()}", host="b.test")
        assert head.startswith(b"HTTP/1.1 200")


async def test_sessions_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sessions, "MAX_A_MINUTE", 3)
    async with connected() as (hosting, client):
        await hosting.widget("aaaaaaaa", "a.test")
        await hosting.widget("bbbbbbbb", "b.test")

        async def report(site_id: str, origin: str) -> int:
            path = f"/v1/{site_id}/sessions?page=/"
            status, head, _ = await client.get(path, origin, "Content-Length: 0", host=WIDGET_HOST, method="POST")
            assert b"access-control-allow-origin" in head
            return status

        assert [await report("aaaaaaaa", A) for _ in range(5)] == [204, 204, 204, 429, 429]
        assert await report("bbbbbbbb", B) == 204
        hosting.clock.now += 60
        assert await report("aaaaaaaa", A) == 204
        monkeypatch.setattr(sessions, "MAX_AT_ONCE", 0)
        assert await report("aaaaaaaa", A) == 503


async def test_made_up_origins_push_out_nobody(
    slowly: list[bytes], read: list[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(answers, "MAX_TABLES_BYTES", 8 * tables.TABLE_OVERHEAD)
    async with connected() as (hosting, client):
        await hosting.widget("aaaaaaaa", "a.test")
        for _ in range(4):
            await client.get("/")
        for port in range(30):
            for _ in range(4):
                assert (await client.get(CONFIG.format("aaaaaaaa"), f"{A}:{port}", host=WIDGET_HOST))[0] == 200
        del slowly[:], read[:]
        assert (await client.get("/"))[0] == 200
        assert (slowly, read) == ([], [])

"""What of a site's configuration is public, and whom it is shown to."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from dataclasses import replace

import pytest

from server.edge.conditions import finish
from server.edge.made import make
from server.edge.request import Request
from server.edge.response import made_representation
from server.edge.router import Lookup
from server.edge.widget_directory import WidgetDirectory
from server.edge.widgets import (
    HostedWidget,
    domains_of,
    hosted,
    not_allowed,
    open_to,
    open_to_all,
    options,
    parse_route,
)
from storage.errors import Unavailable
from storage.widgets import Widget


@pytest.mark.parametrize(
    ("path", "route"),
    [
        ("/v1/ab1c2d3e/config", ("ab1c2d3e", "config")),
        ("/v1/ab1c2d3e/sessions", ("ab1c2d3e", "sessions")),
        ("/v1/" + "a" * 32 + "/config", ("a" * 32, "config")),
        ("/v1/" + "a" * 33 + "/config", None),
        ("/v1/ab1c2d3/config", None),
        ("/v1/AB1C2D3E/config", None),
        ("/v1/ab1c2d3e/config/", None),
        ("/v1/ab1c2d3e/config\n", None),
        ("/v1/ab1c2d3e/other", None),
        ("/v1/ab1c2d3e", None),
        ("/widget.js", None),
    ],
)
def test_routes(path: str, route: tuple[str, str] | None) -> None:
    assert parse_route(path) == route


@pytest.mark.parametrize(
    ("origin", "domains"),
    [
        ("https://example.com", ("example.com",)),
        ("http://example.com:8080", ("example.com",)),
        ("https://a.example.com", ("a.example.com", "*.example.com")),
        ("https://a.b.example.com.", ("a.b.example.com", "*.b.example.com")),
        ("https://xn--bcher-kva.example", ("xn--bcher-kva.example",)),
        ("null", ()),
        ("", ()),
        ("ftp://example.com", ()),
        ("https://example.com/", ()),
        ("https://example.com:", ()),
        ("https://me@example.com", ()),
        ("https://Example.com", ()),  # browsers write it in lower case
        ("https://example.com, https://other.com", ()),
        ("https://example.com\r\nx: y", ()),
        ("https://" + "a" * 300, ()),
    ],
)
def test_whose_pages_an_origin_has(origin: str, domains: tuple[str, ...]) -> None:
    assert domains_of(origin) == domains


def test_only_public_fields_are_shown_and_only_those_that_are_set() -> None:
    settings = {"greeting": "Grüß Gott", "language": "de", "custom_instructions": "secret", "voice": None}
    kept = Widget(
        id="widget_1",
        workspace_id="secret",
        site_id="ab1c2d3e",
        domain="secret.test",
        business_name="Ember & Oak",
        settings=settings,
        revision=1,
        created_at=1,
        updated_at=1,
    )
    shown = hosted(kept)
    assert json.loads(shown.body) == {
        "site_id": "ab1c2d3e",
        "business_name": "Ember & Oak",
        "greeting": "Grüß Gott",
        "language": "de",
    }
    assert b"secret" not in shown.body
    assert (shown.site_id, shown.domain) == ("ab1c2d3e", "secret.test")
    assert hosted(replace(kept, settings={**settings, "custom_instructions": "other"})).digest == shown.digest
    assert hosted(replace(kept, settings={**settings, "greeting": "Servus"})).digest != shown.digest


def test_an_answer_names_the_origin_that_may_read_it() -> None:
    stored = made_representation(make("application/json", b"{}" + b" " * 300).content("gzip"))
    assert dict(open_to(stored, None).headers)[b"vary"] == b"accept-encoding, origin"
    assert b"access-control-allow-origin" not in dict(open_to(stored, None).headers)
    assert dict(open_to(stored, "https://a.test").headers)[b"access-control-allow-origin"] == b"https://a.test"
    assert dict(open_to_all(stored).headers)[b"access-control-allow-origin"] == b"*"


def test_a_preflight_is_told_what_it_may_and_others_what_there_is() -> None:
    told = dict(options("sessions", "https://a.test").headers)
    assert (told[b"allow"], told[b"access-control-allow-methods"]) == (b"POST, OPTIONS", b"POST")
    assert b"access-control-allow-methods" not in dict(options("config", None).headers)
    assert dict(not_allowed("sessions").headers)[b"allow"] == b"POST, OPTIONS"


def test_what_is_made_has_no_date_that_a_condition_could_be_about() -> None:
    stored = made_representation(make("application/json", b"{}").content(None))
    date = "Mon, 21 Sep 2026 14:13:20 GMT"
    asked = Request(method="GET", authority=None, path="/")
    for field in ("if_modified_since", "if_unmodified_since"):
        assert finish(stored, Request(method="GET", authority=None, path="/", **{field: date})).status == 200
    assert b"last-modified" not in dict(stored.headers)
    for value, status in [(date, 200), ("never", 200), (dict(stored.headers)[b"etag"].decode(), 206)]:
        ranged = Request(method="GET", authority=None, path="/", range="bytes=0-0", if_range=value)
        assert finish(stored, ranged).status == status
    assert finish(stored, asked).status == 200


# The directory.


def widget(site_id: str, domain: str = "a.test", size: int = 10) -> HostedWidget:
    return HostedWidget(site_id, domain, b"x" * size, "0" * 64)


class Shelf:
    """A store of widgets that counts, and may be held up or away."""

    def __init__(self, *widgets: HostedWidget) -> None:
        self.widgets = {each.site_id: each for each in widgets}
        self.asked: Counter[str] = Counter()
        self.away = False
        self.called = asyncio.Event()
        self.gate = asyncio.Event()
        self.gate.set()

    async def load(self, site_id: str) -> HostedWidget | None:
        self.asked[site_id] += 1
        self.called.set()
        found = self.widgets.get(site_id)
        await self.gate.wait()
        if self.away:
            raise Unavailable("the test took it away")
        return found


async def test_it_asks_once_and_keeps_what_is_not_there_apart() -> None:
    shelf = Shelf(widget("one"))
    directory = WidgetDirectory(shelf.load, max_misses=5)
    assert directory.find_nowait("one") is Lookup.UNKNOWN
    assert await directory.find("one") == widget("one")
    for number in range(50):
        assert await directory.find(f"none{number}") is None
    assert directory.find_nowait("none49") is None
    assert directory.find_nowait("none0") is Lookup.UNKNOWN
    assert await directory.find("one") == widget("one")
    assert shelf.asked["one"] == 1


async def test_a_store_that_is_away_takes_nothing_with_it() -> None:
    shelf = Shelf(widget("one"))
    directory = WidgetDirectory(shelf.load)
    await directory.find("one")
    shelf.away = True
    assert await directory.find("one") == widget("one")
    with pytest.raises(Unavailable):
        await directory.find("two")
    assert directory.find_nowait("two") is Lookup.UNKNOWN


async def test_a_change_moves_the_version_of_the_origins_it_is_for() -> None:
    shelf = Shelf(widget("one"), widget("two", "*.b.test"))
    directory = WidgetDirectory(shelf.load)
    origins = ("https://a.test", "http://x.b.test:81", "https://other.test", None)
    await directory.find("one")
    await directory.find("two")
    assert [directory.version_of(origin) for origin in origins] == [0, 0, 0, 0]
    shelf.widgets["one"] = widget("one", "c.test")
    directory.forget("one")
    directory.forget("three")
    assert [directory.version_of(origin) for origin in origins] == [1, 0, 0, 0]
    assert await directory.find("one") == widget("one", "c.test")
    directory.forget("two")
    assert [directory.version_of(origin) for origin in origins] == [1, 2, 0, 0]
    directory.forget("two")  # nothing of it is known, so nothing that is kept can be of it
    assert [directory.version_of(origin) for origin in origins] == [1, 2, 0, 0]
    directory.clear()
    assert len({directory.version_of(origin) for origin in origins[:3]} | {0, 1, 2}) == 4
    assert directory.find_nowait("one") is Lookup.UNKNOWN


async def test_a_miss_is_forgotten_too() -> None:
    shelf = Shelf()
    directory = WidgetDirectory(shelf.load)
    assert await directory.find("one") is None
    shelf.widgets["one"] = widget("one")
    directory.forget("one")
    assert await directory.find("one") == widget("one")


async def test_what_is_dropped_for_want_of_room_moves_its_origins() -> None:
    shelf = Shelf(*(widget(str(number), f"{number}.test", 1000) for number in range(3)))
    directory = WidgetDirectory(shelf.load, max_bytes=4000)
    for number in range(3):
        await directory.find(str(number))
    assert directory.find_nowait("0") is Lookup.UNKNOWN
    assert [directory.version_of(f"https://{number}.test") for number in range(3)] == [1, 0, 0]


async def test_versions_that_are_forgotten_are_never_given_again() -> None:
    shelf = Shelf(*(widget(str(number), f"{number}.test") for number in range(5)))
    directory = WidgetDirectory(shelf.load, max_domains=2)
    seen: dict[str, set[int]] = {}
    for number in range(5):
        await directory.find(str(number))
        directory.forget(str(number))
        for other in range(number + 1):
            seen.setdefault(f"{other}.test", set()).add(directory.version_of(f"https://{other}.test"))
    assert all(0 not in versions for versions in seen.values())
    before = directory.version_of("https://0.test")
    await directory.find("0")
    directory.forget("0")
    assert directory.version_of("https://0.test") > before


async def test_what_loads_while_it_changes_is_loaded_again() -> None:
    shelf = Shelf(widget("one"))
    directory = WidgetDirectory(shelf.load)
    shelf.gate.clear()
    finding = asyncio.create_task(directory.find("one"))
    await shelf.called.wait()
    del shelf.widgets["one"]
    directory.forget("one")
    shelf.gate.set()
    assert await finding is None
    assert shelf.asked["one"] == 2

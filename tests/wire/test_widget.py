"""The site widget in a browser: who sees it, where, and how it is used."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Coroutine, Iterator
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

import brotli
import pytest

from server.edge.widget_host import SCRIPT
from storage.models import PageQuery
from storage.widgets import Widget
from tests.support.hosting import LOOK, Hosting, in_thread, memory_hosting
from tests.support.widget_pages import rows

pytest.importorskip("playwright", reason="no Playwright: make setup")

from playwright.sync_api import Browser, Locator, Page, expect

from tests.support.browser import SECONDS, browser

pytestmark = pytest.mark.slow

T = TypeVar("T")


TAG = '<script src="http://widget.test/widget.js" data-site-id="{}" async></script>'
NAME = "Ember & Oak <script>alert(1)</script>"
GREETING = "Willkommen!\n<b>Wir</b> haben geöffnet."
PAGE = "<!doctype html><title>page</title><a href='#one'>one</a><p>text</p><a href='#two'>two</a>"
# All that a page could do to what it does not know.
HOSTILE = """<!doctype html><style>
* { display: none !important; all: unset !important } html, body, p { display: block !important }
spacelane-widget { position: absolute !important; left: -9999px !important; opacity: 0 !important; font-size: 1px }
button, dialog, div { visibility: hidden !important }</style><p>hostile"""
POLICY = (
    "/*\n  Content-Security-Policy: default-src 'none'; script-src http://widget.test; connect-src http://widget.test;"
    " require-trusted-types-for 'script'\n  Referrer-Policy: no-referrer\n"
)
SITES: dict[str, tuple[str, dict[str, Any]]] = {
    "shop.test": ("shop0001", {"greeting": GREETING, "language": "de-AT", "disabled_pages": ["/checkout"]}),
    "changing.test": ("changing", {"greeting": "before"}),
    "left.test": ("left0001", {"appearance": {"color": "#ffd", "position": "bottom-left", "size": "small"}}),
    "center.test": (
        "center01",
        {
            "appearance": {"color": "#123456", "position": "bottom-center", "size": "large", "edge_glow": True},
            "language": "tlh",
        },
    ),
    "hostile.test": ("hostile1", {}),
    "strict.test": ("strict01", {}),
}
ALL_PAGES = {"_redirects": b"/* /index.html 200"}


ROWS = rows()
LISTS = list(dict.fromkeys((row.enabled, row.disabled) for row in ROWS))


@dataclass
class Stage:
    """A hosting in another thread."""

    hostings: list[Hosting] = field(default_factory=list)
    loops: list[asyncio.AbstractEventLoop] = field(default_factory=list)

    async def fill(self, hosting: Hosting) -> None:
        hosting.clock.now = time.time()  # to which the browser compares the ages of answers
        for domain, (site_id, settings) in SITES.items():
            page = HOSTILE if domain == "hostile.test" else PAGE
            files = {"index.html": page.encode(), **ALL_PAGES}
            if domain == "strict.test":
                files["_headers"] = POLICY.encode()
            await hosting.site(domain, files, meta={"widget": True})
            await hosting.widget(site_id, domain, NAME, **settings)
        await hosting.site("evil.test", {"index.html": (PAGE + TAG.format("shop0001")).encode()})
        await hosting.site("wrong.test", {"index.html": (PAGE + TAG.format("No!")).encode()})
        for number, (enabled, disabled) in enumerate(LISTS):
            domain, site_id = f"n{number}.lists.test", f"lists{number:04}"
            files = {"index.html": (PAGE + TAG.format(site_id)).encode(), **ALL_PAGES}
            await hosting.site(domain, files)
            lists: dict[str, Any] = {"enabled_pages": enabled, "disabled_pages": disabled}
            await hosting.widget(site_id, domain, **lists)
        self.hostings.append(hosting)
        self.loops.append(asyncio.get_running_loop())

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """What comes of it in the hosting's loop."""
        return asyncio.run_coroutine_threadsafe(work, self.loops[0]).result(SECONDS)

    @property
    def hosting(self) -> Hosting:
        return self.hostings[0]

    def widget(self, site_id: str) -> Widget:
        found = self.run(self.hosting.metadata.find_widget(site_id))
        assert found is not None
        return found

    def pages_of_sessions(self, site_id: str) -> list[str]:
        widget = self.widget(site_id)
        found = self.run(self.hosting.metadata.list_sessions(widget.id, PageQuery(take=100, descending=False)))
        return [session.page for session in found.items]


STAGE = Stage()


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with in_thread(memory_hosting, STAGE.fill) as port, browser(port) as opened:
        yield opened


@pytest.fixture
def page(chromium: Browser) -> Iterator[Page]:
    """A tab that has seen nothing yet."""
    context = chromium.new_context()
    context.set_default_timeout(SECONDS * 1000)
    yield context.new_page()
    context.close()


def launcher(page: Page) -> Locator:
    return page.locator("spacelane-widget button.launcher")


def panel(page: Page) -> Locator:
    return page.locator("spacelane-widget dialog")


def focused(page: Page) -> str:
    """The name of what has the focus, in the widget or in the page."""
    told = page.evaluate(
        "(() => { const at = document.activeElement, inner = at.shadowRoot?.activeElement ?? at;"
        " return inner.getAttribute('aria-label') ?? inner.textContent })()"
    )
    return str(told)


def settled(page: Page) -> None:
    """Return once the page's tag, which has been run, knows whether there is a widget."""
    page.evaluate("window[Symbol.for('spacelane.widget')]?.ready")


def test_the_script_is_small() -> None:
    assert len(brotli.compress(SCRIPT.read_bytes())) < 6 * 1024


def test_the_keyboard_opens_and_closes_it(page: Page) -> None:
    page.goto("http://shop.test/menu")
    expect(launcher(page)).to_be_visible()
    expect(launcher(page)).to_have_attribute("aria-expanded", "false")
    expect(panel(page)).to_be_hidden()
    for key in ("Enter", "Space"):
        launcher(page).focus()
        page.keyboard.press(key)
        expect(panel(page)).to_be_visible()
        expect(launcher(page)).to_have_attribute("aria-expanded", "true")
        assert focused(page) == "Schließen"
        page.keyboard.press("Shift+Tab")
        assert focused(page) == NAME
        page.keyboard.press("Tab")
        assert focused(page) == "Schließen"
        page.keyboard.press("Escape")
        expect(panel(page)).to_be_hidden()
        expect(launcher(page)).to_have_attribute("aria-expanded", "false")
        assert focused(page) == NAME


def test_it_is_not_modal(page: Page) -> None:
    page.goto("http://shop.test/menu")
    launcher(page).click()
    expect(panel(page)).to_be_visible()
    page.get_by_text("one").click()
    assert focused(page) == "one"
    page.keyboard.press("Escape")  # which is the page's own then
    expect(panel(page)).to_be_visible()
    page.get_by_role("button", name="Schließen").click()
    expect(panel(page)).to_be_hidden()
    assert focused(page) == NAME
    launcher(page).click()
    launcher(page).click()
    expect(panel(page)).to_be_hidden()


def test_what_is_announced(page: Page) -> None:
    page.goto("http://shop.test/menu")
    launcher(page).click()
    dialog = page.get_by_role("dialog", name=NAME)
    expect(dialog).to_have_accessible_description(GREETING.replace("\n", " "))
    expect(page.get_by_role("button", name=NAME, expanded=True)).to_be_visible()
    expect(page.get_by_role("heading", name=NAME)).to_be_visible()
    expect(page.locator("spacelane-widget")).to_have_attribute("lang", "de-AT")
    assert panel(page).locator("b, script").count() == 0


def test_a_language_that_it_has_no_words_of(page: Page) -> None:
    page.goto("http://center.test/")
    launcher(page).click()
    close = page.get_by_role("button", name="Close")
    expect(close).to_have_attribute("lang", "en")
    expect(page.locator("spacelane-widget")).to_have_attribute("lang", "tlh")


def test_sessions_are_reported_once_a_page(page: Page) -> None:
    before = STAGE.pages_of_sessions("left0001")
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.method))
    page.goto("http://left.test/caf%C3%A9?q=1#part")
    with page.expect_response("**/sessions?*") as reported:
        launcher(page).click()
    assert reported.value.status == 204
    launcher(page).click()
    launcher(page).click()
    expect(panel(page)).to_be_visible()
    page.evaluate("fetch('/').then(() => 0)")  # of which is heard behind whatever was asked for before
    assert asked.count("POST") == 1
    assert STAGE.pages_of_sessions("left0001") == [*before, "/caf%C3%A9"]


def style(locator: Locator, name: str) -> str:
    told = locator.evaluate(f"element => getComputedStyle(element)['{name}']")
    return str(told)


@pytest.mark.parametrize(
    ("domain", "color", "ink", "size", "middle"),
    [
        ("shop.test", "rgb(10, 125, 90)", "rgb(255, 255, 255)", 56, 1236),
        ("left.test", "rgb(255, 255, 221)", "rgb(0, 0, 0)", 44, 38),
        ("center.test", "rgb(18, 52, 86)", "rgb(255, 255, 255)", 68, 640),
    ],
)
def test_looks(page: Page, domain: str, color: str, ink: str, size: int, middle: int) -> None:
    page.set_viewport_size({"width": 1280, "height": 720})
    page.goto(f"http://{domain}/")
    expect(launcher(page)).to_be_visible()
    assert (style(launcher(page), "backgroundColor"), style(launcher(page), "color")) == (color, ink)
    box = launcher(page).bounding_box()
    assert box is not None
    assert (box["width"], box["height"]) == (size, size)
    assert abs(box["x"] + size / 2 - middle) <= 1
    assert box["y"] + size == 720 - 16
    glow = page.locator("spacelane-widget .glow")
    assert glow.count() == (domain == "center.test")
    launcher(page).click()
    if glow.count():
        expect(glow).to_have_css("opacity", "0.75")
        expect(glow).to_have_css("pointer-events", "none")


def test_who_asks_for_less_motion_sees_none(page: Page) -> None:
    page.emulate_media(reduced_motion="reduce")
    page.goto("http://center.test/")
    launcher(page).click()
    motions = ("transitionDuration", "animationName")
    still = [style(part, motion) for part in (launcher(page), panel(page)) for motion in motions]
    assert still == ["0s", "none", "0s", "none"]
    page.emulate_media(reduced_motion="no-preference", color_scheme="dark")
    assert style(panel(page), "animationName") == "rise"
    assert style(panel(page), "backgroundColor") == "rgb(30, 30, 30)"


def test_a_narrow_screen(page: Page) -> None:
    page.set_viewport_size({"width": 320, "height": 480})
    page.goto("http://shop.test/")
    launcher(page).click()
    box = panel(page).bounding_box()
    assert box is not None
    assert box["x"] >= 16
    assert box["x"] + box["width"] <= 304
    assert page.evaluate("document.documentElement.scrollWidth") == 320


def test_a_page_that_styles_everything(page: Page) -> None:
    page.goto("http://hostile.test/")
    expect(launcher(page)).to_be_in_viewport()
    launcher(page).click()
    expect(panel(page)).to_be_in_viewport()
    assert style(page.locator("spacelane-widget"), "opacity") == "1"


def test_a_strict_policy(page: Page) -> None:
    said: list[str] = []
    page.on("console", lambda message: said.append(message.text))
    page.goto("http://strict.test/")
    with page.expect_response("**/sessions?*"):
        launcher(page).click()
    assert style(launcher(page), "backgroundColor") == "rgb(10, 125, 90)"
    assert [text for text in said if "favicon" not in text] == []
    # Whatever the page's referrer policy is, a session tells its origin.
    assert STAGE.pages_of_sessions("strict01") == ["/"]


@pytest.mark.parametrize("domain", ["evil.test", "wrong.test"])
def test_others_see_none(page: Page, domain: str) -> None:
    said: list[str] = []
    page.on("console", lambda message: said.append(message.text))
    page.goto(f"http://{domain}/")
    settled(page)
    assert page.locator("spacelane-widget").count() == 0
    assert any(("CORS policy" if domain == "evil.test" else "data-site-id") in text for text in said)


def test_a_disabled_page_and_a_page_that_changes_its_address(page: Page) -> None:
    page.goto("http://shop.test/checkout")
    settled(page)
    assert page.locator("spacelane-widget").count() == 0
    page.evaluate("history.pushState(null, '', '/menu')")
    launcher(page).click()
    expect(panel(page)).to_be_visible()
    page.evaluate("history.pushState(null, '', '/checkout')")
    expect(page.locator("spacelane-widget")).to_have_count(0)
    page.go_back()
    expect(launcher(page)).to_be_visible()
    expect(panel(page)).to_be_hidden()


def test_a_tag_that_is_run_again(page: Page) -> None:
    page.goto("http://shop.test/menu")
    expect(launcher(page)).to_be_visible()
    again = """() => new Promise(resolve => {
        const tag = document.createElement('script')
        tag.src = 'http://widget.test/widget.js'
        tag.dataset.siteId = 'shop0001'
        tag.onload = resolve
        document.head.append(tag) })"""
    page.evaluate(again)
    expect(page.locator("spacelane-widget")).to_have_count(1)
    page.evaluate("document.body.replaceChildren()")
    expect(page.locator("spacelane-widget")).to_have_count(0)
    page.evaluate(again)
    expect(launcher(page)).to_be_visible()


def test_changes_and_the_end_show_with_the_next_page(page: Page) -> None:
    metadata = STAGE.hosting.metadata
    widget = STAGE.widget("changing")
    greeting = panel(page).locator("p")
    page.goto("http://changing.test/")
    expect(greeting).to_have_text("before")

    def edit(old: Widget) -> Widget:
        return replace(old, settings={**old.settings, "greeting": "after", "appearance": LOOK})

    STAGE.run(metadata.update_widget(widget.id, edit))
    page.reload()
    expect(greeting).to_have_text("after")
    STAGE.run(metadata.delete_widget(widget.id))
    page.reload()
    assert page.locator("script, spacelane-widget").count() == 0
    page.set_content(PAGE + TAG.format("changing"))  # as a page would be that has the tag of its own
    settled(page)
    assert page.locator("spacelane-widget").count() == 0


def test_the_table_of_pages(page: Page) -> None:
    wrong = []
    for row in ROWS:
        page.goto(f"http://n{LISTS.index((row.enabled, row.disabled))}.lists.test{row.path}")
        settled(page)
        if (page.locator("spacelane-widget").count() == 1) != row.is_shown:
            wrong.append(row)
    assert len(ROWS) > 30
    assert wrong == []

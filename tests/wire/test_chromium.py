"""What a browser makes of the edge's answers."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.chromium import INSTALL, PROGRAM, Tab, chromium
from tests.support.hosting import Hosting, in_thread, memory_hosting

pytestmark = [pytest.mark.slow, pytest.mark.skipif(PROGRAM is None, reason=INSTALL)]

PAGE = """<!doctype html><link rel="stylesheet" href="/style.css"><title>home</title>
<p>home</p><script src="/script.js"></script><script src="/script.txt"></script>"""
FILES = {
    "index.html": PAGE,
    "style.css": "p { color: rgb(1, 2, 3) }",
    "script.js": "document.title += ' and more'",
    "script.txt": "document.title += ', which was no script'",
    "404.html": "<!doctype html><title>lost</title><link rel='stylesheet' href='/style.css'><p>lost",
    "docs/index.html": "<!doctype html><title>docs</title>",
    "é b.html": "<!doctype html><title>accent</title>",
    "letters.txt": "abcdefghij",
}


async def fill(hosting: Hosting) -> None:
    files = {path: content.encode() for path, content in FILES.items()}
    await hosting.site("a.test", files)
    await hosting.site("xn--bcher-kva.test", files)


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tab]:
    with in_thread(memory_hosting, fill) as port, chromium(tmp_path_factory.mktemp("chromium"), port) as tab:
        yield tab


def test_a_page_with_its_style_and_script(browser: Tab) -> None:
    browser.open("http://a.test/")
    assert browser.evaluate("getComputedStyle(document.querySelector('p')).color") == "rgb(1, 2, 3)"
    # nosniff: what has a text's media type is not run, whatever a page says.
    assert browser.evaluate("document.title") == "home and more"


def test_a_missing_slash_keeps_the_query(browser: Tab) -> None:
    browser.open("http://a.test/docs?a=%20&b")
    assert browser.redirects() == [("http://a.test/docs?a=%20&b", 308, "http://a.test/docs/?a=%20&b")]
    assert browser.evaluate("document.title + document.URL") == "docshttp://a.test/docs/?a=%20&b"


def test_a_missing_page_shows_the_sites_own(browser: Tab) -> None:
    browser.open("http://a.test/no/where")
    assert browser.statuses()["http://a.test/no/where"] == 404
    assert browser.evaluate("document.title") == "lost"
    assert browser.evaluate("getComputedStyle(document.querySelector('p')).color") == "rgb(1, 2, 3)"


def test_what_is_kept_is_asked_for_again(browser: Tab) -> None:
    browser.open("http://a.test/")
    browser.reload()
    for path in ("", "style.css", "script.js"):
        assert browser.statuses()[f"http://a.test/{path}"] == 304
    assert browser.evaluate("document.title") == "home and more"


def test_names_in_unicode(browser: Tab) -> None:
    browser.open("http://bücher.test/é b")
    assert browser.evaluate("document.title + location.host") == "accentxn--bcher-kva.test"


def test_a_part_of_a_file(browser: Tab) -> None:
    browser.open("http://a.test/")
    fetched = "fetch('/letters.txt', {headers: {range: 'bytes=2-4'}}).then(async a => [a.status, await a.text()])"
    assert browser.evaluate(fetched) == [206, "cde"]

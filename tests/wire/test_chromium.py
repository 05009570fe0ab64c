"""What a browser makes of the edge's answers."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from tests.support.chromium import Tab, chromium
from tests.support.hosting import Hosting, in_thread, memory_hosting

pytestmark = pytest.mark.slow

PAGE = """<!doctype html><link rel="stylesheet" href="/style.css"><title>home</title>
<p>home</p><script src="/script.js"></script><script src="/script.txt"></script>"""
FILES = {
    "index.html": PAGE,
    "style.css": "p { color: rgb(1, 2, 3) }",
    "script.js": "document.title += ' and more'",
    "script.txt": "document.title += ', which was no script'",
    "404.html": "<!doctype html><title>lost</title><link rel='stylesheet' href='/style.css'><p>lost",
    "about.html": "<!doctype html><title>about</title>",
    "docs/index.html": "<!doctype html><title>docs</title>",
    "é b.html": "<!doctype html><title>accent</title>",
    "letters.txt": "abcdefghij",
}

# Whatever fails to load is in `failed`, whatever a policy stops comes out of the promise `stopped`.
APP = """<!doctype html><title>app</title>
<script>failed = []; addEventListener('error', event => failed.push(event.target.localName), true)</script>
<link rel="stylesheet" href="/app/none.css"><script src="/app/none.js"></script><img src="/app/none.png">"""
STRICT = """<!doctype html><title>strict</title>
<script src="/watch.js"></script><script>document.title = 'run'</script>"""
RULED = {
    "_redirects": """
/old        /new
/temporary  /new             302
/blog/*     /archive/:splat
/shown/:x   /new             200
/away       http://a.test/about
/retired    /gone.html       410
/app/*      /app.html        200
""",
    "_headers": """
/*
  X-Site: ruled
/new
  X-Site: new
/strict
  Content-Security-Policy: script-src 'self'
/assets/*
  Cache-Control: public, max-age=31536000, immutable
/open.json
  Access-Control-Allow-Origin: http://a.test
""",
    "new.html": "<!doctype html><title>new</title>",
    "gone.html": "<!doctype html><title>gone</title>",
    "archive/2026.html": "<!doctype html><title>archive</title>",
    "app.html": APP,
    "strict.html": STRICT,
    "watch.js": """
stopped = new Promise(resolve => addEventListener('securitypolicyviolation', resolve)).then(it => it.effectiveDirective)
""",
    "kept.html": "<!doctype html><script src='/assets/kept.js'></script><script src='/asked.js'></script>",
    "assets/kept.js": "",
    "asked.js": "",
    "open.json": "{}",
    "closed.json": "{}",
}


async def fill(hosting: Hosting) -> None:
    hosting.clock.now = time.time()  # to which the browser compares the ages of answers
    files = {path: content.encode() for path, content in FILES.items()}
    await hosting.site("a.test", files)
    await hosting.site("xn--bcher-kva.test", files)
    await hosting.site("bare.test", {"index.html": b""})
    await hosting.site("ruled.test", {path: content.encode() for path, content in RULED.items()})


@pytest.fixture(scope="module")
def tab() -> Iterator[Tab]:
    with in_thread(memory_hosting, fill) as port, chromium(port) as tab:
        yield tab


@pytest.fixture
def browser(tab: Tab) -> Tab:
    """One that has seen nothing yet."""
    tab.forget()
    return tab


def test_a_page_with_its_style_and_script(browser: Tab) -> None:
    browser.open("http://a.test/")
    assert browser.evaluate("getComputedStyle(document.querySelector('p')).color") == "rgb(1, 2, 3)"
    # nosniff: what has a text's media type is not run, whatever a page says.
    assert browser.evaluate("document.title") == "home and more"


def test_a_missing_slash_keeps_query_and_fragment(browser: Tab) -> None:
    page = browser.open("http://a.test/docs?a=%20&b#part")
    assert page.redirects == [("http://a.test/docs?a=%20&b", 308, "http://a.test/docs/?a=%20&b")]
    assert browser.evaluate("[document.title, document.URL]") == ["docs", "http://a.test/docs/?a=%20&b#part"]


def test_a_clean_url_keeps_query_and_fragment(browser: Tab) -> None:
    page = browser.open("http://a.test/about?a=%20&b#part")
    assert (page.redirects, page.statuses) == ([], [200])
    assert browser.evaluate("[document.title, document.URL]") == ["about", "http://a.test/about?a=%20&b#part"]


def test_a_missing_page_shows_the_sites_own(browser: Tab) -> None:
    assert browser.open("http://a.test/no/where").statuses == [404]
    assert browser.evaluate("document.title") == "lost"
    assert browser.evaluate("getComputedStyle(document.querySelector('p')).color") == "rgb(1, 2, 3)"


@pytest.mark.parametrize("url", ["http://bare.test/no/where", "http://nobody.test/"])
def test_a_missing_page_or_site_shows_a_page_of_ours(browser: Tab, url: str) -> None:
    assert browser.open(url).statuses == [404]
    assert browser.evaluate("document.title") == "404 Not Found"
    assert browser.evaluate("getComputedStyle(document.querySelector('h1')).fontSize") == "24px"


def test_what_is_kept_is_asked_for_again(browser: Tab) -> None:
    assert browser.open("http://a.test/").statuses == [200]
    assert browser.reload().statuses == [304]
    statuses = browser.statuses()
    assert [statuses[f"http://a.test/{path}"] for path in ("style.css", "script.js")] == [[304], [304]]
    assert browser.evaluate("document.title") == "home and more"


def test_names_in_unicode(browser: Tab) -> None:
    browser.open("http://bücher.test/é b")
    assert browser.evaluate("[document.title, location.host]") == ["accent", "xn--bcher-kva.test"]


def test_a_part_of_a_file(browser: Tab) -> None:
    browser.open("http://a.test/")
    fetched = "fetch('/letters.txt', {headers: {range: 'bytes=2-4'}}).then(async a => [a.status, await a.text()])"
    assert browser.evaluate(fetched) == [206, "cde"]


@pytest.mark.parametrize(
    ("start", "status", "end", "title"),
    [
        ("http://ruled.test/old?q=1#part", 301, "http://ruled.test/new?q=1#part", "new"),
        ("http://ruled.test/temporary", 302, "http://ruled.test/new", "new"),
        ("http://ruled.test/blog/2026?q=1", 301, "http://ruled.test/archive/2026?q=1", "archive"),
        ("http://ruled.test/away?q=1", 301, "http://a.test/about?q=1", "about"),
    ],
)
def test_a_redirect_by_a_rule(browser: Tab, start: str, status: int, end: str, title: str) -> None:
    page = browser.open(start)
    assert page.redirects == [(start.partition("#")[0], status, end.partition("#")[0])]
    assert page.statuses == [status, 200]
    assert browser.evaluate("[document.title, document.URL]") == [title, end]


@pytest.mark.parametrize(("path", "status", "title"), [("shown/x?q=1#part", 200, "new"), ("retired", 410, "gone")])
def test_another_page_under_the_url_that_was_asked_for(browser: Tab, path: str, status: int, title: str) -> None:
    page = browser.open(f"http://ruled.test/{path}")
    assert (page.redirects, page.statuses) == ([], [status])
    assert browser.evaluate("[document.title, document.URL]") == [title, f"http://ruled.test/{path}"]


def test_a_fallback_is_for_navigations_and_what_a_page_lacks_is_missing(browser: Tab) -> None:
    url = "http://ruled.test/app/some/where"
    assert browser.open(url).statuses == [200]
    assert browser.evaluate("[document.title, location.pathname]") == ["app", "/app/some/where"]
    statuses = browser.statuses()
    for name in ("css", "js", "png"):
        assert statuses[f"http://ruled.test/app/none.{name}"] == [404]
    assert sorted(browser.evaluate("failed")) == ["img", "link", "script"]
    # The page is in the browser's cache by now, and is not what a script gets for its URL.
    assert browser.evaluate("fetch('').then(answer => answer.status)") == 404
    assert browser.evaluate("fetch('', {headers: {accept: 'text/html'}}).then(answer => answer.status)") == 200


def test_headers_by_a_rule(browser: Tab) -> None:
    assert browser.open("http://ruled.test/new").headers["x-site"] == "ruled, new"
    seen = "fetch('/old').then(answer => [answer.redirected, answer.headers.get('x-site')])"
    assert browser.evaluate(seen) == [True, "ruled, new"]
    assert browser.evaluate("fetch('/none.js').then(answer => answer.headers.get('x-site'))") == "ruled"


def test_a_policy_stops_a_script_in_the_page_also_when_it_is_asked_for_again(browser: Tab) -> None:
    assert browser.open("http://ruled.test/strict").statuses == [200]
    assert browser.evaluate("stopped") == "script-src-elem"
    assert browser.reload().statuses == [304]
    assert browser.evaluate("stopped") == "script-src-elem"
    assert browser.evaluate("document.title") == "strict"
    # The same file by another URL, to which the rule does not apply.
    browser.open("http://ruled.test/strict.html")
    assert browser.evaluate("document.title") == "run"


def test_what_a_rule_makes_immutable_is_not_asked_for_again(browser: Tab) -> None:
    browser.open("http://ruled.test/kept")
    kept, asked = "http://ruled.test/assets/kept.js", "http://ruled.test/asked.js"
    statuses = browser.statuses()
    assert (statuses[kept], statuses[asked]) == ([200], [200])
    browser.reload()
    statuses = browser.statuses()
    assert (statuses[kept], statuses[asked]) == ([], [304])


def test_a_rule_lets_another_origin_read(browser: Tab) -> None:
    browser.open("http://a.test/about")
    read = "fetch('http://ruled.test/{}').then(answer => answer.status, error => error.name)"
    assert browser.evaluate(read.format("open.json")) == 200
    assert browser.evaluate(read.format("closed.json")) == "TypeError"

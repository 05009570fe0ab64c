"""Why a site answers as it does, as operators read it. That it is what the edge answers, the corpus shows."""

from __future__ import annotations

import base64
import hashlib
from typing import Any
from urllib.parse import urlencode

import pytest

from server.control.explanations import EXAMPLE, ExplanationView
from storage.models import Blob
from tests.control.api import OTHER_WORKSPACE, Api, one_store, refused
from tests.control.conftest import Setup
from tests.support.hosting import digest_of

PAGE = b"<p>The same again.</p>\n" * 100
REDIRECTS = b"""\
# moved
/old /new 301
/lang /de.html 200 Language=de
/secret id=7 page=:page /pages/:page 302 Cookie=beta
/gone/* /gone.html 410
/index.html /elsewhere 302!
/app/* /app.html 200
"""
HEADERS = b"""\
/*
  X-Frame-Options: DENY
  ! Cache-Control
/page
  Cache-Control: max-age=60
  Vary: Origin
"""
RULED = {
    "index.html": b"home",
    "404.html": b"lost",
    "de.html": b"deutsch",
    "app.html": b"app",
    "gone.html": b"gone",
    "page.html": PAGE,
    "docs/index.html": b"docs",
    "_redirects": REDIRECTS,
    "_headers": HEADERS,
}


LATER = 4_000_000_000_000  # than the store's clock, which is the real one


class Explained:
    """A space with a site."""

    def __init__(self, api: Api, space: str, site: str) -> None:
        self.api = api
        self.space = space
        self.site = site

    def path(self, url: str, *headers: str, **more: str) -> str:
        query = urlencode([("url", url), *(("header", header) for header in headers), *more.items()])
        return f"space/{self.space}/site/{self.site}/explain?{query}"

    async def __call__(self, url: str, *headers: str, **more: str) -> dict[str, Any]:
        answer: dict[str, Any] = await self.api.fetched(self.path(url, *headers, **more))
        return answer


async def explained(api: Api, files: dict[str, bytes], **options: Any) -> Explained:
    space = await api.space()
    for path, content in files.items():
        await api.upload(space, path, content)
    return Explained(api, space, await api.site(space, **options))


def sources(answer: dict[str, Any]) -> dict[str, list[tuple[str, list[int]]]]:
    return {each["name"]: [(one["step"], one["lines"]) for one in each["sources"]] for each in answer["headers"]}


def values(answer: dict[str, Any]) -> dict[str, str]:
    return {each["name"]: each["value"] for each in answer["headers"]}


def exist(answer: dict[str, Any]) -> list[tuple[str, str, bool]]:
    return [
        (each["path"], each["role"], each["exists"]) for lookup in answer["lookups"] for each in lookup["candidates"]
    ]


async def test_a_redirect_word_for_word(api: Api) -> None:
    explain = await explained(api, {"app/_redirects": b"# moved\n/old /new\n", "app/404.html": b"lost"}, prefix="/app")
    answer = await explain("/old?x=1")
    version = answer["site"].pop("version")
    assert version > 0
    body_size = next(each["value"] for each in answer["headers"] if each["name"] == "content-length")
    platform = [{"step": "platform", "lines": []}]
    assert answer == {
        "url": "/old?x=1",
        "method": "GET",
        "words": [
            "/old is answered by no file: there is none of app/old, app/old.html.",
            "Line 2 of _redirects applies: /old matches /old, no file answers.",
            "It is not kept in memory by its path: the rule's answer depends on the whole query.",
            "The answer is 301 Moved Permanently.",
        ],
        "site": {"id": explain.site, "domain": "one.localhost", "prefix": "/app", "deployment": None},
        "host": {"name": "one.localhost", "site": explain.site},
        "path": "/old",
        "lookups": [
            {
                "path": "/old",
                "candidates": [
                    {"path": "app/old", "role": "file", "exists": False},
                    {"path": "app/old.html", "role": "file", "exists": False},
                    {"path": "app/old/index.html", "role": "folder", "exists": False},
                    {"path": "app/404.html", "role": "notFound", "exists": True},
                ],
            }
        ],
        "rule": {
            "file": "app/_redirects",
            "line": 2,
            "text": "/old /new",
            "why": "/old matches /old, no file answers",
        },
        "file": None,
        "status": 301,
        "headers": [
            {"name": "content-type", "value": "text/html; charset=utf-8", "sources": platform},
            {"name": "content-length", "value": body_size, "sources": platform},
            {"name": "cache-control", "value": "public, max-age=0, must-revalidate", "sources": platform},
            {"name": "x-content-type-options", "value": "nosniff", "sources": platform},
            {"name": "location", "value": "/new?x=1", "sources": [{"step": "_redirects", "lines": [2]}]},
        ],
        "dependsOn": {"query": [], "cookies": [], "languages": [], "navigation": False, "codings": []},
        "kept": False,
    }


async def test_a_file_in_a_coding_with_the_site_s_headers(api: Api, setup: Setup) -> None:
    explain = await explained(api, RULED)
    assert "It is not kept in memory yet: it changed within this second." in (await explain("/page"))["words"]
    setup.now = LATER
    answer = await explain("/page", "Accept-Encoding: gzip", "Want-Repr-Digest: sha-256=1")
    assert (answer["status"], answer["rule"], answer["path"]) == (200, None, "/page")
    assert exist(answer) == [
        ("page", "file", False),
        ("page.html", "file", True),
        ("page/index.html", "folder", False),
        ("404.html", "notFound", True),
    ]
    file = answer["file"]
    assert (file["path"], file["coding"]) == ("page.html", "gzip")
    assert file["size"] < len(PAGE)
    assert answer["dependsOn"]["codings"] == ["gzip", "identity"]
    assert sources(answer) == {
        "content-type": [("default", [])],
        "content-length": [("variant", [])],
        "content-encoding": [("variant", [])],
        "vary": [("variant", []), ("_headers", [6])],
        "etag": [("variant", [])],
        "last-modified": [("default", [])],
        "cache-control": [("_headers", [5])],
        "accept-ranges": [("default", [])],
        "x-content-type-options": [("default", [])],
        "x-frame-options": [("_headers", [2])],
        "repr-digest": [("request", [])],
    }
    said = values(answer)
    assert said["vary"] == "accept-encoding, Origin"
    digest = base64.b64encode(bytes.fromhex(file["digest"])).decode()
    assert said["repr-digest"] == f"sha-256=:{digest}:"
    assert said["etag"] == f'"{file["digest"][:32]}"'
    assert answer["words"] == [
        "/page is answered by page.html, the first that exists of: page, page.html.",
        "No line of _redirects applies.",
        f"It is sent in gzip, the smallest coding that the request allows: {file['size']} bytes instead of 2300.",
        "Line 3 of _headers takes cache-control away.",
        "It is kept in memory for the next who asks the same.",
        "The answer is 200 OK.",
    ]
    assert answer["kept"] is True
    plain = await explain("/page.html", "accept-encoding: identity")
    told = {"path": "page.html", "tree": "live", "coding": "identity", "digest": digest_of(PAGE), "size": 2300}
    assert plain["file"] == told
    assert "It is sent as it is: of gzip the request allows none that is smaller." in plain["words"]
    assert "It is sent as it is: it has no other coding." in (await explain("/de"))["words"]


async def test_what_rules_read_is_told(api: Api) -> None:
    explain = await explained(api, RULED)
    german = await explain("/lang", "Accept-Language: de-AT")
    assert (german["status"], german["file"]["path"], german["rule"]["line"]) == (200, "de.html", 3)
    assert (
        german["rule"]["why"]
        == "/lang matches /lang, the visitor accepts a language that it names (de), no file answers"
    )
    assert [lookup["path"] for lookup in german["lookups"]] == ["/lang", "/de.html"]
    assert german["dependsOn"]["languages"] == ["de"]
    assert (values(german)["vary"], sources(german)["vary"]) == ("accept-language", [("_redirects", [])])
    french = await explain("/lang", "Accept-Language: fr")
    assert (french["status"], french["rule"], french["file"]["path"]) == (404, None, "404.html")
    read = "The rules of _redirects read more of the request than its path: whether de is accepted."
    assert read in german["words"]
    assert read in french["words"]
    beta = await explain("/secret?id=7&page=x", "Cookie: beta=1")
    assert (beta["status"], values(beta)["location"]) == (302, "/pages/x?id=7&page=x")
    assert beta["rule"]["why"] == (
        "/secret matches /secret, the query has id=7, the query has page,"
        " the visitor has a cookie that it names (beta), no file answers"
    )
    assert beta["dependsOn"] == {
        "query": ["id", "page"],
        "cookies": ["beta"],
        "languages": [],
        "navigation": False,
        "codings": [],
    }
    assert (values(beta)["cache-control"], sources(beta)["cache-control"]) == (
        "private, max-age=0, must-revalidate",
        [("platform", []), ("_redirects", [])],
    )
    assert sources(beta)["location"] == [("_redirects", [4])]
    page = await explain("/app/x", "Sec-Fetch-Dest: document")
    assert (page["status"], page["file"]["path"]) == (200, "app.html")
    assert page["dependsOn"]["navigation"] is True
    assert "the request is for a page to show" in page["rule"]["why"]
    assert "It is not kept in memory by its path: the rule is for any number of them." in page["words"]
    assert (await explain("/app/x.js", "Accept: */*"))["status"] == 404


async def test_errors_and_forced_rules(api: Api, setup: Setup) -> None:
    setup.now = LATER
    explain = await explained(api, RULED)
    gone = await explain("/gone/x")
    assert (gone["status"], gone["file"]["path"], gone["rule"]["line"]) == (410, "gone.html", 5)
    assert "gone.html is shown." in gone["words"]
    forced = await explain("/index.html")
    assert (forced["status"], values(forced)["location"]) == (302, "/elsewhere")
    assert forced["rule"]["why"].endswith("it is forced, so that it counts although a file answers")
    assert forced["kept"] is True
    slash = await explain("/docs")
    assert (slash["status"], values(slash)["location"], slash["rule"]) == (308, "/docs/", None)
    assert sources(slash)["location"] == [("platform", [])]
    assert slash["words"][0] == (
        "/docs is a folder without its slash: of docs, docs.html there is none, but docs/index.html is there."
    )
    lost = await explain("/404.html")
    assert lost["status"] == 404
    assert lost["words"][0] == "/404.html is the site's error page, which is an error by its own address, too."
    hidden = await explain("/.env")
    assert (hidden["status"], hidden["words"][0]) == (404, "/.env is a name that is never served.")


async def test_a_site_of_nothing(api: Api) -> None:
    explain = await explained(api, {})
    answer = await explain("/")
    assert answer["words"] == [
        "/ is answered by no file: there is none of index.html.",
        "The site has no error page for it, so Spacelane's own is shown.",
        "It is not kept in memory by its path: there is no end of paths that lack something.",
        "The answer is 404 Not Found.",
    ]
    assert answer["file"] is None
    assert {step for steps in sources(answer).values() for step, _ in steps} == {"platform"}


async def test_conditions_and_ranges(api: Api) -> None:
    explain = await explained(api, {"a.txt": b"0123456789"})
    tag = '"' + hashlib.sha256(b"0123456789").hexdigest()[:32] + '"'
    fresh = await explain("/a.txt", f"If-None-Match: {tag}")
    assert (fresh["status"], list(values(fresh))) == (304, ["etag", "cache-control", "x-content-type-options"])
    part = await explain("/a.txt", "Range: bytes=2-4")
    assert (part["status"], values(part)["content-range"]) == (206, "bytes 2-4/10")
    assert sources(part)["content-length"] == sources(part)["content-range"] == [("request", [])]
    assert sources(part)["content-type"] == [("default", [])]
    beyond = await explain("/a.txt", "Range: bytes=10-")
    assert beyond["status"] == 416
    assert sources(beyond)["content-range"] == [("request", [])]
    assert sources(beyond)["content-type"] == [("platform", [])]
    failed = await explain("/a.txt", 'If-Match: "x"')
    assert failed["status"] == 412
    assert {step for steps in sources(failed).values() for step, _ in steps} == {"platform"}
    for answer, words in ((fresh, "has it already"), (part, "a part"), (beyond, "outside"), (failed, "do not hold")):
        assert words in answer["words"][-3]


async def test_what_is_not_looked_up(api: Api) -> None:
    explain = await explained(api, {})
    for url, detail in (
        ("/%2F", "the path has a malformed or forbidden escape, or a backslash"),
        ("/a/../b", 'the path has a "." or ".." segment'),
        ("a.html", "the request target is neither a path nor an absolute URL"),
        ("/a b", "the request target has a character that has to be percent-encoded"),
        ("http://one.localhost:99999/", "the Host is malformed: the port is out of range"),
        ("*", 'the target "*" is not for GET'),
    ):
        answer = await explain(url)
        assert answer["words"] == [f"The request is refused: {detail}.", "The answer is 400 Bad Request."]
        assert (answer["status"], answer["lookups"], answer["dependsOn"]) == (400, [], None)
        assert values(answer)["cache-control"] == "no-store"
    long = await explain("/" + "a" * 8192)
    assert long["status"] == 414
    post = await explain("/", method="POST")
    assert (post["status"], values(post)["allow"]) == (405, "GET, HEAD, OPTIONS")
    assert post["words"][0] == "The method is answered without looking for a file."
    assert (await explain("/", method="OPTIONS"))["status"] == 204
    assert (await explain("*", method="OPTIONS"))["status"] == 204
    assert (await explain("/", method="HEAD"))["status"] == 404
    assert (await explain("/", "Host: a", "Host: b"))["status"] == 400


async def test_urls_in_all_their_forms(api: Api) -> None:
    explain = await explained(api, {"é.html": b"accent"}, domain="bücher.localhost")
    for url in (
        "/é",
        "/%C3%A9",
        "//é#part",
        "http://xn--bcher-kva.localhost:8080/é",
        "HTTPS://XN--BCHER-KVA.localhost./é",
    ):
        answer = await explain(url)
        assert (answer["status"], answer["path"], answer["url"]) == (200, "/é", url)
        assert answer["host"] == {"name": "xn--bcher-kva.localhost", "site": explain.site}


async def test_a_wildcard_s_site(api: Api) -> None:
    explain = await explained(api, {"index.html": b"home"}, domain="*.example.com")
    for url in ("/", "http://a.example.com/"):
        assert (await explain(url))["status"] == 200
    assert (await explain("/", "Host: b.example.com"))["host"]["name"] == "b.example.com"
    exact = await api.site(explain.space, "exact.example.com")
    assert (await explain("http://exact.example.com/"))["host"] == {"name": "exact.example.com", "site": exact}


async def test_another_host_is_told_and_nothing_of_who_has_it(api: Api) -> None:
    explain = await explained(api, {"index.html": b"home"})
    own = await explained(api, {}, domain="own.localhost")
    key = await api.key(workspace=OTHER_WORKSPACE)
    theirs = await api.created("space/create", key=key)
    await api.post(f"space/{theirs}/site/create", {"domain": "theirs.localhost"}, key=key)
    answer = await explain("http://own.localhost/")
    assert answer == {
        "url": "http://own.localhost/",
        "method": "GET",
        "words": ["own.localhost does not lead to this site."],
        "site": None,
        "host": {"name": "own.localhost", "site": own.site},
        "path": None,
        "lookups": [],
        "rule": None,
        "file": None,
        "status": None,
        "headers": [],
        "dependsOn": None,
        "kept": False,
    }
    told = []
    for name in ("theirs", "nobody"):
        answer = await explain(f"http://{name}.localhost/")
        told.append(str(answer).replace(name, "NAME"))
        assert answer["host"] == {"name": f"{name}.localhost", "site": None}
    assert told[0] == told[1]


async def test_it_follows_what_is_published(api: Api) -> None:
    explain = await explained(api, {"index.html": b"one"})
    before = await explain("/")
    await api.upload(explain.space, "index.html", b"two")
    after = await explain("/")
    assert after["site"]["version"] > before["site"]["version"]
    assert values(after)["etag"] != values(before)["etag"]
    stored = await api.blobs.open(digest_of(b"two"))
    await stored.close()
    await api.metadata.put_variants(
        "workspace_default", {digest_of(b"two"): {"br": Blob(digest=digest_of(b"2"), size=1)}}
    )
    assert (await explain("/", "Accept-Encoding: br"))["file"]["coding"] == "br"


@one_store
@pytest.mark.parametrize(
    ("query", "path"),
    [
        ("", "url"),
        ("url=/&header=nonsense", "header"),
        ("url=/&header=A%20B:%20c", "header"),
        ("url=/&header=A:%20%E2%82%AC", "header"),
        ("url=/&header=A:%20a%0Ab", "header"),
        ("url=/&method=", "method"),
        ("url=/&method=G%20T", "method"),
        ("url=/" + "&header=A:1" * 101, "header"),
    ],
)
async def test_bad_parameters_are_named(api: Api, query: str, path: str) -> None:
    space = await api.space()
    site = await api.site(space)
    refused(await api.get(f"space/{space}/site/{site}/explain?{query}"), 400, "BAD_REQUEST", path)


@one_store
async def test_the_reference_has_an_example(api: Api) -> None:
    document: dict[str, Any] = (await api.http.get("/openapi.json")).json()
    schema = document["components"]["schemas"]["ExplanationView"]
    assert schema["examples"] == [EXAMPLE]
    assert set(schema["properties"]) == set(EXAMPLE)
    assert set(ExplanationView.model_validate(EXAMPLE).model_dump(by_alias=True)) == set(EXAMPLE)

"""Passes to private previews, and what is said of every preview."""

from __future__ import annotations

from urllib.parse import parse_qs, urlsplit

import pytest

from server.edge.preview_access import MAX_PASSES, NO_PASS, Previews, derive_key, mark
from server.edge.request import Request
from server.edge.response import Representation, Response
from storage.previews import Preview

SITE, DEPLOYMENT = "site_1", "deployment_1"
PRIVATE = Preview(deployment_id=DEPLOYMENT, replaces="", private=True)
PUBLIC = Preview(deployment_id=DEPLOYMENT, replaces="", private=False)
NOW = 1000.5
END = 2000
PREVIEWS = Previews(keys=(b"new", b"old"))
SECURE = Previews(keys=(b"new", b"old"), secure=True)
GOOD = PREVIEWS.sign(SITE, DEPLOYMENT, END)


def ask(query: str = "", cookie: str | None = None, method: str = "GET") -> Request:
    return Request(method=method, authority="p.test", path="/a", query=query, cookie=cookie)


def admit(
    request: Request, *, previews: Previews = PREVIEWS, path: str = "/a", now: float = NOW
) -> Representation | None:
    return previews.admit(SITE, PRIVATE, path, request, now)


def values(stored: Representation | None, name: bytes) -> list[bytes]:
    assert stored is not None
    return [value for key, value in stored.headers if key == name]


def test_a_public_preview_is_open_to_all() -> None:
    assert PREVIEWS.admit(SITE, PUBLIC, "/a", ask(f"spacelane-preview={GOOD}"), NOW) is None


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS", "POST"])
def test_without_a_pass(method: str) -> None:
    assert admit(ask(method=method)) is NO_PASS
    assert NO_PASS.status == 403
    assert values(NO_PASS, b"cache-control") == [b"no-store"]


@pytest.mark.parametrize(
    ("previews", "cookie", "rest"),
    [
        (PREVIEWS, b"spacelane-preview", b"HttpOnly; SameSite=Lax"),
        (SECURE, b"__Host-spacelane-preview", b"HttpOnly; SameSite=Lax; Secure"),
    ],
)
def test_a_link_sets_a_cookie_and_leads_on(previews: Previews, cookie: bytes, rest: bytes) -> None:
    url = urlsplit(previews.link("https://p.test/", GOOD))
    opened = admit(ask(url.query), previews=previews)
    assert opened is not None
    assert opened.status == 303
    assert values(opened, b"location") == [b"/a"]
    assert values(opened, b"cache-control") == [b"no-store"]
    assert values(opened, b"set-cookie") == [b"%b=%b; Path=/; Max-Age=999; %b" % (cookie, GOOD.encode(), rest)]
    assert admit(ask(cookie=f"{cookie.decode()}={GOOD}"), previews=previews) is None
    other = {b"spacelane-preview": "__Host-spacelane-preview"}.get(cookie, "spacelane-preview")
    assert admit(ask(cookie=f"{other}={GOOD}"), previews=previews) is NO_PASS


@pytest.mark.parametrize(
    ("query", "location"),
    [
        ("spacelane-preview={}", b"/a"),
        ("x=1&spacelane-preview={}&y=%2F&", b"/a?x=1&y=%2F&"),
        ("spacelane-preview=bad&spacelane-preview={}&z", b"/a?z"),
        ("spacelane-preview={}&spacelane-previews=1", b"/a?spacelane-previews=1"),
    ],
)
def test_the_rest_of_the_query_stays(query: str, location: bytes) -> None:
    assert values(admit(ask(query.format(GOOD))), b"location") == [location]


def test_the_path_is_led_to_as_it_is_kept() -> None:
    assert values(admit(ask(f"spacelane-preview={GOOD}"), path="/é b/"), b"location") == [b"/%C3%A9%20b/"]


@pytest.mark.parametrize(
    "given",
    [
        "",
        "x",
        f"{END}.",
        f"{END + 1}.{GOOD.partition('.')[2]}",
        GOOD[:-1] + ("0" if GOOD[-1] != "0" else "1"),
        GOOD.upper().replace(".", ".", 1) if GOOD.upper() != GOOD else "x",
        "9" * 12 + GOOD[4:],
        f"-{GOOD}",
        PREVIEWS.sign("site_2", DEPLOYMENT, END),
        PREVIEWS.sign(SITE, "deployment_2", END),
        Previews(keys=(b"stranger",)).sign(SITE, DEPLOYMENT, END),
        PREVIEWS.sign(SITE, DEPLOYMENT, 1000),
        "١" + GOOD[1:],
    ],
)
def test_what_is_no_pass(given: str) -> None:
    assert admit(ask(f"spacelane-preview={given}")) is NO_PASS
    assert admit(ask(cookie=f"spacelane-preview={given}")) is NO_PASS


def test_a_pass_ends() -> None:
    assert admit(ask(cookie=f"spacelane-preview={GOOD}"), now=END - 0.001) is None
    assert admit(ask(cookie=f"spacelane-preview={GOOD}"), now=END) is NO_PASS
    assert admit(ask(f"spacelane-preview={GOOD}"), now=END) is NO_PASS


def test_a_cookie_does_behind_a_link_that_is_over() -> None:
    over = PREVIEWS.sign(SITE, DEPLOYMENT, 1000)
    assert admit(ask(f"spacelane-preview={over}", f"a=b; spacelane-preview={GOOD}")) is None


def test_keys_are_replaced_one_by_one() -> None:
    old = Previews(keys=(b"old",)).sign(SITE, DEPLOYMENT, END)
    assert admit(ask(cookie=f"spacelane-preview={old}")) is None
    assert admit(ask(cookie=f"spacelane-preview={old}"), previews=Previews(keys=(b"new",))) is NO_PASS
    assert Previews(keys=(b"new",)).sign(SITE, DEPLOYMENT, END) == GOOD


def test_a_crowd_of_passes_is_not_looked_through() -> None:
    bad = "; ".join(["spacelane-preview=bad"] * MAX_PASSES)
    assert (
        admit(
            ask(cookie=f"x; spacelane-preview; {bad.removesuffix('; spacelane-preview=bad')}; spacelane-preview={GOOD}")
        )
        is None
    )
    assert admit(ask(cookie=f"{bad}; spacelane-preview={GOOD}")) is NO_PASS
    many = "&".join(["spacelane-preview=bad"] * MAX_PASSES)
    assert admit(ask(f"{many}&spacelane-preview={GOOD}")) is NO_PASS


def test_a_link_names_no_other_parameter() -> None:
    link = urlsplit(PREVIEWS.link("https://p.test/", GOOD))
    assert parse_qs(link.query) == {"spacelane-preview": [GOOD]}


def test_keys_come_from_secrets_and_not_the_other_way() -> None:
    assert derive_key("s" * 32) != derive_key("t" * 32)
    assert len(derive_key("s" * 32)) == 32


HEADERS = (
    (b"cache-control", b"public, max-age=60"),
    (b"cdn-cache-control", b"max-age=60"),
    (b"x-robots-tag", b"nofollow"),
    (b"etag", b'"a"'),
)


def test_search_engines_keep_off() -> None:
    assert mark(Response(200, HEADERS, b"x"), PUBLIC) == Response(200, (*HEADERS, (b"x-robots-tag", b"noindex")), b"x")


def test_caches_keep_off_what_is_private() -> None:
    marked = mark(Response(304, HEADERS), PRIVATE)
    assert marked.headers == (
        (b"x-robots-tag", b"nofollow"),
        (b"etag", b'"a"'),
        (b"cache-control", b"private, no-store"),
        (b"x-robots-tag", b"noindex"),
    )

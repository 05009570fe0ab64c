"""Rule files of every kind, published to a site and then asked for over real connections.

No answer is a failure or takes long; none has a header that tenants may not set, or a Location that leads a visitor to
a host that is not written out; and each is what `explain` says it would be.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Coroutine, Iterator
from typing import Any, TypeVar
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.edge.explain import explain
from server.edge.preview_access import NO_PREVIEWS
from storage.models import Site
from tests.fuzz.budget import PROFILE, SECONDS, check_form, repeat
from tests.support.hosting import Hosting, in_thread, memory_hosting
from tests.support.texts import header_files, redirect_files
from tests.support.wire import Answer, Wire

DOMAIN = "fuzz.test"
FILES = {
    "index.html": b"home",
    "404.html": b"lost",
    "a": b"a",
    "b.html": b"b",
    "a/b.html": b"a/b",
    "b/index.html": b"b/",
    "\u00e9.html": b"accent",
}
OURS = """
    etag last-modified content-length content-encoding content-range accept-ranges location date server connection
    transfer-encoding upgrade trailer alt-svc keep-alive proxy-connection te repr-digest content-digest
"""
EVIL = "evil"  # the value of every header below: in one of ours it must not turn up
CPU_SECONDS = 1.0  # for one answer, the first of a version included, with what the client takes: far more than they do

T = TypeVar("T")

evil_lines = st.builds(
    "  {}: {}".format,
    st.sampled_from([*OURS.split(), "Set-Cookie", "X-Content-Type-Options", "Vary", "X-Mine"]).flatmap(
        lambda name: st.sampled_from([name, name.title(), name.upper()])
    ),
    st.sampled_from([EVIL, f'"{EVIL}"', f"{EVIL}; Domain=test", f"a\r\nX: {EVIL}", f"{EVIL}, {EVIL}"]),
)
evil_files = st.lists(evil_lines, max_size=8).map(lambda lines: "\n".join(["/*", *lines, "  ! Vary"]))
paths = st.lists(
    st.sampled_from(
        ["a", "b", "", "index.html", "404.html", "\u00e9", "x y", "..a", "%0d%0a", "//e", "app.js", "b.html"]
    ),
    max_size=4,
).map(lambda parts: "/" + quote("/".join(parts)))
queries = st.sampled_from(["", "?id=1", "?id=..", "?id=a&q=//e", "?q=%0D%0AX:y", "?x=:splat", "?id=%2F%2Fe"])
fields = st.lists(
    st.sampled_from(
        ["Cookie: c=1", "Cookie: beta=", "Accept-Language: de", "Accept-Language: *", "Sec-Fetch-Dest: document",
         "Accept: text/html", "Accept-Encoding: gzip, br", "Range: bytes=0-0", "If-None-Match: *",
         "Want-Repr-Digest: sha-256=1"]
    ),
    max_size=3,
    unique=True,
)  # fmt: skip
requests = st.lists(st.tuples(paths, queries, fields), min_size=1, max_size=5)


class Host:
    """A site that is published to from here and served from its thread."""

    def __init__(self) -> None:
        self.hosting: Hosting
        self.site: Site
        self._loop: asyncio.AbstractEventLoop

    async def fill(self, hosting: Hosting) -> None:
        self.hosting = hosting
        self.site = await hosting.site(DOMAIN, FILES)
        self._loop = asyncio.get_running_loop()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    def publish(self, redirects: str, headers: str) -> None:
        self.hosting.clock.now += 60  # what changed within this second is not kept
        files = {"_redirects": redirects.encode("utf-8", "replace"), "_headers": headers.encode("utf-8", "replace")}
        self.run(self.hosting.publish(DOMAIN, files))

    def explain(self, target: str, lines: list[str]) -> tuple[int | None, list[tuple[str, str]]]:
        headers = [(b"host", DOMAIN.encode())]
        for line in lines:
            name, _, value = line.partition(": ")
            headers.append((name.lower().encode(), value.encode()))
        stores = self.hosting.metadata, self.hosting.blobs
        told = self.run(
            explain(*stores, NO_PREVIEWS, self.site.id, "GET", target.encode(), headers, self.hosting.clock.now)
        )
        return told.status, [(header.name, header.value) for header in told.headers]


@pytest.fixture(scope="module")
def host() -> Host:
    return Host()


@pytest.fixture(scope="module")
def port(host: Host) -> Iterator[int]:
    with in_thread(memory_hosting, host.fill) as port:
        yield port


@pytest.mark.slow
@pytest.mark.timeout(SECONDS + 120)
def test_every_rule_file(port: int, host: Host) -> None:
    with Wire(port) as wire:

        @PROFILE
        @given(redirects=redirect_files, headers=header_files | evil_files, asked=requests)
        def check(redirects: str, headers: str, asked: list[tuple[str, str, list[str]]]) -> None:
            host.publish(redirects, headers)
            for path, query, lines in asked:
                answers = []
                for _ in range(2):  # from the stores and, if it is kept, from memory
                    started = time.process_time()
                    wire.send("\r\n".join([f"GET {path}{query} HTTP/1.1", f"Host: {DOMAIN}", *lines, "", ""]).encode())
                    answer = wire.receive()
                    # Time moves by hand here, and a door may look at the clock only once a second.
                    answer.headers = [header for header in answer.headers if header[0] != "date"]
                    answers.append(answer)
                    assert time.process_time() - started < CPU_SECONDS
                assert answers[0] == answers[1]
                check_answer(answers[0])
                assert host.explain(path + query, lines) == (answers[0].status, answers[0].headers)

        repeat(check)


def check_answer(answer: Answer) -> None:
    check_form(answer)
    assert answer.header("x-content-type-options") == "nosniff"
    for name in OURS.split():
        assert EVIL not in (answer.header(name) or "")
    assert not any("domain" in value.lower() for name, value in answer.headers if name == "set-cookie")
    if answer.status not in (204, 304):
        assert answer.header("content-length") == str(len(answer.body))
    if answer.status >= 400:
        assert answer.header("cache-control") == "no-store"
    location = answer.header("location") or ""
    assert not location.startswith(("//", "/\\"))
    assert location.startswith(("/", "https://e.example")) or not location

"""Clients of other people's making decode each coding to what was published."""

from __future__ import annotations

import shutil
import subprocess

import httpx
import pytest
from backports import zstd

from server.edge.codings import CODINGS
from tests.support.corpus import contents, sites

DOMAIN = "coded.test"
FILES = contents(sites()[DOMAIN])
PATHS = ("index.html", "page.html", "large.txt", "tiny.txt", "photo.png")


@pytest.mark.parametrize("coding", [*CODINGS, "gzip, deflate, br"])
@pytest.mark.parametrize("path", PATHS)
def test_httpx(corpus_port: int, path: str, coding: str) -> None:
    url, headers = f"http://127.0.0.1:{corpus_port}/{path}", {"host": DOMAIN, "accept-encoding": coding}
    answer = httpx.get(url, headers=headers)
    assert answer.status_code == 200
    # httpx decodes zstd with a library that is not among ours, and otherwise leaves it as it is.
    encoded = answer.headers.get("content-encoding") == "zstd"
    assert (zstd.decompress(answer.content) if encoded else answer.content) == FILES[path]
    again = httpx.get(url, headers={**headers, "if-none-match": answer.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")


@pytest.mark.parametrize("coding", CODINGS)
def test_httpx_puts_ranges_together(corpus_port: int, coding: str) -> None:
    """Piece by piece, each tied to the same coding by its tag."""
    url, headers = f"http://127.0.0.1:{corpus_port}", {"host": DOMAIN, "accept-encoding": coding}
    with httpx.Client(base_url=url, headers=headers) as client:
        with client.stream("GET", "/page.html") as whole:
            expected = b"".join(whole.iter_raw())
        found = b""
        while len(found) < len(expected):
            span = {"range": f"bytes={len(found)}-{len(found) + 99}", "if-range": whole.headers["etag"]}
            with client.stream("GET", "/page.html", headers=span) as part:
                assert part.status_code == 206
                found += b"".join(part.iter_raw())
    assert found == expected


@pytest.fixture(scope="module")
def curl() -> str:
    """The command, with what it can decode in its version."""
    found = shutil.which("curl")
    assert found, "no curl: apt-get install curl"
    return found


@pytest.mark.parametrize("coding", ["gzip", "br", "zstd", None])
def test_curl(corpus_port: int, curl: str, coding: str | None) -> None:
    feature = {"gzip": "libz", "br": "brotli", "zstd": "zstd"}.get(coding or "gzip", "")
    if feature not in subprocess.run([curl, "--version"], capture_output=True, text=True, check=True).stdout:
        pytest.skip(f"this curl does not know {coding}")
    asked = [] if coding is None else ["-H", f"Accept-Encoding: {coding}"]
    for path in PATHS:
        url = f"http://127.0.0.1:{corpus_port}/{path}"
        command = [curl, "-sS", "--fail", "--noproxy", "*", "--compressed", "-H", f"Host: {DOMAIN}", *asked, url]
        assert subprocess.run(command, capture_output=True, check=True).stdout == FILES[path]

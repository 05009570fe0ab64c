"""Where the widget's tag goes in a page, and which pages have none."""

from __future__ import annotations

import gzip
import hashlib
from dataclasses import replace

import brotli
import pytest
from backports import zstd

from server.edge.injection import MAX_PAGE_BYTES, add_tag, read_tagged, tag_for
from storage.models import File
from tests.support.sites import hosted

TAG = b'<script src="//widget.test/widget.js" data-site-id="ab1c2d3e" async></script>'


def test_the_tag() -> None:
    assert tag_for("//widget.test", "ab1c2d3e") == TAG
    assert b'src="https://a&amp;b/widget.js"' in tag_for("https://a&b", "ab1c2d3e")


@pytest.mark.parametrize(
    "page",
    [
        b"<!doctype html><body><p>x</p>|</body></html>",
        b"<!DOCTYPE html><BODY>x|</BODY >",
        b"<!doctype html><p>the body's end is left out|",
        b"<html><p>x|",
        b"<p>x|</body>",
        b"<!doctype html><body><script>document.write('</body>')</script>|</body>",
        b"<!doctype html><body>x</body></html><!-- </body> -->|",
        b"<!doctype html><body>x<script>const end = '</body>'</script>|",
        b"<!doctype html><body><!-- a --><script></script>|</body>",
        b"<!doctype html><body>x|</body>\n<!-- a --> </html >\n<!-- built -->\n",
        b"<!doctype html><body>x|</body></html><!-- cut off",
        b"<!doctype html><body>x|</body></html",
        b"<!doctype html><iframe srcdoc='<body>x</body></html>'></iframe>|",
        b'<!doctype html><iframe srcdoc="<body>x</body>"></iframe></html>|',
        b"<!doctype html><textarea><body></body></textarea>|",
        b"<!doctype html><body>x</body><script>more()</script></html>|",
        b"<!doctype html><body><!-- x </body> <!-- y -->|",
        b"\xef\xbb\xbf<!doctype html><body>|</body>",
        "<!doctype html><body>İ é|</body>".encode(),
    ],
)
def test_where_it_goes(page: bytes) -> None:
    before, after = page.split(b"|")
    assert add_tag(before + after, TAG) == before + TAG + after


@pytest.mark.parametrize(
    "page",
    [
        b"",
        b"<li>a piece of a page</li>",
        b"<!doctype html><body>" + TAG + b"</body>",
        b"<!doctype html><script data-site-id=x src=//other.test/WIDGET.JS></script><body></body>",
        "\ufeff<!doctype html><body></body>".encode("utf-16-le"),
        "\ufeff<!doctype html><body></body>".encode("utf-16-be"),
    ],
)
def test_what_stays_as_it_is(page: bytes) -> None:
    assert add_tag(page, TAG) is None


SITE = hosted(widget="ab1c2d3e")


def file(path: str, size: int) -> File:
    return File(path=path, digest="0" * 64, size=size, modified_at=1, from_revision=1)


async def test_each_coding_is_of_the_page_with_the_tag() -> None:
    page = b"<!doctype html><body>" + b"<p>a paragraph</p>" * 100

    async def read(digest: str) -> bytes:
        return page

    made = await read_tagged(read, SITE, file("a.html", len(page)), "//widget.test")
    assert made is not None
    decoders = {"gzip": gzip.decompress, "br": brotli.decompress, "zstd": zstd.decompress, "identity": bytes}
    etags = set()
    for coding, decode in decoders.items():
        content = made.content(coding)
        assert content.coding == coding
        assert set(content.codings) == set(decoders)
        assert isinstance(content.body, bytes)
        assert decode(content.body) == page + TAG
        assert content.blob.digest == hashlib.sha256(content.body).hexdigest()
        assert content.blob.size == len(content.body)
        etags.add(content.blob.digest)
    assert len(etags) == 4
    assert made.content(None).coding == "identity"
    assert made.content("gzip, br, zstd").coding in ("br", "zstd")


async def test_a_small_page_has_one_coding() -> None:
    async def read(digest: str) -> bytes:
        return b"<!doctype html>"

    made = await read_tagged(read, SITE, file("a.html", 15), "//widget.test")
    assert made is not None
    assert made.content("gzip, br").codings == ()


@pytest.mark.parametrize(("path", "size"), [("a.css", 10), ("a.svg", 10), ("a", 10), ("a.html", MAX_PAGE_BYTES + 1)])
async def test_what_is_no_page_is_not_read(path: str, size: int) -> None:
    async def read(digest: str) -> bytes:
        raise AssertionError

    assert await read_tagged(read, SITE, file(path, size), "") is None


async def test_a_site_without_a_widget_is_not_read() -> None:
    async def read(digest: str) -> bytes:
        raise AssertionError

    assert await read_tagged(read, replace(SITE, widget=None), file("a.html", 10), "") is None


async def test_what_has_a_tag_is_served_as_it_is() -> None:
    async def read(digest: str) -> bytes:
        return b"<!doctype html><body>" + TAG

    assert await read_tagged(read, SITE, file("a.html", 10), "") is None

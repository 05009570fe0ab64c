"""Content types by file name."""

from __future__ import annotations

import re

import pytest

from server.edge import media_types
from server.edge.media_types import DEFAULT, content_type, is_compressible


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("index.html", "text/html; charset=utf-8"),
        ("a/b.c/INDEX.HTM", "text/html; charset=utf-8"),
        ("app.min.js", "text/javascript; charset=utf-8"),
        ("app.mjs", "text/javascript; charset=utf-8"),
        ("app.js.map", "application/json; charset=utf-8"),
        ("site.webmanifest", "application/manifest+json; charset=utf-8"),
        ("feed.atom", "application/atom+xml; charset=utf-8"),
        ("sitemap.xml", "application/xml; charset=utf-8"),
        ("logo.svg", "image/svg+xml; charset=utf-8"),
        ("logo.PNG", "image/png"),
        ("favicon.ico", "image/vnd.microsoft.icon"),
        ("f.woff2", "font/woff2"),
        ("m.wasm", "application/wasm"),
        ("m.glb", "model/gltf-binary"),
        ("m.gltf", "model/gltf+json; charset=utf-8"),
        ("sources.tar.gz", "application/gzip"),
        ("seg0.ts", "video/mp2t"),
        (".well-known/security.txt", "text/plain; charset=utf-8"),
        (".well-known/apple-app-site-association", "application/json; charset=utf-8"),
        ("apple-app-site-association", "application/json; charset=utf-8"),
        (".well-known/host-meta", "application/xrd+xml; charset=utf-8"),
        ("v1.2/LICENSE", "text/plain; charset=utf-8"),
        ("LICENSE", "text/plain; charset=utf-8"),
        ("license", DEFAULT),
        ("html", DEFAULT),
        ("a/html", DEFAULT),
        ("a.html/b", DEFAULT),
        ("a.unknown", DEFAULT),
        ("a.", DEFAULT),
        (".html", DEFAULT),
        ("", DEFAULT),
    ],
)
def test_content_type(path: str, expected: str) -> None:
    assert content_type(path) == expected


def test_table_is_large_and_well_formed() -> None:
    listed = [word for words in media_types._EXTENSIONS_OF.values() for word in words.split()]
    assert len(listed) == len(set(listed)) >= 120, "each extension has one type"
    assert all(re.fullmatch(r"[a-z0-9]+", extension) for extension in listed)
    assert all(re.fullmatch(r"[a-z]+/[a-z0-9.+-]+", media_type) for media_type in media_types._EXTENSIONS_OF)
    assert set(media_types._EXTENSIONS_OF) > media_types._COMPRESSIBLE


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("a.html", True),
        ("a.js", True),
        ("a.json", True),
        ("a.svg", True),
        ("a.atom", True),
        ("a.wasm", True),
        ("a.ttf", True),
        ("a.woff2", False),
        ("a.png", False),
        ("a.zip", False),
        ("a.mp4", False),
        ("a.docx", False),
        ("a", False),
    ],
)
def test_is_compressible(path: str, expected: bool) -> None:
    assert is_compressible(content_type(path)) is expected

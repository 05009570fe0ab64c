"""The demo site: whole, and asking nobody else for anything."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from server.cli.scan import scan
from server.cli.serve import DEMO_SITE

FILES = {file.path: file.source.read_text() for file in scan(DEMO_SITE).files}
PAGES = [path for path in FILES if path.endswith(".html")]
LOST_ON_PURPOSE = "/the/far/side"


def test_is_small_and_complete() -> None:
    found = scan(DEMO_SITE)
    assert found.skipped == ()
    assert found.size < 64 * 1024
    assert {"index.html", "about.html", "guide/index.html", "404.html"} <= set(FILES)


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page: str) -> None:
    targets = re.findall(r'(?:href|src)="([^"]*)"', FILES[page])
    assert len(targets) > 5
    for target in targets:
        path, _, fragment = target.partition("#")
        if path == LOST_ON_PURPOSE:
            continue
        assert not path or path.startswith("/"), "relative: would break on a 404 page further down"
        name = path.lstrip("/") or ("index.html" if path else page)
        candidates = [f"{name}index.html"] if name.endswith("/") else [name, f"{name}.html"]
        (content,) = [FILES[candidate] for candidate in candidates if candidate in FILES]
        assert not fragment or f'id="{fragment}"' in content


@pytest.mark.parametrize("path", FILES)
def test_asks_nobody_else(path: str) -> None:
    assert not re.search(r"""(?:href|src|url\(|import|fetch\()\s*=?\s*["'(]?(?:https?:)?//""", FILES[path])


@pytest.mark.parametrize("page", PAGES)
def test_pages_have_what_pages_need(page: str) -> None:
    assert FILES[page].startswith("<!doctype html>")
    for needed in ('<html lang="en">', "<title>", 'name="viewport"', 'charset="utf-8"', "<h1>", "<main"):
        assert FILES[page].count(needed) == 1
    images = re.findall(r"<img [^>]*>", FILES[page])
    assert all("alt=" in image for image in images)


def test_the_site_is_part_of_the_package() -> None:
    assert Path(DEMO_SITE).parts[-3:] == ("server", "demo", "site")

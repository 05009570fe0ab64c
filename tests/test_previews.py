"""Previews and skew protection of a real server: every worker knows of a change when the call that made it returns."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.support.process import Serve
from tests.support.wire import Answer

pytestmark = pytest.mark.slow

TRIES = 8  # connections, which the kernel gives to either worker


@pytest.fixture(scope="module")
def serve(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serve]:
    """Two workers."""
    with Serve(tmp_path_factory.mktemp("serve") / "data", "--workers", "2") as serve:
        yield serve


def everywhere(serve: Serve, host: str, path: str = "/", *headers: str) -> Answer:
    """What all workers answer."""
    answers = [serve.get(host, path, *headers) for _ in range(TRIES)]
    seen = {(answer.status, answer.body, answer.header("x-robots-tag")) for answer in answers}
    assert len(seen) == 1, seen
    return answers[0]


def preview(serve: Serve, space: str, site: str, deployment: str, query: str = "") -> dict[str, Any]:
    answer = serve.api.get(f"/api/v1/space/{space}/site/{site}/preview/{deployment}{query}")
    assert answer.status_code == 200, answer.text
    told: dict[str, Any] = answer.json()
    url = urlsplit(told["url"])
    assert (url.scheme, url.port, url.path) == ("http", serve.edge_port, "/")
    return {**told, "host": url.hostname, "query": url.query}


def test_a_preview_from_its_making_to_its_end(serve: Serve) -> None:
    space, site = serve.site("life.localhost", {"index.html": b"live"})
    draft = serve.draft(space, {"index.html": b"draft"})
    told = preview(serve, space, site, draft)
    host = told["host"]
    assert (told["access"], told["expiresAt"], told["query"]) == ("public", None, "")
    shown = everywhere(serve, host)
    assert (shown.status, shown.body, shown.header("x-robots-tag")) == (200, b"draft", "noindex")
    assert everywhere(serve, "life.localhost").body == b"live"

    serve.post(f"space/{space}/site/{site}/update", {"previews": "private"})
    assert everywhere(serve, host).status == 403
    link = preview(serve, space, site, draft, "?seconds=60")
    assert link["host"] == host
    opened = everywhere(serve, host, f"/?{link['query']}")
    assert (opened.status, opened.header("location")) == (303, "/")
    cookie = str(opened.header("set-cookie")).partition(";")[0]
    assert everywhere(serve, host, "/", f"Cookie: {cookie}").body == b"draft"
    assert everywhere(serve, host, "/", "Cookie: spacelane-preview=1.0").status == 403

    serve.post(f"space/{space}/site/{site}/update", {"domain": "moved.localhost", "previews": "public"})
    gone = everywhere(serve, host)
    assert (gone.status, gone.header("x-robots-tag")) == (404, None)
    moved = preview(serve, space, site, draft)["host"]
    assert everywhere(serve, moved).body == b"draft"
    serve.post(f"space/{space}/delete")
    assert everywhere(serve, moved).status == 404


def test_what_a_deployment_removes_is_shown_until_it_is_taken_down(serve: Serve) -> None:
    space, site = serve.site("skew.localhost", {"index.html": b"1", "a.js": b"a", "b.js": b"b", "c.html": b"c"})
    serve.deploy(space, {"index.html": b"2"})
    assert everywhere(serve, "skew.localhost").body == b"2"
    assert everywhere(serve, "skew.localhost", "/a.js").body == b"a"
    assert everywhere(serve, "skew.localhost", "/c.html").status == 404
    serve.post(f"space/{space}/storage/delete/a.js")
    assert everywhere(serve, "skew.localhost", "/a.js").status == 404
    assert everywhere(serve, "skew.localhost", "/b.js").body == b"b"
    again = serve.api.post(f"/api/v1/space/{space}/storage/delete/a.js", json={})
    assert again.status_code == 404
    serve.post(f"space/{space}/site/{site}/update", {"skewProtection": False})
    assert everywhere(serve, "skew.localhost", "/b.js").status == 404


def test_a_window_that_never_opens(tmp_path: Path) -> None:
    with Serve(tmp_path / "data", SPACELANE_SKEW_MINUTES="0") as serve:
        space, _ = serve.site("off.localhost", {"index.html": b"1", "a.js": b"a"})
        serve.deploy(space, {"index.html": b"2"})
        assert serve.get("off.localhost", "/a.js").status == 404

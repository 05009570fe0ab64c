"""What a site's status tells: whether the files it names are there, and the problems of its rule files."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from server.certificate import Certificate
from server.control.config import Readiness
from server.control.dns import Addresses, Directory
from tests.control.api import Api, one_store, refused
from tests.control.conftest import Setup

HERE = {
    "dns": {"state": "found", "addresses": ["127.0.0.1", "::1"]},
    "certificate": {"state": "none", "expiresAt": None},
    "workers": [{"name": "worker-0", "state": "serving", "applied": False}],
}
NONE = {**HERE, "problems": [], "unlisted": 0}


async def status(api: Api, space: str, site: str) -> dict[str, Any]:
    answer: dict[str, Any] = await api.fetched(f"space/{space}/site/{site}/status")
    return answer


async def test_a_status_follows_the_files_that_a_site_names(api: Api) -> None:
    space = await api.space()
    site = await api.site(space, alias="main")
    expected = {
        "id": site,
        "domain": "one.localhost",
        "index": {"path": "index.html", "exists": False},
        "notFound": {"path": "404.html", "exists": False},
        **NONE,
    }
    assert await status(api, space, site) == expected
    await api.upload(space, "index.html")
    expected["index"] = {"path": "index.html", "exists": True}
    assert await status(api, space, "@main") == expected
    await api.created(f"space/{space}/storage/delete/index.html")
    await api.upload(space, "404.html")
    expected["index"] = {"path": "index.html", "exists": False}
    expected["notFound"] = {"path": "404.html", "exists": True}
    assert await status(api, space, site) == expected


async def test_the_files_are_those_below_the_prefix(api: Api) -> None:
    space = await api.space()
    await api.upload(space, "app/start.html")
    await api.upload(space, "404.html")
    await api.upload(space, "_redirects", b"mistake outside of the prefix\n")
    site = await api.site(space, prefix="/app", index="start.html")
    assert await status(api, space, site) == {
        "id": site,
        "domain": "one.localhost",
        "index": {"path": "app/start.html", "exists": True},
        "notFound": {"path": "app/404.html", "exists": False},
        **NONE,
    }


async def test_problems_are_told_by_file_and_line(api: Api) -> None:
    space = await api.space()
    await api.upload(space, "app/_redirects", b"# moved\n/old /new\n/x /y 999\n/old /newer\n")
    await api.upload(space, "app/new.html")
    await api.upload(space, "app/_headers", b"/*\n  X-Frame-Options: DENY\n  ETag: mine\n")
    site = await api.site(space, prefix="app")
    answer = await status(api, space, site)
    assert answer["problems"] == [
        {
            "file": "app/_redirects",
            "line": 3,
            "text": "/x /y 999",
            "reason": "999 is no status that a rule can give: "
            "write one of 200 301 302 303 307 308 404 410 451, with ! to force it",
            "leftOut": True,
        },
        {
            "file": "app/_redirects",
            "line": 4,
            "text": "/old /newer",
            "reason": "is never reached: line 2 answers first; remove it, or move it before that line",
            "leftOut": False,
        },
        {
            "file": "app/_headers",
            "line": 3,
            "text": "  ETag: mine",
            "reason": "etag is the server's to say: remove the line",
            "leftOut": True,
        },
    ]
    assert answer["unlisted"] == 0


async def test_good_rules_have_no_problems(api: Api) -> None:
    space = await api.space()
    await api.upload(space, "_redirects", b"/old /new\n")
    await api.upload(space, "new.html")
    await api.upload(space, "_headers", b"/*\n  X-Frame-Options: DENY\n")
    answer = await status(api, space, await api.site(space))
    assert {name: answer[name] for name in NONE} == NONE


async def test_problems_beyond_the_first_hundred_of_a_file_are_counted(api: Api) -> None:
    space = await api.space()
    await api.upload(space, "_redirects", b"mistake\n" * 130)
    await api.upload(space, "_headers", b"mistake\n" * 107)
    answer = await status(api, space, await api.site(space))
    assert [problem["file"] for problem in answer["problems"]] == ["_redirects"] * 100 + ["_headers"] * 100
    assert answer["unlisted"] == 37


@pytest.mark.parametrize("site", ["nothing", "@nothing", f"site_{'0' * 38}"])
async def test_a_site_that_is_not_there_has_no_status(api: Api, site: str) -> None:
    space = await api.space()
    refused(await api.get(f"space/{space}/site/{site}/status"), 404, "NOT_FOUND")


class Gazetteer(Directory):
    """A directory that knows one domain."""

    async def find(self, domain: str) -> Addresses:
        assert domain == "a.example.com"
        return Addresses("found", ("192.0.2.1",))


@pytest.fixture
def certified(setup: Setup) -> Setup:
    """A server with a certificate, with two workers of which one is behind, and with a directory."""
    certificate = Certificate(names={"one.localhost"}, begins_at=0, ends_at=1_791_000_000_000)
    setup.config = replace(setup.config, certificate=certificate, directory=Gazetteer())
    setup.readiness = Readiness(
        ready=False, workers={"worker-1": "starting", "worker-0": "serving"}, applied={"worker-0": 2, "worker-1": -1}
    )
    return setup


@one_store
async def test_a_status_tells_of_domain_certificate_and_workers(certified: Setup, api: Api) -> None:
    space = await api.space()
    site = await api.site(space, "a.example.com")
    seen = await status(api, space, site)
    assert seen["dns"] == {"state": "found", "addresses": ["192.0.2.1"]}
    assert seen["certificate"] == {"state": "mismatch", "expiresAt": "2026-10-03T04:00:00.000Z"}
    assert seen["workers"] == [
        {"name": "worker-0", "state": "serving", "applied": True},
        {"name": "worker-1", "state": "starting", "applied": False},
    ]
    # A publish moves what its workers have to have applied.
    await api.upload(space, "index.html")
    assert [worker["applied"] for worker in (await status(api, space, site))["workers"]] == [False, False]

"""What activating a deployment would change."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from typing import Any

import pytest

from server.traffic import Traffic
from tests.control.api import OTHER_WORKSPACE, Api, one_store, refused
from tests.control.conftest import Setup
from tests.control.test_deployments import create, manifest
from tests.control.test_upload import pack_tar, uploaded

Files = dict[str, bytes]


async def ready(api: Api, space: str, files: Files, query: str = "") -> str:
    """A deployment of these files that is not activated."""
    told = await uploaded(api, space, pack_tar(files.items()), f"?activate=false{query}")
    return str(told["id"])


async def live(api: Api, files: Files, domain: str = "one.localhost", **site: Any) -> str:
    """A space in which these files are live, with a site."""
    space = await api.space()
    await uploaded(api, space, pack_tar(files.items()))
    await api.site(space, domain, **site)
    return space


async def diff(api: Api, space: str, id: str, query: str = "") -> dict[str, Any]:
    told: dict[str, Any] = await api.fetched(f"space/{space}/deployment/{id}/diff{query}")
    return told


def paths(told: dict[str, Any], kind: str) -> list[str]:
    assert told[kind]["total"] >= len(told[kind]["items"])
    return [item["path"] for item in told[kind]["items"]]


def broken(told: dict[str, Any]) -> dict[str, list[str]]:
    """By URL, how else it is written."""
    assert told["broken"]["total"] == len(told["broken"]["items"])
    return {item["url"]: item["also"] for item in told["broken"]["items"]}


async def test_files_that_differ(api: Api) -> None:
    space = await live(api, {"same.html": b"1", "other.html": b"2", "gone.html": b"33"})
    id = await ready(api, space, {"same.html": b"1", "other.html": b"22", "new.html": b"4444"})
    told = await diff(api, space, id)
    assert told["added"] == {"total": 1, "items": [{"path": "new.html", "size": 4}]}
    assert told["changed"] == {"total": 1, "items": [{"path": "other.html", "size": 2}]}
    assert told["removed"] == {"total": 1, "items": [{"path": "gone.html", "size": 2}]}
    (item,) = told["broken"]["items"]
    sites = await api.fetched(f"space/{space}/site/list")
    assert item == {
        "site": sites["items"][0]["id"],
        "domain": "one.localhost",
        "url": "/gone",
        "also": ["/gone.html"],
        "file": "gone.html",
        "requests": None,
    }
    assert (told["id"], told["against"], told["trafficSince"]) == (id, None, None)
    assert (told["problems"], told["unlisted"]) == ([], 0)


async def test_the_tree_that_is_live_has_no_difference(api: Api) -> None:
    space = await live(api, {"index.html": b"1", "a/b.html": b"2"})
    (deployment,) = (await api.fetched(f"space/{space}/deployment/list"))["items"]
    told = await diff(api, space, deployment["id"])
    assert [told[kind]["total"] for kind in ("added", "changed", "removed", "broken", "moved")] == [0] * 5


async def test_a_merge_and_a_prefix_leave_the_rest_alone(api: Api) -> None:
    space = await live(api, {"a.html": b"1", "v1/b.html": b"2", "v1/c.html": b"2"})
    told = await diff(api, space, await ready(api, space, {"d.html": b"3"}, "&mode=merge"))
    assert (paths(told, "added"), paths(told, "removed"), broken(told)) == (["d.html"], [], {})
    told = await diff(api, space, await ready(api, space, {"b.html": b"9"}, "&prefix=v1"))
    assert (paths(told, "changed"), paths(told, "removed")) == (["v1/b.html"], ["v1/c.html"])
    assert broken(told) == {"/v1/c": ["/v1/c.html"]}


async def test_against_another_deployment(api: Api) -> None:
    space = await live(api, {"a.html": b"1"})
    one = await ready(api, space, {"b.html": b"2"})
    two = await ready(api, space, {"c.html": b"3"})
    told = await diff(api, space, two, f"?against={one}")
    assert told["against"] == one
    assert (paths(told, "added"), paths(told, "removed")) == (["c.html"], ["b.html"])
    assert broken(told) == {"/b": ["/b.html"]}


@one_store
@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        # The same URL, answered otherwise.
        ({"about.html": b"1"}, {"about/index.html": b"2"}, {"/about.html": []}),
        ({"about/index.html": b"1"}, {"about.html": b"1"}, {"/about/": ["/about/index", "/about/index.html"]}),
        ({"about.html": b"1"}, {"about": b"2"}, {"/about.html": []}),
        # A folder's index.
        (
            {"docs/index.html": b"1"},
            {"x": b"2"},
            {"/docs/": ["/docs", "/docs/index", "/docs/index.html"]},
        ),
        ({"index.html": b"1"}, {"x": b"2"}, {"/": ["/index", "/index.html"]}),
        # Rules that take over.
        ({"about.html": b"1"}, {"_redirects": b"/about /team\n/about.html /team", "team.html": b"2"}, {}),
        ({"about.html": b"1"}, {"_redirects": b"/about* /team", "team.html": b"2"}, {"/about": ["/about.html"]}),
        ({"about.html": b"1"}, {"_redirects": b"/* /index.html 200", "index.html": b"2"}, {}),
        ({"a.js": b"1"}, {"_redirects": b"/* /index.html 200", "index.html": b"2"}, {"/a.js": []}),
        ({"a.html": b"1"}, {"_redirects": b"/a* https://example.com/\n/a https://example.com/"}, {"/a.html": []}),
        ({"a.html": b"1"}, {"_redirects": b"/* /nothing"}, {"/a": ["/a.html"]}),
        ({"a.html": b"1"}, {"_redirects": b"/* /b/:splat"}, {"/a": ["/a.html"]}),
        # Rules that go, or lead nowhere.
        ({"_redirects": b"/old /a", "a.html": b"1"}, {"a.html": b"1"}, {"/old": []}),
        ({"_redirects": b"/old /a", "a.html": b"1"}, {"_redirects": b"/old /a"}, {"/a": ["/a.html"], "/old": []}),
        ({"_redirects": b"/old /a 200", "a.html": b"1"}, {"_redirects": b"/old /a 200", "b": b""}, "both"),
        ({"_redirects": b"/old http://one.localhost/a", "a.html": b"1"}, {"_redirects": b"/old /b"}, "both"),
        # Rules that overtake files.
        ({"a.html": b"1"}, {"_redirects": b"/a /b 301!", "a.html": b"1"}, {"/a": []}),
        ({"a.html": b"1"}, {"_redirects": b"/a /a.html 301!", "a.html": b"1"}, {}),
        (
            {"a.html": b"1"},
            {"_redirects": b"/* /gone 410!", "a.html": b"1"},
            {"/a": ["/a.html"], "/keep.txt": []},
        ),
        # What nobody could have.
        ({"404.html": b"1", ".x": b"1", "_headers": b""}, {"a": b"1"}, {}),
        # Names that have to be encoded.
        ({"ä b.html": b"1"}, {"a": b"1"}, {"/%C3%A4%20b": ["/%C3%A4%20b.html"]}),
    ],
)
async def test_urls_that_would_stop_answering(api: Api, before: Files, after: Files, expected: Any) -> None:
    space = await live(api, {"keep.txt": b"", **before})
    for name in (name for name in before if name.startswith(".")):
        await api.upload(space, name)
    told = await diff(api, space, await ready(api, space, {"keep.txt": b"", **after}))
    assert broken(told) == ({"/a": ["/a.html"], "/old": []} if expected == "both" else expected)


@one_store
async def test_sites_of_several_prefixes_are_judged_each(api: Api) -> None:
    space = await live(api, {"v1/a.html": b"1", "v2/a.html": b"1"}, prefix="v1")
    await api.site(space, "two.localhost", prefix="v2")
    await api.site(space, "three.localhost", prefix="v2")
    await api.site(space, "four.localhost", prefix="v2", notFound="", index="")
    told = await diff(api, space, await ready(api, space, {"v1/a.html": b"1", "v2/b.html": b"1"}))
    assert [(item["domain"], item["url"]) for item in told["broken"]["items"]] == [("two.localhost", "/a")]
    assert [item["rules"] for item in told["moved"]["items"]] == [["/a /b 301", "/a.html /b 301"]]


@one_store
async def test_a_file_that_moved_gets_the_lines_that_lead_to_it(api: Api) -> None:
    before = {"a.html": b"A", "b:*.html": b"B", "c/index.html": b"C", "d.html": b"D", "empty.html": b""}
    before |= {"x/logo.svg": b"L", "kept.html": b"K"}
    after = {"n/a.html": b"A", "b.html": b"B", "c.html": b"C", "d/index.html": b"D", "void.html": b""}
    after |= {"y/logo.svg": b"L", "a-copy.svg": b"L", "kept.html": b"K", "kept-copy.html": b"K"}
    space = await live(api, before)
    told = await diff(api, space, await ready(api, space, after))
    assert {(item["old"], item["new"]): item["rules"] for item in told["moved"]["items"]} == {
        ("a.html", "n/a.html"): ["/a /n/a 301", "/a.html /n/a 301"],
        ("b:*.html", "b.html"): ["/b%3A%2A /b 301", "/b%3A%2A.html /b 301"],
        ("c/index.html", "c.html"): ["/c/ /c 301", "/c/index /c 301", "/c/index.html /c 301"],
        ("d.html", "d/index.html"): ["/d.html /d/ 301"],
        ("x/logo.svg", "y/logo.svg"): ["/x/logo.svg /y/logo.svg 301"],
    }
    # What it suggests mends it.
    lines = "\n".join(line for item in told["moved"]["items"] for line in item["rules"])
    mended = {**after, "_redirects": lines.encode(), "empty.html": b""}
    told = await diff(api, space, await ready(api, space, mended))
    assert broken(told) == {}
    assert told["problems"] == []


@pytest.fixture
def asked(setup: Setup) -> list[Collection[str]]:
    """The sites whose traffic was asked for; they have some."""
    asked: list[Collection[str]] = []

    def traffic(sites: Collection[str]) -> Traffic:
        asked.append(sites)
        return Traffic(1_790_000_000_000, {"/b": 3, "/b.html": 4, "/a": 1, "/app/x": 9, "/gone-before": 5})

    setup.config = replace(setup.config, traffic=traffic)
    return asked


@one_store
async def test_what_was_asked_for_counts(asked: list[Collection[str]], api: Api) -> None:
    files = {"a.html": b"1", "b.html": b"2", "c.html": b"3", "app.html": b"4", "_redirects": b"/app/* /app.html 200"}
    space = await live(api, files)
    two = await api.site(space, "two.localhost")
    told = await diff(api, space, await ready(api, space, {"x": b""}))
    counted = [(item["url"], item["requests"]) for item in told["broken"]["items"]]
    assert counted == [("/app/x", 9), ("/b", 7), ("/a", 1), ("/app", 0), ("/c", 0)]
    assert told["broken"]["items"][0]["file"] is None
    assert told["trafficSince"] == "2026-09-21T14:13:20.000Z"
    (sites,) = asked
    assert two in sites
    assert len(sites) == 2


@one_store
async def test_lists_are_cut_and_totals_are_not(api: Api) -> None:
    space = await live(api, {f"{number:02}.html": b"%d" % number for number in range(30)})
    told = await diff(api, space, await ready(api, space, {f"x{n:02}.html": b"%d" % n for n in range(30)}), "?take=2")
    for kind in ("added", "removed", "broken", "moved"):
        assert (told[kind]["total"], len(told[kind]["items"])) == (30, 2)
    assert paths(told, "removed") == ["00.html", "01.html"]
    for take in ("0", "1001", "x"):
        id = told["id"]
        refused(await api.get(f"space/{space}/deployment/{id}/diff?take={take}"), 400, "BAD_REQUEST", "take")


async def test_rules_that_are_not_there_yet_are_asked_for(api: Api) -> None:
    """And never read from what another workspace has uploaded."""
    rules = b"/secret /of-another-workspace"
    key = await api.key(workspace=OTHER_WORKSPACE)
    elsewhere = await api.created("space/create", {}, key=key)
    await api.created(f"space/{elsewhere}/storage/upload/_redirects", content=rules, key=key)
    space = await live(api, {"a.html": b"1"})
    id = (await create(api, space, manifest({"_redirects": rules, "b.html": b"2"})))["id"]
    answer = await api.get(f"space/{space}/deployment/{id}/diff")
    assert "'_redirects' has not been uploaded" in refused(answer, 400, "BAD_REQUEST", "files")
    digest = manifest({"_redirects": rules})["_redirects"]["digest"]
    await api.created(f"space/{space}/deployment/{id}/blob/{digest}", content=rules)
    told = await diff(api, space, id)  # other contents need not be there
    assert paths(told, "added") == ["_redirects", "b.html"]
    assert [problem["line"] for problem in told["problems"]] == [1]


@one_store
async def test_only_deployments_of_the_space_are_compared(api: Api) -> None:
    space, elsewhere = await live(api, {"a": b"1"}), await api.space()
    ours, theirs = await ready(api, space, {"b": b"1"}), await ready(api, elsewhere, {"b": b"1"})
    refused(await api.get(f"space/{space}/deployment/{theirs}/diff"), 404, "NOT_FOUND")
    refused(await api.get(f"space/{space}/deployment/{ours}/diff?against={theirs}"), 404, "NOT_FOUND")


@one_store
async def test_a_space_without_a_site_has_nothing_to_lose(api: Api) -> None:
    space = await api.space()
    await api.upload(space, "a.html", b"1")
    told = await diff(api, space, await ready(api, space, {"b.html": b"1"}))
    assert (paths(told, "removed"), broken(told)) == (["a.html"], {})


@one_store
async def test_a_space_of_too_many_files_is_not_compared(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    space = await live(api, {"a": b"1", "b": b"1", "_redirects": b"/x /nowhere\n/y"})
    id = await ready(api, space, {"b": b"1"})
    for module in ("diff", "problems"):
        monkeypatch.setattr(f"server.control.{module}.MAX_FILES", 2)
    answer = await api.get(f"space/{space}/deployment/{id}/diff")
    assert "more than 2 files" in refused(answer, 400, "BAD_REQUEST", "spaceId")
    # What is wrong with a line by itself is told all the same.
    answer = await api.post(f"space/{space}/deployment/{id}/activate")
    assert answer.json()["problems"] == []
    files = {"a": b"1", "b": b"1", "_redirects": b"/x /nowhere\n/y"}
    told = await uploaded(api, space, pack_tar(files.items()))
    assert [problem["line"] for problem in told["problems"]] == [2]

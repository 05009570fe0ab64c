"""Sites, as an operator calls them."""

from __future__ import annotations

from typing import Any

import pytest

from tests.control.api import Api, one_store, refused


async def test_a_site_from_creation_to_deletion(api: Api) -> None:
    space = await api.space()
    await api.upload(space, "app/index.html")
    await api.upload(space, "app/404.html")
    id = await api.created(
        f"space/{space}/site/create",
        {
            "domain": "MyApp.localhost",
            "name": "My App Site",
            "description": "Production site for my application",
            "prefix": "/app",
            "index": "index.html",
            "notFound": "404.html",
            "alias": "main-site",
        },
    )
    site = await api.fetched(f"space/{space}/site/{id}/fetch")
    listed = await api.fetched(f"space/{space}/site/list")
    assert listed == {"items": [site], "cursor": ""}
    assert site.pop("createdAt") == site.pop("updatedAt")
    assert site == {
        "id": id,
        "spaceId": space,
        "alias": "main-site",
        "name": "My App Site",
        "description": "Production site for my application",
        "domain": "myapp.localhost",
        "prefix": "/app",
        "index": "index.html",
        "notFound": "404.html",
        "previews": "public",
        "skewProtection": True,
        "meta": {},
    }
    for ref in ("main-site", "@main-site"):
        assert (await api.fetched(f"space/{space}/site/{ref}/fetch"))["id"] == id

    assert await api.created(f"space/{space}/site/{id}/update", {"domain": "other.localhost"}) == id
    assert (await api.fetched(f"space/{space}/site/{id}/fetch"))["domain"] == "other.localhost"

    assert await api.created(f"space/{space}/site/@main-site/delete") == id
    refused(await api.get(f"space/{space}/site/{id}/fetch"), 404, "NOT_FOUND")
    assert await api.site(space, "other.localhost")


async def test_defaults_need_not_exist(api: Api) -> None:
    space = await api.space()
    id = await api.site(space)
    site = await api.fetched(f"space/{space}/site/{id}/fetch")
    assert (site["prefix"], site["index"], site["notFound"]) == ("", "index.html", "404.html")
    assert (site["alias"], site["name"], site["description"], site["meta"]) == (None, "", "", {})


@one_store
@pytest.mark.parametrize(
    ("given", "answered"), [("app", "/app"), ("/app", "/app"), ("app/", "/app"), ("/a/b/", "/a/b"), ("/", ""), ("", "")]
)
async def test_a_prefix_has_one_form(api: Api, given: str, answered: str) -> None:
    space = await api.space()
    id = await api.site(space, prefix=given)
    assert (await api.fetched(f"space/{space}/site/{id}/fetch"))["prefix"] == answered


async def test_a_named_file_must_exist_below_the_prefix_that_results(api: Api) -> None:
    space = await api.space()
    await api.upload(space, "v1/home.html")
    create = f"space/{space}/site/create"
    message = refused(
        await api.post(create, {"domain": "one.localhost", "index": "home.html"}), 400, "BAD_REQUEST", "index"
    )
    assert "home.html" in message
    refused(
        await api.post(create, {"domain": "one.localhost", "notFound": "lost.html"}), 400, "BAD_REQUEST", "notFound"
    )
    id = await api.site(space, index="home.html", prefix="v1")
    update = f"space/{space}/site/{id}/update"
    assert "v2/home.html" in refused(await api.post(update, {"prefix": "/v2"}), 400, "BAD_REQUEST", "index")
    await api.created(update, {"prefix": "/v2", "index": None})
    site = await api.fetched(f"space/{space}/site/{id}/fetch")
    assert (site["prefix"], site["index"]) == ("/v2", "index.html")


@pytest.mark.parametrize("cleared", [None, ""])
async def test_null_and_an_empty_text_restore_defaults(api: Api, cleared: str | None) -> None:
    space = await api.space()
    await api.upload(space, "v1/home.html")
    id = await api.site(space, prefix="v1", index="home.html", notFound="home.html", name="n", alias="a")
    update = f"space/{space}/site/{id}/update"
    names = ("prefix", "index", "notFound", "name", "description", "alias")
    await api.created(update, dict.fromkeys(names, cleared))
    site = await api.fetched(f"space/{space}/site/{id}/fetch")
    assert [site[name] for name in names] == ["", "index.html", "404.html", "", "", None]
    refused(await api.post(update, {"domain": cleared}), 400, "BAD_REQUEST", "domain")
    assert (await api.fetched(f"space/{space}/site/{id}/fetch"))["domain"] == "one.localhost"


@one_store
@pytest.mark.parametrize(
    ("fields", "path"),
    [
        ({"domain": "127.0.0.1"}, "domain"),
        ({"domain": "localhost"}, "domain"),
        ({"domain": "www.localhost"}, "domain"),
        ({"domain": "a_b.localhost"}, "domain"),
        ({"domain": "nul\0.example.com"}, "domain"),
        ({"domain": 1}, "domain"),
        ({"prefix": "../up"}, "prefix"),
        ({"prefix": "a/../b"}, "prefix"),
        ({"prefix": "a\\b"}, "prefix"),
        ({"prefix": "a\0"}, "prefix"),
        ({"prefix": "x" * 1025}, "prefix"),
        ({"prefix": 1}, "prefix"),
        ({"index": "/index.html"}, "index"),
        ({"index": "../index.html"}, "index"),
        ({"notFound": "/404.html"}, "notFound"),
        ({"notFound": ["404.html"]}, "notFound"),
        ({"not_found": "404.html"}, "not_found"),
        ({"named_index": "index.html"}, "named_index"),
        ({"spaceId": "space_1"}, "spaceId"),
        ({"alias": "Upper"}, "alias"),
        ({"meta": {"_x": 1}}, "meta._x"),
    ],
)
async def test_a_bad_field_is_named_and_changes_nothing(api: Api, fields: dict[str, Any], path: str) -> None:
    space = await api.space()
    id = await api.site(space)
    before = await api.fetched(f"space/{space}/site/list")
    refused(await api.post(f"space/{space}/site/{id}/update", fields), 400, "BAD_REQUEST", path)
    created = {"domain": "two.localhost"} | fields
    refused(await api.post(f"space/{space}/site/create", created), 400, "BAD_REQUEST", path)
    assert await api.fetched(f"space/{space}/site/list") == before


async def test_a_domain_is_required(api: Api) -> None:
    space = await api.space()
    answer = await api.post(f"space/{space}/site/create", {})
    assert refused(answer, 400, "BAD_REQUEST", "domain") == "domain: is required"


async def test_a_taken_domain_is_a_conflict_in_every_spelling(api: Api) -> None:
    space = await api.space()
    await api.site(space, "bücher.localhost")
    second = await api.site(space, "two.localhost")
    for domain in ("bücher.localhost", "BÜCHER.localhost.", "xn--bcher-kva.localhost"):
        refused(await api.post(f"space/{space}/site/create", {"domain": domain}), 409, "CONFLICT")
        refused(await api.post(f"space/{space}/site/{second}/update", {"domain": domain}), 409, "CONFLICT")
    domains = [site["domain"] for site in (await api.fetched(f"space/{space}/site/list"))["items"]]
    assert domains == ["two.localhost", "xn--bcher-kva.localhost"]


async def test_a_domain_of_another_workspace_is_taken_too(api: Api) -> None:
    await api.site(await api.space())
    key = await api.key(workspace="workspace_other")
    space = await api.created("space/create", key=key)
    answer = await api.post(f"space/{space}/site/create", {"domain": "one.localhost"}, key=key)
    refused(answer, 409, "CONFLICT")


async def test_a_site_is_found_in_its_own_space_only(api: Api) -> None:
    space, elsewhere = await api.space(), await api.space()
    id = await api.site(space, alias="main")
    for ref in (id, "main", "@main", "Nonsense"):
        refused(await api.get(f"space/{elsewhere}/site/{ref}/fetch"), 404, "NOT_FOUND")
        refused(await api.post(f"space/{elsewhere}/site/{ref}/update", {"name": "x"}), 404, "NOT_FOUND")
        refused(await api.post(f"space/{elsewhere}/site/{ref}/delete"), 404, "NOT_FOUND")
    assert (await api.fetched(f"space/{space}/site/{id}/fetch"))["name"] == ""


async def test_lists_filter_by_domain_and_meta(api: Api) -> None:
    space = await api.space()
    first = await api.site(space, "one.localhost", meta={"tier": "gold"})
    second = await api.site(space, "bücher.localhost")

    async def ids(query: str) -> list[str]:
        return [item["id"] for item in (await api.fetched(f"space/{space}/site/list?{query}"))["items"]]

    assert await ids("domain=ONE.localhost") == [first]
    assert await ids("domain=bücher.localhost") == [second]
    assert await ids("domain=none.localhost") == []
    assert await ids("meta[tier]=gold") == [first]
    refused(await api.get(f"space/{space}/site/list?domain=a..b"), 400, "BAD_REQUEST", "domain")


async def test_deleting_a_space_frees_its_domains(api: Api) -> None:
    space = await api.space()
    await api.site(space)
    await api.created(f"space/{space}/delete")
    assert await api.site(await api.space())


async def test_a_prefix_as_long_as_it_may_be(api: Api) -> None:
    space = await api.space()
    prefix = "/".join(["x" * 255] * 4)
    assert len(prefix) == 1023
    id = await api.site(space, prefix=f"/{prefix}/")
    assert (await api.fetched(f"space/{space}/site/{id}/fetch"))["prefix"] == f"/{prefix}"
    answer = await api.post(f"space/{space}/site/{id}/update", {"prefix": f"{prefix}/xx"})
    assert refused(answer, 400, "BAD_REQUEST", "prefix") == "prefix: is longer than 1024 bytes"


async def test_a_named_file_is_judged_by_the_update_as_a_whole(api: Api) -> None:
    space = await api.space()
    for path in ("v1/home.html", "v1/lost.html", "v2/start.html", "v2/lost.html"):
        await api.upload(space, path)
    id = await api.site(space, prefix="v1", index="home.html", notFound="lost.html")
    update = f"space/{space}/site/{id}/update"

    async def refuse(fields: dict[str, Any], field: str, path: str) -> None:
        before = await api.fetched(f"space/{space}/site/{id}/fetch")
        message = refused(await api.post(update, fields), 400, "BAD_REQUEST", field)
        assert message == f"{field}: '{path}' does not exist in the space: upload it first"
        assert await api.fetched(f"space/{space}/site/{id}/fetch") == before

    await refuse({"index": "start.html"}, "index", "v1/start.html")
    await refuse({"prefix": "v2"}, "index", "v2/home.html")
    await refuse({"prefix": "v2", "index": "home.html"}, "index", "v2/home.html")
    await refuse({"prefix": None}, "index", "home.html")
    await refuse({"notFound": "404.html"}, "notFound", "v1/404.html")  # named now, though it is the default
    await api.created(update, {"prefix": "v2", "index": "start.html"})
    await refuse({"prefix": "v1"}, "index", "v1/start.html")
    # What went missing meanwhile is no reason to refuse what has nothing to do with it.
    await api.created(f"space/{space}/storage/delete/v2/start.html")
    await api.created(update, {"name": "renamed"})
    await refuse({"prefix": "v2"}, "index", "v2/start.html")
    await refuse({"index": "start.html"}, "index", "v2/start.html")
    await api.created(update, {"index": "", "prefix": "v2"})
    assert (await api.fetched(f"space/{space}/site/{id}/fetch"))["index"] == "index.html"


async def test_both_forms_of_a_filter(api: Api) -> None:
    space = await api.space()
    first = await api.site(space, "one.localhost", meta={"a.b": "x", "n": 1, "t": True})
    await api.site(space, "two.localhost", meta={"a.b": "y", "n": 1})
    for query in ("meta[a.b]=x", "meta.a.b=x", "meta.n=1&meta[t]=true", "meta%5Ba.b%5D=x&domain=one.localhost"):
        listed = await api.fetched(f"space/{space}/site/list?{query}")
        assert [item["id"] for item in listed["items"]] == [first]
    assert (await api.fetched(f"space/{space}/site/list?meta[a.b]=x&domain=two.localhost"))["items"] == []

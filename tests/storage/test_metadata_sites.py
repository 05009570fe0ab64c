"""Sites, on every store."""

from __future__ import annotations

from dataclasses import replace

import pytest

from storage.errors import Conflict, Invalid, NotFound
from storage.metadata import MetadataStore
from storage.models import Change, HostedSite, NewSite, NewSpace, PageQuery, Site, SitePatch, Space
from tests.storage.conftest import Clock, make_blob


async def test_a_site_is_kept_as_given(metadata: MetadataStore, space: Space, clock: Clock) -> None:
    await metadata.put_files(space.id, {"www/home.html": make_blob(1), "www/oops.html": make_blob(2)})
    new = NewSite(
        space_id=space.id,
        domain="*.example.com",
        prefix="www",
        named_index="home.html",
        named_not_found="oops.html",
        alias="main",
        name="n",
        description="d",
        meta={"a": 1},
    )
    site = await metadata.create_site(new)
    assert site == Site(
        id=site.id,
        workspace_id="acme",
        space_id=space.id,
        domain="*.example.com",
        prefix="www",
        named_index="home.html",
        named_not_found="oops.html",
        alias="main",
        name="n",
        description="d",
        meta={"a": 1},
        revision=3,
        created_at=clock.now,
        updated_at=clock.now,
    )
    assert await metadata.find_site_by_id(site.id) == site
    assert await metadata.find_site_by_alias("acme", "main") == site
    assert await metadata.find_site_by_alias("other", "main") is None
    assert await metadata.list_changes(2) == [Change(revision=3, kind="site.create", hosts=("*.example.com",))]


async def test_the_first_domain_that_has_a_site_wins(metadata: MetadataStore, space: Space) -> None:
    exact = await metadata.create_site(NewSite(space_id=space.id, domain="a.example.com"))
    wildcard = await metadata.create_site(NewSite(space_id=space.id, domain="*.example.com"))
    revision = await metadata.put_files(space.id, {"x": make_blob(1)})
    for domains, site in [
        (["a.example.com", "*.example.com"], exact),
        (["*.example.com", "a.example.com"], wildcard),
        (["b.example.com", "*.example.com"], wildcard),
    ]:
        hosted = await metadata.find_site(domains)
        assert hosted
        assert (hosted, hosted.version) == (HostedSite.of(site, revision, 0), revision)
    assert await metadata.find_site(["b.example.com"]) is None
    assert await metadata.find_site([]) is None


async def test_a_missing_site(metadata: MetadataStore) -> None:
    assert await metadata.find_site_by_id("site_none") is None
    assert await metadata.find_site_by_alias("acme", "none") is None
    for verb in (
        metadata.update_site("site_none", {"name": "x"}),
        metadata.delete_site("site_none"),
    ):
        with pytest.raises(NotFound) as missing:
            await verb
        assert (missing.value.kind, missing.value.ref) == ("site", "site_none")
    with pytest.raises(NotFound) as missing:
        await metadata.create_site(NewSite(space_id="space_none", domain="a.example"))
    assert missing.value.kind == "space"
    assert await metadata.get_revision() == 0


async def test_a_domain_has_one_site_whoever_asks(metadata: MetadataStore, space: Space) -> None:
    other = await metadata.create_space(NewSpace(workspace_id="other"))
    await metadata.create_site(NewSite(space_id=space.id, domain="a.example"))
    site = await metadata.create_site(NewSite(space_id=other.id, domain="b.example"))
    revision = await metadata.get_revision()
    with pytest.raises(Conflict) as created:
        await metadata.create_site(NewSite(space_id=other.id, domain="a.example"))
    with pytest.raises(Conflict) as updated:
        await metadata.update_site(site.id, {"domain": "a.example"})
    for conflict in (created.value, updated.value):
        assert (conflict.kind, conflict.field, conflict.value) == ("site", "domain", "a.example")
        assert "a.example" in str(conflict)
    assert await metadata.get_revision() == revision
    assert await metadata.find_site_by_id(site.id) == site


async def test_an_alias_is_unique_among_a_workspaces_sites(metadata: MetadataStore, space: Space) -> None:
    second = await metadata.create_space(NewSpace(workspace_id="acme", alias="main"))
    foreign = await metadata.create_space(NewSpace(workspace_id="other"))
    await metadata.create_site(NewSite(space_id=space.id, domain="a.example", alias="main"))
    await metadata.create_site(NewSite(space_id=foreign.id, domain="b.example", alias="main"))
    with pytest.raises(Conflict) as conflict:
        await metadata.create_site(NewSite(space_id=second.id, domain="c.example", alias="main"))
    assert (conflict.value.kind, conflict.value.field, conflict.value.value) == ("site", "alias", "main")


async def test_sites_are_listed_by_space_and_domain(metadata: MetadataStore, space: Space) -> None:
    other = await metadata.create_space(NewSpace(workspace_id="acme"))
    sites = [await metadata.create_site(NewSite(space_id=space.id, domain=f"{name}.example")) for name in "abc"]
    foreign = await metadata.create_site(NewSite(space_id=other.id, domain="d.example"))
    page = await metadata.list_sites(space.id, PageQuery(take=2, descending=False))
    assert (page.items, page.next) == ((sites[0], sites[1]), sites[1].id)
    rest = await metadata.list_sites(space.id, PageQuery(take=2, descending=False, after=page.next))
    assert (rest.items, rest.next) == ((sites[2],), None)
    assert (await metadata.list_sites(space.id, PageQuery(), domain="b.example")).items == (sites[1],)
    assert (await metadata.list_sites(space.id, PageQuery(), domain=foreign.domain)).items == ()


async def test_an_update_names_both_domains(metadata: MetadataStore, space: Space, clock: Clock) -> None:
    site = await metadata.create_site(NewSite(space_id=space.id, domain="old.example", name="n"))
    clock.now += 10_000
    updated = await metadata.update_site(site.id, {"domain": "new.example", "meta": {"k": "v"}})
    assert (updated.domain, updated.name, updated.meta) == ("new.example", "n", {"k": "v"})
    assert (updated.revision, updated.updated_at, updated.settings_at) == (3, clock.now, clock.now)
    assert await metadata.find_site_by_id(site.id) == updated
    assert await metadata.find_site(["old.example"]) is None
    assert await metadata.list_changes(2) == [
        Change(revision=3, kind="site.update", hosts=("new.example", "old.example"))
    ]
    await metadata.create_site(NewSite(space_id=space.id, domain="old.example"))


async def test_deleting_a_site_frees_its_domain(metadata: MetadataStore, space: Space) -> None:
    site = await metadata.create_site(NewSite(space_id=space.id, domain="a.example"))
    await metadata.delete_site(site.id)
    assert await metadata.find_site_by_id(site.id) is None
    assert await metadata.find_site(["a.example"]) is None
    assert await metadata.list_changes(2) == [Change(revision=3, kind="site.delete", hosts=("a.example",))]
    await metadata.create_site(NewSite(space_id=space.id, domain="a.example"))


@pytest.mark.parametrize(
    ("new", "field", "path"),
    [
        ({"named_index": "home.html"}, "index", "home.html"),
        ({"named_not_found": "x/oops.html"}, "notFound", "x/oops.html"),
        ({"prefix": "www", "named_index": "there.html"}, "index", "www/there.html"),
        ({"named_index": "gone.html"}, "index", "gone.html"),
    ],
)
async def test_a_named_file_must_exist(
    metadata: MetadataStore, space: Space, new: SitePatch, field: str, path: str
) -> None:
    await metadata.put_files(space.id, {"there.html": make_blob(1), "gone.html": make_blob(2)})
    await metadata.put_files(space.id, {}, delete=["gone.html"])
    site = await metadata.create_site(NewSite(space_id=space.id, domain="a.example"))
    revision = await metadata.get_revision()
    with pytest.raises(Invalid) as created:
        await metadata.create_site(replace(NewSite(space_id=space.id, domain="b.example"), **new))
    with pytest.raises(Invalid) as updated:
        await metadata.update_site(site.id, new)
    for invalid in (created.value, updated.value):
        assert invalid.field == field
        assert repr(path) in str(invalid)
    assert await metadata.get_revision() == revision
    assert await metadata.find_site(["b.example"]) is None


async def test_a_named_file_is_judged_in_the_state_that_results(metadata: MetadataStore, space: Space) -> None:
    await metadata.put_files(space.id, {"home.html": make_blob(1), "www/home.html": make_blob(1)})
    site = await metadata.create_site(NewSite(space_id=space.id, domain="a.example", named_index="home.html"))
    with pytest.raises(Invalid) as invalid:
        await metadata.update_site(site.id, {"prefix": "none"})
    assert "none/home.html" in str(invalid.value)
    await metadata.update_site(site.id, {"prefix": "www"})
    cleared = await metadata.update_site(site.id, {"prefix": "none", "named_index": None})
    assert (cleared.prefix, cleared.index) == ("none", "index.html")


async def test_a_file_that_went_missing_does_not_block_other_updates(metadata: MetadataStore, space: Space) -> None:
    await metadata.put_files(space.id, {"home.html": make_blob(1)})
    site = await metadata.create_site(NewSite(space_id=space.id, domain="a.example", named_index="home.html"))
    await metadata.delete_tree(space.id, "")
    assert (await metadata.update_site(site.id, {"name": "x"})).name == "x"
    with pytest.raises(Invalid):
        await metadata.update_site(site.id, {"named_index": "home.html"})


async def test_what_cannot_be_kept_is_refused(metadata: MetadataStore, space: Space) -> None:
    site = await metadata.create_site(NewSite(space_id=space.id, domain="a.example"))
    cases: list[tuple[SitePatch, str]] = [
        ({"meta": {"a": "x" * 20_000}}, "meta"),
        ({"description": "\ud800"}, "description"),
    ]
    for patch, field in cases:
        with pytest.raises(Invalid) as created:
            await metadata.create_site(replace(NewSite(space_id=space.id, domain="b.example"), **patch))
        with pytest.raises(Invalid) as updated:
            await metadata.update_site(site.id, patch)
        assert created.value.field == updated.value.field == field
    assert await metadata.find_site_by_id(site.id) == site


async def test_settings_move_with_what_visitors_see(metadata: MetadataStore, space: Space, clock: Clock) -> None:
    site = await metadata.create_site(NewSite(space_id=space.id, domain="a.example"))
    same: SitePatch = {"name": "x", "domain": "a.example", "prefix": "", "named_index": None}
    assert (await metadata.update_site(site.id, same)).settings_at is None
    moved = await metadata.update_site(site.id, {"prefix": "www"})
    assert moved.settings_at == clock.now
    # Within the same second: the start of the next one.
    again = await metadata.update_site(site.id, {"prefix": ""})
    assert again.settings_at == 1_700_000_001_000


async def test_settings_and_files_never_share_a_second(metadata: MetadataStore, space: Space, clock: Clock) -> None:
    site = await metadata.create_site(NewSite(space_id=space.id, domain="a.example"))
    await metadata.put_files(space.id, {"a": make_blob(1)})
    await metadata.put_files(space.id, {"a": make_blob(2)})
    await metadata.put_files(space.id, {}, delete=["a"])
    # The file changed at .250, then in the next two seconds.
    moved = await metadata.update_site(site.id, {"prefix": "www"})
    assert moved.settings_at == 1_700_000_003_000
    await metadata.put_files(space.id, {"b": make_blob(1)})
    file = await metadata.find_file(space.id, "b")
    assert file
    assert file.modified_at == 1_700_000_004_000
    await metadata.delete_site(site.id)
    await metadata.put_files(space.id, {"c": make_blob(1)})
    file = await metadata.find_file(space.id, "c")
    assert file
    assert file.modified_at == 1_700_000_004_000


async def test_many_sites_are_one_change(metadata: MetadataStore, space: Space, announced: list[int]) -> None:
    await metadata.put_files(space.id, {"start.html": make_blob(1)})
    before = await metadata.get_revision()
    news = [NewSite(space_id=space.id, domain=f"{number}.example.com", alias=f"a{number}") for number in range(1000)]
    made = await metadata.create_sites(news)
    assert [site.domain for site in made] == [new.domain for new in news]
    changes = await metadata.list_changes(before)
    assert [(change.kind, len(change.hosts)) for change in changes] == [("site.create", 1000)]
    assert announced[-1] == before + 1 == await metadata.get_revision()
    assert await metadata.find_site_by_id(made[500].id) == made[500]
    hosted = await metadata.find_site(["999.example.com"])
    assert hosted
    assert hosted.id == made[999].id
    assert await metadata.create_sites([]) == []
    assert await metadata.get_revision() == before + 1


@pytest.mark.parametrize(
    ("wrong", "error", "text"),
    [
        ({"domain": "taken.example.com"}, Conflict, "taken.example.com"),
        ({"domain": "x.example.com", "alias": "taken"}, Conflict, "taken"),
        ({"domain": "first.example.com"}, Conflict, "first.example.com"),
        ({"domain": "x.example.com", "alias": "first"}, Conflict, "first"),
        ({"domain": "x.example.com", "space_id": "space_none"}, NotFound, "space_none"),
        ({"domain": "x.example.com", "named_index": "none.html"}, Invalid, "none.html"),
    ],
)
async def test_of_many_sites_all_are_made_or_none(
    metadata: MetadataStore, space: Space, wrong: dict[str, str], error: type[Exception], text: str
) -> None:
    await metadata.create_site(NewSite(space_id=space.id, domain="taken.example.com", alias="taken"))
    before = await metadata.get_revision()
    first = NewSite(space_id=space.id, domain="first.example.com", alias="first")
    with pytest.raises(error, match=text):
        await metadata.create_sites([first, NewSite(**{"space_id": space.id, **wrong})])  # type: ignore[arg-type]
    assert await metadata.get_revision() == before
    assert await metadata.find_site(["first.example.com"]) is None

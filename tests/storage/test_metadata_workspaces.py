"""Workspaces and their limits, on every store."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from storage.errors import Conflict, Invalid, NotFound, QuotaExceeded
from storage.metadata import MetadataStore
from storage.models import NewDeployment, NewSite, NewSpace, PageQuery, Space
from storage.workspaces import Usage, Workspace, WorkspacePatch
from tests.storage.conftest import Clock, make_blob


async def test_a_workspace_from_creation_to_update(metadata: MetadataStore, clock: Clock) -> None:
    start = clock.now
    made = await metadata.create_workspace({"alias": "blue", "name": "Blue é", "max_sites": 3, "max_bytes": 2**60})
    assert made == Workspace(
        id=made.id,
        alias="blue",
        name="Blue é",
        max_sites=3,
        max_files=None,
        max_bytes=2**60,
        requests_per_minute=None,
        created_at=start,
        updated_at=start,
    )
    assert made.id.startswith("workspace_")
    assert await metadata.find_workspace(made.id) == made == await metadata.find_workspace_by_alias("blue")
    clock.now += 10
    patch: WorkspacePatch = {"name": "", "max_sites": None, "max_files": 1, "requests_per_minute": 60}
    updated = await metadata.update_workspace(made.id, patch)
    assert updated == await metadata.find_workspace(made.id)
    assert (updated.alias, updated.name, updated.max_bytes) == ("blue", "", 2**60)
    assert (updated.max_sites, updated.max_files, updated.requests_per_minute) == (None, 1, 60)
    assert (updated.created_at, updated.updated_at) == (start, start + 10)
    assert await metadata.get_revision() == 0


async def test_what_is_not_there(metadata: MetadataStore) -> None:
    assert await metadata.find_workspace("workspace_none") is None
    assert await metadata.find_workspace_by_alias("none") is None
    with pytest.raises(NotFound) as missing:
        await metadata.update_workspace("workspace_none", {"name": "x"})
    assert missing.value.kind == "workspace"
    assert await metadata.measure_workspace("workspace_none") == Usage(sites=0, files=0, bytes=0)


async def test_an_alias_belongs_to_one_workspace(metadata: MetadataStore) -> None:
    blue = await metadata.create_workspace({"alias": "blue"})
    red = await metadata.create_workspace({})
    with pytest.raises(Conflict) as conflict:
        await metadata.create_workspace({"alias": "blue"})
    assert (conflict.value.kind, conflict.value.field, conflict.value.value) == ("workspace", "alias", "blue")
    with pytest.raises(Conflict):
        await metadata.update_workspace(red.id, {"alias": "blue"})
    await metadata.update_workspace(blue.id, {"alias": "blue", "name": "still"})
    await metadata.update_workspace(blue.id, {"alias": None})
    assert (await metadata.update_workspace(red.id, {"alias": "blue"})).alias == "blue"


async def test_text_that_cannot_be_kept(metadata: MetadataStore) -> None:
    with pytest.raises(Invalid) as invalid:
        await metadata.create_workspace({"name": "\ud800"})
    assert invalid.value.field == "name"


async def test_workspaces_are_listed(metadata: MetadataStore) -> None:
    made = [await metadata.create_workspace({"name": str(number)}) for number in range(3)]
    page = await metadata.list_workspaces(PageQuery(take=10))
    assert [each for each in page.items if each.id.startswith("workspace_")] == made[::-1]
    first = await metadata.list_workspaces(PageQuery(take=2, descending=False))
    rest = await metadata.list_workspaces(PageQuery(take=10, descending=False, after=first.next))
    assert sorted([*first.items, *rest.items], key=lambda each: each.id, reverse=True) == list(page.items)


async def test_what_a_workspace_has(metadata: MetadataStore, space: Space) -> None:
    other = await metadata.create_space(NewSpace(workspace_id="other"))
    await metadata.put_files(other.id, {"theirs": make_blob(1000)})
    await metadata.put_files(space.id, {"a": make_blob(1), "b": make_blob(20), "copy": make_blob(20)})
    await metadata.put_files(space.id, {"a": make_blob(300)}, delete=["b"])
    await metadata.put_blob("acme", make_blob(4000))
    await metadata.create_site(NewSite(space_id=space.id, domain="a.example"))
    assert await metadata.measure_workspace("acme") == Usage(sites=1, files=2, bytes=4321)
    await metadata.delete_space(space.id)
    usage = await metadata.measure_workspace("acme")
    assert (usage.sites, usage.files) == (0, 0)


async def refuses(verb: Awaitable[object], limit: str, allowed: int) -> None:
    with pytest.raises(QuotaExceeded, match=limit) as exceeded:
        await verb
    assert (exceeded.value.limit, exceeded.value.allowed) == (limit, allowed)
    assert f"{limit} of {allowed}: " in str(exceeded.value)


async def test_sites_are_limited(metadata: MetadataStore, space: Space) -> None:
    await metadata.update_workspace("acme", {"max_sites": 2})
    sites = [await metadata.create_site(NewSite(space_id=space.id, domain=f"{name}.example")) for name in "ab"]
    revision = await metadata.get_revision()
    await refuses(metadata.create_site(NewSite(space_id=space.id, domain="c.example")), "maxSites", 2)
    assert await metadata.get_revision() == revision
    assert await metadata.find_site(["c.example"]) is None
    await metadata.update_workspace("acme", {"max_sites": 1})
    await metadata.update_site(sites[0].id, {"domain": "z.example"})
    await metadata.delete_site(sites[0].id)
    await refuses(metadata.create_site(NewSite(space_id=space.id, domain="c.example")), "maxSites", 1)
    await metadata.delete_site(sites[1].id)
    await metadata.create_site(NewSite(space_id=space.id, domain="c.example"))
    other = await metadata.create_space(NewSpace(workspace_id="other"))
    await metadata.create_site(NewSite(space_id=other.id, domain="d.example"))
    await metadata.update_workspace("acme", {"max_sites": 3})
    three = [NewSite(space_id=space.id, domain=f"{name}.example") for name in "xyz"]
    await refuses(metadata.create_sites(three), "maxSites", 3)
    assert len(await metadata.create_sites(three[:2])) == 2


async def test_files_are_limited(metadata: MetadataStore, space: Space) -> None:
    second = await metadata.create_space(NewSpace(workspace_id="acme"))
    await metadata.update_workspace("acme", {"max_files": 3})
    await metadata.put_files(space.id, {"a": make_blob(1), "b": make_blob(2)})
    await metadata.put_files(second.id, {"a": make_blob(1)})
    revision = await metadata.get_revision()
    await refuses(metadata.put_files(second.id, {"b": make_blob(1)}), "maxFiles", 3)
    await refuses(metadata.put_files(second.id, {"b": make_blob(1), "c": make_blob(9)}, delete=["a"]), "maxFiles", 3)
    assert await metadata.get_revision() == revision
    assert await metadata.find_file(second.id, "b") is None
    assert (await metadata.find_file(second.id, "a")) is not None
    await metadata.put_files(second.id, {"b": make_blob(5)}, delete=["a"])
    await metadata.put_files(space.id, {"a": make_blob(7)})
    assert (await metadata.measure_workspace("acme")).files == 3


async def test_a_workspace_beyond_its_limit_keeps_what_it_has_and_may_shrink(
    metadata: MetadataStore, space: Space
) -> None:
    await metadata.put_files(space.id, {name: make_blob(1) for name in "abcde"})
    await metadata.update_workspace("acme", {"max_files": 2})
    await metadata.put_files(space.id, {"a": make_blob(2)})
    await metadata.put_files(space.id, {"x": make_blob(2)}, delete=["a"])
    await refuses(metadata.put_files(space.id, {"y": make_blob(2)}), "maxFiles", 2)
    smaller = {name: make_blob(1) for name in "pqr"}
    deployment = await metadata.create_deployment(NewDeployment(space_id=space.id, files=smaller))
    await metadata.activate_deployment(deployment.id)
    assert await metadata.delete_tree(space.id, "") == 3
    await metadata.put_files(space.id, {"y": make_blob(2)})


async def test_a_deployment_beyond_the_limit_changes_nothing(metadata: MetadataStore, space: Space) -> None:
    await metadata.put_files(space.id, {"kept": make_blob(1)})
    await metadata.update_workspace("acme", {"max_files": 2})
    files = {name: make_blob(1) for name in "abc"}
    deployment = await metadata.create_deployment(NewDeployment(space_id=space.id, files=files))
    revision = await metadata.get_revision()
    await refuses(metadata.activate_deployment(deployment.id), "maxFiles", 2)
    assert await metadata.get_revision() == revision
    assert await metadata.find_file(space.id, "kept") is not None
    assert await metadata.find_file(space.id, "a") is None


async def test_bytes_are_limited_each_content_counted_once(metadata: MetadataStore, space: Space) -> None:
    await metadata.update_workspace("acme", {"max_bytes": 100})
    await metadata.put_files(space.id, {"a": make_blob(40), "b": make_blob(40)})
    await metadata.put_blob("acme", make_blob(60))
    await metadata.put_blob("acme", make_blob(60))
    await metadata.put_files(space.id, {"c": make_blob(60), "a": make_blob(60)})
    revision = await metadata.get_revision()
    await refuses(metadata.put_blob("acme", make_blob(1)), "maxBytes", 100)
    await refuses(metadata.put_files(space.id, {"d": make_blob(1)}), "maxBytes", 100)
    assert await metadata.get_revision() == revision
    assert (await metadata.measure_workspace("acme")).bytes == 100
    await metadata.put_blob("other", make_blob(1000))
    await metadata.update_workspace("acme", {"max_bytes": 50})
    await metadata.put_blob("acme", make_blob(60))
    await metadata.put_files(space.id, {"e": make_blob(40)})
    await refuses(metadata.put_files(space.id, {"f": make_blob(40), "g": make_blob(1)}), "maxBytes", 50)
    assert (await metadata.measure_workspace("acme")).bytes == 100


Race = Callable[[MetadataStore, Space, int], Awaitable[object]]


async def create_site(metadata: MetadataStore, space: Space, number: int) -> object:
    return await metadata.create_site(NewSite(space_id=space.id, domain=f"{number}.example"))


async def create_sites(metadata: MetadataStore, space: Space, number: int) -> object:
    return await metadata.create_sites([NewSite(space_id=space.id, domain=f"{number}.example")])


async def put_file(metadata: MetadataStore, space: Space, number: int) -> object:
    return await metadata.put_files(space.id, {str(number): make_blob(0)})


async def put_blob(metadata: MetadataStore, space: Space, number: int) -> object:
    await metadata.put_blob("acme", make_blob(1000 + number))
    return None


async def put_content(metadata: MetadataStore, space: Space, number: int) -> object:
    if number % 2:
        return await put_blob(metadata, space, number)
    return await metadata.put_files(space.id, {str(number): make_blob(1000 + number)})


@pytest.mark.parametrize("race", [create_site, create_sites, put_file, put_blob, put_content])
async def test_those_who_race_do_not_pass_a_limit_together(metadata: MetadataStore, space: Space, race: Race) -> None:
    await metadata.update_workspace("acme", {"max_sites": 5, "max_files": 5, "max_bytes": 5100})
    outcomes = await asyncio.gather(*(race(metadata, space, number) for number in range(20)), return_exceptions=True)
    refused = [outcome for outcome in outcomes if isinstance(outcome, QuotaExceeded)]
    assert len(refused) == 15
    assert sum(isinstance(outcome, BaseException) for outcome in outcomes) == 15
    usage = await metadata.measure_workspace("acme")
    assert max(usage.sites, usage.files, usage.bytes // 1000) == 5

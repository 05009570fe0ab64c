"""Deployments, on every store."""

from __future__ import annotations

from dataclasses import replace

import pytest

from storage.errors import Conflict, Invalid, NotFound
from storage.metadata import MetadataStore
from storage.models import Blob, Change, Deployment, Mode, NewDeployment, NewSpace, PageQuery, Space
from storage.sql import deployments
from tests.storage.conftest import Clock, make_blob


async def read_tree(metadata: MetadataStore, space: Space) -> dict[str, int]:
    """Path to number of the content."""
    query = PageQuery(take=1000, descending=False)
    page = await metadata.list_files(space.id, "", recursive=True, query=query)
    return {entry.path: entry.size for entry in page.items}


async def deploy(
    metadata: MetadataStore, space: Space, files: dict[str, int], *, mode: Mode = "replace", prefix: str = ""
) -> Deployment:
    """A deployment whose contents are all there."""
    for number in files.values():
        await metadata.put_blob(space.workspace_id, make_blob(number))
    manifest = {path: make_blob(number) for path, number in files.items()}
    return await metadata.create_deployment(
        NewDeployment(space_id=space.id, files=manifest, mode=mode, prefix=prefix, message="m")
    )


async def test_a_deployment_is_kept_as_given(metadata: MetadataStore, space: Space, clock: Clock) -> None:
    base = await metadata.put_files(space.id, {"a": make_blob(1)})
    deployment = await deploy(metadata, space, {"www/a": 5, "www/b": 7}, mode="merge", prefix="www")
    assert deployment == Deployment(
        id=deployment.id,
        workspace_id="acme",
        space_id=space.id,
        mode="merge",
        prefix="www",
        message="m",
        base=base,
        file_count=2,
        byte_count=12,
        revision=None,
        created_at=clock.now,
        activated_at=None,
    )
    assert await metadata.find_deployment(deployment.id) == deployment
    assert await read_tree(metadata, space) == {"a": 1}
    assert await metadata.list_changes(base) == [Change(revision=base + 1, kind="deployment.create")]


async def test_a_missing_deployment(metadata: MetadataStore) -> None:
    assert await metadata.find_deployment("deployment_none") is None
    assert await metadata.list_missing("deployment_none") == []
    assert await metadata.find_deployment_blobs("deployment_none", [make_blob(1).digest]) == {}
    with pytest.raises(NotFound) as missing:
        await metadata.activate_deployment("deployment_none")
    assert missing.value.kind == "deployment"
    with pytest.raises(NotFound) as missing:
        await metadata.create_deployment(NewDeployment(space_id="space_none", files={}))
    assert missing.value.kind == "space"
    assert await metadata.get_revision() == 0


async def test_text_that_cannot_be_kept_is_refused(metadata: MetadataStore, space: Space) -> None:
    with pytest.raises(Invalid) as invalid:
        await metadata.create_deployment(NewDeployment(space_id=space.id, files={}, message="\ud800"))
    assert invalid.value.field == "message"
    assert (await metadata.list_deployments(space.id, PageQuery())).items == ()


async def test_deployments_are_listed_by_space(metadata: MetadataStore, space: Space) -> None:
    other = await metadata.create_space(NewSpace(workspace_id="acme"))
    made = [await deploy(metadata, space, {"a": number}) for number in range(3)]
    await deploy(metadata, other, {"a": 1})
    page = await metadata.list_deployments(space.id, PageQuery(take=2))
    assert (page.items, page.next) == ((made[2], made[1]), made[1].id)
    rest = await metadata.list_deployments(space.id, PageQuery(take=2, after=page.next))
    assert (rest.items, rest.next) == ((made[0],), None)


async def test_missing_content_is_listed_once_and_blocks(metadata: MetadataStore, space: Space) -> None:
    manifest = {"a": make_blob(2), "b": make_blob(1), "c": make_blob(2)}
    deployment = await metadata.create_deployment(NewDeployment(space_id=space.id, files=manifest))
    assert await metadata.list_missing(deployment.id) == [make_blob(1).digest, make_blob(2).digest]
    asked = [make_blob(number).digest for number in (1, 2, 3)]
    found = {make_blob(1).digest: ("b", make_blob(1)), make_blob(2).digest: ("a", make_blob(2))}
    assert await metadata.find_deployment_blobs(deployment.id, asked) == found
    assert await metadata.find_deployment_blobs(deployment.id, []) == {}
    await metadata.put_blob("acme", make_blob(1))
    await metadata.put_blob("other", make_blob(2))
    assert await metadata.list_missing(deployment.id) == [make_blob(2).digest]
    revision = await metadata.get_revision()
    with pytest.raises(Invalid) as invalid:
        await metadata.activate_deployment(deployment.id)
    assert invalid.value.field == "files"
    assert await metadata.get_revision() == revision
    assert await read_tree(metadata, space) == {}
    await metadata.put_blob("acme", make_blob(2))
    assert await metadata.list_missing(deployment.id) == []
    await metadata.activate_deployment(deployment.id)
    assert await read_tree(metadata, space) == {"a": 2, "b": 1, "c": 2}


async def test_replace_ends_what_is_below_its_prefix(metadata: MetadataStore, space: Space, clock: Clock) -> None:
    old = {"top": 1, "www/keep": 2, "www/change": 3, "www/drop": 4, "www-x/a": 5, "www": 6}
    await metadata.put_files(space.id, {path: make_blob(number) for path, number in old.items()})
    deployment = await deploy(metadata, space, {"www/keep": 2, "www/change": 9, "www/new": 8}, prefix="www")
    clock.now += 10_000
    active = await metadata.activate_deployment(deployment.id)
    assert await read_tree(metadata, space) == {
        **{"top": 1, "www": 6, "www-x/a": 5, "www/keep": 2, "www/change": 9, "www/new": 8}
    }
    assert active.revision == await metadata.get_revision()
    assert active.activated_at == clock.now
    assert await metadata.find_deployment(deployment.id) == active
    current = await metadata.find_space(space.id)
    assert current
    assert current.revision == active.revision
    [change] = await metadata.list_changes(active.revision - 1)
    assert change == Change(revision=active.revision, kind="deployment.activate", space_id=space.id)
    found = await metadata.find_files(space.id, ["www/keep", "www/change", "www/drop"], active.revision)
    assert {path: (file.modified_at, file.removed_at) for path, file in found.items()} == {
        "www/keep": (clock.now - 10_000, None),
        "www/change": (clock.now, None),
        "www/drop": (clock.now - 10_000, clock.now),
    }


async def test_merge_touches_its_own_paths_only(metadata: MetadataStore, space: Space) -> None:
    await metadata.put_files(space.id, {"a": make_blob(1), "b": make_blob(2)})
    deployment = await deploy(metadata, space, {"b": 9, "c": 3}, mode="merge")
    await metadata.put_files(space.id, {"d": make_blob(4)})
    await metadata.activate_deployment(deployment.id)
    assert await read_tree(metadata, space) == {"a": 1, "b": 9, "c": 3, "d": 4}


@pytest.mark.parametrize("meanwhile", ["change", "remove", "begin", "begin and remove"])
async def test_a_merge_conflicts_with_what_changed_meanwhile(
    metadata: MetadataStore, space: Space, meanwhile: str
) -> None:
    await metadata.put_files(space.id, {"a": make_blob(1), "b": make_blob(1)})
    path = {"change": "b", "remove": "b"}.get(meanwhile, "c")
    deployment = await deploy(metadata, space, {"a": 1, path: 2}, mode="merge")
    if meanwhile != "remove":
        await metadata.put_files(space.id, {path: make_blob(3)})
    if meanwhile.endswith("remove"):
        await metadata.put_files(space.id, {}, delete=[path])
    tree, revision = await read_tree(metadata, space), await metadata.get_revision()
    with pytest.raises(Conflict) as conflict:
        await metadata.activate_deployment(deployment.id)
    assert (conflict.value.kind, conflict.value.field, conflict.value.value) == ("file", "path", path)
    assert await read_tree(metadata, space) == tree
    assert await metadata.get_revision() == revision
    assert await metadata.find_deployment(deployment.id) == deployment


async def test_activating_the_active_one_changes_nothing(metadata: MetadataStore, space: Space, clock: Clock) -> None:
    deployment = await deploy(metadata, space, {"a": 1})
    active = await metadata.activate_deployment(deployment.id)
    clock.now += 10_000
    assert await metadata.activate_deployment(deployment.id) == active
    assert await metadata.get_revision() == active.revision


async def test_activating_an_older_one_is_a_rollback(metadata: MetadataStore, space: Space) -> None:
    first = await deploy(metadata, space, {"a": 1, "b": 1})
    second = await deploy(metadata, space, {"a": 2})
    before = await metadata.activate_deployment(first.id)
    await metadata.activate_deployment(second.id)
    assert await read_tree(metadata, space) == {"a": 2}
    after = await metadata.activate_deployment(first.id)
    assert await read_tree(metadata, space) == {"a": 1, "b": 1}
    assert before.revision
    assert after.revision == await metadata.get_revision()
    assert after.revision > before.revision


async def test_a_merge_can_be_rolled_back_to(metadata: MetadataStore, space: Space) -> None:
    merge = await deploy(metadata, space, {"a": 1}, mode="merge")
    await metadata.activate_deployment(merge.id)
    await metadata.put_files(space.id, {"a": make_blob(2), "b": make_blob(2)})
    await metadata.activate_deployment(merge.id)
    assert await read_tree(metadata, space) == {"a": 1, "b": 2}


async def test_an_activation_that_changes_no_file_still_is_one(metadata: MetadataStore, space: Space) -> None:
    await metadata.put_files(space.id, {"a": make_blob(1)})
    deployment = await deploy(metadata, space, {"a": 1})
    active = await metadata.activate_deployment(deployment.id)
    assert active.revision == await metadata.get_revision() == 4
    file = await metadata.find_file(space.id, "a")
    assert file
    assert file.from_revision == 2


async def test_a_size_that_is_not_the_contents(metadata: MetadataStore, space: Space) -> None:
    def manifest(size: int) -> NewDeployment:
        return NewDeployment(space_id=space.id, files={"a": Blob(digest=make_blob(1).digest, size=size)})

    early = await metadata.create_deployment(manifest(make_blob(1).size + 1))
    await metadata.put_blob("acme", make_blob(1))
    with pytest.raises(Invalid, match="'a' is not as large") as invalid:
        await metadata.activate_deployment(early.id)
    assert invalid.value.field == "files"
    with pytest.raises(Invalid, match="'a' is not as large"):
        await metadata.create_deployment(manifest(make_blob(1).size + 1))
    assert [item.id for item in (await metadata.list_deployments(space.id, PageQuery())).items] == [early.id]
    assert await read_tree(metadata, space) == {}
    await metadata.activate_deployment((await metadata.create_deployment(manifest(make_blob(1).size))).id)
    assert await read_tree(metadata, space) == {"a": 1}


async def test_a_merge_may_name_its_base(metadata: MetadataStore, space: Space) -> None:
    base = await metadata.put_files(space.id, {"a": make_blob(1), "b": make_blob(1)})
    latest = await metadata.put_files(space.id, {"a": make_blob(2)})
    new = NewDeployment(space_id=space.id, files={"b": make_blob(1)}, mode="merge", base=base)
    assert (await metadata.activate_deployment((await metadata.create_deployment(new)).id)).base == base
    stale = await metadata.create_deployment(replace(new, files={"a": make_blob(1)}))
    with pytest.raises(Conflict):
        await metadata.activate_deployment(stale.id)
    for bad in (-1, latest + 1000):
        with pytest.raises(Invalid) as invalid:
            await metadata.create_deployment(replace(new, base=bad))
        assert invalid.value.field == "base"


async def test_any_number_of_contents_may_be_missing(
    metadata: MetadataStore, space: Space, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In particular as many as are read at once, and one more."""
    monkeypatch.setattr(deployments, "_MISSING", deployments._MISSING.limit(2))
    monkeypatch.setattr(deployments, "_AT_ONCE", 2)
    for count in range(6):
        files = {f"{copy}{number}": make_blob(number) for number in range(count) for copy in "ab"}
        deployment = await metadata.create_deployment(NewDeployment(space_id=space.id, files=files))
        assert list(await metadata.list_missing(deployment.id)) == [make_blob(number).digest for number in range(count)]

"""How far back a space can be taken, on every store."""

from __future__ import annotations

import asyncio
import random

import pytest

from storage.errors import Conflict, NotFound
from storage.metadata import MetadataStore
from storage.models import NewDeployment, NewSpace, PageQuery, Space
from storage.retention import DAY, Forgotten, forget
from storage.sql import SqlMetadata, deployments, retention
from tests.storage.conftest import Clock, make_blob
from tests.storage.test_metadata_deployments import deploy, read_tree


async def ids(metadata: MetadataStore, space: Space) -> list[str]:
    page = await metadata.list_deployments(space.id, PageQuery(take=100, descending=False))
    return [deployment.id for deployment in page.items]


async def publish(metadata: MetadataStore, space: Space, number: int) -> str:
    deployment = await deploy(metadata, space, {"a": number})
    return (await metadata.activate_deployment(deployment.id)).id


async def test_manifests_and_trees_are_read(
    metadata: MetadataStore, space: Space, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deployments, "_READ_AT_ONCE", 2)
    files = {f"{number}": number for number in range(1, 6)}
    deployment = await deploy(metadata, space, files)
    manifest = {path: make_blob(number) for path, number in files.items()}
    assert await metadata.read_manifest(deployment.id) == manifest
    assert await metadata.read_manifest("deployment_none") == {}
    assert await metadata.read_tree(space.id, 10) == {}
    await metadata.activate_deployment(deployment.id)
    await metadata.put_files(space.id, {"2": make_blob(9)}, delete=["3"])
    tree = {"1": 1, "2": 9, "4": 4, "5": 5}
    for limit in (1, 2, 3, 4, 5):
        expected = {path: make_blob(number) for path, number in list(tree.items())[:limit]}
        assert await metadata.read_tree(space.id, limit) == expected
    assert await metadata.read_tree("space_none", 10) == {}


async def test_several_blobs_are_possessed_at_once(metadata: MetadataStore, space: Space) -> None:
    await metadata.put_blobs("acme", [make_blob(number) for number in (1, 2)])
    files = {"a": make_blob(1), "b": make_blob(2), "c": make_blob(3)}
    deployment = await metadata.create_deployment(NewDeployment(space_id=space.id, files=files))
    assert await metadata.list_missing(deployment.id) == [make_blob(3).digest]
    with pytest.raises(NotFound):
        await metadata.put_blobs("nobody", [make_blob(1)])


async def test_a_deployment_that_was_never_live_can_be_deleted(metadata: MetadataStore, space: Space) -> None:
    kept = await publish(metadata, space, 1)
    gone = await deploy(metadata, space, {"a": 2})
    revision = await metadata.get_revision()
    await metadata.delete_deployment(gone.id)
    assert await ids(metadata, space) == [kept]
    assert await metadata.read_manifest(gone.id) == {}
    [change] = await metadata.list_changes(revision)
    assert (change.kind, change.space_id, change.freed) == ("deployment.delete", space.id, ())
    [entry] = (await metadata.list_audit("acme", PageQuery(), action="deployment.delete")).items
    assert (entry.object_id, entry.after) == (gone.id, None)
    with pytest.raises(NotFound):
        await metadata.delete_deployment(gone.id)
    with pytest.raises(Conflict) as conflict:
        await metadata.delete_deployment(kept)
    assert conflict.value.field == "revision"
    assert await ids(metadata, space) == [kept]


async def test_the_latest_and_the_young_are_kept(metadata: MetadataStore, space: Space, clock: Clock) -> None:
    other = await metadata.create_space(NewSpace(workspace_id="acme"))
    elsewhere = await publish(metadata, other, 1)
    made = []
    for number in range(1, 8):
        clock.now += DAY
        made.append(await publish(metadata, space, number))
    for keep, age, kept in [(9, 0, 7), (0, 10, 7), (5, 0, 5), (0, 4, 5), (4, 2, 4), (0, 3, 4)]:
        before = clock.now - age * DAY
        count = len(await ids(metadata, space))
        assert await metadata.forget_deployments(keep, before) == count - kept
        assert await ids(metadata, space) == made[-kept:]
        assert await metadata.forget_deployments(keep, before) == 0
    assert await ids(metadata, other) == [elsewhere]
    assert await read_tree(metadata, space) == {"a": 7}


async def test_the_active_one_and_its_predecessor_are_kept(metadata: MetadataStore, space: Space, clock: Clock) -> None:
    first, second, third = [await publish(metadata, space, number) for number in (1, 2, 3)]
    await metadata.activate_deployment(first)
    never = await deploy(metadata, space, {"a": 4})
    clock.now += 2 * DAY
    revision = await metadata.get_revision()
    assert await metadata.forget_deployments(0, clock.now - DAY) == 2
    assert await ids(metadata, space) == sorted([first, third])
    assert {second, never.id}.isdisjoint(await ids(metadata, space))
    assert [change.kind for change in await metadata.list_changes(revision)] == ["deployment.delete"]
    await metadata.activate_deployment(third)
    assert await read_tree(metadata, space) == {"a": 3}


async def test_what_was_gone_back_to_lately_is_young(metadata: MetadataStore, space: Space, clock: Clock) -> None:
    first, second, third = [await publish(metadata, space, number) for number in (1, 2, 3)]
    clock.now += 2 * DAY
    for again in (first, second, third):
        await metadata.activate_deployment(again)
    assert await metadata.forget_deployments(0, clock.now - DAY) == 0
    assert await ids(metadata, space) == [first, second, third]


async def test_any_number_of_deployments_can_be_due(
    metadata: MetadataStore, space: Space, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "_DUE", retention._DUE.limit(3))
    monkeypatch.setattr(retention, "_ROWS_AT_ONCE", 2)
    for number in range(8):
        await deploy(metadata, space, {f"{file}": number for file in range(1 + number % 3)})
    clock.now += 1
    assert await metadata.forget_deployments(1, clock.now) == 7


async def test_history_is_forgotten(metadata: MetadataStore, space: Space, clock: Clock) -> None:
    started = clock.now
    for number in (1, 2):
        await metadata.put_files(space.id, {"a": make_blob(number), "b": make_blob(10 + number)})
        clock.now += DAY
    await metadata.put_files(space.id, {"a": make_blob(3)}, delete=["b"])
    removed_at = clock.now
    clock.now += DAY
    used = {make_blob(number).digest for number in (1, 2, 3, 11, 12)}
    assert await metadata.forget_history(started + DAY) == 0
    assert await metadata.find_used_blobs(used, possessed_since=clock.now) == used
    assert await metadata.forget_history(started + DAY + 1) == 2
    assert await metadata.find_used_blobs(used, possessed_since=clock.now) == used - {
        make_blob(1).digest,
        make_blob(11).digest,
    }
    assert await metadata.forget_history(clock.now) == 2
    assert await metadata.find_used_blobs(used, possessed_since=clock.now) == {make_blob(3).digest}
    assert await metadata.forget_history(clock.now) == 0
    # When it went is still known, which is what Last-Modified of its place is by.
    found = await metadata.find_files(space.id, ["a", "b"], await metadata.get_revision())
    assert (found["b"].removed_at, found["b"].digest, found["b"].size) == (removed_at, "", 0)
    assert found["a"].digest == make_blob(3).digest
    await metadata.put_files(space.id, {"b": make_blob(1)})
    assert await read_tree(metadata, space) == {"a": 3, "b": 1}


async def test_history_of_many_spaces_is_forgotten(
    metadata: MetadataStore, space: Space, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "_SPACES_WITH_PAST", retention._SPACES_WITH_PAST.limit(2))
    monkeypatch.setattr(retention, "_PATHS_WITH_PAST", retention._PATHS_WITH_PAST.limit(2))
    spaces = [space, *[await metadata.create_space(NewSpace(workspace_id="acme")) for _ in range(4)]]
    for each in spaces:
        for number in (1, 2, 3):
            await metadata.put_files(each.id, {f"{file}": make_blob(number) for file in range(5)})
    clock.now += DAY
    assert await metadata.forget_history(clock.now) == 5 * 5 * 2
    assert await forget(metadata, 1, clock.now) == Forgotten(deployments=0, versions=0)


async def test_what_is_activated_while_it_is_forgotten_is_kept_or_not_found(sql: SqlMetadata, clock: Clock) -> None:
    """Whoever is first: an activation that succeeds is of a deployment that stays."""
    await sql.put_workspace("acme", "Acme")
    space = await sql.create_space(NewSpace(workspace_id="acme"))
    chooser = random.Random(1)
    for _ in range(6):
        for number in (1, 2, 3):
            await publish(sql, space, number)
        clock.now += 2 * DAY
        target = chooser.choice(await ids(sql, space))

        async def activate(target: str = target) -> None:
            try:
                await sql.activate_deployment(target)
            except NotFound:
                return
            assert await sql.find_deployment(target)

        await asyncio.gather(sql.forget_deployments(0, clock.now - DAY), activate())
        assert 2 <= len(await ids(sql, space)) <= 3
        page = await sql.list_deployments(space.id, PageQuery())
        newest = max(page.items, key=lambda deployment: deployment.revision or 0)
        assert await sql.read_tree(space.id, 10) == await sql.read_manifest(newest.id)

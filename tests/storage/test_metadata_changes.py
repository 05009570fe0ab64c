"""The change log and its revisions, and what several callers at once may rely on; on every store."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from storage.errors import Conflict
from storage.metadata import MetadataStore
from storage.models import Change, NewKey, NewSite, NewSpace, Site, Space
from tests.storage.conftest import make_blob


async def test_a_new_store_has_no_change(metadata: MetadataStore, announced: list[int]) -> None:
    assert await metadata.get_revision() == 0
    assert await metadata.list_changes(0) == []
    assert announced == []


async def test_each_write_that_visitors_could_see_draws_one_revision(
    metadata: MetadataStore, announced: list[int]
) -> None:
    space = await metadata.create_space(NewSpace(workspace_id="acme"))
    site = await metadata.create_site(NewSite(space_id=space.id, domain="a.example"))
    await metadata.put_files(space.id, {"a": make_blob(1), "b": make_blob(2)})
    await metadata.update_site(site.id, {"domain": "b.example"})
    await metadata.delete_tree(space.id, "")
    await metadata.delete_site(site.id)
    await metadata.delete_space(space.id)
    assert await metadata.list_changes(0) == [
        Change(revision=1, kind="space.create"),
        Change(revision=2, kind="site.create", hosts=("a.example",)),
        Change(revision=3, kind="files.put", space_id=space.id),
        Change(revision=4, kind="site.update", hosts=("a.example", "b.example")),
        Change(revision=5, kind="files.delete", space_id=space.id),
        Change(revision=6, kind="site.delete", hosts=("b.example",)),
        Change(revision=7, kind="space.delete", space_id=space.id),
    ]
    assert announced == [1, 2, 3, 4, 5, 6, 7]


async def test_keys_and_blobs_draw_none(metadata: MetadataStore, announced: list[int]) -> None:
    key = await metadata.create_key(NewKey(workspace_id="acme", name="", secret_hash="a", scopes=frozenset()))
    await metadata.touch_key(key.id, 1)
    await metadata.revoke_key(key.id)
    await metadata.put_blob("acme", make_blob(1))
    assert await metadata.get_revision() == 0
    assert announced == []


async def test_changes_come_in_pieces(metadata: MetadataStore, space: Space) -> None:
    for number in range(4):
        await metadata.put_files(space.id, {"a": make_blob(number)})
    changes = await metadata.list_changes(0)
    assert [change.revision for change in changes] == [1, 2, 3, 4, 5]
    assert await metadata.list_changes(1, 2) == changes[1:3]
    assert await metadata.list_changes(5) == []
    if metadata.list_changes_nowait(0) is not None:  # where reading takes no waiting
        assert metadata.list_changes_nowait(0) == changes
        assert metadata.list_changes_nowait(1, 2) == changes[1:3]
        assert metadata.list_changes_nowait(5) == []


async def test_a_domain_raced_for_goes_to_one(metadata: MetadataStore, space: Space) -> None:
    new = NewSite(space_id=space.id, domain="a.example")
    results = await asyncio.gather(*[metadata.create_site(new) for _ in range(20)], return_exceptions=True)
    [winner] = [result for result in results if isinstance(result, Site)]
    assert sum(isinstance(result, Conflict) for result in results) == 19
    hosted = await metadata.find_site(["a.example"])
    assert hosted
    assert hosted.id == winner.id
    assert await metadata.get_revision() == 2


async def test_a_workspace_raced_for_is_one(metadata: MetadataStore) -> None:
    made = await asyncio.gather(*[metadata.put_workspace("new", str(number)) for number in range(5)])
    assert len(set(made)) == 1


@pytest.mark.slow
async def test_racing_writes_leave_no_gap(metadata: MetadataStore, announced: list[int]) -> None:
    spaces = [await metadata.create_space(NewSpace(workspace_id="acme")) for _ in range(4)]
    seen: list[int] = []

    async def tail() -> None:
        """What a worker does; it must never see a revision before an earlier one."""
        while len(seen) < 24:
            changes = await metadata.list_changes(seen[-1] if seen else 0)
            seen.extend(change.revision for change in changes)
            assert seen == list(range(1, len(seen) + 1))
            assert await metadata.get_revision() >= len(seen)
            await asyncio.sleep(0)

    async def write(space: Space, number: int) -> int:
        return await metadata.put_files(space.id, {f"{number}": make_blob(number)})

    tailing = asyncio.create_task(tail())
    revisions = await asyncio.gather(*[write(space, number) for number in range(5) for space in spaces])
    await tailing
    assert sorted(revisions) == list(range(5, 25))
    assert sorted(announced) == list(range(1, 25))
    assert [(change.revision, change.kind) for change in await metadata.list_changes(4)] == [
        (revision, "files.put") for revision in range(5, 25)
    ]


async def test_racing_writes_to_one_path_leave_one_live(metadata: MetadataStore, space: Space) -> None:
    await asyncio.gather(*[metadata.put_files(space.id, {"a": make_blob(number)}) for number in range(10)])
    revision = await metadata.get_revision()
    seen = [(await metadata.find_files(space.id, ["a"], at))["a"] for at in range(2, revision + 1)]
    assert len({file.digest for file in seen}) == 10
    assert len({file.modified_at // 1000 for file in seen}) == 10
    assert await metadata.find_file(space.id, "a") == seen[-1]


@pytest.mark.parametrize(
    "refused",
    [
        lambda store, space: store.create_site(NewSite(space_id=space.id, domain="taken.example")),
        lambda store, space: store.create_space(NewSpace(workspace_id="acme", alias="taken")),
    ],
)
async def test_a_refusal_leaves_the_next_writer_free(
    metadata: MetadataStore, refused: Callable[[MetadataStore, Space], asyncio.Future[object]]
) -> None:
    space = await metadata.create_space(NewSpace(workspace_id="acme", alias="taken"))
    await metadata.create_site(NewSite(space_id=space.id, domain="taken.example"))
    for _ in range(3):
        with pytest.raises(Conflict):
            await refused(metadata, space)
    assert await metadata.put_files(space.id, {"a": make_blob(1)}) == 3

"""Files: publishing, history and listings, on every store."""

from __future__ import annotations

import random

import pytest

from storage.errors import NotFound
from storage.metadata import MetadataStore
from storage.models import Change, Entry, File, NewDeployment, PageQuery, Space
from tests.storage.conftest import Clock, make_blob

NOW = 1_700_000_000_250
NEXT = 1_700_000_001_000  # the second after it, and so on
AFTER_NEXT = 1_700_000_002_000
ALL = PageQuery(take=1000, descending=False)


async def list_paths(metadata: MetadataStore, space: Space, folder: str = "", *, recursive: bool = True) -> list[str]:
    """With a slash after a folder's."""
    page = await metadata.list_files(space.id, folder, recursive=recursive, query=ALL)
    return [entry.path + "/" * entry.is_directory for entry in page.items]


async def test_put_files_publishes_all_of_them(metadata: MetadataStore, space: Space, announced: list[int]) -> None:
    files = {"index.html": make_blob(1), "a/b.html": make_blob(2)}
    revision = await metadata.put_files(space.id, files)
    assert revision == await metadata.get_revision() == announced[-1] == 2
    assert await metadata.list_changes(1) == [Change(revision=2, kind="files.put", space_id=space.id)]
    found = await metadata.find_files(space.id, ["index.html", "a/b.html", "none"], revision)
    assert found == {
        path: File(path=path, digest=blob.digest, size=blob.size, modified_at=NOW, from_revision=2)
        for path, blob in files.items()
    }
    assert await metadata.find_file(space.id, "a/b.html") == found["a/b.html"]
    assert await metadata.find_file(space.id, "a") is None
    current = await metadata.find_space(space.id)
    assert current
    assert current.revision == revision


async def test_what_changes_nothing_writes_nothing(
    metadata: MetadataStore, space: Space, announced: list[int], clock: Clock
) -> None:
    revision = await metadata.put_files(space.id, {"a": make_blob(1), "b": make_blob(2)})
    clock.now += 5000
    assert await metadata.put_files(space.id, {"a": make_blob(1)}, delete=["none"]) == revision
    assert await metadata.put_files(space.id, {}) == revision
    assert await metadata.delete_tree(space.id, "none") == 0
    assert await metadata.get_revision() == revision
    assert announced == [1, revision]
    file = await metadata.find_file(space.id, "a")
    assert file
    assert file.modified_at == NOW


async def test_put_and_delete_are_one_change(metadata: MetadataStore, space: Space) -> None:
    await metadata.put_files(space.id, {"a": make_blob(1), "b": make_blob(2), "c": make_blob(3)})
    revision = await metadata.put_files(space.id, {"a": make_blob(9), "d": make_blob(4)}, delete=["b", "a", "none"])
    assert revision == 3
    assert await list_paths(metadata, space) == ["a", "c", "d"]
    file = await metadata.find_file(space.id, "a")
    assert file
    assert file.digest == make_blob(9).digest


async def test_a_space_that_is_not_there(metadata: MetadataStore) -> None:
    for verb in (metadata.put_files("space_none", {"a": make_blob(1)}), metadata.delete_tree("space_none", "")):
        with pytest.raises(NotFound) as missing:
            await verb
        assert missing.value.kind == "space"
    assert await metadata.find_file("space_none", "a") is None
    assert await metadata.find_files("space_none", ["a"], 1) == {}
    assert (await metadata.list_files("space_none", "", recursive=False, query=ALL)).items == ()


async def test_the_tree_reads_back_at_every_revision(metadata: MetadataStore, space: Space, clock: Clock) -> None:
    times = []
    for number in (1, 2):
        times.append(clock.now)
        await metadata.put_files(space.id, {"a": make_blob(number)})
        clock.now += 10_000
    times.append(clock.now)
    await metadata.delete_tree(space.id, "")
    clock.now += 10_000
    times.append(clock.now)
    await metadata.put_files(space.id, {"a": make_blob(1)})

    def row(number: int, moment: int, begun: int) -> File:
        digest = make_blob(number).digest
        return File(path="a", digest=digest, size=number, modified_at=times[moment], from_revision=begun)

    removed = File(
        path="a",
        digest=make_blob(2).digest,
        size=2,
        modified_at=times[1],
        from_revision=3,
        to_revision=4,
        removed_at=times[2],
    )
    expected = {1: {}, 2: {"a": row(1, 0, 2)}, 3: {"a": row(2, 1, 3)}, 4: {"a": removed}, 5: {"a": row(1, 3, 5)}}
    for revision, files in expected.items():
        assert await metadata.find_files(space.id, ["a"], revision) == files


async def test_no_two_contents_of_a_path_share_a_second(metadata: MetadataStore, space: Space, clock: Clock) -> None:
    async def modified_at(path: str) -> int:
        file = await metadata.find_file(space.id, path)
        assert file
        return file.modified_at

    await metadata.put_files(space.id, {"a": make_blob(1), "b": make_blob(1)})
    clock.now += 100
    await metadata.put_files(space.id, {"a": make_blob(2), "c": make_blob(2)})
    assert [await modified_at(path) for path in "abc"] == [NEXT, NOW, NOW + 100]
    ended = (await metadata.find_files(space.id, ["a"], 2))["a"]
    assert (ended.modified_at, ended.to_revision) == (NOW, None)
    await metadata.put_files(space.id, {"a": make_blob(3)})
    assert await modified_at("a") == AFTER_NEXT
    clock.now = AFTER_NEXT + 1000
    await metadata.put_files(space.id, {"a": make_blob(4)})
    assert await modified_at("a") == AFTER_NEXT + 1000


async def test_a_removal_has_a_second_of_its_own(metadata: MetadataStore, space: Space) -> None:
    await metadata.put_files(space.id, {"a": make_blob(1)})
    revision = await metadata.put_files(space.id, {}, delete=["a"])
    tombstone = (await metadata.find_files(space.id, ["a"], revision))["a"]
    assert (tombstone.modified_at, tombstone.removed_at) == (NOW, NEXT)
    await metadata.put_files(space.id, {"a": make_blob(1)})
    file = await metadata.find_file(space.id, "a")
    assert file
    assert file.modified_at == AFTER_NEXT


async def test_a_clock_that_goes_back_changes_no_order(metadata: MetadataStore, space: Space, clock: Clock) -> None:
    await metadata.put_files(space.id, {"a": make_blob(1)})
    clock.now -= 60_000
    await metadata.put_files(space.id, {"a": make_blob(2)})
    file = await metadata.find_file(space.id, "a")
    assert file
    assert file.modified_at == NEXT


async def test_delete_tree_ends_a_path_and_what_is_below_it(metadata: MetadataStore, space: Space) -> None:
    names = ["a", "a/b", "a/b/c", "a-b", "a.b", "a0", "ab/c", "é/x"]
    await metadata.put_files(space.id, {name: make_blob(1) for name in names})
    assert await metadata.delete_tree(space.id, "a/b", recursive=False) == 1
    assert await metadata.delete_tree(space.id, "é", recursive=False) == 0
    assert await metadata.delete_tree(space.id, "a") == 2
    assert await list_paths(metadata, space) == ["a-b", "a.b", "a0", "ab/c", "é/x"]
    deletions = [Change(revision=revision, kind="files.delete", space_id=space.id) for revision in (3, 4)]
    assert await metadata.list_changes(2) == deletions
    assert await metadata.delete_tree(space.id, "é") == 1
    assert await metadata.delete_tree(space.id, "") == 4
    assert await list_paths(metadata, space) == []


NAMES = ["Z", "_", "a", "a!", "a/b", "a/b/c", "a-/x", "a.txt", "a/b.txt", "a0/x", "B/c", "é", "z", "ｚ/x", "😀", "%_"]


async def test_listings_are_in_the_order_of_code_points(metadata: MetadataStore, space: Space) -> None:
    await metadata.put_files(space.id, {name: make_blob(1) for name in NAMES})
    assert await list_paths(metadata, space) == sorted(NAMES)
    assert await list_paths(metadata, space, recursive=False) == [
        *["%_", "B/", "Z", "_", "a", "a/", "a!", "a-/", "a.txt", "a0/", "z", "é", "ｚ/", "😀"]
    ]
    assert await list_paths(metadata, space, "a", recursive=False) == ["a/b", "a/b/", "a/b.txt"]
    assert await list_paths(metadata, space, "a") == ["a/b", "a/b.txt", "a/b/c"]
    assert await list_paths(metadata, space, "a/b/c") == []
    assert await list_paths(metadata, space, "%") == []


async def test_what_a_listing_says(metadata: MetadataStore, space: Space, clock: Clock) -> None:
    await metadata.put_files(space.id, {"a/x": make_blob(1), "a/y/z": make_blob(2), "b": make_blob(3)})
    clock.now += 10_000
    await metadata.put_files(space.id, {"a/y/z": make_blob(4), "a/gone": make_blob(5)}, delete=["b"])
    clock.now += 10_000
    await metadata.put_files(space.id, {}, delete=["a/gone"])
    page = await metadata.list_files(space.id, "", recursive=False, query=ALL)
    assert page.items == (Entry(path="a", is_directory=True, size=0, updated_at=NOW + 10_000, digest=None),)
    page = await metadata.list_files(space.id, "a", recursive=True, query=ALL)
    assert page.items == (
        Entry(path="a/x", is_directory=False, size=1, updated_at=NOW, digest=make_blob(1).digest),
        Entry(path="a/y/z", is_directory=False, size=4, updated_at=NOW + 10_000, digest=make_blob(4).digest),
    )


@pytest.mark.parametrize("recursive", [True, False])
@pytest.mark.parametrize("descending", [True, False])
async def test_pages_of_a_listing_make_the_whole(
    metadata: MetadataStore, space: Space, recursive: bool, descending: bool
) -> None:
    await metadata.put_files(space.id, {name: make_blob(1) for name in NAMES})
    query = PageQuery(take=100, descending=descending)
    whole = (await metadata.list_files(space.id, "", recursive=recursive, query=query)).items
    assert len(whole) == (len(NAMES) if recursive else 14)
    for take in (1, 2, 3, len(whole)):
        items: list[Entry] = []
        after: str | None = None
        while True:
            query = PageQuery(after=after, take=take, descending=descending)
            page = await metadata.list_files(space.id, "", recursive=recursive, query=query)
            assert len(page.items) <= take
            items += page.items
            if page.next is None:
                break
            after = page.next
        assert tuple(items) == whole


async def test_a_file_comes_before_the_folder_of_its_name(metadata: MetadataStore, space: Space) -> None:
    await metadata.put_files(space.id, {"a": make_blob(1), "a/b": make_blob(1), "b": make_blob(1)})
    for descending, take, pages in [
        (False, 1, [["a"], ["a/"], ["b"]]),
        (True, 1, [["b"], ["a"], ["a/"]]),
        (False, 2, [["a", "a/"], ["b"]]),
        (True, 2, [["b", "a"], ["a/"]]),
    ]:
        after: str | None = None
        for expected in pages:
            query = PageQuery(after=after, take=take, descending=descending)
            page = await metadata.list_files(space.id, "", recursive=False, query=query)
            assert [entry.path + "/" * entry.is_directory for entry in page.items] == expected
            after = page.next
        assert after is None


async def test_pages_of_files_stay_in_step_while_files_come_and_go(metadata: MetadataStore, space: Space) -> None:
    await metadata.put_files(space.id, {name: make_blob(1) for name in "bdfhj"})
    query = PageQuery(take=2, descending=False)
    first = await metadata.list_files(space.id, "", recursive=False, query=query)
    assert [entry.path for entry in first.items] == ["b", "d"]
    await metadata.put_files(space.id, {"a": make_blob(1), "e": make_blob(1)}, delete=["d", "h"])
    query = PageQuery(take=10, descending=False, after=first.next)
    rest = await metadata.list_files(space.id, "", recursive=False, query=query)
    assert [entry.path for entry in rest.items] == ["e", "f", "j"]


async def test_a_workspace_possesses_what_it_put(metadata: MetadataStore, space: Space) -> None:
    await metadata.put_files(space.id, {"a": make_blob(1)})
    await metadata.put_blob("acme", make_blob(2))
    await metadata.put_blob("acme", make_blob(2))
    await metadata.put_blob("other", make_blob(3))
    manifest = {str(number): make_blob(number) for number in (3, 1, 2, 4)}
    deployment = await metadata.create_deployment(NewDeployment(space_id=space.id, files=manifest))
    assert await metadata.list_missing(deployment.id) == [make_blob(3).digest, make_blob(4).digest]
    with pytest.raises(NotFound):
        await metadata.put_blob("none", make_blob(1))


@pytest.mark.slow
async def test_many_files_at_once(metadata: MetadataStore, space: Space) -> None:
    """More than any one statement carries."""
    seed = random.randrange(1 << 30)
    numbers = random.Random(seed).sample(range(1 << 30), 12_000)
    files = {f"{number % 97}/{number}": make_blob(number) for number in numbers}
    revision = await metadata.put_files(space.id, files)
    changed = {path: make_blob(blob.size + 1) for path, blob in files.items()}
    assert await metadata.put_files(space.id, changed, delete=["none"]) == revision + 1, seed
    paths = sorted(files)
    for at, tree in [(revision, files), (revision + 1, changed)]:
        found = await metadata.find_files(space.id, paths, at)
        assert {path: file.digest for path, file in found.items()} == {path: tree[path].digest for path in paths}, seed
    assert await metadata.delete_tree(space.id, "") == len(files)


async def test_paths_are_listed_as_of_a_revision(metadata: MetadataStore, space: Space) -> None:
    names = ["a.html", "docs/a.html", "docs/b/c.html", "docs.html", "docs0.html", "z/é.html", "z/\U0001f680.html"]
    first = await metadata.put_files(space.id, {name: make_blob(1) for name in names})
    second = await metadata.put_files(
        space.id, {"new.html": make_blob(1), "a.html": make_blob(2)}, delete=["docs.html"]
    )

    async def listed(folder: str, revision: int, after: str = "", limit: int = 100) -> list[str]:
        return list(await metadata.list_paths(space.id, folder, revision, after, limit))

    assert await listed("", first) == sorted(names)
    assert await listed("", second) == sorted({*names, "new.html"} - {"docs.html"})
    assert await listed("docs", first) == ["docs/a.html", "docs/b/c.html"]
    assert await listed("docs", second, after="docs/a.html") == ["docs/b/c.html"]
    assert await listed("", first, limit=2) == sorted(names)[:2]
    assert await listed("", first, after="docs/b/c.html", limit=2) == ["docs0.html", "z/é.html"]
    assert await listed("none", first) == []
    assert await listed("", 1) == []
    assert await metadata.list_paths("space_none", "", first, "", 10) == []

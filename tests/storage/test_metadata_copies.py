"""Copies and moves of files and folders, on every store."""

from __future__ import annotations

import pytest

from storage.errors import Invalid, NotFound
from storage.metadata import MetadataStore
from storage.models import Blob, Change, File, PageQuery, Space
from storage.paths import MAX_BYTES, MAX_SEGMENTS
from tests.storage.conftest import Clock, make_blob

NOW = 1_700_000_000_250
NEXT = 1_700_000_001_000  # the second after it


async def tree(metadata: MetadataStore, space: Space) -> dict[str, int]:
    """What is live: each path with the number of its content."""
    query = PageQuery(take=1000, descending=False)
    page = await metadata.list_files(space.id, "", recursive=True, query=query)
    return {entry.path: entry.size for entry in page.items}


async def fill(metadata: MetadataStore, space: Space, contents: dict[str, int]) -> int:
    return await metadata.put_files(space.id, {path: make_blob(number) for path, number in contents.items()})


async def test_a_copied_file_is_there_twice(metadata: MetadataStore, space: Space, announced: list[int]) -> None:
    await fill(metadata, space, {"a/x": 1, "b": 2})
    assert await metadata.copy_files(space.id, "a/x", "c/é/y") == 1
    assert await tree(metadata, space) == {"a/x": 1, "b": 2, "c/é/y": 1}
    assert await metadata.list_changes(2) == [Change(revision=3, kind="files.copy", space_id=space.id)]
    current = await metadata.find_space(space.id)
    assert current
    assert current.revision == announced[-1] == 3
    copied = File(path="c/é/y", digest=make_blob(1).digest, size=1, modified_at=NOW, from_revision=3)
    assert await metadata.find_file(space.id, "c/é/y") == copied


async def test_a_moved_file_is_there_once(metadata: MetadataStore, space: Space, clock: Clock) -> None:
    await fill(metadata, space, {"a": 1, "b": 2})
    clock.now += 5000
    assert await metadata.copy_files(space.id, "a", "b", move=True) == 1
    assert await tree(metadata, space) == {"b": 1}
    assert await metadata.list_changes(2) == [Change(revision=3, kind="files.move", space_id=space.id)]
    # Both ends of it are of one instant, and what was there before reads back.
    found = await metadata.find_files(space.id, ["a", "b"], 3)
    assert (found["a"].removed_at, found["b"].modified_at) == (NOW + 5000, NOW + 5000)
    before = await metadata.find_files(space.id, ["a", "b"], 2)
    assert [before[path].size for path in "ab"] == [1, 2]


async def test_times_are_those_of_a_publish(metadata: MetadataStore, space: Space) -> None:
    await fill(metadata, space, {"a": 1, "b": 2})
    await metadata.copy_files(space.id, "a", "b", move=True)
    found = await metadata.find_files(space.id, ["a", "b"], 3)
    assert (found["a"].removed_at, found["b"].modified_at) == (NEXT, NEXT)


@pytest.mark.parametrize("move", [False, True])
async def test_a_folder_goes_as_a_whole_into_what_is_there(metadata: MetadataStore, space: Space, move: bool) -> None:
    originals = {"a/x": 1, "a/y/z": 2, "a/ü": 3}
    others = {"a-b": 4, "a.b": 5, "a0/x": 6, "c/x": 7, "c/stays": 8}
    await fill(metadata, space, originals | others)
    assert await metadata.copy_files(space.id, "a", "c", move=move) == 3
    left = {} if move else originals
    assert await tree(metadata, space) == left | others | {"c/x": 1, "c/y/z": 2, "c/ü": 3}


async def test_the_file_of_a_name_goes_before_the_folder(metadata: MetadataStore, space: Space) -> None:
    await fill(metadata, space, {"a": 1, "a/x": 2})
    assert await metadata.copy_files(space.id, "a", "a/b") == 1
    assert await metadata.copy_files(space.id, "a", "b", move=True) == 1
    assert await tree(metadata, space) == {"a/x": 2, "a/b": 1, "b": 1}
    assert await metadata.copy_files(space.id, "a", "c", move=True) == 2
    assert await tree(metadata, space) == {"b": 1, "c/x": 2, "c/b": 1}


async def test_a_folder_moves_up_over_itself(metadata: MetadataStore, space: Space) -> None:
    await fill(metadata, space, {"a/a/x": 1, "a/a/a/x": 2, "a/a/a/a/y": 3, "a/x": 4, "a/z": 5})
    assert await metadata.copy_files(space.id, "a/a", "a", move=True) == 3
    assert await tree(metadata, space) == {"a/x": 1, "a/a/x": 2, "a/a/a/y": 3, "a/z": 5}


async def test_a_folder_moves_over_the_same_content(metadata: MetadataStore, space: Space) -> None:
    await fill(metadata, space, {"a/a/x": 1, "a/a/a/x": 1, "a/x": 1})
    assert await metadata.copy_files(space.id, "a/a", "a", move=True) == 2
    assert await tree(metadata, space) == {"a/x": 1, "a/a/x": 1}


async def test_a_copy_that_changes_nothing_writes_nothing(metadata: MetadataStore, space: Space) -> None:
    revision = await fill(metadata, space, {"a/x": 1, "b/x": 1, "b/y": 2})
    assert await metadata.copy_files(space.id, "a", "b") == 1
    assert await metadata.get_revision() == revision


@pytest.mark.parametrize(
    ("path", "destination", "says"),
    [
        ("file", "file", "is the path itself"),
        ("folder", "folder", "is the path itself"),
        ("folder", "folder/below", "lies in 'folder'"),
        ("folder", "x" * 255 + "/" + "é" * 127 + "/" + "x" * 255 + "/" + "x" * 255, f"longer than {MAX_BYTES} bytes"),
        ("folder", "x/" * (MAX_SEGMENTS - 2) + "x", f"more than {MAX_SEGMENTS} segments"),
    ],
)
@pytest.mark.parametrize("move", [False, True])
async def test_what_cannot_be_is_refused(
    metadata: MetadataStore, space: Space, path: str, destination: str, says: str, move: bool
) -> None:
    contents = {"file": 1, "folder/é/y": 2, "folder/" + "z" * 200: 3}
    revision = await fill(metadata, space, contents)
    with pytest.raises(Invalid, match=says) as refused:
        await metadata.copy_files(space.id, path, destination, move=move)
    assert refused.value.field == "destinationPath"
    assert await tree(metadata, space) == contents
    assert await metadata.get_revision() == revision


async def test_the_longest_path_that_is_allowed(metadata: MetadataStore, space: Space) -> None:
    await fill(metadata, space, {"é/z": 1})
    destination = "/".join(["x" * 255] * 3 + ["x" * 254])
    assert len(f"{destination}/z".encode()) == MAX_BYTES
    assert await metadata.copy_files(space.id, "é", destination) == 1
    deep = "/".join(["x"] * (MAX_SEGMENTS - 1))
    assert await metadata.copy_files(space.id, "é", deep) == 1
    assert set(await tree(metadata, space)) == {"é/z", f"{destination}/z", f"{deep}/z"}


async def test_what_is_not_there(metadata: MetadataStore, space: Space) -> None:
    await metadata.put_files(space.id, {"gone": Blob(digest="0" * 64, size=0)})
    revision = await metadata.put_files(space.id, {}, delete=["gone"])
    for space_id, path, kind in [(space.id, "gone", "file"), (space.id, "g", "file"), ("space_none", "a", "space")]:
        with pytest.raises(NotFound) as missing:
            await metadata.copy_files(space_id, path, "b", move=True)
        assert missing.value.kind == kind
    assert await metadata.get_revision() == revision

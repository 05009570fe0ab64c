"""Variants: what is remembered of contents in codings, who sees it, and what moves, on every store."""

from __future__ import annotations

import asyncio

import pytest

from storage.errors import NotFound
from storage.metadata import MetadataStore
from storage.models import CODINGS, Change, NewDeployment, NewSite, NewSpace, Space, Uncoded, Variant
from tests.storage.conftest import make_blob

START = (0, "")
A, B, C = (make_blob(number).digest for number in (1, 2, 3))


def variant(coding: str, number: int) -> Variant:
    return Variant(coding=coding, digest=make_blob(number).digest, size=number)  # type: ignore[arg-type]


async def variants_of(metadata: MetadataStore, space: Space, path: str) -> tuple[Variant, ...]:
    files = await metadata.find_files(space.id, [path, "index.html"], await metadata.get_revision())
    return files[path].variants


async def version_of(metadata: MetadataStore, domain: str) -> int:
    hosted = await metadata.find_site([domain])
    assert hosted
    assert hosted.version == max(hosted.revision, hosted.files_revision, hosted.variants_revision)
    return hosted.version


async def uncoded(metadata: MetadataStore, after: tuple[int, str] = START, limit: int = 100) -> list[tuple[int, str]]:
    return [(file.revision, file.path) for file in await metadata.list_uncoded(after, limit)]


async def test_files_come_with_their_variants(metadata: MetadataStore, space: Space) -> None:
    await metadata.put_files(space.id, {"a": make_blob(1), "again": make_blob(1), "b": make_blob(2)})
    await metadata.put_variants("acme", {A: {"zstd": make_blob(10), "br": make_blob(11), "gzip": None}})
    for path in ("a", "again"):
        assert await variants_of(metadata, space, path) == (variant("br", 11), variant("zstd", 10))
    assert await variants_of(metadata, space, "b") == ()
    # Tombstones and what is over too: a deployment that brings it back needs no second look.
    revision = await metadata.put_files(space.id, {"a": make_blob(2)}, delete=["again"])
    assert await variants_of(metadata, space, "a") == ()
    before = await metadata.find_files(space.id, ["a", "again"], revision - 1)
    assert [len(before[path].variants) for path in ("a", "again")] == [2, 2]
    await metadata.put_files(space.id, {"a": make_blob(1)})
    assert await variants_of(metadata, space, "a") == (variant("br", 11), variant("zstd", 10))
    file = await metadata.find_file(space.id, "a")
    assert file
    assert file.variants == ()


async def test_what_is_remembered_stays(metadata: MetadataStore, space: Space) -> None:
    await metadata.put_files(space.id, {"a": make_blob(1)})
    await metadata.put_variants("acme", {A: {"gzip": make_blob(10), "br": None}})
    revision = await metadata.get_revision()
    await metadata.put_variants("acme", {A: {"gzip": make_blob(11), "br": make_blob(12)}})
    assert await variants_of(metadata, space, "a") == (variant("gzip", 10),)
    assert await metadata.get_revision() == revision
    await metadata.put_variants("acme", {A: {"gzip": make_blob(11), "zstd": make_blob(12)}})
    assert await variants_of(metadata, space, "a") == (variant("gzip", 10), variant("zstd", 12))


async def test_each_space_that_serves_it_moves(metadata: MetadataStore, space: Space, announced: list[int]) -> None:
    second, without, gone = [await metadata.create_space(NewSpace(workspace_id="acme")) for _ in range(3)]
    for number, (at, content) in enumerate([(space, 1), (second, 2), (without, 3), (gone, 1)]):
        await metadata.put_files(at.id, {"a": make_blob(content)})
        await metadata.create_site(NewSite(space_id=at.id, domain=f"{number}.example"))
    await metadata.put_files(gone.id, {}, delete=["a"])
    before = [await version_of(metadata, f"{number}.example") for number in range(4)]
    spaces = [await metadata.find_space(at.id) for at in (space, second, without, gone)]
    revision = await metadata.get_revision()
    await metadata.put_variants("acme", {A: {"gzip": make_blob(10)}, B: {"br": make_blob(11)}, C: {"br": None}})
    moved = sorted([space.id, second.id])
    assert await metadata.list_changes(revision) == [
        Change(revision=revision + number, kind="variants", space_id=space_id)
        for number, space_id in enumerate(moved, 1)
    ]
    assert announced[-1] == await metadata.get_revision() == revision + 2
    after = [await version_of(metadata, f"{number}.example") for number in range(4)]
    assert [new > old for new, old in zip(after, before, strict=True)] == [True, True, False, False]
    # The files are the same: what depends on the revision of those, such as a merge, notices nothing.
    assert [await metadata.find_space(at.id) for at in (space, second, without, gone)] == spaces
    # And the next change is later than all of it.
    assert await metadata.put_files(space.id, {"b": make_blob(9)}) == revision + 3
    assert await version_of(metadata, "0.example") == revision + 3


async def test_variants_of_what_is_not_live_draw_no_revision(
    metadata: MetadataStore, space: Space, announced: list[int]
) -> None:
    known = list(announced)
    await metadata.put_variants("acme", {A: {"gzip": make_blob(10)}, B: {"gzip": None}})
    await metadata.put_variants("acme", {})
    assert announced == known
    assert await metadata.get_revision() == known[-1]
    await metadata.put_files(space.id, {"a": make_blob(1)})
    assert await variants_of(metadata, space, "a") == (variant("gzip", 10),)
    with pytest.raises(NotFound):
        await metadata.put_variants("none", {A: {"gzip": make_blob(10)}})


async def test_a_workspace_does_not_learn_of_anothers(metadata: MetadataStore, space: Space) -> None:
    theirs = await metadata.create_space(NewSpace(workspace_id="other"))
    await metadata.put_files(theirs.id, {"a": make_blob(1)})
    await metadata.put_variants("other", {A: {coding: make_blob(10) for coding in CODINGS}})
    revision = await metadata.put_files(space.id, {"a": make_blob(1)})
    assert await variants_of(metadata, space, "a") == ()
    assert await uncoded(metadata) == [(revision, "a")]
    await metadata.put_variants("acme", {A: {"gzip": make_blob(10)}})
    assert await metadata.list_changes(revision) == [Change(revision=revision + 1, kind="variants", space_id=space.id)]
    assert await variants_of(metadata, space, "a") == (variant("gzip", 10),)
    assert len(await variants_of(metadata, theirs, "a")) == 3


async def test_activating_the_active_deployment_still_changes_nothing(metadata: MetadataStore, space: Space) -> None:
    await metadata.put_blob("acme", make_blob(1))
    deployment = await metadata.create_deployment(NewDeployment(space_id=space.id, files={"a": make_blob(1)}))
    activated = await metadata.activate_deployment(deployment.id)
    await metadata.put_variants("acme", {A: {"gzip": make_blob(10)}})
    assert await metadata.activate_deployment(deployment.id) == activated


async def test_what_lacks_a_coding_is_listed(metadata: MetadataStore, space: Space) -> None:
    assert await metadata.list_uncoded(START, 10) == []
    first = await metadata.put_files(space.id, {"b": make_blob(2), "a": make_blob(1), "c": make_blob(3)})
    assert await uncoded(metadata) == [(first, "a"), (first, "b"), (first, "c")]
    await metadata.put_variants("acme", {A: {"gzip": make_blob(10)}, B: dict.fromkeys(CODINGS)})
    [a, c] = await metadata.list_uncoded(START, 10)
    place = {"workspace_id": "acme", "revision": first}
    assert a == Uncoded(**place, path="a", digest=A, size=1, tried=frozenset({"gzip"}))  # type: ignore[arg-type]
    assert c == Uncoded(**place, path="c", digest=C, size=3, tried=frozenset())  # type: ignore[arg-type]
    other = await metadata.create_space(NewSpace(workspace_id="other"))
    later = await metadata.put_files(other.id, {"a": make_blob(9)}, delete=["none"])
    await metadata.put_files(space.id, {}, delete=["c"])
    assert await uncoded(metadata) == [(first, "a"), (later, "a")]
    assert await uncoded(metadata, limit=1) == [(first, "a")]
    assert await uncoded(metadata, (first, "a")) == [(later, "a")]
    assert await uncoded(metadata, (later, "a")) == []


async def test_racing_variants_and_publishes_miss_nothing(metadata: MetadataStore, space: Space) -> None:
    """Whichever comes first: who loads a site at its latest version gets the variants."""
    await metadata.create_site(NewSite(space_id=space.id, domain="a.example"))
    for number in range(1, 20):
        before = await version_of(metadata, "a.example")
        await asyncio.gather(
            metadata.put_files(space.id, {"a": make_blob(number)}),
            metadata.put_variants("acme", {make_blob(number).digest: {"gzip": make_blob(100 + number)}}),
        )
        assert await variants_of(metadata, space, "a") == (variant("gzip", 100 + number),)
        assert await version_of(metadata, "a.example") > before
    assert await metadata.get_revision() == (await metadata.list_changes(0))[-1].revision


async def test_many_at_once(metadata: MetadataStore, space: Space) -> None:
    files = {f"{number:05}": make_blob(number) for number in range(1, 2000)}
    revision = await metadata.put_files(space.id, files)
    await metadata.put_variants("acme", {blob.digest: {"br": blob} for blob in files.values()})
    assert len(await uncoded(metadata, limit=5000)) == len(files)
    await metadata.put_variants("acme", {blob.digest: {"gzip": None, "zstd": blob} for blob in files.values()})
    assert await uncoded(metadata) == []
    assert await metadata.get_revision() == revision + 2

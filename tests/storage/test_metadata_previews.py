"""What the edge asks to show a deployment, and what an activation leaves to be shown for a while, on every store."""

from __future__ import annotations

from dataclasses import replace

import pytest

from storage.metadata import MetadataStore
from storage.models import Blob, Change, Deployment, File, HostedSite, Mode, NewDeployment, NewSite, NewSpace, Space
from storage.previews import Preview
from storage.widgets import NewWidget
from tests.storage.conftest import Clock, make_blob

HOUR = 3_600_000


async def deploy(
    metadata: MetadataStore, space: Space, files: dict[str, int], *, mode: Mode = "replace", prefix: str = ""
) -> Deployment:
    """A deployment whose contents are all there."""
    for number in files.values():
        await metadata.put_blob(space.workspace_id, make_blob(number))
    manifest = {path: make_blob(number) for path, number in files.items()}
    return await metadata.create_deployment(NewDeployment(space_id=space.id, files=manifest, mode=mode, prefix=prefix))


def digits(id: str, count: int) -> str:
    return id.partition("_")[2][:count]


async def find_hosted(metadata: MetadataStore, domain: str = "a.example") -> HostedSite:
    hosted = await metadata.find_site([domain])
    assert hosted
    return hosted


# Previews


@pytest.mark.parametrize(("mode", "replaces"), [("replace", "www"), ("merge", None)])
async def test_a_preview_is_the_site_with_the_deployment(
    metadata: MetadataStore, space: Space, clock: Clock, mode: Mode, replaces: str | None
) -> None:
    await metadata.put_files(space.id, {"x": make_blob(1)})
    site = await metadata.create_site(NewSite(space_id=space.id, domain="a.example", prefix="www"))
    clock.now += 5000
    deployment = await deploy(metadata, space, {"www/a": 2}, mode=mode, prefix="www")
    live = await find_hosted(metadata)
    expected = replace(
        live,
        created_at=deployment.created_at,
        files_revision=deployment.base,
        preview=Preview(deployment_id=deployment.id, replaces=replaces, private=False),
    )
    start = digits(deployment.id, 20)
    assert await metadata.find_preview(start, domain="a.example") == expected
    assert await metadata.find_preview(start, site=digits(site.id, 16)) == expected
    assert expected.key != live.key
    await metadata.update_site(site.id, {"previews": "private"})
    private = await metadata.find_preview(start, domain="a.example")
    assert private
    assert private.preview
    assert private.preview.private
    assert private.version > expected.version


async def test_a_preview_has_no_widget(metadata: MetadataStore, space: Space) -> None:
    """It is not at the domain that the widget's configuration is for."""
    await metadata.create_site(NewSite(space_id=space.id, domain="a.example", meta={"widget": True}))
    new = NewWidget(workspace_id="acme", site_id="ab1c2d3e", domain="a.example", business_name="A", settings={})
    await metadata.create_widget(new)
    deployment = await deploy(metadata, space, {"a": 1})
    assert (await find_hosted(metadata)).widget == "ab1c2d3e"
    preview = await metadata.find_preview(digits(deployment.id, 20), domain="a.example")
    assert preview
    assert preview.widget is None


async def test_a_preview_wants_a_site_of_the_same_space(metadata: MetadataStore, space: Space) -> None:
    other = await metadata.create_space(NewSpace(workspace_id="acme"))
    await metadata.create_site(NewSite(space_id=space.id, domain="a.example"))
    theirs = await metadata.create_site(NewSite(space_id=other.id, domain="b.example"))
    deployment = await deploy(metadata, space, {"a": 1})
    start = digits(deployment.id, 20)
    assert await metadata.find_preview(start, domain="a.example")
    assert await metadata.find_preview(start, domain="b.example") is None
    assert await metadata.find_preview(start, site=digits(theirs.id, 16)) is None
    assert await metadata.find_preview("0" * 20, domain="a.example") is None
    await metadata.delete_space(space.id)
    assert await metadata.find_preview(start, domain="a.example") is None


async def test_of_several_that_begin_so_the_first(metadata: MetadataStore, space: Space) -> None:
    site = await metadata.create_site(NewSite(space_id=space.id, domain="a.example"))
    await metadata.create_site(NewSite(space_id=space.id, domain="b.example"))
    first = await deploy(metadata, space, {"a": 1})
    await deploy(metadata, space, {"a": 2})
    found = await metadata.find_preview("", site="")
    assert found
    assert found.preview
    assert (found.id, found.preview.deployment_id) == (site.id, first.id)


async def test_deployed_files(metadata: MetadataStore, space: Space, clock: Clock) -> None:
    await metadata.put_files(space.id, {"live": make_blob(3)})
    deployment = await deploy(metadata, space, {"a": 1, "b/c": 2})
    await metadata.put_variants("acme", {make_blob(1).digest: {"gzip": make_blob(9), "br": None, "zstd": make_blob(8)}})
    found = await metadata.find_deployed_files(space.id, deployment.id, ["a", "b/c", "live", "none"])
    assert sorted(found) == ["a", "b/c"]
    assert found["b/c"] == File(
        path="b/c",
        digest=make_blob(2).digest,
        size=2,
        modified_at=deployment.created_at,
        from_revision=deployment.base,
    )
    assert found["a"]
    assert [(variant.coding, variant.size) for variant in found["a"].variants] == [("gzip", 9), ("zstd", 8)]
    assert await metadata.find_deployed_files(space.id, deployment.id, []) == {}


async def test_a_deployed_file_is_there_when_its_own_workspace_has_the_content(
    metadata: MetadataStore, space: Space
) -> None:
    await metadata.put_blob("other", make_blob(1))
    new = NewDeployment(space_id=space.id, files={"a": Blob(digest=make_blob(1).digest, size=77)})
    deployment = await metadata.create_deployment(new)
    assert await metadata.find_deployed_files(space.id, deployment.id, ["a"]) == {"a": None}
    await metadata.put_blob("acme", make_blob(1))
    found = await metadata.find_deployed_files(space.id, deployment.id, ["a"])
    assert found["a"]
    assert found["a"].size == 1  # what it is, and not what the manifest says


async def test_deployed_files_of_another_space(metadata: MetadataStore, space: Space) -> None:
    other = await metadata.create_space(NewSpace(workspace_id="acme"))
    deployment = await deploy(metadata, space, {"a": 1})
    assert await metadata.find_deployed_files(other.id, deployment.id, ["a"]) == {}
    assert await metadata.find_deployed_files(space.id, "deployment_none", ["a"]) == {}


# Skew protection


async def test_an_activation_that_removes_opens_a_window(metadata: MetadataStore, space: Space, clock: Clock) -> None:
    await metadata.put_files(space.id, {"a.js": make_blob(1), "b.js": make_blob(2)})
    await metadata.create_site(NewSite(space_id=space.id, domain="a.example"))
    deployment = await deploy(metadata, space, {"b.js": 2})
    assert (await find_hosted(metadata)).skew_revision is None
    activated = await metadata.activate_deployment(deployment.id, skew=HOUR)
    hosted = await find_hosted(metadata)
    assert hosted.skew_revision == activated.revision
    found = await metadata.find_files(space.id, ["a.js"], hosted.files_revision)
    assert found["a.js"].to_revision == hosted.skew_revision


@pytest.mark.parametrize(
    ("files", "mode", "skew"), [({"a": 2}, "replace", HOUR), ({"b": 2}, "merge", HOUR), ({}, "replace", 0)]
)
async def test_others_open_none_and_end_the_one_before(
    metadata: MetadataStore, space: Space, files: dict[str, int], mode: Mode, skew: int
) -> None:
    await metadata.put_files(space.id, {"a": make_blob(1), "c": make_blob(3)})
    await metadata.create_site(NewSite(space_id=space.id, domain="a.example"))
    first = await deploy(metadata, space, {"a": 1})
    await metadata.activate_deployment(first.id, skew=HOUR)
    assert (await find_hosted(metadata)).skew_revision is not None
    await metadata.activate_deployment(first.id, skew=0)  # it is the active one: nothing changes
    assert (await find_hosted(metadata)).skew_revision is not None
    second = await deploy(metadata, space, files, mode=mode)
    await metadata.activate_deployment(second.id, skew=skew)
    assert (await find_hosted(metadata)).skew_revision is None


async def test_a_site_without_the_protection(metadata: MetadataStore, space: Space) -> None:
    await metadata.put_files(space.id, {"a": make_blob(1)})
    site = await metadata.create_site(NewSite(space_id=space.id, domain="a.example", skew_protection=False))
    await metadata.create_site(NewSite(space_id=space.id, domain="b.example"))
    await metadata.activate_deployment((await deploy(metadata, space, {})).id, skew=HOUR)
    before = await find_hosted(metadata)
    assert before.skew_revision is None
    assert (await find_hosted(metadata, "b.example")).skew_revision is not None
    assert (await metadata.update_site(site.id, {"skew_protection": True})).skew_protection
    after = await find_hosted(metadata)
    assert after.skew_revision is not None
    assert after.version > before.version


async def test_a_window_ends(metadata: MetadataStore, space: Space, clock: Clock, announced: list[int]) -> None:
    other = await metadata.create_space(NewSpace(workspace_id="other"))
    for each, domain in ((space, "a.example"), (other, "b.example")):
        await metadata.put_files(each.id, {"a": make_blob(1)})
        await metadata.create_site(NewSite(space_id=each.id, domain=domain))
        await metadata.activate_deployment((await deploy(metadata, each, {})).id, skew=HOUR)
    before = await metadata.get_revision()
    clock.now += HOUR - 1
    assert await metadata.end_skew() == 0
    assert await metadata.get_revision() == before
    clock.now += 1
    assert await metadata.end_skew() == 2
    assert announced[-1] == before + 2
    changes = await metadata.list_changes(before)
    assert sorted(changes, key=lambda change: str(change.space_id)) == sorted(
        [
            Change(revision=changes[0].revision, kind="skew.end", space_id=changes[0].space_id),
            Change(revision=changes[1].revision, kind="skew.end", space_id=changes[1].space_id),
        ],
        key=lambda change: str(change.space_id),
    )
    assert {change.space_id for change in changes} == {space.id, other.id}
    for domain in ("a.example", "b.example"):
        hosted = await find_hosted(metadata, domain)
        assert (hosted.skew_revision, hosted.version) == (None, before + 2)
    assert await metadata.end_skew() == 0


@pytest.mark.parametrize(
    ("path", "recursive", "shown"),
    [
        ("www/a.js", False, {"www/b.js"}),
        ("www", True, set()),
        ("www", False, {"www/a.js", "www/b.js"}),
        ("", True, set()),
    ],
)
async def test_a_deletion_takes_down_what_the_window_shows(
    metadata: MetadataStore, space: Space, path: str, recursive: bool, shown: set[str]
) -> None:
    names = {"www/a.js", "www/b.js"}
    await metadata.put_files(space.id, {name: make_blob(1) for name in names})
    await metadata.create_site(NewSite(space_id=space.id, domain="a.example"))
    await metadata.activate_deployment((await deploy(metadata, space, {})).id, skew=HOUR)
    before = await find_hosted(metadata)
    assert await metadata.delete_tree(space.id, path, recursive=recursive) == 2 - len(shown)
    hosted = await find_hosted(metadata)
    assert hosted.skew_revision == before.skew_revision
    assert (hosted.version > before.version) is (len(shown) < 2)
    found = await metadata.find_files(space.id, names, hosted.files_revision)
    assert {name for name in names if found[name].to_revision == hosted.skew_revision} == shown
    then = await metadata.find_files(space.id, names, before.skew_revision - 1 if before.skew_revision else 0)
    assert all(file.to_revision is None for file in then.values())  # what was, was
    assert await metadata.list_paths(space.id, "", hosted.files_revision, "", 10) == []
    assert await metadata.delete_tree(space.id, path, recursive=recursive) == 0


async def test_a_deletion_of_what_came_back_leaves_nothing(metadata: MetadataStore, space: Space) -> None:
    await metadata.put_files(space.id, {"a.js": make_blob(1)})
    await metadata.create_site(NewSite(space_id=space.id, domain="a.example"))
    await metadata.activate_deployment((await deploy(metadata, space, {})).id, skew=HOUR)
    await metadata.put_files(space.id, {"a.js": make_blob(1)})
    assert await metadata.delete_tree(space.id, "a.js") == 1
    hosted = await find_hosted(metadata)
    found = await metadata.find_files(space.id, ["a.js"], hosted.files_revision)
    assert found["a.js"].to_revision not in (None, hosted.skew_revision)
    await metadata.put_files(space.id, {"a.js": make_blob(1)})
    assert await metadata.list_paths(space.id, "", (await find_hosted(metadata)).files_revision, "", 10) == ["a.js"]


async def test_what_is_taken_down_can_be_published_again(metadata: MetadataStore, space: Space, clock: Clock) -> None:
    await metadata.put_files(space.id, {"a.js": make_blob(1)})
    await metadata.create_site(NewSite(space_id=space.id, domain="a.example"))
    await metadata.activate_deployment((await deploy(metadata, space, {})).id, skew=HOUR)
    await metadata.delete_tree(space.id, "a.js")
    await metadata.put_files(space.id, {"a.js": make_blob(1)})
    file = await metadata.find_file(space.id, "a.js")
    assert file
    rows = await metadata.find_files(space.id, ["a.js"], file.from_revision - 1)
    assert file.modified_at // 1000 > (rows["a.js"].removed_at or 0) // 1000  # Last-Modified tells them apart

"""Workspaces, keys and spaces, on every store."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from storage.errors import Conflict, Invalid, NotFound
from storage.metadata import MetadataStore
from storage.models import Blob, Change, Key, NewDeployment, NewKey, NewSite, NewSpace, PageQuery, Space
from tests.storage.conftest import Clock, make_blob


def make_key(secret: str = "a", **fields: Any) -> NewKey:
    return NewKey(workspace_id="acme", name="ci", secret_hash=secret * 64, scopes=frozenset({"sites:read"}), **fields)


async def test_a_workspace_is_made_once(metadata: MetadataStore, clock: Clock) -> None:
    made_at = clock.now
    clock.now += 5000
    again = await metadata.put_workspace("acme", "another name")
    assert (again.id, again.name, again.created_at) == ("acme", "Acme", made_at)
    assert await metadata.get_revision() == 0


async def test_a_key_is_found_by_id_and_by_hash(metadata: MetadataStore, clock: Clock) -> None:
    new = NewKey(
        workspace_id="acme",
        name="ci",
        secret_hash="a" * 64,
        scopes=frozenset({"sites:write", "files:write"}),
        dialect="sdk",
        expires_at=clock.now + 1,
    )
    key = await metadata.create_key(new)
    assert key == Key(
        id=key.id,
        workspace_id="acme",
        name="ci",
        secret_hash="a" * 64,
        scopes=frozenset({"sites:write", "files:write"}),
        dialect="sdk",
        created_at=clock.now,
        expires_at=clock.now + 1,
    )
    assert await metadata.find_key(key.id) == key
    assert await metadata.find_key_by_hash("a" * 64) == key
    assert await metadata.find_key("key_none") is None
    assert await metadata.find_key_by_hash("b" * 64) is None
    assert await metadata.get_revision() == 0


async def test_a_key_needs_a_workspace_and_a_secret_of_its_own(metadata: MetadataStore) -> None:
    await metadata.create_key(make_key())
    with pytest.raises(Conflict) as conflict:
        await metadata.create_key(make_key())
    assert (conflict.value.kind, conflict.value.field) == ("key", "secret_hash")
    with pytest.raises(NotFound) as missing:
        await metadata.create_key(NewKey(workspace_id="none", name="", secret_hash="c" * 64, scopes=frozenset()))
    assert (missing.value.kind, missing.value.ref) == ("workspace", "none")


async def test_revoking_a_key_again_keeps_the_first_time(metadata: MetadataStore, clock: Clock) -> None:
    key = await metadata.create_key(make_key())
    clock.now += 10
    revoked = await metadata.revoke_key(key.id)
    assert revoked.revoked_at == clock.now
    clock.now += 10
    assert await metadata.revoke_key(key.id) == revoked == await metadata.find_key(key.id)
    with pytest.raises(NotFound) as missing:
        await metadata.revoke_key("key_none")
    assert missing.value.kind == "key"


async def test_touching_a_key(metadata: MetadataStore) -> None:
    key = await metadata.create_key(make_key())
    await metadata.touch_key(key.id, 42)
    await metadata.touch_key("key_none", 42)
    touched = await metadata.find_key(key.id)
    assert touched
    assert touched.last_used_at == 42


async def test_keys_are_listed_a_workspace_at_a_time(metadata: MetadataStore) -> None:
    keys = [await metadata.create_key(make_key(secret)) for secret in "abc"]
    page = await metadata.list_keys("acme", PageQuery(take=2))
    assert page.items == (keys[2], keys[1])
    assert page.next == keys[1].id
    rest = await metadata.list_keys("acme", PageQuery(take=2, after=page.next))
    assert (rest.items, rest.next) == ((keys[0],), None)
    assert (await metadata.list_keys("other", PageQuery())).items == ()


async def test_a_space_is_kept_as_given(metadata: MetadataStore, clock: Clock) -> None:
    meta = {"plan": "pro", "n": 1, "deep": {"ü": [None, True, 1.5]}, 'odd "key".$': "\u2028"}
    new = NewSpace(
        workspace_id="acme", alias="docs", name="Docs é", description="d", contact_id="c1", meta={**meta, "gone": None}
    )
    space = await metadata.create_space(new)
    assert space == Space(
        id=space.id,
        workspace_id="acme",
        alias="docs",
        name="Docs é",
        description="d",
        contact_id="c1",
        meta=meta,
        revision=1,
        created_at=clock.now,
        updated_at=clock.now,
    )
    assert await metadata.find_space(space.id) == space
    assert await metadata.find_space_by_alias("acme", "docs") == space
    assert await metadata.find_space_by_alias("other", "docs") is None
    assert await metadata.find_space("space_none") is None
    assert await metadata.list_changes(0) == [Change(revision=1, kind="space.create")]


async def test_an_alias_is_unique_in_its_workspace(metadata: MetadataStore) -> None:
    first = await metadata.create_space(NewSpace(workspace_id="acme", alias="docs"))
    second = await metadata.create_space(NewSpace(workspace_id="acme"))
    await metadata.create_space(NewSpace(workspace_id="other", alias="docs"))
    revision = await metadata.get_revision()
    with pytest.raises(Conflict) as created:
        await metadata.create_space(NewSpace(workspace_id="acme", alias="docs"))
    with pytest.raises(Conflict) as updated:
        await metadata.update_space(second.id, {"alias": "docs"})
    for conflict in (created.value, updated.value):
        assert (conflict.kind, conflict.field, conflict.value) == ("space", "alias", "docs")
    assert await metadata.get_revision() == revision
    await metadata.update_space(first.id, {"alias": None})
    assert (await metadata.update_space(second.id, {"alias": "docs"})).alias == "docs"


async def test_a_space_needs_a_workspace(metadata: MetadataStore) -> None:
    with pytest.raises(NotFound) as missing:
        await metadata.create_space(NewSpace(workspace_id="none"))
    assert missing.value.kind == "workspace"
    assert await metadata.get_revision() == 0


async def test_an_update_changes_what_it_names(metadata: MetadataStore, clock: Clock) -> None:
    new = NewSpace(workspace_id="acme", name="a", description="b", contact_id="c", meta={"keep": 1, "drop": 2})
    space = await metadata.create_space(new)
    clock.now += 10
    updated = await metadata.update_space(space.id, {"name": "z", "meta": {"drop": None, "add": "x"}})
    assert (updated.name, updated.description, updated.contact_id) == ("z", "b", "c")
    assert updated.meta == {"keep": 1, "add": "x"}
    assert (updated.created_at, updated.updated_at) == (space.created_at, clock.now)
    assert updated.revision == space.revision
    assert await metadata.find_space(space.id) == updated
    assert await metadata.list_changes(1) == [Change(revision=2, kind="space.update")]
    with pytest.raises(NotFound):
        await metadata.update_space("space_none", {"name": "x"})


@pytest.mark.parametrize(
    ("field", "fields"),
    [
        ("meta", {"meta": {"big": "x" * 16_384}}),
        ("meta", {"meta": {"\ud800": 1}}),
        ("name", {"name": "\udfff"}),
        ("contactId", {"contact_id": "\udfff"}),
    ],
)
async def test_what_cannot_be_kept_is_refused(metadata: MetadataStore, field: str, fields: dict[str, Any]) -> None:
    space = await metadata.create_space(NewSpace(workspace_id="acme"))
    with pytest.raises(Invalid) as created:
        await metadata.create_space(NewSpace(workspace_id="acme", **fields))
    with pytest.raises(Invalid) as updated:
        await metadata.update_space(space.id, fields)  # type: ignore[arg-type]
    assert created.value.field == updated.value.field == field
    assert await metadata.find_space(space.id) == space
    assert await metadata.get_revision() == 1


META = {
    "text": "x",
    "number": 12,
    "float": 1.0,
    "huge": 10**30,
    "small": 1e-9,
    "yes": True,
    "list": [1],
    "empty": "",
    'quote"': "a",
    "dot.ted": "b",
    "$": "c",
    "ключ": "знач",
    "line\nbreak": "d\ne",
    "slash\\": "'",
    "percent%_": "%_",
    "case": "Upper",
}


# What is asked for, and whether META has it.
WANTED: list[tuple[Mapping[str, str], bool]] = [
    ({"text": "x"}, True),
    ({"text": "X"}, False),
    ({"text": ""}, False),
    ({"number": "12"}, True),
    ({"number": "12.0"}, False),
    ({"float": "1.0"}, True),
    ({"float": "1"}, False),
    ({"huge": "1" + "0" * 30}, True),
    ({"small": "1e-09"}, True),
    ({"yes": "true"}, True),
    ({"yes": "1"}, False),
    ({"list": "[1]"}, False),
    ({"empty": ""}, True),
    ({"none": ""}, False),
    ({'quote"': "a"}, True),
    ({"dot.ted": "b"}, True),
    ({"$": "c"}, True),
    ({"ключ": "знач"}, True),
    ({"line\nbreak": "d\ne"}, True),
    ({"slash\\": "'"}, True),
    ({"percent%_": "%_"}, True),
    ({"percentXX": "%_"}, False),
    ({"case": "upper"}, False),
    ({"text": "x", "number": "12"}, True),
    ({"text": "x", "number": "13"}, False),
]


async def test_lists_filter_by_meta(metadata: MetadataStore) -> None:
    await metadata.create_space(NewSpace(workspace_id="acme", meta={"text": "y"}))
    space = await metadata.create_space(NewSpace(workspace_id="acme", meta=META))
    site = await metadata.create_site(NewSite(space_id=space.id, domain="a.example", meta=META))
    for wanted, found in WANTED:
        assert (await metadata.list_spaces("acme", PageQuery(), meta=wanted)).items == ((space,) if found else ())
        assert (await metadata.list_sites(space.id, PageQuery(), meta=wanted)).items == ((site,) if found else ())
    assert len((await metadata.list_spaces("acme", PageQuery(), meta={})).items) == 2


async def test_a_filter_sees_what_an_update_left(metadata: MetadataStore) -> None:
    space = await metadata.create_space(NewSpace(workspace_id="acme", meta={"a": "1"}))
    updated = await metadata.update_space(space.id, {"meta": {"a": "2"}})
    assert (await metadata.list_spaces("acme", PageQuery(), meta={"a": "1"})).items == ()
    assert (await metadata.list_spaces("acme", PageQuery(), meta={"a": "2"})).items == (updated,)


async def test_lists_keep_those_that_are_named(metadata: MetadataStore) -> None:
    spaces = [await metadata.create_space(NewSpace(workspace_id="acme")) for _ in range(4)]
    other = await metadata.create_space(NewSpace(workspace_id="other"))
    among = {spaces[0].id, spaces[2].id, spaces[3].id, other.id, "space_none"}
    first = await metadata.list_spaces("acme", PageQuery(take=2), among=among)
    assert list(first.items) == [spaces[3], spaces[2]]
    rest = await metadata.list_spaces("acme", PageQuery(take=2, after=first.next), among=among)
    assert (list(rest.items), rest.next) == ([spaces[0]], None)
    assert (await metadata.list_spaces("acme", PageQuery(), among=[])).items == ()


async def test_lists_filter_by_contact(metadata: MetadataStore) -> None:
    await metadata.create_space(NewSpace(workspace_id="acme"))
    space = await metadata.create_space(NewSpace(workspace_id="acme", contact_id="c1"))
    await metadata.create_space(NewSpace(workspace_id="acme", contact_id="C1"))
    await metadata.create_space(NewSpace(workspace_id="other", contact_id="c1"))
    assert (await metadata.list_spaces("acme", PageQuery(), contact_id="c1")).items == (space,)


@pytest.mark.parametrize("descending", [True, False])
async def test_pages_stay_in_step_while_rows_come_and_go(metadata: MetadataStore, descending: bool) -> None:
    spaces = [await metadata.create_space(NewSpace(workspace_id="acme", name=str(number))) for number in range(7)]
    order = spaces[::-1] if descending else spaces
    first = await metadata.list_spaces("acme", PageQuery(take=3, descending=descending))
    assert first.items == tuple(order[:3])
    await metadata.delete_space(order[2].id)  # where the cursor stands
    await metadata.delete_space(order[4].id)  # ahead
    added = await metadata.create_space(NewSpace(workspace_id="acme"))  # last, or before the cursor
    second = await metadata.list_spaces("acme", PageQuery(take=3, descending=descending, after=first.next))
    assert second.items == (order[3], order[5], order[6])
    end = [] if descending else [added]
    if second.next is None:
        assert not end
    else:
        third = await metadata.list_spaces("acme", PageQuery(take=3, descending=descending, after=second.next))
        assert (list(third.items), third.next) == (end, None)


async def test_deleting_a_space_takes_everything_along(metadata: MetadataStore) -> None:
    space = await metadata.create_space(NewSpace(workspace_id="acme", alias="docs"))
    kept = await metadata.create_space(NewSpace(workspace_id="acme"))
    files: dict[str, Blob] = {"index.html": make_blob(1)}
    await metadata.put_files(space.id, files)
    await metadata.put_files(kept.id, files)
    sites = [await metadata.create_site(NewSite(space_id=space.id, domain=f"{name}.example")) for name in "ba"]
    deployment = await metadata.create_deployment(NewDeployment(space_id=space.id, files=files))
    revision = await metadata.get_revision()
    await metadata.delete_space(space.id)
    assert await metadata.find_space(space.id) is None
    assert [await metadata.find_site_by_id(site.id) for site in sites] == [None, None]
    assert await metadata.find_site(["a.example", "b.example"]) is None
    assert await metadata.find_file(space.id, "index.html") is None
    assert await metadata.find_files(space.id, ["index.html"], revision) == {}
    assert await metadata.find_deployment(deployment.id) is None
    assert await metadata.list_missing(deployment.id) == []
    assert await metadata.find_deployment_blobs(deployment.id, [make_blob(1).digest]) == {}
    assert await metadata.find_file(kept.id, "index.html")
    [change] = await metadata.list_changes(revision)
    assert change == Change(
        revision=revision + 1, kind="space.delete", hosts=("a.example", "b.example"), space_id=space.id
    )
    await metadata.create_site(NewSite(space_id=kept.id, domain="a.example"))
    await metadata.create_space(NewSpace(workspace_id="acme", alias="docs"))
    with pytest.raises(NotFound):
        await metadata.delete_space(space.id)

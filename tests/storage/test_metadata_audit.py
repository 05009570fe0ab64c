"""The audit log, on every store: each change is told with who made it, before and after."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import pytest

from storage.audit import MAX_BYTES, bound, files_changed
from storage.calls import Actor, AuditEntry
from storage.errors import Conflict, QuotaExceeded
from storage.metadata import MetadataStore
from storage.models import Blob, Deployment, Key, NewDeployment, NewKey, NewSite, NewSpace, PageQuery, Site, Space
from storage.paths import path_id
from storage.widgets import NewWidget, Widget
from tests.storage.conftest import Clock, make_blob

WIDGET: dict[str, Any] = {"workspace_id": "acme", "business_name": "W", "settings": {"voice": "echo", "tags": [1]}}
ACTOR = Actor(kind="key", key_id="key_1", request_id="request-1")


class Cast:
    """One of each kind of value, and what to do with it."""

    def __init__(self, metadata: MetadataStore) -> None:
        self.metadata = metadata

    async def build(self) -> None:
        self.space = await self.metadata.create_space(NewSpace(workspace_id="acme", name="Docs", meta={"a": 1}))
        await self.metadata.put_files(
            self.space.id, {"kept": make_blob(1), "old/a": make_blob(2), "old/b": make_blob(3)}
        )
        self.site = await self.metadata.create_site(NewSite(space_id=self.space.id, domain="a.example", prefix="old"))
        self.key = await self.metadata.create_key(
            NewKey(workspace_id="acme", name="ci", secret_hash="f" * 64, scopes=frozenset({"b", "a"}))
        )
        files = {"new": make_blob(1)}
        self.deployment = await self.metadata.create_deployment(NewDeployment(space_id=self.space.id, files=files))
        self.widget = await self.metadata.create_widget(NewWidget(site_id="widget01", domain="w.example", **WIDGET))
        await self.metadata.forget_audit(10**15)


@pytest.fixture
async def cast(metadata: MetadataStore) -> Cast:
    cast = Cast(metadata)
    await cast.build()
    return cast


async def create_space(store: MetadataStore, cast: Cast) -> Space:
    return await store.create_space(NewSpace(workspace_id="acme", alias="x", contact_id="c", meta={"k": [1]}))


async def update_space(store: MetadataStore, cast: Cast) -> object:
    return await store.update_space(cast.space.id, {"name": "New", "alias": "x", "meta": {"a": 2}})


async def delete_space(store: MetadataStore, cast: Cast) -> object:
    await store.delete_space(cast.space.id)
    return cast.space


async def create_site(store: MetadataStore, cast: Cast) -> Site:
    return await store.create_site(NewSite(space_id=cast.space.id, domain="b.example", named_index="kept"))


async def create_sites(store: MetadataStore, cast: Cast) -> Site:
    (site,) = await store.create_sites([NewSite(space_id=cast.space.id, domain="b.example", named_index="kept")])
    return site


async def update_site(store: MetadataStore, cast: Cast) -> object:
    return await store.update_site(cast.site.id, {"domain": "c.example", "prefix": "", "named_not_found": "kept"})


async def delete_site(store: MetadataStore, cast: Cast) -> object:
    await store.delete_site(cast.site.id)
    return cast.site


async def put_files(store: MetadataStore, cast: Cast) -> object:
    await store.put_files(cast.space.id, {"kept": make_blob(9)})
    return "kept"


async def delete_tree(store: MetadataStore, cast: Cast) -> object:
    await store.delete_tree(cast.space.id, "old")
    return cast.space


async def copy_files(store: MetadataStore, cast: Cast) -> object:
    await store.copy_files(cast.space.id, "old", "new")
    return "new"


async def move_files(store: MetadataStore, cast: Cast) -> object:
    await store.copy_files(cast.space.id, "kept", "moved", move=True)
    return "moved"


async def create_deployment(store: MetadataStore, cast: Cast) -> Deployment:
    files = {"p/a": make_blob(1), "p/b": make_blob(20)}
    return await store.create_deployment(NewDeployment(space_id=cast.space.id, files=files, prefix="p", message="m"))


async def activate_deployment(store: MetadataStore, cast: Cast) -> object:
    return await store.activate_deployment(cast.deployment.id)


async def create_key(store: MetadataStore, cast: Cast) -> Key:
    new = NewKey(workspace_id="acme", name="k", secret_hash="e" * 64, scopes=frozenset({"b", "a"}), expires_at=7)
    return await store.create_key(new)


async def revoke_key(store: MetadataStore, cast: Cast) -> object:
    return await store.revoke_key(cast.key.id)


async def create_workspace(store: MetadataStore, cast: Cast) -> object:
    return await store.create_workspace({"alias": "blue", "max_sites": 3})


async def update_workspace(store: MetadataStore, cast: Cast) -> object:
    return await store.update_workspace("acme", {"max_sites": 3, "requests_per_minute": 5})


async def create_widget(store: MetadataStore, cast: Cast) -> Widget:
    return await store.create_widget(NewWidget(site_id="widget02", domain="v.example", **WIDGET))


async def update_widget(store: MetadataStore, cast: Cast) -> Widget:
    return await store.update_widget(
        cast.widget.id, lambda old: replace(old, domain="v.example"), {"data_connection": "sealed"}
    )


async def delete_widget(store: MetadataStore, cast: Cast) -> Widget:
    await store.delete_widget(cast.widget.id)
    return cast.widget


async def put_workspace(store: MetadataStore, cast: Cast) -> object:
    return await store.put_workspace("green", "Green")


EMPTY_SITE: dict[str, Any] = {
    "prefix": "",
    "notFound": "404.html",
    "alias": None,
    "name": "",
    "description": "",
    "meta": {},
    "previews": "public",
    "skewProtection": True,
}
EMPTY_WORKSPACE: dict[str, Any] = {
    "alias": None,
    "maxSites": None,
    "maxFiles": None,
    "maxBytes": None,
    "maxWidgets": None,
    "requestsPerMinute": None,
}
DOCS = {"alias": None, "name": "Docs", "description": "", "contactId": None, "meta": {"a": 1}}
SITE = {**EMPTY_SITE, "domain": "a.example", "prefix": "/old", "index": "index.html"}

W = {"site_id": "widget01", "business_name": "W", "domain": "w.example", "voice": "echo", "tags": [1]}

UNHOUSED = ("key", "workspace", "widget")  # what is in no space

Told = dict[str, Any] | None
CHANGES: list[tuple[Callable[[MetadataStore, Cast], Awaitable[object]], str, Told, Told]] = [
    (create_space, "space.create", None, {**DOCS, "alias": "x", "name": "", "contactId": "c", "meta": {"k": [1]}}),
    (
        update_space,
        "space.update",
        {"name": "Docs", "alias": None, "meta": {"a": 1}},
        {"name": "New", "alias": "x", "meta": {"a": 2}},
    ),
    (delete_space, "space.delete", {**DOCS, "domains": ["a.example"], "domainCount": 1}, None),
    (create_site, "site.create", None, {**EMPTY_SITE, "domain": "b.example", "index": "kept"}),
    (create_sites, "site.create", None, {**EMPTY_SITE, "domain": "b.example", "index": "kept"}),
    (
        update_site,
        "site.update",
        {"domain": "a.example", "prefix": "/old", "notFound": "404.html"},
        {"domain": "c.example", "prefix": "", "notFound": "kept"},
    ),
    (delete_site, "site.delete", SITE, None),
    (
        put_files,
        "file.put",
        {"files": {"kept": make_blob(1).digest}, "count": 1},
        {"files": {"kept": make_blob(9).digest}, "count": 1},
    ),
    (
        delete_tree,
        "file.delete",
        {"files": {"old/a": make_blob(2).digest, "old/b": make_blob(3).digest}, "count": 2},
        {"files": {}, "count": 2},
    ),
    (copy_files, "file.copy", {"path": "old"}, {"path": "new", "count": 2}),
    (move_files, "file.move", {"path": "kept"}, {"path": "moved", "count": 1}),
    (
        create_deployment,
        "deployment.create",
        None,
        {
            "mode": "replace",
            "prefix": "/p",
            "message": "m",
            "base": 2,
            "fileCount": 2,
            "byteCount": 21,
            "revision": None,
        },
    ),
    (activate_deployment, "deployment.activate", {"revision": None}, {"revision": 6}),
    (
        create_key,
        "key.create",
        None,
        {"name": "k", "scopes": ["a", "b"], "dialect": "spacelane", "expiresAt": 7, "revokedAt": None},
    ),
    (revoke_key, "key.revoke", {"revokedAt": None}, {"revokedAt": 1_700_000_000_250}),
    (create_workspace, "workspace.create", None, {**EMPTY_WORKSPACE, "alias": "blue", "name": "", "maxSites": 3}),
    (
        update_workspace,
        "workspace.update",
        {"maxSites": None, "requestsPerMinute": None},
        {"maxSites": 3, "requestsPerMinute": 5},
    ),
    (put_workspace, "workspace.create", None, {**EMPTY_WORKSPACE, "name": "Green"}),
    (create_widget, "widget.create", None, {**W, "site_id": "widget02", "domain": "v.example"}),
    (
        update_widget,
        "widget.update",
        {"domain": "w.example"},
        {"domain": "v.example", "credentials_changed": ["data_connection"]},
    ),
    (delete_widget, "widget.delete", W, None),
]


@pytest.mark.parametrize(("change", "action", "before", "after"), CHANGES, ids=[each[0].__name__ for each in CHANGES])
async def test_a_change_is_told(
    metadata: MetadataStore,
    cast: Cast,
    clock: Clock,
    change: Callable[[MetadataStore, Cast], Awaitable[Any]],
    action: str,
    before: Told,
    after: Told,
) -> None:
    value = await change(metadata.acting(ACTOR), cast)
    object_id = path_id(value) if isinstance(value, str) else value.id
    kind = action.partition(".")[0]
    workspace_id = value.id if kind == "workspace" else "acme"
    (entry,) = (await metadata.list_audit(workspace_id, PageQuery())).items
    assert entry == AuditEntry(
        id=entry.id,
        workspace_id=workspace_id,
        actor_kind="key",
        actor_key_id="key_1",
        request_id="request-1",
        action=action,
        kind=kind,
        object_id=object_id,
        space_id=None
        if kind in ("key", "workspace", "widget")
        else value.id
        if action == "space.create"
        else cast.space.id,
        before=before,
        after=after,
        created_at=clock.now,
    )
    assert entry.id.startswith("audit_")


# Of these, what is then made of them is told.
UNTOLD = {"put_blob", "put_blobs", "put_variants", "delete_deployment"}  # the last only of what never was live


def test_every_verb_that_changes_something_is_among_them() -> None:
    changing = ("create_", "update_", "delete_", "put_", "activate_", "revoke_", "copy_", "move_")
    verbs = {name for name, _ in inspect.getmembers(MetadataStore, inspect.isfunction) if name.startswith(changing)}
    assert {change.__name__ for change, *_ in CHANGES} - {"move_files"} == verbs - UNTOLD


async def test_what_the_server_does_itself_is_told_as_such(metadata: MetadataStore, cast: Cast) -> None:
    await create_space(metadata, cast)
    (entry,) = (await metadata.list_audit("acme", PageQuery())).items
    assert (entry.actor_kind, entry.actor_key_id, entry.request_id) == ("system", None, None)


async def test_a_copy_is_limited_and_a_move_is_not(metadata: MetadataStore, cast: Cast) -> None:
    await metadata.update_workspace("acme", {"max_files": 3})
    with pytest.raises(QuotaExceeded):
        await metadata.copy_files(cast.space.id, "old", "new")
    assert await metadata.copy_files(cast.space.id, "old", "new", move=True) == 2
    assert (await metadata.measure_workspace("acme")).files == 3


async def test_what_changes_nothing_or_is_refused_is_not_told(metadata: MetadataStore, cast: Cast) -> None:
    await metadata.put_files(cast.space.id, {"kept": make_blob(1)}, delete=["none"])
    await metadata.delete_tree(cast.space.id, "none")
    await metadata.put_workspace("acme", "again")
    await metadata.put_blob("acme", make_blob(50))
    await metadata.touch_key(cast.key.id, 5)
    with pytest.raises(Conflict):
        await metadata.create_site(NewSite(space_id=cast.space.id, domain="a.example"))
    assert (await metadata.list_audit("acme", PageQuery())).items == ()
    for _ in range(2):
        await metadata.revoke_key(cast.key.id)
        await metadata.activate_deployment(cast.deployment.id)
    actions = [entry.action for entry in (await metadata.list_audit("acme", PageQuery())).items]
    assert actions == ["deployment.activate", "key.revoke"]


async def test_of_many_files_some_are_told(metadata: MetadataStore, cast: Cast) -> None:
    contents = {f"{number:02}": make_blob(number) for number in range(20)}
    await metadata.put_files(cast.space.id, {**contents, "kept": make_blob(1)}, delete=["old/a"])
    await metadata.put_files(cast.space.id, {}, delete=["00", "old/b", "none"])
    deleted, put = (await metadata.list_audit("acme", PageQuery())).items
    assert (put.action, put.object_id) == ("file.put", cast.space.id)
    assert put.before == {"files": {}, "count": 22}
    assert put.after == {"files": {f"{n:02}": make_blob(n).digest for n in range(10)}, "count": 22}
    assert deleted.action == "file.delete"
    assert deleted.before == {"files": {"00": make_blob(0).digest, "old/b": make_blob(3).digest}, "count": 3}
    assert deleted.after == {"files": {}, "count": 3}


async def test_the_log_is_listed_and_filtered(metadata: MetadataStore, cast: Cast) -> None:
    other = await metadata.create_space(NewSpace(workspace_id="acme"))
    await metadata.update_space(cast.space.id, {"name": "1"})
    await metadata.update_space(other.id, {"name": "2"})
    await metadata.delete_site(cast.site.id)
    await metadata.create_space(NewSpace(workspace_id="other"))

    async def actions(**filters: Any) -> list[str]:
        page = await metadata.list_audit("acme", PageQuery(take=10), **filters)
        return [entry.action for entry in page.items]

    everything = ["site.delete", "space.update", "space.update", "space.create"]
    assert await actions() == everything
    assert await actions(kind="space") == everything[1:]
    assert await actions(action="space.update") == ["space.update"] * 2
    assert await actions(object_id=other.id) == ["space.update", "space.create"]
    assert await actions(object_id=other.id, action="space.update", kind="space") == ["space.update"]
    assert await actions(kind="file") == await actions(object_id="none") == await actions(spaces=[]) == []
    assert await actions(spaces={cast.space.id}) == ["site.delete", "space.update"]
    assert await actions(spaces={cast.space.id, other.id}) == everything
    first = await metadata.list_audit("acme", PageQuery(take=3, descending=False))
    rest = await metadata.list_audit("acme", PageQuery(take=3, descending=False, after=first.next))
    assert [entry.action for entry in (*first.items, *rest.items)] == everything[::-1]
    assert rest.next is None


async def test_old_entries_are_forgotten(metadata: MetadataStore, cast: Cast, clock: Clock) -> None:
    await create_space(metadata, cast)
    clock.now += 1000
    await metadata.update_space(cast.space.id, {"name": "x"})
    assert await metadata.forget_audit(clock.now) == 1
    assert [entry.action for entry in (await metadata.list_audit("acme", PageQuery())).items] == ["space.update"]
    assert await metadata.forget_audit(clock.now) == 0


async def test_the_log_outlives_what_it_tells_of(metadata: MetadataStore, cast: Cast) -> None:
    await metadata.update_site(cast.site.id, {"name": "x"})
    await metadata.delete_space(cast.space.id)
    page = await metadata.list_audit("acme", PageQuery(), spaces=[cast.space.id])
    assert [entry.action for entry in page.items] == ["space.delete", "site.update"]


async def test_an_actor_shares_everything_but_its_name(metadata: MetadataStore, cast: Cast) -> None:
    first, second = metadata.acting(ACTOR), metadata.acting(Actor(kind="root"))
    space = await first.create_space(NewSpace(workspace_id="acme"))
    await second.update_space(space.id, {"name": "x"})
    assert await metadata.get_revision() == await first.get_revision() == await second.get_revision()
    page = await second.list_audit("acme", PageQuery())
    assert [entry.actor_kind for entry in page.items] == ["root", "key"]


def test_what_is_told_is_bounded() -> None:
    assert bound(None) is None
    small = {"a": "x", "b": {"c": 1}}
    assert bound(small) == small
    told = bound({"a": "x" * 10_000, "b": "y" * 8_000, "c": "z" * 200})
    assert told == {"a": {"$omitted": 10_002}, "b": "y" * 8_000, "c": "z" * 200}
    told = bound({str(number): "é" * 2_000 for number in range(100)})
    assert told is not None
    assert len(str(told)) < MAX_BYTES
    assert len(told) == 100


def test_one_file_is_named_by_its_id() -> None:
    space = Space(
        id="space_1",
        workspace_id="acme",
        alias=None,
        name="",
        description="",
        contact_id=None,
        meta={},
        revision=1,
        created_at=0,
        updated_at=0,
    )
    blob = Blob(digest="d", size=1)
    assert files_changed("put", space, {}, {"a/b": blob.digest}, 1).object_id == "YS9i"
    assert files_changed("put", space, {}, {"a": "1", "b": "2"}, 2).object_id == "space_1"
    assert files_changed("copy", space, {}, {}, 0).object_id == "space_1"

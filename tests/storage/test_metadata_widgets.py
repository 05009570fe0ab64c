"""Widgets, the sites of the Sites API, on every store."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest

from storage import widget_edits
from storage.calls import AuditEntry
from storage.errors import Conflict, Invalid, NotFound, QuotaExceeded
from storage.metadata import MetadataStore
from storage.models import Blob, NewSite, PageQuery, Space
from storage.widgets import NewWidget, Secret, SecretKind, Widget
from tests.storage.conftest import Clock

SETTINGS: Mapping[str, Any] = {"industry": "restaurant", "enabled_pages": ["/b", "/a"], "appearance": {"size": "large"}}


def new_widget(number: int = 0, workspace_id: str = "acme", **more: Any) -> NewWidget:
    facts = {"site_id": f"widget{number:04}", "domain": f"{number}.example", "business_name": f"Number {number}"}
    return NewWidget(**{"workspace_id": workspace_id, "settings": SETTINGS, **facts, **more})


def renamed(name: str) -> Callable[[Widget], Widget]:
    return lambda widget: replace(widget, business_name=name)


def moved(domain: str) -> Callable[[Widget], Widget]:
    return lambda widget: replace(widget, domain=domain)


async def entries(metadata: MetadataStore, action: str) -> Sequence[AuditEntry]:
    return (await metadata.list_audit("acme", PageQuery(take=100), action=action)).items


async def test_a_widget_from_creation_to_deletion(metadata: MetadataStore, clock: Clock, announced: list[int]) -> None:
    start = clock.now
    made = await metadata.create_widget(new_widget())
    assert made == Widget(
        id=made.id,
        workspace_id="acme",
        site_id="widget0000",
        domain="0.example",
        business_name="Number 0",
        settings=SETTINGS,
        revision=await metadata.get_revision(),
        created_at=start,
        updated_at=start,
    )
    assert await metadata.find_widget("widget0000") == made == await metadata.find_widget_by_id(made.id)
    assert await metadata.find_widget_for_domain("acme", "0.example") == made
    clock.now += 10

    def edit(widget: Widget) -> Widget:
        assert widget == made
        return replace(widget, domain="new.example", settings={"language": "de"}, site_id="another1", created_at=1)

    updated = await metadata.update_widget(made.id, edit)
    wanted = replace(made, domain="new.example", settings={"language": "de"}, updated_at=start + 10)
    assert updated == replace(wanted, revision=made.revision + 1) == await metadata.find_widget("widget0000")
    assert await metadata.find_widget_for_domain("acme", "0.example") is None
    assert (await metadata.measure_workspace("acme")).widgets == 1
    await metadata.delete_widget(made.id)
    assert await metadata.find_widget("widget0000") is None
    assert await metadata.find_widget_by_id(made.id) is None
    assert (await metadata.measure_workspace("acme")).widgets == 0
    assert announced == [made.revision, made.revision + 1, made.revision + 2]


async def test_the_change_log_names_the_widget(metadata: MetadataStore) -> None:
    made = await metadata.create_widget(new_widget())
    await metadata.update_widget(made.id, renamed("x"))
    await metadata.delete_widget(made.id)
    changes = await metadata.list_changes(made.revision - 1)
    assert [(change.kind, change.widget) for change in changes] == [
        ("widget.create", "widget0000"),
        ("widget.update", "widget0000"),
        ("widget.delete", "widget0000"),
    ]
    assert {(change.hosts, change.space_id, change.freed) for change in changes} == {((), None, ())}


async def test_the_workspaces_own_site_at_the_domain_moves_along_if_its_pages_have_the_tag(
    metadata: MetadataStore, space: Space, clock: Clock
) -> None:
    site = await metadata.create_site(NewSite(space_id=space.id, domain="0.example", meta={"widget": True}))
    await metadata.create_site(NewSite(space_id=space.id, domain="9.example", meta={"widget": "true"}))
    await metadata.create_site(NewSite(space_id=space.id, domain="plain.example", meta={"widget": False}))
    await metadata.put_files(space.id, {"a": Blob(digest="a" * 64, size=1)})
    versions: list[int] = []
    stamps: list[int] = []

    async def look(hosts: tuple[str, ...], widget: str | None) -> None:
        hosted = await metadata.find_site(["0.example"])
        assert hosted is not None
        assert hosted.widget == widget
        versions.append(hosted.version)
        stamps.append((hosted.settings_at or 0) // 1000)
        assert (await metadata.list_changes(await metadata.get_revision() - 1))[0].hosts == hosts

    await metadata.create_widget(new_widget(0, "other", site_id="theirs001"))
    hosted = await metadata.find_site(["0.example"])
    assert hosted is not None
    assert (hosted.revision, hosted.widget) == (site.revision, None)  # another workspace's is no business of this site
    made = await metadata.create_widget(new_widget())
    await look(("0.example",), "widget0000")
    await metadata.update_widget(made.id, moved("9.example"))
    await look(("0.example", "9.example"), None)
    await metadata.update_widget(made.id, moved("plain.example"))
    await metadata.update_widget(made.id, moved("0.example"))
    await look(("0.example",), "widget0000")
    await metadata.delete_widget(made.id)
    await look(("0.example",), None)
    assert versions == sorted(set(versions))
    assert stamps == sorted(set(stamps))
    assert (await metadata.find_site_by_id(site.id)) == replace(
        site, revision=versions[-1], settings_at=stamps[-1] * 1000
    )


async def test_a_site_id_is_never_given_twice(metadata: MetadataStore) -> None:
    made = await metadata.create_widget(new_widget())
    for workspace in ("acme", "other"):
        with pytest.raises(Conflict) as conflict:
            await metadata.create_widget(new_widget(1, workspace, site_id="widget0000"))
        assert (conflict.value.kind, conflict.value.field, conflict.value.value) == ("widget", "site_id", "widget0000")
    await metadata.delete_widget(made.id)
    with pytest.raises(Conflict):
        await metadata.create_widget(new_widget(1, site_id="widget0000"))


async def test_a_domain_is_one_widgets_of_a_workspace(metadata: MetadataStore) -> None:
    made = await metadata.create_widget(new_widget())
    second = await metadata.create_widget(new_widget(1))
    revision = await metadata.get_revision()
    with pytest.raises(Conflict) as conflict:
        await metadata.create_widget(new_widget(2, domain="0.example"))
    assert (conflict.value.kind, conflict.value.field, conflict.value.value) == ("widget", "domain", "0.example")
    with pytest.raises(Conflict):
        await metadata.update_widget(second.id, moved("0.example"))
    assert await metadata.get_revision() == revision
    await metadata.create_widget(new_widget(2))  # the name that was refused is still free
    theirs = await metadata.create_widget(new_widget(3, "other", domain="0.example"))
    assert await metadata.find_widget_for_domain("other", "0.example") == theirs
    await metadata.delete_widget(made.id)
    await metadata.update_widget(second.id, moved("0.example"))


async def test_what_is_not_there(metadata: MetadataStore) -> None:
    assert await metadata.find_widget("nothing00") is None
    assert await metadata.find_widget_by_id("widget_none") is None
    with pytest.raises(NotFound):
        await metadata.create_widget(new_widget(workspace_id="none"))
    with pytest.raises(NotFound):
        await metadata.update_widget("widget_none", renamed("x"))
    with pytest.raises(NotFound):
        await metadata.delete_widget("widget_none")
    with pytest.raises(NotFound):
        await metadata.add_session("nothing00", "/")


async def test_what_an_edit_refuses_changes_nothing(metadata: MetadataStore) -> None:
    made = await metadata.create_widget(new_widget(secrets={"data_connection": "kept"}))
    revision = await metadata.get_revision()

    def refuse(widget: Widget) -> Widget:
        raise Invalid("voice", "is not one")

    with pytest.raises(Invalid, match="is not one"):
        await metadata.update_widget(made.id, refuse, {"data_connection": "other"})
    for edit in (renamed("\ud800"), lambda widget: replace(widget, settings={"greeting": ["\ud800"]})):
        with pytest.raises(Invalid, match="surrogate"):
            await metadata.update_widget(made.id, edit)
    with pytest.raises(Invalid, match="65536 bytes") as invalid:
        await metadata.update_widget(made.id, lambda widget: replace(widget, settings={"topics": ["é" * 32_768]}))
    assert invalid.value.field == "body"
    assert await metadata.find_widget_by_id(made.id) == made
    assert await metadata.get_revision() == revision
    secret = await metadata.find_secret(made.id, "data_connection")
    assert secret is not None
    assert secret.sealed == "kept"


async def test_edits_at_once_are_all_kept(metadata: MetadataStore) -> None:
    made = await metadata.create_widget(new_widget(settings={}))

    def adding(number: int) -> Callable[[Widget], Widget]:
        return lambda widget: replace(widget, settings={**widget.settings, str(number): number})

    await asyncio.gather(*(metadata.update_widget(made.id, adding(number)) for number in range(8)))
    found = await metadata.find_widget_by_id(made.id)
    assert found is not None
    assert len(found.settings) == 8


async def test_widgets_are_listed_searched_and_counted(metadata: MetadataStore) -> None:
    made = [await metadata.create_widget(new_widget(number)) for number in range(5)]
    await metadata.create_widget(new_widget(9, "other"))
    cafe = await metadata.create_widget(new_widget(7, business_name="CAFÉ & 100% Oak_", domain="shop.strasse.example"))
    whole = await metadata.list_widgets("acme")
    assert (list(whole.items), whole.total) == ([cafe, *made[::-1]], 6)
    part = await metadata.list_widgets("acme", limit=2, offset=4)
    assert (list(part.items), part.total) == (made[1::-1], 6)
    assert (await metadata.list_widgets("acme", offset=10)).total == 6
    for q in ("café", "100%", "oak_", "É & 1", "SHOP.", "straße", "strasse"):
        assert (await metadata.list_widgets("acme", q=q)).items == (cafe,), q
    assert (await metadata.list_widgets("acme", q="number 3")).items == (made[3],)
    assert (await metadata.list_widgets("acme", q="3.exam")).total == 1
    for q in ("none", "cafe", "_oak", "10%"):
        assert (await metadata.list_widgets("acme", q=q)).total == 0, q


async def test_widgets_are_limited(metadata: MetadataStore) -> None:
    await metadata.update_workspace("acme", {"max_widgets": 3})
    outcomes = await asyncio.gather(
        *(metadata.create_widget(new_widget(number)) for number in range(8)), return_exceptions=True
    )
    assert sum(isinstance(outcome, QuotaExceeded) for outcome in outcomes) == 5
    with pytest.raises(QuotaExceeded, match="maxWidgets of 3"):
        await metadata.create_widget(new_widget(20))
    first = next(outcome for outcome in outcomes if isinstance(outcome, Widget))
    await metadata.update_widget(first.id, renamed("still"))
    await metadata.delete_widget(first.id)
    await metadata.create_widget(new_widget(20))  # what was refused claimed nothing


async def test_secrets_are_kept_replaced_and_removed(metadata: MetadataStore) -> None:
    made = await metadata.create_widget(new_widget(secrets={"data_connection": "one", "oauth_connections": "two"}))
    second = await metadata.create_widget(new_widget(1, secrets={"data_connection": "three"}))

    def secret(widget: Widget, kind: SecretKind, sealed: str) -> Secret:
        return Secret(workspace_id="acme", widget_id=widget.id, kind=kind, sealed=sealed)

    assert await metadata.find_secret(made.id, "data_connection") == secret(made, "data_connection", "one")
    await metadata.update_widget(made.id, renamed("x"), {"data_connection": "four", "oauth_connections": None})
    assert await metadata.find_secret(made.id, "oauth_connections") is None
    await metadata.update_widget(made.id, renamed("x"))
    await metadata.update_widget(made.id, renamed("x"), {"oauth_connections": "five"})
    everything = [
        secret(made, "data_connection", "four"),
        secret(made, "oauth_connections", "five"),
        secret(second, "data_connection", "three"),
    ]
    assert list(await metadata.list_secrets(("", ""), 10)) == everything
    assert list(await metadata.list_secrets((made.id, "data_connection"), 1)) == everything[1:2]
    assert await metadata.replace_secret(everything[2], "rotated")
    assert not await metadata.replace_secret(everything[2], "too late")
    assert (await metadata.list_secrets((made.id, "oauth_connections"), 9))[0].sealed == "rotated"


async def test_the_audit_log_tells_changes_and_no_secret(metadata: MetadataStore) -> None:
    made = await metadata.create_widget(new_widget(secrets={"data_connection": "hidden"}))
    created = (await entries(metadata, "widget.create"))[0]
    named = {"site_id": "widget0000", "business_name": "Number 0", "domain": "0.example"}
    assert (created.kind, created.object_id, created.before) == ("widget", made.id, None)
    assert created.after == {**named, **SETTINGS, "credentials_changed": ["data_connection"]}
    await metadata.update_widget(made.id, renamed("new"), {"oauth_connections": "hidden", "data_connection": None})
    updated = (await entries(metadata, "widget.update"))[0]
    assert updated.before == {"business_name": "Number 0"}
    assert updated.after == {
        "business_name": "new",
        "credentials_changed": ["data_connection", "oauth_connections"],
    }
    await metadata.delete_widget(made.id)
    assert (await entries(metadata, "widget.delete"))[0].before == {**named, **SETTINGS, "business_name": "new"}
    assert "hidden" not in str(await metadata.list_audit("acme", PageQuery(take=100)))


async def test_settings_may_go_and_come(metadata: MetadataStore) -> None:
    made = await metadata.create_widget(new_widget())
    await metadata.update_widget(made.id, lambda widget: replace(widget, settings={"greeting": "hello"}))
    updated = (await entries(metadata, "widget.update"))[0]
    assert updated.before == SETTINGS
    assert updated.after == {"greeting": "hello"}


async def test_sessions_are_kept_up_to_a_number(metadata: MetadataStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(widget_edits, "MAX_SESSIONS", 3)
    made = await metadata.create_widget(new_widget())
    other = await metadata.create_widget(new_widget(1))
    revision = await metadata.get_revision()
    await metadata.add_session(other.site_id, "/theirs")
    sessions = [await metadata.add_session(made.site_id, f"/{number}", "é\nb") for number in range(5)]
    assert (sessions[0].workspace_id, sessions[0].widget_id, sessions[0].page) == ("acme", made.id, "/0")
    page = await metadata.list_sessions(made.id, PageQuery(take=10, descending=False))
    assert list(page.items) == sessions[2:]
    assert len((await metadata.list_sessions(other.id, PageQuery())).items) == 1
    assert await metadata.get_revision() == revision
    for page_, transcript, field in (("/" * 3000, "", "page"), ("/\0", "", "page"), ("/", "\ud800", "transcript")):
        with pytest.raises(Invalid) as invalid:
            await metadata.add_session(made.site_id, page_, transcript)
        assert invalid.value.field == field


async def test_a_purge_from_deletion_to_its_end(metadata: MetadataStore, clock: Clock) -> None:
    secrets: Mapping[SecretKind, str] = {"data_connection": "password", "oauth_connections": "tokens"}
    made = await metadata.create_widget(new_widget(secrets=secrets))
    other = await metadata.create_widget(new_widget(1, secrets=secrets))
    for number in range(5):
        await metadata.add_session(made.site_id, f"/{number}")
        await metadata.add_session(other.site_id, f"/{number}")
    assert await metadata.list_purges(clock.now + 10**9, 10) == []
    await metadata.delete_widget(made.id)
    assert await metadata.find_secret(made.id, "data_connection") is None
    assert await metadata.find_secret(made.id, "oauth_connections") is not None
    assert await metadata.list_purges(clock.now - 1, 10) == []
    purge = (await metadata.list_purges(clock.now, 10))[0]
    assert (purge.workspace_id, purge.widget_id, purge.site_id) == ("acme", made.id, "widget0000")
    claims = await asyncio.gather(*(metadata.claim_purge(purge, clock.now + 100) for _ in range(3)))
    claimed = next(claim for claim in claims if claim)
    assert [claim for claim in claims if claim] == [claimed] == [replace(purge, due_at=clock.now + 100)]
    assert await metadata.list_purges(clock.now, 10) == []
    assert [await metadata.purge_sessions(claimed, 3) for _ in range(3)] == [3, 2, 0]
    await metadata.save_purge(replace(claimed, attempts=1, outcomes=("revoked", "pending"), due_at=clock.now + 50))
    saved = (await metadata.list_purges(clock.now + 50, 10))[0]
    assert (saved.sessions, saved.attempts, saved.outcomes) == (5, 1, ("revoked", "pending"))
    await metadata.save_purge(replace(saved, outcomes=("revoked", "not_offered")))
    await metadata.finish_purge(saved)
    assert await metadata.find_secret(made.id, "oauth_connections") is None
    assert await metadata.list_purges(clock.now + 10**9, 10) == []
    told = (await entries(metadata, "widget.purge"))[0]
    assert (told.object_id, told.actor.kind) == (made.id, "system")
    assert told.after == {
        "site_id": "widget0000",
        "sessions": 5,
        "connections": ["revoked", "not_offered"],
        "attempts": 1,
    }
    assert len((await metadata.list_sessions(other.id, PageQuery())).items) == 5
    assert await metadata.find_secret(other.id, "oauth_connections") is not None
    for _ in range(2):  # over is over
        await metadata.finish_purge(saved)
        await metadata.save_purge(saved)
        assert await metadata.claim_purge(saved, clock.now) is None
        assert await metadata.purge_sessions(saved, 3) == 0
    assert len(await entries(metadata, "widget.purge")) == 1


async def test_the_longest_due_come_first(metadata: MetadataStore, clock: Clock) -> None:
    for number in range(3):
        made = await metadata.create_widget(new_widget(number))
        clock.now += 10
        await metadata.delete_widget(made.id)
    assert [purge.site_id for purge in await metadata.list_purges(clock.now, 2)] == ["widget0000", "widget0001"]


async def test_a_tag_is_as_it_was_whatever_else_of_its_widget_changes(metadata: MetadataStore, space: Space) -> None:
    site = await metadata.create_site(NewSite(space_id=space.id, domain="0.example", meta={"widget": True}))
    made = await metadata.create_widget(new_widget())
    before = await metadata.find_site(["0.example"])
    await metadata.update_widget(made.id, renamed("x"))
    assert await metadata.find_site(["0.example"]) == before
    assert (await metadata.list_changes(await metadata.get_revision() - 1))[0].hosts == ()
    assert before is not None
    assert before.revision > site.revision


async def test_a_site_asks_for_the_tag_and_no_longer_does(metadata: MetadataStore, space: Space, clock: Clock) -> None:
    site = await metadata.create_site(NewSite(space_id=space.id, domain="0.example"))
    await metadata.create_widget(new_widget())
    seen = [await metadata.find_site(["0.example"])]
    for asked in (True, None):
        await metadata.update_site(site.id, {"meta": {"widget": asked}})
        seen.append(await metadata.find_site(["0.example"]))
    assert [hosted and hosted.widget for hosted in seen] == [None, "widget0000", None]
    stamps = [hosted.settings_at or 0 for hosted in seen if hosted]
    assert [stamp // 1000 for stamp in stamps] == sorted({stamp // 1000 for stamp in stamps})

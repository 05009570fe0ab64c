"""What becomes of what a deleted site leaves behind, with a real OAuth server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from structlog.testing import capture_logs

from server import purger as purging
from server import revocation
from server.purger import GIVE_UP, HOUR, LEASE, LONGEST_PAUSE, Purger, pause_after
from server.revocation import Provider, read_providers
from server.vault import Vault
from storage.errors import Unavailable
from storage.memory import MemoryMetadata
from storage.metadata import MetadataStore
from storage.models import Millis, PageQuery
from storage.sql import migrate, open_sql
from storage.widgets import NewWidget, Purge, Widget
from tests.control.api import port_of, served
from tests.storage.conftest import Clock
from tests.support.oauth import Client, OAuthProvider, Token
from tests.support.process import Serve

SITE_ID = "oakandember"


def connection(provider: str = "google", access: str = "access", **more: Any) -> dict[str, Any]:
    empty = {"refresh_token": None, "shop": None, "client_id": None, "client_secret": None}
    return {"provider": provider, "access_token": access, **empty, **more}


class Estate:
    """A store with a deleted site, and what works on it."""

    def __init__(self, store: MetadataStore, clock: Clock, providers: dict[str, Provider]) -> None:
        self.store = store
        self.clock = clock
        self.vault = Vault()
        self.providers = providers

    async def delete_site(self, *connections: dict[str, Any], site_id: str = SITE_ID, sessions: int = 0) -> Widget:
        secrets: Any = {}
        if connections:
            secrets["oauth_connections"] = self.vault.seal(list(connections), site_id, "oauth_connections")
        new = NewWidget(
            workspace_id="acme", site_id=site_id, domain="a.example", business_name="A", settings={}, secrets=secrets
        )
        made = await self.store.create_widget(new)
        for number in range(sessions):
            await self.store.add_session(site_id, f"/{number}", "hello")
        await self.store.delete_widget(made.id)
        return made

    async def work(self) -> None:
        """By a job that has just been started: all it knows is in the store."""
        await Purger(self.store, self.vault, providers=self.providers, clock=self.clock).work()

    async def next_due(self) -> Millis:
        (purge,) = await self.store.list_purges(2**53, 10)
        return purge.due_at

    async def outcome(self) -> dict[str, Any] | None:
        """What the audit log says was done."""
        entries = (await self.store.list_audit("acme", PageQuery(), action="widget.purge")).items
        return dict(entries[0].after or {}) if entries else None


@pytest.fixture
def google() -> OAuthProvider:
    return OAuthProvider()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def estate(request: pytest.FixtureRequest, clock: Clock, tmp_path: Path) -> AsyncIterator[Estate]:
    """In memory, or in the kind of store that the test names."""
    store: MetadataStore = MemoryMetadata(clock=clock)
    if getattr(request, "param", "memory") == "sqlite":
        url = f"sqlite:///{tmp_path}/spacelane.db"
        await migrate(url)
        store = await open_sql(url, clock=clock)
    await store.put_workspace("acme", "Acme")
    yield Estate(store, clock, {})
    await store.close()


@pytest.mark.parametrize("estate", ["memory", "sqlite"], indirect=True)
async def test_a_purge_with_the_provider_down_at_first(estate: Estate, google: OAuthProvider) -> None:
    """Each attempt is by a job that knows nothing of the one before, as after a restart."""
    client = Client("client-secret")
    google.clients = {"client": client}
    google.tokens = {"access": Token(client), "refresh": Token(client), "another": Token(client)}
    who = {"client_id": "client", "client_secret": "client-secret"}
    estate.providers = {"google": Provider(call="rfc7009", url="http://127.0.0.1:9/revoke")}
    made = await estate.delete_site(connection(refresh_token="refresh", **who), sessions=5)
    with capture_logs() as logs:
        await estate.work()
    assert (await estate.store.list_sessions(made.id, PageQuery())).items == ()  # they wait for nobody
    assert await estate.store.find_secret(made.id, "oauth_connections") is not None
    assert await estate.next_due() == estate.clock.now + pause_after(1)
    assert await estate.outcome() is None
    assert logs[-1]["provider"] == "google"
    assert logs[-1]["reason"] == "the provider cannot be reached (ConnectError)"
    async with google.serving():
        estate.providers = {"google": Provider(call="rfc7009", url=google.url)}
        await estate.work()
        assert google.asked == []  # not before it is due
        estate.clock.now = await estate.next_due()
        google.down = True
        await estate.work()
        assert await estate.next_due() == estate.clock.now + pause_after(2)
        estate.clock.now = await estate.next_due()
        google.down = False
        await estate.work()
    assert google.asked == ["refresh", "access"]
    assert set(google.tokens) == {"another"}
    assert await estate.store.find_secret(made.id, "oauth_connections") is None
    assert await estate.store.list_purges(2**53, 10) == []
    assert await estate.outcome() == {"site_id": SITE_ID, "sessions": 5, "connections": ["revoked"], "attempts": 3}
    assert "access" not in str(logs)


async def test_a_client_without_a_secret_and_one_that_is_not_let_in(estate: Estate, google: OAuthProvider) -> None:
    public, closed = Client(None), Client("right")
    google.clients = {"public": public, "closed": closed}
    google.tokens = {"one": Token(public), "two": Token(closed)}
    async with google.serving():
        estate.providers = {"google": Provider(call="rfc7009", url=google.url)}
        await estate.delete_site(
            connection(access="one", client_id="public"),
            connection(access="unknown", client_id="public"),
            connection(access="two", client_id="closed", client_secret="wrong"),
        )
        await estate.work()
        (purge,) = await estate.store.list_purges(2**53, 10)
        assert purge.outcomes == ("revoked", "revoked", "pending")
        asked = list(google.asked)
        estate.clock.now += GIVE_UP
        await estate.work()
    assert google.asked == asked  # what is settled is not asked again
    assert set(google.tokens) == {"two"}
    assert (await estate.outcome() or {})["connections"] == ["revoked", "revoked", "given_up"]


@pytest.mark.parametrize(
    ("status", "outcome"), [(200, "revoked"), (401, "revoked"), (404, "revoked"), (429, None), (500, None)]
)
async def test_a_providers_own_call(estate: Estate, status: int, outcome: str | None) -> None:
    seen: list[tuple[str, str]] = []
    app = FastAPI()

    @app.delete("/{path:path}")
    async def uninstall(path: str, request: Request) -> Response:
        seen.append((path, request.headers["x-token"]))
        return Response(b"[" * 200_000, status)

    async with served(app) as server:
        url = f"http://127.0.0.1:{port_of(server)}/{{shop}}/permissions"
        estate.providers = {"shopify": Provider(call="delete", url=url, header="X-Token")}
        await estate.delete_site(connection("shopify", shop="a.myshopify.com"))
        await estate.work()
    assert seen == [("a.myshopify.com/permissions", "access")]
    assert (await estate.outcome() or {}).get("connections") == ([outcome] if outcome else None)


async def test_what_google_says_of_a_token_that_it_has_forgotten(estate: Estate) -> None:
    app = FastAPI()

    @app.post("/revoke")
    async def revoke() -> Response:
        return Response('{"error": "invalid_token"}', 400)

    async with served(app) as server:
        estate.providers = {"google": Provider(call="rfc7009", url=f"http://127.0.0.1:{port_of(server)}/revoke")}
        await estate.delete_site(connection())
        await estate.work()
    assert (await estate.outcome() or {})["connections"] == ["revoked"]


async def test_a_provider_without_a_call(estate: Estate) -> None:
    estate.providers = dict(read_providers())
    await estate.delete_site(connection("airtable"), connection("woocommerce"))
    await estate.work()
    assert (await estate.outcome() or {})["connections"] == ["not_offered", "not_offered"]


async def test_a_site_without_connections(estate: Estate, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(purging, "SESSIONS_AT_ONCE", 2)
    await estate.delete_site(sessions=5)
    await estate.work()
    assert await estate.outcome() == {"site_id": SITE_ID, "sessions": 5, "connections": [], "attempts": 1}


async def test_tokens_that_cannot_be_read_any_more(estate: Estate) -> None:
    await estate.delete_site(connection())
    estate.vault = Vault()
    with capture_logs() as logs:
        await estate.work()
    assert "the tokens of a deleted site cannot be read" in str(logs)
    estate.clock.now += GIVE_UP
    await estate.work()
    assert (await estate.outcome() or {})["connections"] == ["given_up"]


async def test_tokens_that_can_be_read_again(estate: Estate) -> None:
    """The operator puts the key back into its file."""
    estate.providers = dict(read_providers())
    vault = estate.vault
    await estate.delete_site(connection("airtable"), connection("woocommerce"))
    estate.vault = Vault()
    await estate.work()
    assert await estate.outcome() is None
    estate.vault = vault
    estate.clock.now = await estate.next_due()
    await estate.work()
    assert (await estate.outcome() or {})["connections"] == ["not_offered", "not_offered"]


async def test_a_provider_that_answers_by_drops(estate: Estate, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is not waited for longer than one that says nothing; nor does another site wait for it."""
    monkeypatch.setattr(revocation, "SECONDS", 0.3)
    release = asyncio.Event()

    async def drops() -> AsyncIterator[bytes]:
        yield b"{"
        while not release.is_set():
            await asyncio.sleep(0.02)  # not a wait for something: the pace
            yield b" "

    app = FastAPI()

    @app.post("/revoke")
    async def revoke() -> Response:
        return StreamingResponse(drops())

    async with served(app) as server:
        estate.providers = {"google": Provider(call="rfc7009", url=f"http://127.0.0.1:{port_of(server)}/revoke")}
        await estate.delete_site(connection())
        with capture_logs() as logs:
            await estate.work()
        release.set()
    assert logs[-1]["reason"].startswith("the provider cannot be reached")
    assert await estate.next_due() == estate.clock.now + pause_after(1)


async def test_one_that_cannot_be_purged_keeps_no_other(estate: Estate, monkeypatch: pytest.MonkeyPatch) -> None:
    first = await estate.delete_site(sessions=1)
    second = await estate.delete_site(site_id="another0", sessions=1)
    purge_sessions = estate.store.purge_sessions

    async def fail_first(purge: Purge, limit: int) -> int:
        if purge.widget_id == first.id:
            raise Unavailable("away")
        return await purge_sessions(purge, limit)

    monkeypatch.setattr(estate.store, "purge_sessions", fail_first)
    with pytest.raises(Unavailable):
        await estate.work()
    assert (await estate.store.list_sessions(second.id, PageQuery())).items == ()
    (left,) = await estate.store.list_purges(2**53, 10)
    assert left.widget_id == first.id


async def test_one_that_died_at_it_is_taken_over_from(estate: Estate) -> None:
    await estate.delete_site(sessions=1)
    (purge,) = await estate.store.list_purges(estate.clock.now, 1)
    assert await estate.store.claim_purge(purge, estate.clock.now + LEASE)
    await estate.work()
    assert await estate.outcome() is None
    estate.clock.now += LEASE
    await estate.work()
    assert await estate.outcome() is not None


def test_pauses_grow() -> None:
    pauses = [pause_after(attempts) for attempts in range(1, 100)]
    assert pauses[:3] == [60_000, 120_000, 240_000]
    assert pauses == sorted(pauses)
    assert pauses[-1] == LONGEST_PAUSE == 6 * HOUR


class Away(MemoryMetadata):
    """Cannot be reached at first."""

    def __init__(self) -> None:
        super().__init__()
        self.looks: list[Callable[[], Exception]] = [lambda: Unavailable("away"), lambda: RuntimeError("a mistake")]

    async def list_purges(self, due: Millis, limit: int) -> list[Purge]:
        if self.looks:
            raise self.looks.pop(0)()
        raise asyncio.CancelledError


async def test_the_job_goes_on_whatever_happens() -> None:
    with capture_logs() as logs, pytest.raises(asyncio.CancelledError):
        await Purger(Away(), Vault()).run(every=0)
    assert [entry["event"] for entry in logs] == ["deleted sites cannot be purged now"] * 2


def test_every_provider_has_a_row() -> None:
    rows = read_providers()
    assert set(rows) == {"shopify", "airtable", "google", "woocommerce"}
    for row in rows.values():
        assert bool(row.url) == (row.call != "none") != bool(row.why)
        assert not row.url or httpx.URL(row.url.format(shop="a.myshopify.com")).scheme == "https"


@pytest.mark.slow
def test_a_server_that_is_killed_purges_once_it_is_back(tmp_path: Path) -> None:
    site = {
        "business_name": "Ember & Oak",
        "domain": "emberandoak.com",
        "site_id": SITE_ID,
        "oauth_connections": [{"provider": "airtable", "access_token": "access"}],
    }
    with Serve(tmp_path / "data") as serve:
        serve.api.post("/v1/sites", json=site).raise_for_status()
        asyncio.run(add_sessions(tmp_path / "data", 3))
        serve.api.delete(f"/v1/sites/{SITE_ID}").raise_for_status()
        serve.kill()

    with Serve(tmp_path / "data") as serve:

        def told() -> Any:
            return serve.api.get("/api/v1/audit/list?action=widget.purge").json()["items"]

        serve.wait_until(lambda: bool(told()))
        after = told()[0]["after"]
    assert {**after, "attempts": 1} == {
        "site_id": SITE_ID,
        "sessions": 3,
        "connections": ["not_offered"],
        "attempts": 1,
    }


async def add_sessions(data_dir: Path, count: int) -> None:
    store = await open_sql(f"sqlite:///{data_dir}/spacelane.db")
    for number in range(count):
        await store.add_session(SITE_ID, f"/{number}", "hello")
    await store.close()

"""Calls that are repeated with the same Idempotency-Key."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import pytest

from server.control import idempotency
from server.control.housekeeping import forget_once, keep_house
from storage.errors import Unavailable
from storage.memory import MemoryBlobs, MemoryMetadata
from storage.models import NewSpace, PageQuery, Space
from tests.control.api import OTHER_WORKSPACE, WORKSPACE, Api, one_store, refused
from tests.control.conftest import Setup
from tests.control.test_deployments import manifest

DAY = 24 * 3_600_000


async def post(api: Api, path: str, body: Any = None, key: str = "once", **extra: Any) -> httpx.Response:
    return await api.post(path, body, headers={"Idempotency-Key": key, **extra.pop("headers", {})}, **extra)


async def spaces(api: Api) -> list[str]:
    return [item["id"] for item in (await api.fetched("space/list?take=100"))["items"]]


async def test_the_first_answer_comes_again_within_a_day(api: Api, setup: Setup) -> None:
    first = await post(api, "space/create", {"name": "é", "alias": "docs"})
    assert first.status_code == 200
    assert "idempotency-replayed" not in first.headers
    setup.now += DAY - 1
    again = await post(api, "space/create", {"name": "é", "alias": "docs"})
    assert (again.status_code, again.content) == (200, first.content)
    assert again.headers["idempotency-replayed"] == "true"
    assert again.headers["content-type"] == first.headers["content-type"]
    assert again.headers["x-request-id"] != first.headers["x-request-id"]
    assert await spaces(api) == [first.json()["id"]]
    setup.now += 1
    refused(await post(api, "space/create", {"name": "é", "alias": "docs"}), 409, "CONFLICT")


async def test_another_body_is_a_conflict(api: Api) -> None:
    await post(api, "space/create", {"name": "a"})
    answer = await post(api, "space/create", {"name": "b"})
    message = refused(answer, 409, "CONFLICT")
    assert message == "This Idempotency-Key came with another body before: use a new one"
    assert "retry-after" not in answer.headers
    assert len(await spaces(api)) == 1


async def test_a_key_counts_for_one_path_one_query_one_credential_and_one_workspace(api: Api) -> None:
    keys = [await api.key(), await api.key(), await api.key(workspace=OTHER_WORKSPACE)]
    token = (await api.post("key/token", {"scopes": ["spaces:write"]}, key=keys[0])).json()["token"]
    ids = {(await post(api, "space/create", {})).json()["id"]}
    for secret in keys:
        answer = await api.post("space/create", {}, key=secret, headers={"Idempotency-Key": "once"})
        assert "idempotency-replayed" not in answer.headers
        ids.add(answer.json()["id"])
    assert len(ids) == 4
    # A token may well take up what its key began.
    answer = await api.post("space/create", {}, key=token, headers={"Idempotency-Key": "once"})
    assert answer.headers["idempotency-replayed"] == "true"
    one, other, *_ = ids
    for url in (f"space/{one}/update", f"space/{one}/update?x=1"):
        assert "idempotency-replayed" not in (await post(api, url, {})).headers


async def test_a_confined_token_gets_no_answer_that_was_for_others(api: Api) -> None:
    own, other = await api.space(), await api.space()
    key = await api.key()
    body = {"domain": "a.localhost"}
    headers = {"Idempotency-Key": "once"}
    assert (await api.post(f"space/{other}/site/create", body, key=key, headers=headers)).is_success
    fields = {"scopes": ["sites:write"], "spaces": [own]}
    token = (await api.post("key/token", fields, key=key)).json()["token"]
    answer = await api.post(f"space/{other}/site/create", body, key=token, headers=headers)
    refused(answer, 401, "NOT_AUTHORIZED")


@one_store
@pytest.mark.parametrize(
    ("path", "body", "status", "code"),
    [
        ("space/create", {"name": 1}, 400, "BAD_REQUEST"),
        ("space/nothing/update", {}, 404, "NOT_FOUND"),
        ("space/create", {"alias": "taken"}, 409, "CONFLICT"),
        ("space/taken/site/create", {"domain": "a b"}, 400, "BAD_REQUEST"),
    ],
)
async def test_a_refusal_is_an_answer(api: Api, path: str, body: Any, status: int, code: str) -> None:
    space = await api.space(alias="taken")
    first = await post(api, path, body)
    assert (first.status_code, first.json()["error"]["code"]) == (status, code)
    await api.created(f"space/{space}/delete")
    await api.space(alias="nothing")
    again = await post(api, path, body)
    assert (again.status_code, again.content) == (status, first.content)
    assert again.headers["idempotency-replayed"] == "true"


@one_store
async def test_what_another_try_may_change_is_tried_again(api: Api) -> None:
    await api.metadata.put_workspace(OTHER_WORKSPACE, "other")
    await api.metadata.update_workspace(OTHER_WORKSPACE, {"max_sites": 0})
    key = await api.key(workspace=OTHER_WORKSPACE)
    space = await api.created("space/create", key=key)
    path, body = f"space/{space}/site/create", {"domain": "a.localhost"}
    refused(await api.post(path, body, key=key, headers={"Idempotency-Key": "x"}), 429, "LIMITS_REACHED")
    await api.metadata.update_workspace(OTHER_WORKSPACE, {"max_sites": 1})
    assert (await api.post(path, body, key=key, headers={"Idempotency-Key": "x"})).is_success


@one_store
@pytest.mark.parametrize("key", ["", "x" * 256, "a\tb", "caf\xe9"])
async def test_a_key_that_cannot_be_one(api: Api, key: str) -> None:
    headers = [(b"Idempotency-Key", key.encode("latin-1")), (b"Authorization", f"Bearer {api.secret}".encode())]
    answer = await api.http.post("/api/v1/space/create", json={}, headers=headers)
    refused(answer, 400, "BAD_REQUEST", "Idempotency-Key")
    assert await spaces(api) == []


@one_store
async def test_two_keys_are_one_too_many(api: Api) -> None:
    headers = [("Idempotency-Key", "a"), ("Idempotency-Key", "a"), ("Authorization", f"Bearer {api.secret}")]
    answer = await api.http.post("/api/v1/space/create", json={}, headers=headers)
    refused(answer, 400, "BAD_REQUEST", "Idempotency-Key")


@one_store
async def test_keys_may_have_any_printable_character(api: Api) -> None:
    for key in ('"8e03978e-40d5-43e8-bc93-6894a57f9324"', "x" * 255, "a b", "~"):
        first = await post(api, "space/create", {}, key)
        assert (await post(api, "space/create", {}, key)).json() == first.json()


@one_store
@pytest.mark.parametrize("path", ["key/create", "key/token"])
async def test_a_call_that_answers_with_a_secret_takes_no_key(api: Api, path: str) -> None:
    answer = await post(api, path, {"name": "x", "scopes": ["spaces:read"]})
    message = refused(answer, 400, "BAD_REQUEST", "Idempotency-Key")
    assert "secret" in message
    assert (await api.fetched("key/list"))["items"] == []


@one_store
async def test_an_upload_that_is_repeated_undoes_nothing(api: Api) -> None:
    space = await api.space()
    path = f"space/{space}/storage/upload/a"
    headers = {"Idempotency-Key": "x", "Authorization": f"Bearer {api.secret}"}
    first = await post(api, path, content=b"one", key="x")
    assert first.is_success
    assert "idempotency-replayed" not in first.headers
    await api.upload(space, "a", b"two")
    for again in (
        await post(api, path, content=b"one", key="x"),
        await post(api, path, {"file": "data:,one"}, key="x"),  # the same file is the same body in every form
        await api.http.post(f"/api/v1/{path}", files={"file": ("a", b"one")}, headers=headers),
    ):
        assert again.json() == first.json()
        assert again.headers["idempotency-replayed"] == "true"
    refused(await post(api, path, content=b"three", key="x"), 409, "CONFLICT")
    refused(await post(api, path, content=b"", key=""), 400, "BAD_REQUEST", "Idempotency-Key")
    assert (await api.get(f"space/{space}/storage/download/a")).content == b"two"


@one_store
async def test_a_reading_call_takes_no_heed_of_it(api: Api) -> None:
    for _ in range(2):
        answer = await api.get("space/list", headers={"Idempotency-Key": "x"})
        assert answer.is_success
        await api.space()
    assert len(answer.json()["items"]) == 1


async def test_an_answer_that_is_too_large_is_not_kept(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(idempotency, "MAX_ANSWER", 300)
    space = await api.space()
    few, many = ({f"{n}": content for n, content in enumerate([b"x", b"y", b"z", b"w"][:count])} for count in (1, 4))
    path = f"space/{space}/deployment/create"
    for files, replayed in ((few, True), (many, False)):
        body = {"files": manifest(files)}
        first = await post(api, path, body, f"of {len(files)}")
        again = await post(api, path, body, f"of {len(files)}")
        assert ("idempotency-replayed" in again.headers) is replayed
        assert (first.json() == again.json()) is replayed


async def test_the_dialect_is_the_callers(api: Api) -> None:
    key = await api.key(dialect="sdk")
    answers = [await api.post("space/create", {"name": 1}, key=key, headers={"Idempotency-Key": "x"}) for _ in range(2)]
    assert answers[0].json() == answers[1].json()
    assert answers[1].json()["code"] == "BAD_REQUEST"


class WaitingMetadata(MemoryMetadata):
    """A store whose creation of a space takes as long as a test wants, and may fail."""

    def __init__(self) -> None:
        super().__init__()
        self.begun = asyncio.Event()
        self.go_on = asyncio.Event()
        self.trouble: dict[str, Exception] = {}  # by verb

    async def create_space(self, new: NewSpace) -> Space:
        self.begun.set()
        await self.go_on.wait()
        if trouble := self.trouble.pop("create_space", None):
            raise trouble
        return await super().create_space(new)

    async def end_attempt(self, workspace_id: str, scope: str, id: str, status: int, answer: str) -> None:
        if trouble := self.trouble.pop("end_attempt", None):
            raise trouble
        await super().end_attempt(workspace_id, scope, id, status, answer)


class TestWhileItRuns:
    """What comes between the beginning of a call and its end."""

    @pytest.fixture
    def metadata(self) -> WaitingMetadata:
        return WaitingMetadata()

    @pytest.fixture
    def stores(self, metadata: WaitingMetadata) -> tuple[WaitingMetadata, MemoryBlobs]:
        return metadata, MemoryBlobs()

    async def test_a_second_call_is_told_to_come_back(self, api: Api, metadata: WaitingMetadata, setup: Setup) -> None:
        first = asyncio.create_task(post(api, "space/create", {}))
        await metadata.begun.wait()
        setup.now += 59_999
        second = await post(api, "space/create", {})
        assert "still running" in refused(second, 409, "CONFLICT")
        assert second.headers["retry-after"] == "1"
        refused(await post(api, "space/create", {"name": "else"}), 409, "CONFLICT")
        metadata.go_on.set()
        assert (await first).is_success
        assert (await post(api, "space/create", {})).json() == (await first).json()

    async def test_one_that_was_cut_short_is_not_made_again(
        self, api: Api, metadata: WaitingMetadata, setup: Setup
    ) -> None:
        first = asyncio.create_task(post(api, "space/create", {}))
        await metadata.begun.wait()
        setup.now += 60_000
        second = await post(api, "space/create", {})
        assert "look whether it took place" in refused(second, 409, "CONFLICT")
        assert "retry-after" not in second.headers
        metadata.go_on.set()
        await first

    @pytest.mark.parametrize("trouble", [Unavailable("away"), RuntimeError("a mistake of ours")])
    async def test_one_that_failed_may_be_made_again(
        self, api: Api, metadata: WaitingMetadata, trouble: Exception
    ) -> None:
        metadata.go_on.set()
        metadata.trouble["create_space"] = trouble
        assert (await post(api, "space/create", {})).status_code >= 500
        assert (await post(api, "space/create", {})).is_success
        assert len(await spaces(api)) == 1

    async def test_an_answer_goes_out_even_if_it_cannot_be_kept(self, api: Api, metadata: WaitingMetadata) -> None:
        metadata.go_on.set()
        metadata.trouble["end_attempt"] = Unavailable("away")
        assert (await post(api, "space/create", {})).is_success
        refused(await post(api, "space/create", {}), 409, "CONFLICT")
        assert len(await spaces(api)) == 1


class TestHousekeeping:
    """What is due is forgotten, a minute at the latest after it is."""

    async def test_what_is_due_goes(self, api: Api, setup: Setup, monkeypatch: pytest.MonkeyPatch) -> None:
        first = await post(api, "space/create", {})
        setup.now += DAY
        await forget_once(api.metadata, setup.config)
        assert (await post(api, "space/create", {})).json() != first.json()
        monkeypatch.setattr("server.control.housekeeping.MAX_KEPT", 0)
        second = await post(api, "space/create", {}, "other")
        await forget_once(api.metadata, setup.config)
        assert (await post(api, "space/create", {}, "other")).json() != second.json()

    async def test_it_goes_on_whatever_happens(self, setup: Setup, monkeypatch: pytest.MonkeyPatch) -> None:
        outcomes = iter([None, Unavailable("away"), RuntimeError("a mistake of ours"), None])
        seen = 0

        class Stop(BaseException):
            """Ends the test."""

        class Watched(MemoryMetadata):
            async def forget_attempts(self, before: int, keep: int) -> int:
                nonlocal seen
                seen += 1
                try:
                    outcome = next(outcomes)
                except StopIteration:
                    raise Stop from None
                if outcome:
                    raise outcome
                return 0

        monkeypatch.setattr("server.control.housekeeping.INTERVAL", 0)
        with pytest.raises(Stop):
            await keep_house(Watched(), setup.config)
        assert seen == 5

    async def test_the_audit_log_goes_back_as_long_as_is_set(self, api: Api, setup: Setup) -> None:
        await api.space()
        page = await api.metadata.list_audit(WORKSPACE, PageQuery())
        assert len(page.items) == 2
        oldest = min(entry.created_at for entry in page.items)
        setup.now = oldest + 365 * DAY
        await forget_once(api.metadata, setup.config)
        assert len((await api.metadata.list_audit(WORKSPACE, PageQuery())).items) == 2
        setup.now += 3_600_000
        await forget_once(api.metadata, setup.config)
        assert (await api.metadata.list_audit(WORKSPACE, PageQuery())).items == ()

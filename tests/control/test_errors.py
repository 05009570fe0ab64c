"""Refusals and failures: one envelope, nothing leaked, nothing changed."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from structlog.testing import capture_logs

from server.control.errors import CODES, MAX_DETAILS, ROUTING_ERRORS, STORAGE_ERRORS, UNEXPECTED
from storage.blobs import BlobReader
from storage.errors import Corrupt, OutOfSpace, QuotaExceeded, StorageError, Unavailable
from storage.memory.blobs import MemoryBlobs
from storage.memory.metadata import MemoryMetadata
from storage.models import Digest, Millis, NewSpace, Space
from tests.control.api import Api, refused

JSON = {"Content-Type": "application/json"}


class FailingMetadata(MemoryMetadata):
    """A store of which some verbs raise `failure`."""

    failure: Exception | None = None

    async def create_space(self, new: NewSpace) -> Space:
        if self.failure:
            raise self.failure
        return await super().create_space(new)

    async def touch_key(self, key_id: str, used_at: Millis) -> None:
        if self.failure:
            raise self.failure
        await super().touch_key(key_id, used_at)


class TornReader:
    """A blob that ends before its size."""

    size = 1_000_000
    closed = False

    async def read(self, start: int, stop: int) -> AsyncIterator[bytes]:
        yield b"x" * 1000
        raise Corrupt("/var/secret/path ends early")

    async def close(self) -> None:
        self.closed = True


class TornBlobs(MemoryBlobs):
    def __init__(self) -> None:
        super().__init__()
        self.reader = TornReader()

    async def open(self, digest: Digest) -> BlobReader:  # type: ignore[override]  # a reader of another make
        return self.reader


@pytest.fixture
def stores() -> tuple[FailingMetadata, TornBlobs]:
    return FailingMetadata(), TornBlobs()


async def test_there_is_a_code_for_every_refusal() -> None:
    meanings = [*STORAGE_ERRORS.values(), *ROUTING_ERRORS.values(), UNEXPECTED]
    assert all(meaning.status in CODES[meaning.code] for meaning in meanings)
    assert set(STORAGE_ERRORS) == {*StorageError.__subclasses__(), *Unavailable.__subclasses__()}


@pytest.mark.parametrize(
    "path", ["/", "/api/v1", "/api/v1/", "/api/v1/space/", "/api/v1/space/create/", "/nothing", "/API/V1/space/list"]
)
async def test_an_unknown_path_is_404_in_json(api: Api, path: str) -> None:
    for method in ("GET", "POST", "DELETE"):
        answer = await api.call(method, path, key="sk-wrong")
        assert refused(answer, 404, "NOT_FOUND") == "There is no such endpoint: see /docs"


async def test_every_answer_has_a_request_id(api: Api) -> None:
    ids = set()
    for path in ("/healthz", "/docs", "/nothing", "/api/v1/space/list", "/api/v1/space/nothing/fetch"):
        answer = await api.get(path)
        ids.add(answer.headers["x-request-id"])
        assert answer.headers["cache-control"] == "no-store"
        assert "set-cookie" not in answer.headers
        assert not any(name.startswith("access-control") for name in answer.headers)
    assert len(ids) == 5


@pytest.mark.parametrize(
    ("given", "kept"),
    [("abc-DEF_1.2", True), ("x" * 64, True), ("x" * 65, False), ("a b", False), ("a\tb", False), ("", False)],
)
async def test_a_sane_request_id_is_kept(api: Api, given: str, kept: bool) -> None:
    answer = await api.get("/healthz", headers={"X-Request-Id": given})
    assert (answer.headers["x-request-id"] == given) is kept


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b"nonsense",
        b"\xff",
        b"{'a': 1}",
        b'{"name": NaN}',
        b'{"name": "\\ud800"}',
        b'{"\\udc00": 1}',
        b'{"name": "\x00"}',
        b"\xef\xbb\xbf{}",
        b"{} {}",
        b"[" * 10_000,
        b'{"meta":' * 5_000,
        b"1" * 5_000,
    ],
)
async def test_what_is_not_json_is_refused(api: Api, body: bytes) -> None:
    refused(await api.post("space/create", content=body, headers=JSON), 400, "BAD_REQUEST", "body")
    assert (await api.fetched("space/list"))["items"] == []


@pytest.mark.parametrize("body", [b"[]", b"1", b'"name"', b"null", b"true", b"1e999"])
async def test_what_is_not_an_object_is_refused(api: Api, body: bytes) -> None:
    answer = await api.post("space/create", content=body, headers=JSON)
    refused(answer, 400, "BAD_REQUEST", "body")


@pytest.mark.parametrize(
    "content_type",
    [None, "", "text/plain", "application/x-www-form-urlencoded", "application/json5", "multipart/form-data"],
)
async def test_json_endpoints_want_json(api: Api, content_type: str | None) -> None:
    headers = {} if content_type is None else {"Content-Type": content_type}
    refused(await api.post("space/create", content=b"{}", headers=headers), 415, "UNSUPPORTED_MEDIA_TYPE")
    assert (await api.fetched("space/list"))["items"] == []


async def test_an_oversized_body_is_413(api: Api) -> None:
    for length, status in ((40_000, 400), (40_001, 413)):
        body = b'{"name": "' + b"x" * (length - 12) + b'"}'
        assert len(body) == length
        assert (await api.post("space/create", content=body, headers=JSON)).status_code == status

        async def chunks(body: bytes = body) -> AsyncIterator[bytes]:
            yield body

        assert (await api.post("space/create", content=chunks(), headers=JSON)).status_code == status
    assert (await api.fetched("space/list"))["items"] == []


async def test_a_refusal_is_short_however_much_is_wrong(api: Api) -> None:
    answer = await api.post("space/create", {f"{number:0300}": 1 for number in range(120)})
    details = answer.json()["error"]["details"]
    assert len(details) == MAX_DETAILS
    assert all(len(detail["path"]) == 256 for detail in details)


@pytest.mark.parametrize("query", ["contactId=%00", "contactId=%FF", "meta[a]=%00", "cursor=%FF"])
async def test_text_that_no_store_can_keep_is_refused_in_a_query(api: Api, query: str) -> None:
    refused(await api.get(f"space/list?{query}"), 400, "BAD_REQUEST", "query")


@pytest.mark.parametrize(
    ("failure", "status", "code", "says"),
    [
        (QuotaExceeded("maxSites", 3, "delete one"), 429, "LIMITS_REACHED", "maxSites of 3: delete one, or ask"),
        (Unavailable("password of /var/secret/db"), 503, "SERVICE_UNAVAILABLE", "try again"),
        (Corrupt("/var/secret/blob"), 500, "INTERNAL_SERVER_ERROR", "damaged"),
        (StorageError("/var/secret/else"), 500, "INTERNAL_SERVER_ERROR", "X-Request-Id"),
        (RuntimeError("/var/secret/path"), 500, "INTERNAL_SERVER_ERROR", "X-Request-Id"),
    ],
)
async def test_a_failure_is_logged_with_its_request_and_leaks_nothing(
    api: Api, stores: tuple[FailingMetadata, TornBlobs], failure: Exception, status: int, code: str, says: str
) -> None:
    stores[0].failure = failure
    with capture_logs() as logs:
        answer = await api.post("space/create", {"name": "x"}, headers={"X-Request-Id": "mine"})
    assert says in refused(answer, status, code)
    assert "secret" not in answer.text
    assert ("retry-after" in answer.headers) is (status == 503)
    if status < 500:
        assert logs == []
        return
    (entry,) = logs
    assert entry["request_id"] == answer.headers["x-request-id"] == "mine"
    assert (entry["log_level"], entry["method"], entry["path"]) == ("error", "POST", "/api/v1/space/create")
    assert str(failure) in entry["traceback"]
    assert api.secret not in str(logs)
    stores[0].failure = None
    assert (await api.post("space/create", {})).status_code == 200


async def test_a_full_disk_is_told_as_one(api: Api, stores: tuple[FailingMetadata, TornBlobs]) -> None:
    stores[0].failure = OutOfSpace("No space left on device")
    with capture_logs() as logs:
        answer = await api.post("space/create", {"name": "x"})
    assert "make room" in refused(answer, 503, "SERVICE_UNAVAILABLE")
    assert "retry-after" not in answer.headers
    (entry,) = logs
    assert (entry["event"], entry["failure"]) == ("control.failure", "No space left on device")
    assert "traceback" not in entry


async def test_a_key_works_while_its_use_cannot_be_noted(api: Api, stores: tuple[FailingMetadata, TornBlobs]) -> None:
    key = await api.key()
    stores[0].failure = Unavailable("away")
    for _ in range(2):
        assert (await api.get("space/list", key=key)).status_code == 200
    await api.settled()


async def test_a_download_that_turns_out_torn_ends_early(
    api: Api, stores: tuple[FailingMetadata, TornBlobs], caplog: pytest.LogCaptureFixture
) -> None:
    space = await api.space()
    await api.upload(space, "file")
    with capture_logs() as logs, pytest.raises(Exception, match="closed|incomplete"):
        await api.get(f"space/{space}/storage/download/file")
    await api.settled()
    assert [entry["event"] for entry in logs] == ["control.failure"]
    assert stores[1].reader.closed

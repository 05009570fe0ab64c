"""The client of the control API against servers that misbehave as networks and people do."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, TypeAlias

import pytest

from server.cli.client import Client
from server.cli.errors import ApiError, CliError
from server.cli.transport import ATTEMPTS, FIRST_WAIT, LONGEST_WAIT, Body, Endpoint, is_local

Answer: TypeAlias = bytes | None  # None: the connection is cut instead


def answer(status: int, body: str, *headers: str) -> bytes:
    lines = [f"HTTP/1.1 {status} x", f"Content-Length: {len(body)}", "Connection: close", *headers]
    return "\r\n".join([*lines, "", body]).encode()


def refusal(status: int, message: str, *headers: str, code: str = "X", details: str = "[]") -> bytes:
    body = f'{{"error": {{"message": "{message}", "code": "{code}", "details": {details}}}}}'
    return answer(status, body, *headers)


FOUND = answer(200, '{"id": "space_1"}')
EMPTY = answer(200, '{"items": [], "cursor": ""}')


@asynccontextmanager
async def scripted(*script: Answer, heads: list[bytes] | None = None) -> AsyncIterator[tuple[Client, list[float]]]:
    """A client of a server that gives these answers, one a connection; and how long the client waited each time. What
    the requests began with is added to `heads`."""
    answers = iter(script)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        if heads is not None:
            heads.append(head)
        length = [line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
        await reader.readexactly(int(length[0].split(b":")[1]) if length else 0)
        if (content := next(answers)) is not None:
            writer.write(content)
            await writer.drain()
        writer.close()
        await writer.wait_closed()

    waits: list[float] = []

    async def sleep(seconds: float) -> None:
        waits.append(seconds)

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        async with Client(Endpoint(f"http://127.0.0.1:{port}/", "sk-x", "nowhere"), sleep=sleep) as client:
            yield client, waits
    assert next(answers, "all given") == "all given"


async def failure(call: Callable[[], Awaitable[object]]) -> CliError:
    with pytest.raises(CliError) as caught:
        await call()
    return caught.value


@pytest.mark.parametrize("status", [429, 502, 503, 504])
async def test_comes_back_when_told_to(status: int) -> None:
    async with scripted(refusal(status, "later", "Retry-After: 7"), FOUND) as (client, waits):
        assert await client.find_space("@a") == "space_1"
        assert waits == [7.0]


async def test_waits_longer_each_time_and_then_gives_up() -> None:
    async with scripted(*[refusal(503, "busy", "X-Request-Id: r1")] * ATTEMPTS) as (client, waits):
        error = await failure(lambda: client.find_space("@a"))
        assert error.message == "busy (request r1)."
        assert "log" in error.next_step
        assert waits == [FIRST_WAIT * 2**attempt for attempt in range(ATTEMPTS - 1)]


async def test_does_not_wait_forever() -> None:
    odd = "Retry-After: Wed, 21 Oct 2026 07:28:00 GMT"
    script = (refusal(503, "busy", "Retry-After: 99999"), refusal(503, "busy", odd), FOUND)
    async with scripted(*script) as (client, waits):
        assert await client.find_space("@a") == "space_1"
        assert waits == [LONGEST_WAIT, 2 * FIRST_WAIT]


async def test_a_used_up_limit_is_not_worth_waiting_for() -> None:
    async with scripted(refusal(429, "no room", code="LIMITS_REACHED")) as (client, waits):
        error = await failure(lambda: client.create_space("a", "a"))
        assert error.message == "no room."
        assert waits == []


async def test_a_broken_connection_is_tried_again_once_the_server_has_answered() -> None:
    async with scripted(FOUND, None, None, FOUND) as (client, waits):
        await client.find_space("@a")
        assert await client.find_space("@a") == "space_1"
        assert waits == [FIRST_WAIT, 2 * FIRST_WAIT]


async def test_a_connection_that_stays_broken() -> None:
    async with scripted(FOUND, *[None] * ATTEMPTS) as (client, _):
        await client.find_space("@a")
        error = await failure(lambda: client.find_space("@a"))
        assert "broke" in error.message


async def test_a_server_that_is_not_there_is_said_at_once() -> None:
    async with scripted(None) as (client, waits):
        error = await failure(lambda: client.find_space("@a"))
        assert "no server answers at http://127.0.0.1:" in error.message
        assert "spacelane serve" in error.next_step
        assert waits == []


async def test_an_upload_is_prepared_anew_for_each_attempt() -> None:
    prepared = 0

    async def chunks() -> AsyncIterator[bytes]:
        yield b"con"
        yield b"tent"

    async def prepare() -> Body:
        nonlocal prepared
        prepared += 1
        return "multipart/form-data; boundary=x", 7, chunks()

    async with scripted(refusal(503, "busy"), answer(200, '{"id": "x", "taken": []}')) as (client, _):
        await client.upload_blobs("space_1", "deployment_1", prepare)
    assert prepared == 2


@pytest.mark.parametrize(
    "content",
    [answer(200, "<h1>a site</h1>"), answer(200, "[]"), answer(404, "{}"), answer(405, "not here")],
)
async def test_something_else_answers_there(content: bytes) -> None:
    async with scripted(content) as (client, _):
        error = await failure(lambda: client.find_space("@a"))
        assert "not as a Spacelane control API" in error.message
        assert "--url" in error.next_step


async def test_refusals_say_what_to_do() -> None:
    details = '[{"path": "alias", "message": "is odd"}, {"path": "name", "message": "is long"}]'
    script = (
        refusal(401, "who?"),
        refusal(403, "no scope"),
        refusal(400, "bad request", details=details),
        refusal(404, "no such route", code="ELSE"),
    )
    async with scripted(*script) as (client, _):
        unknown = await failure(lambda: client.find_space("@a"))
        assert (unknown.message, "nowhere" in unknown.next_step) == ("who?.", True)
        assert "scope" in (await failure(lambda: client.find_space("@a"))).next_step
        bad = await failure(lambda: client.create_space("A", "n"))
        assert isinstance(bad, ApiError)
        assert (bad.status, bad.message) == (400, "alias: is odd; name: is long.")
        assert (await failure(lambda: client.find_space("@a"))).message == "no such route."


async def test_what_does_not_exist_is_none() -> None:
    missing = refusal(404, "no space", code="NOT_FOUND")
    async with scripted(missing, missing, EMPTY) as (client, _):
        assert await client.find_space("@a") is None
        assert await client.find_site("@a", "a.localhost") is None
        assert await client.find_site("@a", "a.localhost") is None


@pytest.mark.parametrize("url", ["nonsense", "ftp://127.0.0.1/", "http://127.0.0.1:port", "http://[::1"])
async def test_what_is_no_url(url: str) -> None:
    async def call() -> None:
        async with Client(Endpoint(url, "sk-x", "nowhere")) as client:
            await client.find_space("@a")

    error = await failure(call)
    assert error.exit_code == 2
    assert "--url" in error.next_step


@pytest.mark.parametrize("key", ["sk-\u00e9\u20ac", "sk-a\nb"])
async def test_a_key_that_no_header_carries(key: str) -> None:
    async def call() -> None:
        async with Client(Endpoint("http://127.0.0.1", key, "nowhere")):
            pass

    error = await failure(call)
    assert error.exit_code == 2
    assert "the key from nowhere" in error.message
    assert key not in str(error)
    assert "Copy the whole key" in error.next_step


@pytest.mark.parametrize(
    ("url", "local"),
    [
        ("http://127.0.0.1:8081", True),
        ("http://[::1]:8081", True),
        ("http://localhost", True),
        ("http://api.localhost", True),
        ("https://example.com", False),
        ("http://192.168.0.1", False),
        ("http://[::1", False),
    ],
)
def test_is_local(url: str, local: bool) -> None:
    assert is_local(url) is local


@pytest.mark.parametrize(
    ("body", "address"),
    [
        ('{"visitors": "http://127.0.0.1:9"}', "http://127.0.0.1:9"),
        ('{"visitors": 9}', None),
        ("[]", None),
        ("x", None),
    ],
)
async def test_where_visitors_are_answered(body: str, address: str | None) -> None:
    async with scripted(answer(200, body)) as (client, _):
        assert await client.find_visitors() == address


RECORDS = "Content-Type: application/jsonl"


async def read(client: Client) -> list[dict[str, Any]]:
    return [item async for item in client.records("key/list")]


async def test_records_as_they_come() -> None:
    plain = answer(200, '{"id": 1}\n{"id": 2, "data": 3}\n', RECORDS)
    sdk = answer(200, '{"type":"item","data":{"id":1}}\n', RECORDS)
    async with scripted(refusal(503, "busy"), plain, sdk, answer(200, "", RECORDS)) as (client, waits):
        assert await read(client) == [{"id": 1}, {"id": 2, "data": 3}]
        assert waits == [FIRST_WAIT]
        assert await read(client) == [{"id": 1}]
        assert await read(client) == []


async def test_records_that_cannot_be_had() -> None:
    torn = b"HTTP/1.1 200 x\r\nContent-Type: application/jsonl\r\nContent-Length: 99\r\n\r\n{}\n"
    nonsense = answer(200, "{\n", RECORDS)
    async with scripted(refusal(403, "no scope"), answer(200, "{}"), torn, nonsense) as (client, _):
        assert "no scope" in (await failure(lambda: read(client))).message
        assert "not as a Spacelane control API" in (await failure(lambda: read(client))).message
        for _ in range(2):
            assert "broke" in (await failure(lambda: read(client))).message


async def test_a_call_that_is_still_running_is_waited_for() -> None:
    running = refusal(409, "still running", "Retry-After: 1", code="CONFLICT")
    async with scripted(running, FOUND, refusal(409, "taken", code="CONFLICT")) as (client, waits):
        assert await client.create_space("a", "a") == "space_1"
        assert waits == [1.0]
        assert (await failure(lambda: client.create_space("a", "a"))).message == "taken."


async def test_what_is_made_is_made_once_and_a_secret_asked_for_once() -> None:
    """The key by which the server knows a call again is the same in each attempt; of a secret there is one attempt."""
    heads: list[bytes] = []
    async with scripted(refusal(503, "busy"), FOUND, FOUND, None, heads=heads) as (client, _):
        await client.create_space("a", "a")
        await client.create_space("b", "b")
        error = await failure(lambda: client.post("key/create", {}, secret=True))
        assert "broke" in error.message
    keys = [[line for line in head.split(b"\r\n") if line.lower().startswith(b"idempotency-key:")] for head in heads]
    assert keys[0] == keys[1] != keys[2]
    assert keys[3] == []


async def test_no_problems_where_the_server_does_not_say() -> None:
    told = '{"problems": [{"file": "_headers", "line": 2, "reason": "is bad"}], "unlisted": 3}'
    script = (refusal(400, "spaceId: has more than 2 files"), answer(200, told))
    async with scripted(*script) as (client, _):
        assert await client.find_problems("space_1", "deployment_1") == []
        found = await client.find_problems("space_1", "deployment_1")
        assert found == ["_headers:2: is bad", "and 3 more problems of rules"]


async def test_no_preview_where_the_server_has_none() -> None:
    script = (
        refusal(404, "There is no such endpoint", code="NOT_FOUND"),
        answer(200, '{"url": "http://x--a.localhost/"}'),
    )
    async with scripted(*script) as (client, _):
        assert await client.find_preview("space_1", "site_1", "deployment_1") is None
        assert await client.find_preview("space_1", "site_1", "deployment_1") == "http://x--a.localhost/"

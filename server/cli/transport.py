"""How the commands reach the control API: what is sent again, errors as `CliError`, and the only use of httpx.

A call is tried again where that can help and cannot harm: the connection broke after the server had answered once, or
the server said to come back (429, 502, 503, 504, or Retry-After). A call that makes something carries a key by which
the server knows it again, so what it makes is made once; one whose answer holds a secret, which no server repeats, is
not tried again.
"""

from __future__ import annotations

import asyncio
import ipaddress
import json
import logging
import secrets
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self, TypeAlias

import httpx

from server.cli.errors import USAGE, ApiError, CliError

ATTEMPTS = 6
FIRST_WAIT = 0.25  # seconds; doubles with each attempt
LONGEST_WAIT = 60.0  # seconds; what a Retry-After may ask for at most
BUSY = frozenset({429, 502, 503, 504})
TIMEOUT = httpx.Timeout(connect=5.0, read=120.0, write=120.0, pool=None)  # seconds
RECORDS = "application/jsonl"

NEXT_STEPS = {
    400: "Mend what it names, then run the command again.",
    401: "The key came from {source}. Give this server's key with --key or SPACELANE_KEY, or say where it keeps "
    "its data with --data-dir.",
    403: "Use a key that has the scope, or the root key; `spacelane key create --help` shows how to make one.",
    404: "Look up what there is: `spacelane space list`, `spacelane site list` and `spacelane deployments list`.",
    413: "The server limits the size of files: see max_file_bytes in its configuration.",
    429: "Free some room or ask the server's operator to raise the limit.",
}
# It tells of every call, and the demo's calls are made in the server's process.
logging.getLogger("httpx").setLevel(logging.WARNING)

NOT_OURS = "Give --url the control API's address (by default http://127.0.0.1:8081), not the address visitors use."
SERVER_TROUBLE = "The server's log says more; then run the command again."


Body: TypeAlias = tuple[str, int, AsyncIterator[bytes]]  # media type, size, content


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where the control API is, the key to it, and where that was found, for error messages."""

    url: str
    key: str
    source: str


class Transport:
    """An open connection to the control API; use with `async with`. Paths are below `/api/v1/`, and quoted."""

    def __init__(self, endpoint: Endpoint, *, sleep: Callable[[float], Awaitable[object]] = asyncio.sleep) -> None:
        self._url = endpoint.url.rstrip("/")
        self._source = endpoint.source
        self._sleep = sleep
        self._answered = False
        if not endpoint.key.isascii() or not endpoint.key.isprintable():  # no header could carry it
            raise CliError(
                f"the key from {endpoint.source} has characters that no key has.",
                "Copy the whole key once more, and nothing beside it: sk-, then letters, digits, - and _.",
                exit_code=USAGE,
            )
        try:
            self._http = httpx.AsyncClient(
                base_url=f"{self._url}/api/v1/",
                headers={"Authorization": f"Bearer {endpoint.key}", "Accept": "application/json"},
                timeout=TIMEOUT,
                verify=not self._url.startswith("http://"),  # reading the certificates takes longer than a whole call
                trust_env=not is_local(self._url),  # a proxy from the environment cannot reach our own machine
            )
        except (httpx.InvalidURL, UnicodeEncodeError) as exc:
            raise CliError(f"the URL cannot be used: {exc}.", NOT_OURS, exit_code=USAGE) from exc

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._http.aclose()

    async def get(self, path: str, **query: str | list[str]) -> dict[str, Any]:
        """What is at `path`."""
        return await self._call("GET", path, params=query)

    async def find(self, path: str, **query: str | list[str]) -> dict[str, Any] | None:
        """What is at `path`; None if it does not exist."""
        try:
            return await self.get(path, **query)
        except ApiError as exc:
            if exc.status == 404 and exc.code == "NOT_FOUND":
                return None
            raise

    async def post(
        self, path: str, body: Mapping[str, object] | None = None, *, secret: bool = False
    ) -> dict[str, Any]:
        """The answer to a call that changes something; `secret`: the answer holds one."""
        headers = {} if secret else {"Idempotency-Key": secrets.token_urlsafe(16)}
        return await self._call("POST", path, again=not secret, json=body or {}, headers=headers)

    async def upload(self, path: str, prepare: Callable[[], Awaitable[Body]]) -> dict[str, Any]:
        """Send what `prepare` gives, which is called anew for each attempt."""

        async def request() -> httpx.Request:
            media_type, size, chunks = await prepare()
            headers = {"Content-Type": media_type, "Content-Length": str(size)}
            return self._http.build_request("POST", path, headers=headers, content=chunks)

        return self._parse(await self._send(request, again=True))

    async def records(self, path: str, **query: str) -> AsyncGenerator[dict[str, Any], None]:
        """Every record of a list, the oldest or the first in order first; or `take` of them. As they come: no more
        than one is in memory."""
        async with self._open(path, RECORDS, {"order": "asc", **query}) as response:
            async for line in response.aiter_lines():
                record = json.loads(line)
                # For keys of the sdk dialect each is an event that carries the record.
                yield record["data"] if record.get("type") == "item" and "data" in record else record

    async def stream(self, path: str, media_type: str, **query: str) -> AsyncIterator[bytes]:
        """The answer in this form, as it comes."""
        async with self._open(path, media_type, query) as response:
            async for chunk in response.aiter_bytes():
                yield chunk

    async def find_facts(self) -> tuple[int, dict[str, Any], Mapping[str, str]] | None:
        """What the server says of its own state to anybody: status, facts, and the answer's headers; None if no
        Spacelane answers."""
        try:
            answer = await self._http.get(f"{self._url}/readyz")  # 503 while it starts says it as well
            facts = answer.json()
        except (httpx.HTTPError, httpx.InvalidURL, ValueError):
            return None
        return (answer.status_code, facts, answer.headers) if isinstance(facts, dict) else None

    @asynccontextmanager
    async def _open(self, path: str, media_type: str, query: Mapping[str, str]) -> AsyncIterator[httpx.Response]:
        async def request() -> httpx.Request:
            return self._http.build_request("GET", path, params=query, headers={"Accept": media_type})

        response = await self._send(request, again=True, stream=True)
        try:
            if not response.is_success:
                await response.aread()
                self._parse(response)
            if not response.headers.get("content-type", "").startswith(media_type):
                raise self._not_ours()
            yield response
        except (httpx.TransportError, ValueError) as exc:
            raise CliError(f"the connection to {self._url} broke: {exc}.", SERVER_TROUBLE) from exc
        finally:
            await response.aclose()

    async def _call(self, method: str, path: str, *, again: bool = True, **options: Any) -> dict[str, Any]:
        """The answer's JSON object."""

        async def request() -> httpx.Request:
            return self._http.build_request(method, path, **options)

        return self._parse(await self._send(request, again=again))

    async def _send(
        self, make_request: Callable[[], Awaitable[httpx.Request]], *, again: bool, stream: bool = False
    ) -> httpx.Response:
        """The answer to a request, sent several times if need be and `again` allows it."""
        attempt = 0
        while True:
            attempt += 1
            try:
                response = await self._http.send(await make_request(), stream=stream)
            except (httpx.UnsupportedProtocol, httpx.InvalidURL) as exc:
                raise CliError(f"{self._url} is not a URL.", NOT_OURS, exit_code=USAGE) from exc
            except httpx.TransportError as exc:
                if not self._answered or not again or attempt == ATTEMPTS:
                    raise self._unreachable(exc) from exc
                wait = 0.0
            else:
                self._answered = True
                if attempt == ATTEMPTS or not _is_worth_waiting(response):
                    return response
                wait = _retry_after(response)
                await response.aclose()
            await self._sleep(max(wait, FIRST_WAIT * 2 ** (attempt - 1)))

    def _unreachable(self, exc: httpx.TransportError) -> CliError:
        if self._answered:
            return CliError(f"the connection to {self._url} broke: {_describe(exc)}.", SERVER_TROUBLE)
        return CliError(
            f"no server answers at {self._url}: {_describe(exc)}.",
            "Start one with `spacelane serve`, or give its control API's address with --url or SPACELANE_URL.",
        )

    def _parse(self, response: httpx.Response) -> dict[str, Any]:
        try:
            answer = response.json()
        except ValueError:
            answer = None
        if not isinstance(answer, dict):
            raise self._not_ours()
        if response.is_success:
            return answer
        error = answer.get("error")
        if not isinstance(error, dict):
            raise self._not_ours()
        raise _refusal(response, error, self._source)

    def _not_ours(self) -> CliError:
        return CliError(f"{self._url} answers, but not as a Spacelane control API.", NOT_OURS)


def is_local(url: str) -> bool:
    """Whether `url` names this machine's loopback interface."""
    try:
        host = httpx.URL(url).host
        return host == "localhost" or host.endswith(".localhost") or ipaddress.ip_address(host).is_loopback
    except (httpx.InvalidURL, ValueError):
        return False


def _refusal(response: httpx.Response, error: Mapping[str, Any], source: str) -> ApiError:
    details = [f"{detail['path']}: {detail['message']}" for detail in error.get("details") or ()]
    message = "; ".join(details) or str(error.get("message", "")).rstrip(".")
    next_step = (
        SERVER_TROUBLE
        if response.status_code >= 500
        else NEXT_STEPS.get(response.status_code, "").format(source=source)
    )
    request_id = response.headers.get("x-request-id")
    if response.status_code >= 500 and request_id:
        message += f" (request {request_id})"
    return ApiError(f"{message}.", next_step, status=response.status_code, code=str(error.get("code", "")))


def _is_worth_waiting(response: httpx.Response) -> bool:
    """429 says both "too fast", which waiting mends, and "too much", which it does not."""
    if "retry-after" in response.headers:
        return not response.is_success
    return response.status_code in BUSY and response.status_code != 429


def _retry_after(response: httpx.Response) -> float:
    value = response.headers.get("retry-after", "")
    return min(float(value), LONGEST_WAIT) if value.isascii() and value.isdigit() else 0.0


def _describe(exc: httpx.TransportError) -> str:
    return str(exc) or type(exc).__name__

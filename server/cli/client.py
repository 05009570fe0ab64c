"""The control API as the commands call it: one method a verb, errors as `CliError`, and the only use of httpx.

A call is tried again where that can help and cannot harm: the connection broke after the server had answered once, or
the server said to come back (429, 502, 503, 504). Every call here may be repeated: making again what is there already
is told apart by the caller, and the rest is idempotent.
"""

from __future__ import annotations

import asyncio
import ipaddress
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote

import httpx

from server.cli.errors import USAGE, ApiError, CliError

ATTEMPTS = 6
FIRST_WAIT = 0.25  # seconds; doubles with each attempt
LONGEST_WAIT = 60.0  # seconds; what a Retry-After may ask for at most
BUSY = frozenset({429, 502, 503, 504})
PAGE = 100  # items; the API's largest page
TIMEOUT = httpx.Timeout(connect=5.0, read=120.0, write=120.0, pool=None)  # seconds

NEXT_STEPS = {
    400: "Mend what it names, then run the command again.",
    401: "The key came from {source}. Give this server's key with --key or SPACELANE_KEY, or say where it keeps "
    "its data with --data-dir.",
    403: "Use a key that has the scope, or the root key; `spacelane key create --help` shows how to make one.",
    413: "The server limits the size of files: see max_file_bytes in its configuration.",
    429: "Free some room or ask the server's operator to raise the limit.",
}
# It tells of every call, and the demo's calls are made in the server's process.
logging.getLogger("httpx").setLevel(logging.WARNING)

NOT_OURS = "Give --url the control API's address (by default http://127.0.0.1:8081), not the address visitors use."
SERVER_TROUBLE = "The server's log says more; then run the command again."


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where the control API is, the key to it, and where that was found, for error messages."""

    url: str
    key: str
    source: str


@dataclass(frozen=True, slots=True)
class RemoteSite:
    """A site as far as publishing needs it."""

    id: str
    domain: str
    prefix: str
    index: str


class Client:
    """An open connection to the control API; use with `async with`."""

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

    async def find_visitors(self) -> str | None:
        """The address at which the server answers visitors, if it says so."""
        try:
            answer = await self._http.get(f"{self._url}/readyz")  # 503 while it starts says it as well
            address = answer.json().get("visitors")
        except (httpx.HTTPError, ValueError, AttributeError):
            return None
        return address if isinstance(address, str) else None

    async def find_space(self, ref: str) -> str | None:
        """The id of the space that `ref` (an id or `@alias`) names."""
        answer = await self._find(f"space/{_segment(ref)}/fetch")
        return str(answer["id"]) if answer else None

    async def create_space(self, alias: str, name: str) -> str:
        """Its id. Raises `ApiError` 409 if the alias is taken."""
        return str((await self._call("POST", "space/create", json={"alias": alias, "name": name}))["id"])

    async def find_site(self, space_ref: str, domain: str) -> RemoteSite | None:
        """The space's site at `domain`; None also if there is no such space. Raises `ApiError` 400 for a bad domain."""
        answer = await self._find(f"space/{_segment(space_ref)}/site/list", params={"domain": domain})
        items = answer["items"] if answer else []
        return _site(items[0]) if items else None

    async def list_sites(self, space_id: str) -> AsyncIterator[RemoteSite]:
        """Every site of the space, fetched a page at a time."""
        async for item in self._list(f"space/{space_id}/site/list"):
            yield _site(item)

    async def create_site(self, space_id: str, domain: str, prefix: str) -> str:
        """Its id. Raises `ApiError` 409 if the domain is taken."""
        body = {"domain": domain, "name": domain, **({"prefix": prefix} if prefix else {})}
        return str((await self._call("POST", f"space/{space_id}/site/create", json=body))["id"])

    async def list_files(self, space_id: str, folder: str) -> AsyncIterator[tuple[str, str]]:
        """(path, digest) of every live file below `folder`, by path, fetched a page at a time."""
        where = f"space/{space_id}/storage/list" + (f"/{quote(folder)}" if folder else "")
        async for item in self._list(where, recursive="true"):
            yield item["path"], item["digest"]

    async def create_deployment(
        self, space_id: str, files: Mapping[str, tuple[str, int]], *, prefix: str, message: str
    ) -> tuple[str, list[str]]:
        """The new deployment's id and the digests to upload. `files`: path relative to `prefix` → (digest, size)."""
        body = {
            "files": {path: {"digest": digest, "size": size} for path, (digest, size) in files.items()},
            "mode": "replace",
            **({"prefix": prefix} if prefix else {}),
            **({"message": message} if message else {}),
        }
        answer = await self._call("POST", f"space/{space_id}/deployment/create", json=body)
        return answer["id"], answer["missing"]

    async def upload_blob(
        self,
        space_id: str,
        deployment_id: str,
        digest: str,
        size: int,
        read: Callable[[], AsyncIterator[bytes]],
    ) -> None:
        """Send `size` bytes; `read` is called anew for each attempt."""
        await self._call(
            "POST",
            f"space/{space_id}/deployment/{deployment_id}/blob/{digest}",
            headers={"Content-Type": "application/octet-stream", "Content-Length": str(size)},
            content=read,
        )

    async def activate(self, space_id: str, deployment_id: str) -> None:
        """Publish the deployment."""
        await self._call("POST", f"space/{space_id}/deployment/{deployment_id}/activate", json={})

    async def create_key(
        self,
        name: str,
        scopes: list[str],
        *,
        expires_at: str | None,
        dialect: str | None,
        workspace: str | None = None,
    ) -> tuple[str, str]:
        """The new key's id and its secret, which nobody can be told again: a lost answer is an error."""
        optional = {"expiresAt": expires_at, "dialect": dialect, "workspace": workspace}
        body = {"name": name, "scopes": scopes, **{field: value for field, value in optional.items() if value}}
        answer = await self._call("POST", "key/create", json=body)
        return answer["id"], answer["secret"]

    async def list_keys(self, workspace: str | None) -> AsyncIterator[dict[str, Any]]:
        """Every key of the workspace, by default the caller's own, as the API shows it."""
        async for item in self._list("key/list", **({"workspace": workspace} if workspace else {})):
            yield item

    async def revoke_key(self, key_id: str) -> None:
        """End the key."""
        await self._call("POST", f"key/{_segment(key_id)}/revoke", json={})

    async def create_workspace(self, fields: Mapping[str, object]) -> str:
        """Its id. Raises `ApiError` 409 if the alias is taken."""
        return str((await self._call("POST", "workspace/create", json=fields))["id"])

    async def list_workspaces(self) -> AsyncIterator[dict[str, Any]]:
        """Every workspace, as the API shows it."""
        async for item in self._list("workspace/list"):
            yield item

    async def update_workspace(self, ref: str, fields: Mapping[str, object]) -> str:
        """Change the workspace with this id or alias; its id."""
        return str((await self._call("POST", f"workspace/{_segment(ref)}/update", json=fields))["id"])

    async def _list(self, path: str, **query: str) -> AsyncIterator[dict[str, Any]]:
        """Every item of a list, the oldest or the first in order first."""
        query |= {"order": "asc", "take": str(PAGE)}
        while True:
            answer = await self._call("GET", path, params=query)
            for item in answer["items"]:
                yield item
            if not answer["cursor"]:
                return
            query["cursor"] = answer["cursor"]

    async def _find(self, path: str, **options: Any) -> dict[str, Any] | None:
        """What is at `path`; None if it does not exist."""
        try:
            return await self._call("GET", path, **options)
        except ApiError as exc:
            if exc.status == 404 and exc.code == "NOT_FOUND":
                return None
            raise

    async def _call(
        self, method: str, path: str, *, content: Callable[[], AsyncIterator[bytes]] | None = None, **options: Any
    ) -> dict[str, Any]:
        """The answer's JSON object."""
        attempt = 0
        while True:
            attempt += 1
            try:
                response = await self._http.request(method, path, content=content() if content else None, **options)
            except (httpx.UnsupportedProtocol, httpx.InvalidURL) as exc:
                raise CliError(f"{self._url} is not a URL.", NOT_OURS, exit_code=USAGE) from exc
            except httpx.TransportError as exc:
                if not self._answered or attempt == ATTEMPTS:
                    raise self._unreachable(exc) from exc
                wait = 0.0
            else:
                self._answered = True
                if response.status_code not in BUSY or attempt == ATTEMPTS or _is_quota(response):
                    return self._parse(response)
                wait = _retry_after(response)
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
            raise CliError(f"{self._url} answers, but not as a Spacelane control API.", NOT_OURS)
        if response.is_success:
            return answer
        error = answer.get("error")
        if not isinstance(error, dict):
            raise CliError(f"{self._url} answers, but not as a Spacelane control API.", NOT_OURS)
        raise _refusal(response, error, self._source)


def is_local(url: str) -> bool:
    """Whether `url` names this machine's loopback interface."""
    try:
        host = httpx.URL(url).host
        return host == "localhost" or host.endswith(".localhost") or ipaddress.ip_address(host).is_loopback
    except (httpx.InvalidURL, ValueError):
        return False


def _site(item: Mapping[str, Any]) -> RemoteSite:
    # The API writes a folder with a slash in front, and none for the whole space as null.
    return RemoteSite(item["id"], item["domain"], (item["prefix"] or "").strip("/"), item["index"])


def _segment(text: str) -> str:
    return quote(text, safe="@")


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


def _is_quota(response: httpx.Response) -> bool:
    """429 says both "too fast", which waiting mends, and "too much", which it does not."""
    return response.status_code == 429 and "retry-after" not in response.headers


def _retry_after(response: httpx.Response) -> float:
    value = response.headers.get("retry-after", "")
    return min(float(value), LONGEST_WAIT) if value.isascii() and value.isdigit() else 0.0


def _describe(exc: httpx.TransportError) -> str:
    return str(exc) or type(exc).__name__

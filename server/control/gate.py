"""What a request passes before its endpoint sees it. FastAPI would read the body first; here the order is

1. credential (401), and whether too many bad ones came from there (429)
2. how often it has been used in the last minute (429)
3. scope, and what a token is confined to (403)
4. the URL's text, content type and announced size (400, 415, 413)
5. the body, read up to a limit and parsed (413, 400)
6. whether it has been answered before (409, or that answer)

and then FastAPI validates what was sent (400), and the endpoint looks for the objects (404).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal
from urllib.parse import unquote_to_bytes

from fastapi.routing import APIRoute
from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from server.control.auth import Authenticator, Caller, Scope
from server.control.bodies import LARGE_AT_ONCE, open_json, require_json
from server.control.call import Call
from server.control.config import ControlConfig
from server.control.errors import SITES_PREFIX, ApiError, Detail, bad_request, is_of_sites
from server.control.forms import CSV, JSONL
from server.control.idempotency import answer_once, parse_key
from server.control.openapi import SECRET, SECURITY_SCHEME
from server.control.rates import Rates, Standing, render_headers
from storage.blobs import BlobStore
from storage.calls import Actor
from storage.errors import NotFound, QuotaExceeded
from storage.metadata import MetadataStore
from storage.workspaces import Workspace

HEAVY_AT_ONCE = 2  # archives and comparisons: each keeps a processor busy, and has all of a space's paths in memory

# In the OpenAPI document.
LARGE_BODY = "x-large-body"  # the larger of the two limits of JSON bodies applies
CONFINABLE = "x-confinable"  # it is about no one space, and shows a token that is confined only what it may see

FOR_ROOT = "an id or alias, for the root key only"  # what a parameter that names a workspace takes
BYTES_TYPE = "application/octet-stream"
BYTES = {"schema": {"type": "string", "format": "binary"}}
TEXT = {"schema": {"type": "string"}}

# What else than JSON an endpoint answers, by media type.
FILE = {"*/*": BYTES}
RECORDS = {JSONL: TEXT}
EXPORT = {JSONL: TEXT, CSV: TEXT}


def declare(
    scope: Scope | Literal["root", "any"] | None,
    answer: type[BaseModel] | None,
    *,
    also: Mapping[str, Any] | None = None,
    statuses: Sequence[int] = (),
    large_body: bool = False,
    confinable: bool = False,
    secret: bool = False,
    success: int = 200,
    **extra: Any,
) -> dict[str, Any]:
    """The arguments of a route that wants `scope` and answers `answer`, or `also` (by media type), with `success`.

    The scope "root" is the root key's own, "any" any good credential; None wants none. A token that is confined to
    spaces passes where the path names the space, and where the route is `confinable`, which is a promise to keep it to
    them. The answer of a `secret` one is given once only. `statuses` are those that no rule of `openapi` gives it;
    `extra` goes into its OpenAPI.
    """
    scopes = [] if scope == "any" else [scope]
    openapi: dict[str, Any] = {"security": [{SECURITY_SCHEME: scopes}] if scope else [], **extra}
    marks = ((LARGE_BODY, large_body), (CONFINABLE, confinable), (SECRET, secret))
    openapi |= {name: True for name, holds in marks if holds}
    facts: dict[str, Any] = {"model": answer} if answer else {}
    if also:
        facts["content"] = dict(also)
    responses: dict[int | str, dict[str, Any]] = {success: facts, **{each: {"description": ""} for each in statuses}}
    response_class = JSONResponse if answer else Response
    return {
        "openapi_extra": openapi,
        "responses": responses,
        "response_class": response_class,
        "status_code": success,
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class Needs:
    """What a route wants of its caller."""

    scope: str | None
    confinable: bool

    @classmethod
    def of(cls, route: APIRoute) -> Needs:
        """As it was declared."""
        openapi = route.openapi_extra or {}
        scopes = openapi["security"][0][SECURITY_SCHEME]
        return cls(
            scope=scopes[0] if scopes else None,
            confinable="{spaceId}" in route.path or openapi.get(CONFINABLE, False),
        )

    def check(self, caller: Caller) -> None:
        """Raises 403."""
        if self.scope is not None:
            caller.require(self.scope)
        if caller.spaces is not None and not self.confinable:
            raise ApiError(403, "NOT_AUTHORIZED", "This token is confined to spaces, and this is not about one of them")


@dataclass(frozen=True, slots=True, kw_only=True)
class Gate:
    """The application's stores and settings, as `app.state.gate`."""

    metadata: MetadataStore
    blobs: BlobStore
    config: ControlConfig
    rates: Rates
    authenticator: Authenticator
    turns: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(LARGE_AT_ONCE))  # of large JSON bodies
    heavy: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(HEAVY_AT_ONCE))  # of long work

    async def open(self, request: Request, needs: Needs) -> None:
        """Let `request` in, as `request.state.call`; raises 401, 429, 403 or 400."""
        caller = await self.authenticator.authenticate(request)
        workspace = await self.metadata.find_workspace(caller.workspace_id)
        if workspace is None:
            raise NotFound("workspace", caller.workspace_id)
        self._count(request, caller, workspace)
        needs.check(caller)
        _check_dialect(request, caller)
        check_url(request)
        actor = Actor(kind=caller.kind, key_id=caller.key_id, request_id=request.state.request_id)
        request.state.call = Call(
            metadata=self.metadata.acting(actor),
            blobs=self.blobs,
            config=self.config,
            turns=self.turns,
            heavy=self.heavy,
            rates=self.rates,
            caller=caller,
            workspace=workspace,
        )

    def _count(self, request: Request, caller: Caller, workspace: Workspace) -> None:
        """One more request of the caller's key, and of its workspace; raises 429."""
        standings = []
        if limit := self.config.requests_per_minute:
            standings.append(self.rates.count("key", caller.key_id or "root", limit))
        # Not of the root key's: it is what raises the limit again.
        allowed = workspace.requests_per_minute
        if allowed is not None and caller.kind != "root" and all(each.allowed for each in standings):
            standings.append(self.rates.count("workspace", workspace.id, allowed))
        request.state.answer_headers = render_headers(standings)
        for standing in standings:
            if not standing.allowed:
                raise _too_many(standing)


def _check_dialect(request: Request, caller: Caller) -> None:
    """Raises 403 for a key of the Sites API elsewhere: its scopes would mean other sites there."""
    if caller.dialect == "sites" and not is_of_sites(request):
        raise ApiError(403, "NOT_AUTHORIZED", f"This {caller.noun} is for the Sites API, below {SITES_PREFIX}/sites")


def _too_many(standing: Standing) -> ApiError:
    if standing.policy == "workspace":
        message = str(QuotaExceeded("requestsPerMinute", standing.limit, f"wait {standing.wait} seconds"))
        return ApiError(429, "LIMITS_REACHED", message)
    message = f"This key has made its {standing.limit} requests of this minute: wait {standing.wait} seconds"
    return ApiError(429, "TOO_MANY_REQUESTS", message)


def check_url(request: Request) -> None:
    """Raises 400 for text that no store can keep: what is not UTF-8, and NUL."""
    for part, raw in (("path", request.scope["raw_path"]), ("query", request.scope["query_string"])):
        text = unquote_to_bytes(raw)
        try:
            text.decode()
        except UnicodeDecodeError:
            raise bad_request([Detail(part, "is not valid UTF-8")]) from None
        if b"\0" in text:
            raise bad_request([Detail(part, "has a NUL character")])


class _JsonRequest(Request):
    """A request whose body has been read and parsed."""

    def __init__(self, request: Request, value: Any) -> None:
        super().__init__(request.scope)
        self._value = value

    async def body(self) -> bytes:
        return b"{}"  # FastAPI only asks whether there is any

    async def json(self) -> Any:
        return self._value


class ControlRoute(APIRoute):
    """An endpoint of `/api/v1` or `/v1`; made with the arguments of `declare`."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()
        needs = Needs.of(self)
        openapi = self.openapi_extra or {}
        large_body, secret = openapi.get(LARGE_BODY, False), openapi.get(SECRET, False)
        takes_json = self.body_field is not None

        async def pass_gate(request: Request) -> Response:
            gate: Gate = request.app.state.gate
            await gate.open(request, needs)
            if takes_json:
                require_json(request)
                limit = gate.config.max_large_json_bytes if large_body else gate.config.max_json_bytes
                key = parse_key(request, secret=secret)
                async with open_json(request, limit, gate.turns, gate.config.body_folder) as body:
                    inner = _JsonRequest(request, body.value)
                    return await answer_once(request, key, body.digest, lambda: handle(inner))
            return await handle(request)

        return pass_gate

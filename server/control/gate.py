"""What a request passes before its endpoint sees it. FastAPI would read the body first; here the order is

1. credential (401)
2. scope (403)
3. the URL's text, content type and announced size (400, 415, 413)
4. the body, read up to a limit and parsed (413, 400)

and then FastAPI validates what was sent (400), and the endpoint looks for the objects (404).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote_to_bytes

from fastapi.routing import APIRoute
from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from server.control.auth import Authenticator, Scope
from server.control.bodies import LARGE_AT_ONCE, open_json, require_json
from server.control.call import Call
from server.control.config import ControlConfig
from server.control.errors import Detail, bad_request
from server.control.forms import CSV, JSONL
from server.control.openapi import SECURITY_SCHEME
from storage.blobs import BlobStore
from storage.metadata import MetadataStore

LARGE_BODY = "x-large-body"  # in the OpenAPI document: the larger of the two limits of JSON bodies applies

BYTES_TYPE = "application/octet-stream"
BYTES = {"schema": {"type": "string", "format": "binary"}}
TEXT = {"schema": {"type": "string"}}

# What else than JSON an endpoint answers, by media type.
FILE = {"*/*": BYTES}
RECORDS = {JSONL: TEXT}
EXPORT = {JSONL: TEXT, CSV: TEXT}


def declare(
    scope: Scope | None,
    answer: type[BaseModel] | None,
    *,
    also: Mapping[str, Any] | None = None,
    statuses: Sequence[int] = (),
    large_body: bool = False,
    **extra: Any,
) -> dict[str, Any]:
    """The arguments of a route that wants `scope` (None: no key) and answers `answer`, or `also` (by media type).

    `statuses` are those that no rule of `openapi` gives it; `extra` goes into its OpenAPI.
    """
    openapi: dict[str, Any] = {"security": [{SECURITY_SCHEME: [scope]}] if scope else [], **extra}
    if large_body:
        openapi[LARGE_BODY] = True
    facts: dict[str, Any] = {"model": answer} if answer else {}
    if also:
        facts["content"] = dict(also)
    responses: dict[int | str, dict[str, Any]] = {200: facts, **{status: {"description": ""} for status in statuses}}
    return {"openapi_extra": openapi, "responses": responses, "response_class": JSONResponse if answer else Response}


@dataclass(frozen=True, slots=True, kw_only=True)
class Gate:
    """The application's stores and settings, as `app.state.gate`."""

    metadata: MetadataStore
    blobs: BlobStore
    config: ControlConfig
    authenticator: Authenticator
    turns: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(LARGE_AT_ONCE))  # of large JSON bodies

    async def open(self, request: Request, scope: str) -> None:
        """Let `request` in, as `request.state.call`; raises 401, 403 or 400."""
        caller = await self.authenticator.authenticate(request)
        caller.require(scope)
        check_url(request)
        request.state.call = Call(
            metadata=self.metadata, blobs=self.blobs, config=self.config, turns=self.turns, caller=caller
        )


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
    """An endpoint of `/api/v1`; made with the arguments of `declare`."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()
        openapi = self.openapi_extra or {}
        (scope,) = openapi["security"][0][SECURITY_SCHEME]
        large_body = openapi.get(LARGE_BODY, False)
        takes_json = self.body_field is not None

        async def pass_gate(request: Request) -> Response:
            gate: Gate = request.app.state.gate
            await gate.open(request, scope)
            if takes_json:
                require_json(request)
                limit = gate.config.max_large_json_bytes if large_body else gate.config.max_json_bytes
                async with open_json(request, limit, gate.turns) as value:
                    return await handle(_JsonRequest(request, value))
            return await handle(request)

        return pass_gate

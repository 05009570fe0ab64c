"""Calls that may be repeated: with the same Idempotency-Key and body, the first answer comes again within a day.

1. note that the call begins; whoever comes second gets the first one's answer, or 409 while there is none
2. let the endpoint answer
3. keep the answer, unless the next try may well be answered otherwise: then it is as if there had been none

A key counts for one credential and one URL. A call that the server did not live to answer may have taken place or not,
so it is not made again: the caller is told to look.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Awaitable, Callable
from contextlib import suppress

from starlette.requests import Request
from starlette.responses import Response

from server.control.auth import Caller
from server.control.errors import HANDLERS, ApiError, Detail, answer_refusal, bad_request
from server.control.openapi import IDEMPOTENCY_KEY, IDEMPOTENCY_REPLAYED, MAX_KEY
from storage.calls import Attempt
from storage.errors import StorageError
from storage.ids import new_id
from storage.metadata import MetadataStore
from storage.models import Millis

KEPT: Millis = 24 * 3_600_000
MAX_KEPT = 100_000  # answers of one workspace
MAX_ANSWER = 64 * 1024  # bytes; a larger one is not kept, and the call is made anew
PATIENCE: Millis = 60_000  # after which a call without an answer is taken to have been cut short

# What another try may change: the credential, the rate, and whatever ails the server.
PASSING = frozenset({401, 403, 429})


def parse_key(request: Request, *, secret: bool) -> str | None:
    """The request's key; raises 400 for one that cannot be used, or at all if the answer is to hold a `secret`."""
    given = request.headers.getlist(IDEMPOTENCY_KEY)
    if not given:
        return None
    if secret:
        raise _refusal("cannot be used here: the answer holds a secret, which is not kept. Leave it out")
    if len(given) > 1 or not 0 < len(given[0]) <= MAX_KEY or not (given[0].isascii() and given[0].isprintable()):
        raise _refusal(f"must be one, of 1 to {MAX_KEY} printable ASCII characters")
    return given[0]


async def answer_once(
    request: Request, key: str | None, body_digest: str, handle: Callable[[], Awaitable[Response]]
) -> Response:
    """The answer of `handle`, or, with a key, the one that it gave before."""
    if key is None:
        return await handle()
    call = request.state.call
    once = _Once(call.metadata, call.workspace.id, scope_of(request, call.caller, key))
    now = call.config.clock()
    new = Attempt(id=new_id("attempt"), body_digest=body_digest, started_at=now, status=None, answer=None)
    attempt = await once.begin(new)
    if attempt.id != new.id:
        return _repeat(attempt, body_digest, now)
    try:
        response = await handle()
    except tuple(HANDLERS) as exc:
        response = await answer_refusal(request, exc)
    except Exception:
        await once.forget(attempt)
        raise
    await once.end(attempt, response)
    return response


def scope_of(request: Request, caller: Caller, key: str) -> str:
    """What makes two calls the same but for their bodies, as a digest. A token that is confined is another caller than
    one that is not."""
    spaces = None if caller.spaces is None else sorted(caller.spaces)
    url = [request.url.path, request.url.query]
    facts = json.dumps([caller.workspace_id, caller.key_id, spaces, url, key])
    return hashlib.sha256(facts.encode()).hexdigest()


class _Once:
    """One call's place in the store."""

    def __init__(self, metadata: MetadataStore, workspace_id: str, scope: str) -> None:
        self._metadata = metadata
        self._workspace_id = workspace_id
        self._scope = scope

    async def begin(self, new: Attempt) -> Attempt:
        return await self._metadata.begin_attempt(self._workspace_id, self._scope, new, since=new.started_at - KEPT)

    async def end(self, attempt: Attempt, response: Response) -> None:
        """Keep the answer, if it is one to keep. It goes out in any case: what it tells of has taken place."""
        status, body = response.status_code, getattr(response, "body", None)  # one that streams has none
        if status >= 500 or status in PASSING or body is None or len(body) > MAX_ANSWER:
            await self.forget(attempt)
            return
        with suppress(StorageError):
            await self._metadata.end_attempt(self._workspace_id, self._scope, attempt.id, status, bytes(body).decode())

    async def forget(self, attempt: Attempt) -> None:
        with suppress(StorageError):
            await self._metadata.forget_attempt(self._workspace_id, self._scope, attempt.id)


def _repeat(attempt: Attempt, body_digest: str, now: Millis) -> Response:
    if attempt.body_digest != body_digest:
        raise ApiError(409, "CONFLICT", f"This {IDEMPOTENCY_KEY} came with another body before: use a new one")
    if attempt.status is not None:
        return Response(attempt.answer, attempt.status, {IDEMPOTENCY_REPLAYED: "true"}, "application/json")
    if now - attempt.started_at < PATIENCE:
        message = f"The first call with this {IDEMPOTENCY_KEY} is still running: try again in a moment"
        raise ApiError(409, "CONFLICT", message, headers={"Retry-After": "1"})
    raise ApiError(
        409,
        "CONFLICT",
        f"The first call with this {IDEMPOTENCY_KEY} was cut short: look whether it took place, then use a new one",
    )


def _refusal(reason: str) -> ApiError:
    return bad_request([Detail(IDEMPOTENCY_KEY, reason)])

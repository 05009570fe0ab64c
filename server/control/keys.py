"""Secret keys: create, list, revoke; and tokens made from them."""

from __future__ import annotations

from functools import partial
from typing import Annotated, TypeAlias

from fastapi import APIRouter, Query
from pydantic import BeforeValidator, FailFast, Field, WithJsonSchema
from starlette.responses import Response

from server.control import tokens
from server.control.auth import Scope, hash_secret
from server.control.call import CurrentCall
from server.control.errors import ApiError
from server.control.fields import WHOLE, Body, NoFields, ShortText, refusal
from server.control.gate import FOR_ROOT, RECORDS, ControlRoute, declare
from server.control.pagination import CurrentListQuery
from server.control.records import answer_list
from server.control.views import IdView, KeyView, ListView, NewKeyView, NewTokenView, parse_time
from storage.errors import Invalid
from storage.ids import new_secret
from storage.models import Dialect, Millis, NewKey

router = APIRouter(route_class=ControlRoute, tags=["Keys"])

HOUR: Millis = 3_600_000
DAY: Millis = 24 * HOUR
MAX_SPACES = 100  # that a token is confined to: it has to fit into a header
LAST_TIME: Millis = 253_402_300_799_999  # the end of the year 9999, past which ISO 8601 has no four-digit year


def _parse_expiry(value: object) -> object:
    """Epoch milliseconds from ISO 8601 with a zone; numbers stay as they are."""
    if not isinstance(value, str):
        return value
    try:
        return parse_time(value)
    except ValueError:
        reason = "is not a time: ISO 8601 with a zone, such as 2030-01-31T12:00:00Z, or epoch milliseconds"
        raise refusal(reason) from None


Expiry: TypeAlias = Annotated[
    Annotated[int, Field(le=LAST_TIME), WHOLE] | None,
    BeforeValidator(_parse_expiry),
    WithJsonSchema({"anyOf": [{"type": "string", "format": "date-time"}, {"type": "integer"}, {"type": "null"}]}),
]
NamedWorkspace: TypeAlias = Annotated[str | None, Field(min_length=1, description=f"whose key it is to be: {FOR_ROOT}")]
Scopes: TypeAlias = Annotated[list[Scope], Field(min_length=1), FailFast()]


SITES_SCOPES: frozenset[str] = frozenset({"sites:read", "sites:write"})
SITES_SECRET = "vk_live_"  # what keys of the Sites API begin with


class NewKeyFields(Body):
    """`scopes` may hold only what the creating key has; `dialect` sdk is what published client libraries expect, sites
    makes a key, `vk_live_…`, for the Sites API alone, with the scopes `sites:read` and `sites:write`."""

    name: Annotated[ShortText, Field(min_length=1)]
    scopes: Scopes
    dialect: Dialect = "spacelane"
    expires_at: Expiry = None
    workspace: NamedWorkspace = None


class TokenFields(Body):
    """`scopes` may hold only what the key has. `spaces`, ids or aliases, confine the token: every other space is to it
    as another workspace's. It ends after an hour unless `expiresAt` says otherwise, after a day at most, and never
    later than its key."""

    scopes: Scopes
    spaces: Annotated[list[str], Field(min_length=1, max_length=MAX_SPACES)] | None = None
    expires_at: Expiry = None


@router.post("/key/create", **declare("keys:write", NewKeyView, statuses=(404,), secret=True))
async def create_key(body: NewKeyFields, call: CurrentCall) -> Response:
    """Create a secret key. The answer is the only time that its secret is shown."""
    scopes: frozenset[str] = frozenset(body.scopes)
    if body.expires_at is not None and body.expires_at <= call.config.clock():
        raise Invalid("expiresAt", "must be in the future")
    of_sites = body.dialect == "sites"
    if of_sites and (foreign := sorted(scopes - SITES_SCOPES)):
        raise Invalid("scopes", f"has {foreign[0]}, which a key of the dialect sites cannot have: leave it out")
    call.caller.check_gift(scopes)
    workspace_id = await call.choose_workspace(body.workspace)
    secret = new_secret(SITES_SECRET) if of_sites else new_secret()
    key = await call.metadata.create_key(
        NewKey(
            workspace_id=workspace_id,
            name=body.name,
            secret_hash=hash_secret(secret.encode()),
            scopes=scopes,
            dialect=body.dialect,
            expires_at=body.expires_at,
        )
    )
    return call.answer(NewKeyView(id=key.id, secret=secret))


@router.get("/key/list", **declare("keys:write", ListView[KeyView], also=RECORDS, statuses=(404,)))
async def list_keys(
    query: CurrentListQuery,
    call: CurrentCall,
    workspace: Annotated[str | None, Query(description=f"Of another workspace: {FOR_ROOT}")] = None,
) -> Response:
    """List the workspace's keys, without their secrets; expired and revoked ones too."""
    read = partial(call.metadata.list_keys, await call.choose_workspace(workspace))
    return await answer_list(call, query, "key", read, KeyView)


@router.post("/key/{keyId}/revoke", **declare("keys:write", IdView))
async def revoke_key(keyId: str, body: NoFields, call: CurrentCall) -> Response:
    """Revoke a key: the next request with it, or with a token that it made, is refused."""
    key = await call.get_key(keyId)
    await call.metadata.revoke_key(key.id)
    return call.answer_id(key.id)


@router.post("/key/token", **declare("any", NewTokenView, statuses=(404,), secret=True))
async def create_token(body: TokenFields, call: CurrentCall) -> Response:
    """Make a token, a JWT, that has some of the key's scopes for a while. Revoking the key ends its tokens too."""
    caller, now = call.caller, call.config.clock()
    if caller.kind == "token":
        raise ApiError(403, "NOT_AUTHORIZED", "A token cannot make tokens: use a secret key")
    caller.check_gift(frozenset(body.scopes))
    claims = tokens.Claims(
        sub=caller.key_id or tokens.ROOT_SUBJECT,
        workspace=caller.workspace_id,
        exp=_token_end(body.expires_at, caller.expires_at, now) // 1000,
        scopes=sorted(set(body.scopes)),
        spaces=None if body.spaces is None else sorted({(await call.get_space(ref)).id for ref in body.spaces}),
    )
    token = tokens.mint(claims, call.config.token_secrets[0], now)
    return call.answer(NewTokenView(token=token, expires_at=int(claims.exp) * 1000))


def _token_end(asked: Millis | None, key_end: Millis | None, now: Millis) -> Millis:
    """When a token ends; raises `Invalid`."""
    end = now + HOUR if asked is None else asked
    if end <= now:
        raise Invalid("expiresAt", "must be in the future")
    if end > now + DAY:
        raise Invalid("expiresAt", "must be within a day: use a key for what is to last longer")
    return end if key_end is None else min(end, key_end)

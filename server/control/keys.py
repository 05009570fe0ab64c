"""Secret keys: create, list, revoke."""

from __future__ import annotations

from functools import partial
from typing import Annotated

from fastapi import APIRouter
from pydantic import BeforeValidator, FailFast, Field, WithJsonSchema
from starlette.responses import Response

from server.control.auth import Scope, hash_secret
from server.control.call import CurrentCall
from server.control.errors import ApiError
from server.control.fields import Body, NoFields, ShortText, refusal
from server.control.gate import RECORDS, ControlRoute, declare
from server.control.pagination import CurrentListQuery
from server.control.records import answer_list
from server.control.views import IdView, KeyView, ListView, NewKeyView, parse_time
from storage.errors import Invalid
from storage.ids import new_secret
from storage.models import Dialect, Millis, NewKey

router = APIRouter(route_class=ControlRoute, tags=["Keys"])

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


class NewKeyFields(Body):
    """`scopes` may hold only what the creating key has; `dialect` sdk is what published client libraries expect."""

    name: Annotated[ShortText, Field(min_length=1)]
    scopes: Annotated[list[Scope], Field(min_length=1), FailFast()]
    dialect: Dialect = "spacelane"
    expires_at: Annotated[
        Annotated[int, Field(le=LAST_TIME)] | None,
        BeforeValidator(_parse_expiry),
        WithJsonSchema({"anyOf": [{"type": "string", "format": "date-time"}, {"type": "integer"}, {"type": "null"}]}),
    ] = None


@router.post("/key/create", **declare("keys:write", NewKeyView))
async def create_key(body: NewKeyFields, call: CurrentCall) -> Response:
    """Create a secret key. The answer is the only time that its secret is shown."""
    scopes: frozenset[str] = frozenset(body.scopes)
    if body.expires_at is not None and body.expires_at <= call.config.clock():
        raise Invalid("expiresAt", "must be in the future")
    if lacking := sorted(scopes - call.caller.scopes):
        raise ApiError(403, "NOT_AUTHORIZED", f"This key cannot give what it lacks: {', '.join(lacking)}")
    secret = new_secret()
    key = await call.metadata.create_key(
        NewKey(
            workspace_id=call.caller.workspace_id,
            name=body.name,
            secret_hash=hash_secret(secret.encode()),
            scopes=scopes,
            dialect=body.dialect,
            expires_at=body.expires_at,
        )
    )
    return call.answer(NewKeyView(id=key.id, secret=secret))


@router.get("/key/list", **declare("keys:write", ListView[KeyView], also=RECORDS))
async def list_keys(query: CurrentListQuery, call: CurrentCall) -> Response:
    """List the workspace's keys, without their secrets; expired and revoked ones too."""
    read = partial(call.metadata.list_keys, call.caller.workspace_id)
    return await answer_list(call, query, "key", read, KeyView)


@router.post("/key/{keyId}/revoke", **declare("keys:write", IdView))
async def revoke_key(keyId: str, body: NoFields, call: CurrentCall) -> Response:
    """Revoke a key: the next request with it is refused."""
    key = await call.get_key(keyId)
    await call.metadata.revoke_key(key.id)
    return call.answer_id(key.id)

"""Revoking OAuth tokens, as each provider's row of `providers.toml` says; the only use of httpx in the server."""

from __future__ import annotations

import asyncio
import json
import tomllib
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib.resources import files
from typing import Any, Literal, NamedTuple, TypeAlias

import httpx

from storage.widgets import Outcome

FILE = "providers.toml"
SECONDS = 10.0  # for one call
MAX_ANSWER = 64 * 1024  # bytes of an answer that are looked at

Call: TypeAlias = Literal["rfc7009", "delete", "none"]

# What a provider answers for tokens that count no more: RFC 7009 §2.2 says 200, Google says invalid_token; a shop that
# has forgotten the app says 401 or 404, and 403 while it is closed.
_SPENT_ERRORS = frozenset({"invalid_token"})
_SPENT_STATUSES = frozenset({401, 403, 404})


class NotRevoked(Exception):
    """Trying again may help; the text says what happened, and has no token in it."""


class Result(NamedTuple):
    """What became of a connection; if it is pending, why."""

    name: Outcome
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Provider:
    """A row; see the file."""

    call: Call
    url: str = ""
    header: str = ""
    why: str = ""


def read_providers() -> Mapping[str, Provider]:
    """By name."""
    rows = tomllib.loads(files("server").joinpath(FILE).read_text("utf-8"))
    return {name: Provider(**row) for name, row in rows.items()}


async def revoke_all(
    providers: Mapping[str, Provider], connections: Sequence[Mapping[str, Any]], before: Sequence[Outcome]
) -> Sequence[Result]:
    """What becomes of each of `connections`, as `server.control.widget_fields.OAuthConnection` has them, where `before`
    says that it is pending."""
    # No redirect is followed: it might lead anywhere.
    async with httpx.AsyncClient(timeout=SECONDS, follow_redirects=False) as client:
        return await asyncio.gather(
            *(
                _try(client, providers[connection["provider"]], connection, outcome)
                for connection, outcome in zip(connections, before, strict=True)
            )
        )


async def _try(client: httpx.AsyncClient, provider: Provider, connection: Mapping[str, Any], before: Outcome) -> Result:
    if before != "pending":
        return Result(before)
    try:
        match provider.call:
            case "none":
                return Result("not_offered")
            case "rfc7009":
                # The refresh token first: it could make another of the other.
                for kind in ("refresh_token", "access_token"):
                    if connection[kind]:
                        await _revoke_token(client, provider, connection, kind)
            case "delete":
                await _delete(client, provider, connection)
    except NotRevoked as exc:
        return Result("pending", str(exc))
    return Result("revoked")


async def _revoke_token(
    client: httpx.AsyncClient, provider: Provider, connection: Mapping[str, Any], kind: str
) -> None:
    form = {"token": connection[kind], "token_type_hint": kind}
    client_id, client_secret = connection["client_id"], connection["client_secret"]
    extra: dict[str, Any] = {}
    if client_id and client_secret:
        extra["auth"] = (client_id, client_secret)
    elif client_id:
        form["client_id"] = client_id
    status, error = await _ask(client, "POST", provider.url, data=form, **extra)
    if not (200 <= status < 300 or (status == 400 and error in _SPENT_ERRORS)):
        raise NotRevoked(f"the provider answers {status} {error}".rstrip())


async def _delete(client: httpx.AsyncClient, provider: Provider, connection: Mapping[str, Any]) -> None:
    url = provider.url.format(shop=connection["shop"])
    status, error = await _ask(client, "DELETE", url, headers={provider.header: connection["access_token"]})
    if not (200 <= status < 300 or status in _SPENT_STATUSES):
        raise NotRevoked(f"the provider answers {status} {error}".rstrip())


async def _ask(client: httpx.AsyncClient, method: str, url: str, **extra: Any) -> tuple[int, str]:
    """The status, and the `error` that a JSON answer has (RFC 6749 §5.2)."""
    try:
        # httpx counts anew with each piece that it reads.
        async with asyncio.timeout(SECONDS), client.stream(method, url, **extra) as response:
            body = b""
            async for chunk in response.aiter_bytes():
                body += chunk
                if len(body) > MAX_ANSWER:
                    break
    except (httpx.HTTPError, TimeoutError) as exc:
        raise NotRevoked(f"the provider cannot be reached ({type(exc).__name__})") from None
    error = ""
    with suppress(ValueError, TypeError, KeyError, RecursionError):
        error = str(json.loads(body)["error"])[:100]
    return response.status_code, error

"""Tokens: JSON Web Tokens (RFC 7519) that carry some of a key's rights for a while; the only use of PyJWT.

A token is signed with HS256 and no other algorithm, whatever its head says, by the first of the server's secrets; one
signed by any of them is believed, so that a secret can be replaced while tokens of the old one live.
"""

from __future__ import annotations

from collections.abc import Sequence

import jwt
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from storage.models import Millis

ALGORITHM = "HS256"
AUDIENCE = "api"
ROOT_SUBJECT = "root"  # the `sub` of a token that the root key made; every other is a key's id

# Times are compared with the server's own clock, below.
_OPTIONS: jwt.types.Options = {
    "require": ["aud", "sub", "workspace", "exp", "scopes"],
    "strict_aud": True,
    "verify_exp": False,
    "verify_nbf": False,
    "verify_iat": False,
}


class TokenError(Exception):
    """The token does not count; the text says why, as far as its sender may know."""


class Claims(BaseModel):
    """What a token says. `exp` and `nbf` in seconds since the epoch; `spaces`: the ids it is confined to."""

    model_config = ConfigDict(strict=True, frozen=True, allow_inf_nan=False)

    sub: str
    workspace: str
    exp: float
    nbf: float = 0
    scopes: list[str]
    spaces: list[str] | None = Field(default=None, min_length=1)


def mint(claims: Claims, secret: str, now: Millis) -> str:
    """The token that says `claims`."""
    payload = claims.model_dump(exclude_defaults=True)
    # Whole seconds, as most readers of tokens expect.
    payload |= {"aud": AUDIENCE, "exp": int(claims.exp), "iat": now // 1000}
    return jwt.encode(payload, secret, algorithm=ALGORITHM)


def looks_like_token(secret: bytes) -> bool:
    """Whether it has the form of a token, which no secret key made here has: three parts with dots between."""
    return secret.count(b".") == 2


def parse(token: bytes, secrets: Sequence[str], now: Millis) -> Claims:
    """What a token that counts now says; raises `TokenError`."""
    for secret in secrets:
        try:
            payload = jwt.decode(token, secret, algorithms=[ALGORITHM], audience=AUDIENCE, options=_OPTIONS)
            claims = Claims.model_validate(payload)
            break
        # The head is parsed before its signature is checked, and may be nested as deep as whoever sent it likes.
        except (jwt.PyJWTError, ValidationError, RecursionError):
            continue
    else:
        raise TokenError("This token is not one of this server")
    if claims.exp * 1000 <= now:
        raise TokenError("This token has expired: make a new one with key/token")
    if claims.nbf * 1000 > now:
        raise TokenError("This token does not count yet")
    return claims

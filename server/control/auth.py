"""Who calls, and what they may do: secret keys, their scopes, and when they were last used."""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass
from functools import partial
from typing import Literal, TypeAlias, get_args

from starlette.requests import Request

from server.control.config import ControlConfig
from server.control.errors import ApiError, not_authenticated
from storage.errors import StorageError
from storage.metadata import MetadataStore
from storage.models import Dialect, Key, Millis

Scope: TypeAlias = Literal[
    "spaces:read", "spaces:write", "sites:read", "sites:write", "files:read", "files:write", "keys:write"
]
SCOPES: frozenset[str] = frozenset(get_args(Scope))

TOUCH_INTERVAL: Millis = 60_000  # `lastUsedAt` is that coarse


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """Whoever sent a good credential."""

    workspace_id: str
    scopes: frozenset[str]
    dialect: Dialect

    def require(self, scope: str) -> None:
        """Raises 403 without `scope`."""
        if scope not in self.scopes:
            raise ApiError(403, "NOT_AUTHORIZED", f"This key lacks the scope {scope}: use one that has it")


def hash_secret(secret: bytes) -> str:
    """What is kept of a secret: 256 random bits need no slow hash."""
    return hashlib.sha256(secret).hexdigest()


def bearer_secret(request: Request) -> bytes:
    """The secret of the request's only `Authorization: Bearer` header; raises 401."""
    given = [value for name, value in request.scope["headers"] if name == b"authorization"]
    if not given:
        raise not_authenticated("A key is needed: send it as Authorization: Bearer sk-…")
    scheme, _, secret = given[0].partition(b" ")
    if len(given) > 1 or scheme.lower() != b"bearer" or not secret.strip():
        raise not_authenticated("The Authorization header must be one, of the form: Bearer sk-…")
    return bytes(secret.strip())


class Authenticator:
    """Judges credentials against the store."""

    def __init__(self, metadata: MetadataStore, config: ControlConfig) -> None:
        self._metadata = metadata
        self._config = config
        self._touching: set[str] = set()  # keys whose use is being noted, so that a slow store gets no queue of notes

    async def authenticate(self, request: Request) -> Caller:
        """The caller; raises 401. A key that is known sets the dialect of answers, refusals included."""
        secret_hash = hash_secret(bearer_secret(request))
        root = self._config.root_key_hash
        if root is not None and hmac.compare_digest(secret_hash, root):
            return Caller(workspace_id=self._config.default_workspace_id, scopes=SCOPES, dialect="spacelane")
        key = await self._metadata.find_key_by_hash(secret_hash)
        if key is None or not hmac.compare_digest(secret_hash, key.secret_hash):
            raise not_authenticated("This key is not known here")
        request.state.sdk = key.dialect == "sdk"
        now = self._config.clock()
        if key.revoked_at is not None:
            raise not_authenticated("This key was revoked")
        if key.expires_at is not None and key.expires_at <= now:
            raise not_authenticated("This key has expired")
        if now - (key.last_used_at or 0) >= TOUCH_INTERVAL:
            request.state.after_answer = partial(self._touch, key, now)
        return Caller(workspace_id=key.workspace_id, scopes=key.scopes, dialect=key.dialect)

    async def _touch(self, key: Key, now: Millis) -> None:
        if key.id in self._touching:
            return
        self._touching.add(key.id)
        try:
            await self._metadata.touch_key(key.id, now)
        except StorageError:
            pass  # the answer is out, and the next use notes it again
        finally:
            self._touching.discard(key.id)

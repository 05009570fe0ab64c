"""Who calls, and what they may do: secret keys and tokens, their scopes, and when a key was last used."""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
from collections import OrderedDict
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal, TypeAlias, get_args

from starlette.requests import Request

from server.control import tokens
from server.control.config import ControlConfig
from server.control.errors import ApiError, is_of_sites, not_authenticated
from server.control.rates import Rates, render_headers
from storage.errors import StorageError
from storage.metadata import MetadataStore
from storage.models import Dialect, Key, Millis

Scope: TypeAlias = Literal[
    "spaces:read", "spaces:write", "sites:read", "sites:write", "files:read", "files:write", "keys:write"
]
SCOPES: frozenset[str] = frozenset(get_args(Scope))
ROOT = "root"  # what the root key has beside them, and can give to nobody

MAX_PROVEN = 10_000  # credentials that are remembered to have been good
TOUCH_INTERVAL: Millis = 60_000  # `lastUsedAt` is that coarse


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """Whoever sent a good credential: the root key, another key, or a token that one of these made."""

    kind: Literal["root", "key", "token"]
    key_id: str | None  # the key, or the one that made the token; None: the root key
    workspace_id: str
    scopes: frozenset[str]
    dialect: Dialect
    spaces: frozenset[str] | None = None  # the ids that a token is confined to
    expires_at: Millis | None = None

    def require(self, scope: str) -> None:
        """Raises 403 without `scope`, which may be `ROOT`."""
        if scope in self.scopes:
            return
        if scope == ROOT:
            raise ApiError(403, "NOT_AUTHORIZED", "Only the root key may do this")
        raise ApiError(403, "NOT_AUTHORIZED", f"This {self.noun} lacks the scope {scope}: use one that has it")

    def check_gift(self, scopes: frozenset[str]) -> None:
        """Raises 403 for scopes that the caller lacks, and so cannot give."""
        if lacking := sorted(scopes - self.scopes):
            message = f"This {self.noun} cannot give what it lacks: {', '.join(lacking)}"
            raise ApiError(403, "NOT_AUTHORIZED", message)

    def may_enter(self, space_id: str) -> bool:
        """Whether a space of the workspace is one of those that the caller is confined to, if it is."""
        return self.spaces is None or space_id in self.spaces

    @property
    def noun(self) -> str:
        """What to call its credential."""
        return "token" if self.kind == "token" else "key"


def hash_secret(secret: bytes) -> str:
    """What is kept of a secret: 256 random bits need no slow hash."""
    return hashlib.sha256(secret).hexdigest()


def bearer_secret(request: Request) -> bytes:
    """The secret of the request's only `Authorization: Bearer` header; raises 401."""
    given = [value for name, value in request.scope["headers"] if name == b"authorization"]
    form = "Bearer vk_live_…" if is_of_sites(request) else "Bearer sk-…"
    if not given:
        raise not_authenticated(f"A key is needed: send it as Authorization: {form}")
    scheme, _, secret = given[0].partition(b" ")
    if len(given) > 1 or scheme.lower() != b"bearer" or not secret.strip():
        raise not_authenticated(f"The Authorization header must be one, of the form: {form}")
    return bytes(secret.strip())


def find_address(request: Request) -> str:
    """Where a request comes from: an IPv4 address, or the network of an IPv6 one, all of which one client may have."""
    host = request.client.host if request.client else ""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host
    if isinstance(address, ipaddress.IPv4Address):
        return host
    return str(address.ipv4_mapped or ipaddress.ip_network((int(address), 64), strict=False))


class Authenticator:
    """Judges credentials against the store."""

    def __init__(self, metadata: MetadataStore, config: ControlConfig) -> None:
        self._metadata = metadata
        self._config = config
        self._bad = Rates(config.clock)  # of its own, so that no crowd of addresses makes it forget keys
        self._proven: OrderedDict[str, None] = OrderedDict()  # hashes of credentials that have been good here
        self._root = Caller(
            kind="root",
            key_id=None,
            workspace_id=config.default_workspace_id,
            scopes=SCOPES | {ROOT},
            dialect="spacelane",
        )
        self._touching: set[str] = set()  # keys whose use is being noted, so that a slow store gets no queue of notes

    async def authenticate(self, request: Request) -> Caller:
        """The caller, whose dialect is that of refusals from here on; raises 401, or 429.

        An address from which too many bad credentials came has to wait, whatever it sends: else guessing would cost
        nothing. Those whose credential has been good before are let through, as they may share the address.
        """
        secret = bearer_secret(request)
        secret_hash = hash_secret(secret)
        limit = self._config.bad_credentials_per_minute
        address = find_address(request)
        standing = self._bad.look("bad-credentials", address, limit)
        if not standing.allowed and secret_hash not in self._proven:
            message = f"Too many bad credentials came from this address: wait {standing.wait} seconds"
            raise ApiError(429, "TOO_MANY_REQUESTS", message, headers=render_headers([standing]))
        try:
            caller = await self._judge(request, secret, secret_hash)
        except ApiError:
            self._bad.count("bad-credentials", address, limit)
            raise
        self._prove(secret_hash)
        request.state.sdk = caller.dialect == "sdk"
        return caller

    def _prove(self, secret_hash: str) -> None:
        self._proven[secret_hash] = None
        self._proven.move_to_end(secret_hash)
        if len(self._proven) > MAX_PROVEN:
            self._proven.popitem(last=False)

    async def _judge(self, request: Request, secret: bytes, secret_hash: str) -> Caller:
        root = self._config.root_key_hash
        if root is not None and hmac.compare_digest(secret_hash, root):
            return self._root
        if tokens.looks_like_token(secret):
            return await self._admit_token(request, secret)
        key = await self._metadata.find_key_by_hash(secret_hash)
        if key is None or not hmac.compare_digest(secret_hash, key.secret_hash):
            raise not_authenticated("This key is not known here")
        return self._admit_key(request, key)

    async def _admit_token(self, request: Request, token: bytes) -> Caller:
        """A token counts as long as the key that made it."""
        try:
            claims = tokens.parse(token, self._config.token_secrets, self._config.clock())
        except tokens.TokenError as exc:
            raise not_authenticated(str(exc)) from None
        maker = self._root
        if claims.sub != tokens.ROOT_SUBJECT:
            key = await self._metadata.find_key(claims.sub)
            if key is None:
                raise not_authenticated("The key that made this token is not known here")
            maker = self._admit_key(request, key)
        if maker.workspace_id != claims.workspace:
            raise not_authenticated("The key that made this token belongs to another workspace")
        spaces = None if claims.spaces is None else frozenset(claims.spaces)
        return replace(maker, kind="token", scopes=maker.scopes & frozenset(claims.scopes), spaces=spaces)

    def _admit_key(self, request: Request, key: Key) -> Caller:
        now = self._config.clock()
        if key.revoked_at is not None:
            raise not_authenticated("This key was revoked")
        if key.expires_at is not None and key.expires_at <= now:
            raise not_authenticated("This key has expired")
        if now - (key.last_used_at or 0) >= TOUCH_INTERVAL:
            request.state.after_answer = partial(self._touch, key, now)
        return Caller(
            kind="key",
            key_id=key.id,
            workspace_id=key.workspace_id,
            scopes=key.scopes,
            dialect=key.dialect,
            expires_at=key.expires_at,
        )

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

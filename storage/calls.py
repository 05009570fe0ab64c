"""What is kept of calls, as frozen values with no I/O: who changed what, and what was answered to a call that may be
repeated. Times are as in `storage.models`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from storage.models import Millis

ActorKind: TypeAlias = Literal["root", "key", "token", "system"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Actor:
    """Who makes a change: the holder of a key or of a token it made (`key_id`), of the root key, or the server."""

    kind: ActorKind
    key_id: str | None = None
    request_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditEntry:
    """One change: who made it (as in `Actor`), of what, and what was there before and after.

    `action` is the kind and the verb, such as "site.update". Of an update, `before` and `after` have only what changed;
    `before` is None for what was made, `after` for what went.
    """

    id: str
    workspace_id: str
    actor_kind: ActorKind
    actor_key_id: str | None
    request_id: str | None
    action: str
    kind: str
    object_id: str
    space_id: str | None
    before: Mapping[str, Any] | None
    after: Mapping[str, Any] | None
    created_at: Millis

    @property
    def actor(self) -> Actor:
        """Who made it."""
        return Actor(kind=self.actor_kind, key_id=self.actor_key_id, request_id=self.request_id)


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """A call that may be repeated, by `scope`, a digest of what makes it the same: when it began, a digest of its body,
    and its answer (None: there is none yet)."""

    id: str
    body_digest: str
    started_at: Millis
    status: int | None
    answer: str | None

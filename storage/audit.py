"""What the audit log says of a change: the fields of a value by the names that the API gives them, cut to a bound.

Secrets are not among the fields: of a key, neither the secret nor its hash is told.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from heapq import nsmallest
from typing import Any, TypeVar

from storage.calls import Actor, AuditEntry
from storage.ids import new_id
from storage.models import Deployment, Digest, Key, Meta, Millis, Site, Space
from storage.paths import path_id
from storage.widgets import Purge, Widget
from storage.widgets import facts as widget_facts
from storage.workspaces import Workspace

MAX_BYTES = 16 * 1024  # of JSON, before and after each
MAX_PATHS = 10  # that are told of one change

SYSTEM = Actor(kind="system")

N = TypeVar("N", Workspace, Key, Space, Site, Deployment, Widget)


@dataclass(frozen=True, slots=True, kw_only=True)
class Act:
    """A change, save for who made it and when."""

    workspace_id: str
    action: str
    object_id: str
    space_id: str | None
    before: Meta | None
    after: Meta | None


# Kind of value → what it is called, and the fields that are told.
KINDS: Mapping[type, tuple[str, str]] = {
    Workspace: ("workspace", "alias name max_sites max_files max_bytes max_widgets requests_per_minute"),
    Key: ("key", "name scopes dialect expires_at revoked_at"),
    Space: ("space", "alias name description contact_id meta"),
    Site: ("site", "domain prefix index not_found alias name description meta previews skew_protection"),
    Deployment: ("deployment", "mode prefix message base file_count byte_count revision"),
    Widget: ("widget", ""),  # the fields of the Sites API, by its names
}
# Those that the API writes in another form than they are kept in.
RENDER: Mapping[str, Callable[[Any], Any]] = {
    "scopes": sorted,
    "meta": dict,
    "prefix": lambda folder: f"/{folder}" if folder else "",
}


def created(new: N) -> Act:
    """`new` has been made."""
    return _act("create", new, None, facts(new))


def updated(old: N, new: N, verb: str = "update") -> Act:
    """`old` has become `new`; only what differs is told."""
    before, after = facts(old), facts(new)
    moved = {name for name in {**before, **after} if before.get(name) != after.get(name)}
    return _act(verb, new, _keep(before, moved), _keep(after, moved))


def deleted(old: N, **more: Any) -> Act:
    """`old` has gone, and `more` with it."""
    return _act("delete", old, {**facts(old), **more}, None)


def first(names: Iterable[str]) -> list[str]:
    """As many of them as are told of one change."""
    return nsmallest(MAX_PATHS, names)


def credentials_changed(act: Act, kinds: Iterable[str]) -> Act:
    """`act`, which has also put or removed credentials of these kinds; of them, nothing else is told."""
    named = sorted(kinds)
    return replace(act, after={**(act.after or {}), "credentials_changed": named}) if named else act


def purged(purge: Purge) -> Act:
    """What was kept of a deleted widget has gone, too."""
    done = {"site_id": purge.site_id, "sessions": purge.sessions, "connections": list(purge.outcomes)}
    return Act(
        workspace_id=purge.workspace_id,
        action="widget.purge",
        object_id=purge.widget_id,
        space_id=None,
        before=None,
        after={**done, "attempts": purge.attempts},
    )


def files_changed(
    verb: str, space: Space, before: Mapping[str, Digest], after: Mapping[str, Digest], count: int
) -> Act:
    """`count` files of `space` have been named: contents by path, before and after, of the `first` of them."""
    moved = {path for path in {*before, *after} if before.get(path) != after.get(path)}
    return Act(
        workspace_id=space.workspace_id,
        action=f"file.{verb}",
        object_id=path_id(*moved) if count == len(moved) == 1 else space.id,
        space_id=space.id,
        before={"files": _keep(before, moved), "count": count},
        after={"files": _keep(after, moved), "count": count},
    )


def files_copied(space: Space, path: str, destination: str, count: int, *, move: bool) -> Act:
    """`count` files of `space`, at `path` or below it, have been copied or moved to `destination`."""
    return Act(
        workspace_id=space.workspace_id,
        action="file.move" if move else "file.copy",
        object_id=path_id(destination),
        space_id=space.id,
        before={"path": path},
        after={"path": destination, "count": count},
    )


def entry(act: Act, actor: Actor, now: Millis) -> AuditEntry:
    """The entry of the log."""
    return AuditEntry(
        id=new_id("audit"),
        workspace_id=act.workspace_id,
        actor_kind=actor.kind,
        actor_key_id=actor.key_id,
        request_id=actor.request_id,
        action=act.action,
        kind=act.action.partition(".")[0],
        object_id=act.object_id,
        space_id=act.space_id,
        before=bound(act.before),
        after=bound(act.after),
        created_at=now,
    )


def facts(value: N) -> dict[str, Any]:
    """The fields of `value` as the API shows them."""
    if isinstance(value, Widget):
        return widget_facts(value)
    names = KINDS[type(value)][1].split()
    return {_camel(name): RENDER.get(name, _same)(getattr(value, name)) for name in names}


def bound(told: Meta | None) -> Meta | None:
    """`told` with its largest fields left out, each with its size in bytes in its place, until it is small enough."""
    if told is None:
        return None
    sizes = {name: len(json.dumps(value).encode()) for name, value in told.items()}
    kept = dict(told)
    for name in sorted(sizes, key=lambda name: sizes[name], reverse=True):
        if len(json.dumps(kept).encode()) <= MAX_BYTES:
            break
        kept[name] = {"$omitted": sizes[name]}
    return kept


def _act(verb: str, value: N, before: Meta | None, after: Meta | None) -> Act:
    kind, _ = KINDS[type(value)]
    match value:
        case Workspace():
            workspace_id, space_id = value.id, None
        case Key() | Widget():
            workspace_id, space_id = value.workspace_id, None
        case Space():
            workspace_id, space_id = value.workspace_id, value.id
        case Site() | Deployment():
            workspace_id, space_id = value.workspace_id, value.space_id
    return Act(
        workspace_id=workspace_id,
        action=f"{kind}.{verb}",
        object_id=value.id,
        space_id=space_id,
        before=before,
        after=after,
    )


def _same(value: Any) -> Any:
    return value


def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(part.title() for part in rest)


def _keep(told: Meta, names: set[str]) -> dict[str, Any]:
    return {name: value for name, value in told.items() if name in names}

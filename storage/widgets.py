"""The sites of the Sites API, as frozen values with no I/O: each is the configuration of one widget.

They are called widgets here, because a `Site` is what binds a domain to a space. Times are as in `storage.models`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

from storage.models import Meta, Millis

# What is kept encrypted, by a key that the store does not have.
SecretKind: TypeAlias = Literal["data_connection", "oauth_connections"]
Outcome: TypeAlias = Literal["pending", "revoked", "not_offered", "given_up"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Widget:
    """The configuration that a page names by `site_id`, which is never another's, not even once this one has gone.

    `domain` is in A-labels, possibly `*.` and a domain; a workspace has one widget for it. `settings` are the other
    public fields of the API by their names there. `revision` is the store's at which it last changed.
    """

    id: str
    workspace_id: str
    site_id: str
    domain: str
    business_name: str
    settings: Meta
    revision: int
    created_at: Millis
    updated_at: Millis


@dataclass(frozen=True, slots=True, kw_only=True)
class NewWidget:
    """`secrets` by kind, encrypted."""

    workspace_id: str
    site_id: str
    domain: str
    business_name: str
    settings: Meta
    secrets: Mapping[SecretKind, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Secret:
    """Credentials of a widget, encrypted."""

    workspace_id: str
    widget_id: str
    kind: SecretKind
    sealed: str


@dataclass(frozen=True, slots=True, kw_only=True)
class WidgetSession:
    """That a visitor opened a widget on `page`, and what was said then, if anything."""

    id: str
    workspace_id: str
    widget_id: str
    page: str
    transcript: str
    created_at: Millis


@dataclass(frozen=True, slots=True, kw_only=True)
class Purge:
    """What is still to be done for a widget that was deleted at `created_at`: sessions go, tokens are revoked.

    `due_at` is when to try next, `attempts` how often the tokens have been tried, `sessions` how many are gone.
    `outcomes` has, for each of its `oauth_connections` in turn, what became of it (empty: not looked at yet).
    """

    id: str
    workspace_id: str
    widget_id: str
    site_id: str
    created_at: Millis
    due_at: Millis
    attempts: int = 0
    sessions: int = 0
    outcomes: tuple[Outcome, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class WidgetList:
    """Part of a list, and how many the whole has."""

    items: tuple[Widget, ...]
    total: int


def facts(widget: Widget) -> dict[str, Any]:
    """What the Sites API shows of it, save for id and times."""
    named = {"site_id": widget.site_id, "business_name": widget.business_name, "domain": widget.domain}
    return {**named, **widget.settings}


def folded(text: str) -> str:
    """What a search in any case looks in, and for."""
    return text.casefold()

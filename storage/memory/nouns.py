"""What the verbs in memory share: finding a value, and cutting pages out of many."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TypeVar

from storage import edits
from storage.calls import AuditEntry
from storage.errors import Conflict, NotFound
from storage.models import Deployment, Key, Page, PageQuery, Site, Space
from storage.widgets import Widget, WidgetSession
from storage.workspaces import Workspace

T = TypeVar("T", Workspace, Key, Space, Site, Deployment, AuditEntry, Widget, WidgetSession)
N = TypeVar("N", bound=Space | Site)


def find_by_alias(nouns: Iterable[N], workspace_id: str, alias: str) -> N | None:
    return next((noun for noun in nouns if noun.workspace_id == workspace_id and noun.alias == alias), None)


def get(nouns: Mapping[str, T], kind: str, ref: str) -> T:
    """The value of that id; raises `NotFound`."""
    if ref not in nouns:
        raise NotFound(kind, ref)
    return nouns[ref]


def is_after(position: str, query: PageQuery) -> bool:
    """Whether a list's rest has it."""
    if query.after is None:
        return True
    return position < query.after if query.descending else position > query.after


def page(nouns: Iterable[T], query: PageQuery) -> Page[T]:
    """By id."""
    rest = [noun for noun in nouns if is_after(noun.id, query)]
    rest.sort(key=lambda noun: noun.id, reverse=query.descending)
    return edits.cut_page(rest, query.take, lambda noun: noun.id)


def refuse_taken_alias(kind: str, noun: Space | Site, others: Iterable[Space | Site]) -> None:
    """Raises `Conflict`."""
    if noun.alias is None:
        return
    holder = find_by_alias(others, noun.workspace_id, noun.alias)
    if holder and holder.id != noun.id:
        raise Conflict(kind, "alias", noun.alias)

"""The pure steps that every metadata store shares about widgets; as `storage.edits`, which see."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace

from storage.errors import Invalid
from storage.ids import new_id
from storage.models import Millis
from storage.widgets import NewWidget, Purge, Widget, WidgetSession, facts

MAX_SESSIONS = 10_000  # of one widget: the latest
MAX_BYTES = 64 * 1024  # of a widget's fields as JSON: lists of them are read at once
MAX_PAGE = 2048  # characters of a session's page
MAX_TRANSCRIPT = 64 * 1024  # characters


def make_widget(new: NewWidget, revision: int, now: Millis) -> Widget:
    """Raises `Invalid` (text that UTF-8 cannot carry; too large)."""
    widget = Widget(
        id=new_id("widget"),
        workspace_id=new.workspace_id,
        site_id=new.site_id,
        domain=new.domain,
        business_name=new.business_name,
        settings=new.settings,
        revision=revision,
        created_at=now,
        updated_at=now,
    )
    _check(widget)
    return widget


def edit_widget(old: Widget, edit: Callable[[Widget], Widget], revision: int, now: Millis) -> Widget:
    """`old` as `edit` has it, save for what never changes; raises as `make_widget` and `edit` do."""
    edited = edit(old)
    widget = replace(
        old,
        domain=edited.domain,
        business_name=edited.business_name,
        settings=edited.settings,
        revision=revision,
        updated_at=now,
    )
    _check(widget)
    return widget


def tagged_domains(old: Widget, new: Widget) -> set[str]:
    """The domains at which pages gain or lose the widget's tag where `old` becomes `new`; where it is created or
    deleted, the two are the same. All that a tag says of a widget is its `site_id`, which stays."""
    return {old.domain, new.domain} if old is new or old.domain != new.domain else set()


def make_session(widget: Widget, page: str, transcript: str, now: Millis) -> WidgetSession:
    """Raises `Invalid` (too long, or not to be kept)."""
    for name, text, most in (("page", page, MAX_PAGE), ("transcript", transcript, MAX_TRANSCRIPT)):
        if len(text) > most:
            raise Invalid(name, f"is longer than {most} characters")
        if any(character == "\0" or "\ud800" <= character <= "\udfff" for character in text):
            raise Invalid(name, "has a character that the store cannot keep")
    return WidgetSession(
        id=new_id("session"),
        workspace_id=widget.workspace_id,
        widget_id=widget.id,
        page=page,
        transcript=transcript,
        created_at=now,
    )


def make_purge(widget: Widget, now: Millis) -> Purge:
    """Of a widget that is deleted now; due at once."""
    return Purge(
        id=new_id("purge"),
        workspace_id=widget.workspace_id,
        widget_id=widget.id,
        site_id=widget.site_id,
        created_at=now,
        due_at=now,
    )


def _check(widget: Widget) -> None:
    size = 0
    for field, value in facts(widget).items():
        try:
            size += len(json.dumps(value, ensure_ascii=False).encode())
        except UnicodeEncodeError:
            raise Invalid(field, "has a character that UTF-8 cannot carry (a lone surrogate)") from None
    if size > MAX_BYTES:
        raise Invalid("body", f"makes a site of more than {MAX_BYTES} bytes of JSON: shorten its texts or lists")

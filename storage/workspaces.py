"""Tenants as the stores keep them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypedDict

from storage.models import Millis


@dataclass(frozen=True, slots=True, kw_only=True)
class Workspace:
    """A tenant: owns spaces and keys. A limit that is None is none."""

    id: str
    alias: str | None
    name: str
    max_sites: int | None
    max_files: int | None
    max_bytes: int | None
    requests_per_minute: int | None
    created_at: Millis
    updated_at: Millis
    max_widgets: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """What a workspace has: sites, live files, bytes of the contents that it possesses, each counted once; widgets."""

    sites: int
    files: int
    bytes: int
    widgets: int = 0


class WorkspacePatch(TypedDict, total=False):
    """What a workspace is to be, or to become; what is absent stays, or is empty. None lifts a limit."""

    alias: str | None
    name: str
    max_sites: int | None
    max_files: int | None
    max_bytes: int | None
    max_widgets: int | None
    requests_per_minute: int | None

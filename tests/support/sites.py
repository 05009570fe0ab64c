"""Sites as the edge knows them, for tests of what is decided without a store."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from storage.models import HostedSite

_PLAIN = HostedSite(
    id="site_1",
    space_id="space_1",
    domain="a.test",
    prefix="",
    index="index.html",
    not_found="404.html",
    revision=1,
    created_at=1,
    settings_at=None,
    files_revision=1,
    variants_revision=0,
)


def hosted(**fields: Any) -> HostedSite:
    """One that serves a whole space; `fields` are what is different."""
    return replace(_PLAIN, **fields)

"""The site widget as its system host shows it. Pure.

1. `parse_route`  a path → the script, or a site_id and what is asked of it
2. `hosted`       what the edge keeps of a widget: what of it is public, and whom it is for
3. `open_to`      an answer, for the origin that asks

The widget runs in pages of other origins. The script is for all of them; a configuration, and the report of a session,
for pages of the site's own domain: the very host or, where the domain is a wildcard, one label below it, over HTTP or
HTTPS and at any port, of which a configured domain says nothing (Fetch, "CORS protocol").
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

from server.edge.hosts import lookup_names
from server.edge.response import NO_STORE, NOSNIFF, Headers, Page, Representation, page, varying
from storage.widgets import Widget, facts

SCRIPT_PATH = "/widget.js"
SCRIPT_CACHING = (b"cache-control", b"public, max-age=600")
CONFIG_TYPE = "application/json; charset=utf-8"
PREFLIGHT_SECONDS = 24 * 3600

Resource: TypeAlias = Literal["config", "sessions"]

METHODS: Mapping[Resource, str] = {"config": "GET, HEAD", "sessions": "POST"}  # besides OPTIONS

# A configuration has much that is for its owner's eyes alone, such as how the assistant is instructed. This is what the
# script shows or goes by, and every visitor may read.
PUBLIC_FIELDS = (
    "site_id",
    "business_name",
    "greeting",
    "language",
    "appearance",
    "enabled_pages",
    "disabled_pages",
)

_ROUTE = re.compile(r"/v1/([a-z0-9]{8,32})/(config|sessions)")
_ORIGIN = re.compile(r"https?://([a-z0-9.-]{1,254})(?::[0-9]{1,5})?")

FOREIGN = page(403, "This site's widget is for pages of its own domain.", [(b"vary", b"origin")])
TOO_MANY = page(429, "The site has had too many sessions in this minute.", [(b"retry-after", b"60")])
BUSY = page(503, "There is too much to write just now. Please try again in a moment.")
_NO_CONTENT = Representation(204, (NO_STORE, NOSNIFF), b"")


@dataclass(frozen=True, slots=True)
class HostedWidget:
    """What the edge needs of a widget, and no more.

    `domain` is in A-labels, possibly `*.` and a domain; `body` is the JSON of the `PUBLIC_FIELDS`, and `digest` its
    SHA-256.
    """

    site_id: str
    domain: str
    body: bytes
    digest: str


def parse_route(path: str) -> tuple[str, Resource] | None:
    """The site_id that a path (from `decode_path`) names, and what of it."""
    found = _ROUTE.fullmatch(path)
    if found is None:
        return None
    return found[1], "config" if found[2] == "config" else "sessions"


def hosted(widget: Widget) -> HostedWidget:
    """The view of `widget`."""
    known = facts(widget)
    shown = {name: known[name] for name in PUBLIC_FIELDS if known.get(name) is not None}
    body = json.dumps(shown, ensure_ascii=False, separators=(",", ":")).encode()
    return HostedWidget(widget.site_id, widget.domain, body, hashlib.sha256(body).hexdigest())


def domains_of(origin: str) -> tuple[str, ...]:
    """The domains that may be configured where pages of `origin`, as the field has it, are to use the widget."""
    found = _ORIGIN.fullmatch(origin)
    return () if found is None else lookup_names(found[1].removesuffix("."))


def open_to(stored: Representation, origin: str | None) -> Representation:
    """`stored`, which pages of `origin` may read. Without one nobody needs leave: it is no page that asks, or one of
    the same origin."""
    headers = varying(stored.headers, [b"origin"])
    if origin is not None:
        headers = (*headers, (b"access-control-allow-origin", origin.encode("ascii")))
    return replace(stored, headers=headers)


def open_to_all(stored: Representation) -> Representation:
    """`stored`, which any page may read and embed, though it isolate itself (Fetch, "Cross-Origin-Resource-Policy")."""
    more = ((b"access-control-allow-origin", b"*"), (b"cross-origin-resource-policy", b"cross-origin"))
    return replace(stored, headers=(*stored.headers, *more))


def accepted(origin: str) -> Representation:
    """The answer to what has been taken in."""
    return open_to(_NO_CONTENT, origin)


def options(resource: Resource, origin: str | None) -> Representation:
    """What may be asked of a resource; to a page's preflight, which comes with an allowed `origin`, in its terms."""
    allow = f"{METHODS[resource]}, OPTIONS".encode()
    headers: Headers = ((b"allow", allow), NOSNIFF)
    if origin is not None:
        headers += (
            (b"access-control-allow-methods", METHODS[resource].encode()),
            (b"access-control-allow-headers", b"content-type"),
            (b"access-control-max-age", str(PREFLIGHT_SECONDS).encode()),
        )
    return open_to(Representation(204, headers, b""), origin)


def not_allowed(resource: Resource) -> Page:
    """The refusal of another method."""
    methods = METHODS[resource]
    refused = page(405, f"This can be asked for with {methods} and OPTIONS.")
    allow = (b"allow", f"{methods}, OPTIONS".encode())
    return replace(
        refused, headers=tuple(allow if name == b"allow" else (name, value) for name, value in refused.headers)
    )

"""The Sites API: sites of its own kind, each the configuration of one widget; create, list, get, update, delete, test.

Elsewhere they are called widgets. Its text speaks of GET, POST, PATCH and DELETE, statuses and codes of its own, and an
envelope; who may call, and all else, is as for the rest.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Annotated, Any

from fastapi import APIRouter, Query
from starlette.responses import Response

from server.control.call import CurrentCall
from server.control.errors import SITES_PREFIX, ApiError
from server.control.gate import ControlRoute, declare
from server.control.widget_fields import Industry, NewSiteConfig, SiteConfigPatch, merge
from server.control.widget_templates import templates
from server.control.widget_views import (
    Answer,
    ConnectionTestView,
    ListAnswer,
    ListMeta,
    SiteConfigView,
    answer,
)
from server.vault import Vault
from storage.errors import Conflict, QuotaExceeded
from storage.ids import new_site_id
from storage.widgets import NewWidget, SecretKind, Widget

router = APIRouter(route_class=ControlRoute, tags=["Sites API"])

COLUMNS = ("business_name", "domain")  # that are not among a widget's settings
TESTS_PER_MINUTE = 30  # of one workspace: each is a process, and a connection to wherever the caller likes
NO_CONNECTION = "no data connection is configured: set data_connection first"

SiteConfigAnswer = Answer[SiteConfigView]


@router.post("/sites", **declare("sites:write", SiteConfigAnswer, statuses=(409,), success=201))
async def create_site_config(body: NewSiteConfig, call: CurrentCall) -> Response:
    """Create a site. What is left out is as the industry's template has it; without a `site_id` it gets one."""
    given = {name: value for name, value in body.given().items() if name != "site_id"}
    given["industry"] = body.industry
    template = templates()[body.industry]
    settings = merge(template, given, template)
    names = {name: settings.pop(name) for name in COLUMNS}
    site_id = body.site_id or new_site_id()
    sealed = {kind: value for kind, value in _seal(call.config.vault, site_id, body.secrets()).items() if value}
    new = NewWidget(workspace_id=call.workspace.id, site_id=site_id, settings=settings, secrets=sealed, **names)
    with _own_codes():
        return _show(await call.metadata.create_widget(new), 201)


@router.get("/sites", **declare("sites:read", ListAnswer[SiteConfigView]))
async def list_site_configs(
    call: CurrentCall,
    limit: Annotated[int, Query(ge=1, le=100, description="How many at most")] = 25,
    offset: Annotated[int, Query(ge=0, le=2**31, description="How many to pass over")] = 0,
    q: Annotated[str, Query(max_length=256, description="Part of the business's name or the domain, in any case")] = "",
) -> Response:
    """List sites, the latest first."""
    found = await call.metadata.list_widgets(call.workspace.id, q=q, limit=limit, offset=offset)
    meta = ListMeta(total=found.total, limit=limit, offset=offset)
    # In a thread: a page of large records would hold up everybody else.
    return await asyncio.to_thread(_render_list, found.items, meta)


@router.get("/sites/{ref}", **declare("sites:read", SiteConfigAnswer))
async def get_site_config(ref: str, call: CurrentCall) -> Response:
    """Get one site, by its `site_id` or its id."""
    return _show(await call.get_widget(ref))


@router.patch("/sites/{ref}", **declare("sites:write", SiteConfigAnswer, statuses=(409,)))
async def update_site_config(ref: str, body: SiteConfigPatch, call: CurrentCall) -> Response:
    """Change a site: what is sent, as a JSON merge patch. It shows everywhere from the next request on."""
    widget = await call.get_widget(ref)
    patch = body.given()

    def edit(old: Widget) -> Widget:
        industry: Industry = patch.get("industry") or old.settings["industry"]
        settings = merge(dict(old.settings), patch, templates()[industry])
        names = {name: settings.pop(name) for name in COLUMNS if name in settings}
        return replace(old, settings=settings, **names)

    with _own_codes():
        secrets = _seal(call.config.vault, widget.site_id, body.secrets())
        return _show(await call.metadata.update_widget(widget.id, edit, secrets))


@router.delete("/sites/{ref}", **declare("sites:write", None, success=204))
async def delete_site_config(ref: str, call: CurrentCall) -> Response:
    """Delete a site, for good. Its widget stops at once; sessions and transcripts go within a day, OAuth tokens are
    revoked, credentials are wiped."""
    widget = await call.get_widget(ref)
    await call.metadata.delete_widget(widget.id)
    return Response(status_code=204)


@router.post("/sites/{ref}/test-connection", **declare("sites:write", Answer[ConnectionTestView]))
async def check_connection(ref: str, call: CurrentCall) -> Response:
    """Connect to the site's data connection, read nothing, and tell how long it took or what went wrong; 5 s at
    most."""
    widget = await call.get_widget(ref)
    standing = call.rates.count("connection-tests", call.workspace.id, TESTS_PER_MINUTE)
    if not standing.allowed:
        message = f"This workspace has tested {standing.limit} connections in this minute: wait {standing.wait} seconds"
        raise ApiError(429, "TOO_MANY_REQUESTS", message, headers={"Retry-After": str(standing.wait)})
    secret = await call.metadata.find_secret(widget.id, "data_connection")
    if secret is None:
        return answer(Answer(data=ConnectionTestView(ok=False, error=NO_CONNECTION)))
    connection = call.config.vault.open(secret.sealed, widget.site_id, secret.kind)
    return answer(Answer(data=ConnectionTestView(**await call.config.connections.test(connection))))


def methods_of(path: str) -> list[str]:
    """What the endpoints at this path take."""
    below = path.removeprefix(SITES_PREFIX)
    endpoints = [route for route in router.routes if isinstance(route, ControlRoute) and route.path_regex.match(below)]
    return sorted(method for route in endpoints for method in route.methods or ())


def _render_list(widgets: Sequence[Widget], meta: ListMeta) -> Response:
    return answer(ListAnswer(data=[SiteConfigView.of(widget) for widget in widgets], meta=meta))


def _show(widget: Widget, status: int = 200) -> Response:
    return answer(SiteConfigAnswer(data=SiteConfigView.of(widget)), status)


def _seal(vault: Vault, site_id: str, secrets: Mapping[SecretKind, Any]) -> dict[SecretKind, str | None]:
    """Encrypted for this site alone."""
    return {kind: None if value is None else vault.seal(value, site_id, kind) for kind, value in secrets.items()}


@contextmanager
def _own_codes() -> Iterator[None]:
    """Raises the text's own codes for what a store refuses."""
    try:
        yield
    except QuotaExceeded as exc:
        message = f"Your plan's limit of {exc.allowed} sites is reached: upgrade, or delete an existing site"
        raise ApiError(403, "plan_limit_reached", message) from None
    except Conflict as exc:
        if exc.field == "site_id":
            message = f"Someone else has claimed the site_id {exc.value}: try another"
            raise ApiError(409, "site_id_taken", message) from None
        raise ApiError(409, "domain_taken", f"You already have a site on {exc.value}") from None

"""Previews: where a deployment is to be seen before it is live, and afterwards."""

from __future__ import annotations

from typing import Annotated
from urllib.parse import urlsplit

from fastapi import APIRouter, Query
from starlette.responses import Response

from server.control.call import CurrentCall
from server.control.config import ControlConfig
from server.control.gate import ControlRoute, declare
from server.control.views import PreviewView
from server.edge.preview_access import MAX_SECONDS
from server.edge.preview_hosts import preview_host
from storage import edits

MIN_SECONDS = 60
DEFAULT_SECONDS = 7 * 24 * 3600

router = APIRouter(route_class=ControlRoute, tags=["Deployments"])


@router.get("/space/{spaceId}/site/{siteId}/preview/{deploymentId}", **declare("files:read", PreviewView))
async def preview_deployment(
    spaceId: str,
    siteId: str,
    deploymentId: str,
    call: CurrentCall,
    seconds: Annotated[
        int, Query(ge=MIN_SECONDS, le=MAX_SECONDS, description="how long the link to a private preview works")
    ] = DEFAULT_SECONDS,
) -> Response:
    """Tell where a deployment of the space can be seen as the site shows it, whether it is live or not.

    If the site's previews are private the address is a signed link, which opens the preview to whoever has it until it
    expires. A deployment that still misses contents has no preview.
    """
    space = await call.get_space(spaceId)
    site = await call.get_site(space, siteId)
    deployment = await call.get_deployment(space, deploymentId)
    if deployment.activated_at is None and (missing := await call.metadata.list_missing(deployment.id)):
        raise edits.missing_content(len(missing))
    previews = call.config.previews
    url = _url(call.config, preview_host(deployment.id, site.id, site.domain, previews.platform_domains))
    if site.previews == "public":
        return call.answer(PreviewView(url=url, access=site.previews, expires_at=None))
    expires = call.config.clock() // 1000 + seconds
    link = previews.link(url, previews.sign(site.id, deployment.id, expires))
    return call.answer(PreviewView(url=link, access=site.previews, expires_at=expires * 1000))


def _url(config: ControlConfig, host: str) -> str:
    """Of the start of a host, as visitors reach this server itself."""
    address = urlsplit(config.visitors or "http://localhost:80")
    usual = address.port == {"http": 80, "https": 443}[address.scheme]
    return f"{address.scheme}://{host}/" if usual else f"{address.scheme}://{host}:{address.port}/"

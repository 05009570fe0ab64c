"""Sites: create, list, fetch, status, update, delete."""

from __future__ import annotations

from functools import partial
from typing import Annotated, TypeAlias, cast

from fastapi import APIRouter, Query
from pydantic import Field
from starlette.responses import Response

from server.control.call import Call, CurrentCall
from server.control.config import ControlConfig
from server.control.fields import Alias, Body, Description, Folder, MetaUpdate, Name, NamedFile, NoFields
from server.control.gate import RECORDS, ControlRoute, declare
from server.control.pagination import META_FILTER_PARAMETER, CurrentListQuery, MetaFilter
from server.control.problems import find_problems
from server.control.records import answer_list
from server.control.views import (
    CertificateView,
    DnsView,
    IdView,
    ListView,
    NamedFileView,
    SiteStatusView,
    SiteView,
    WorkerView,
)
from server.edge.hosts import parse_domain
from storage.models import NewSite, Site, SitePatch
from storage.paths import join

router = APIRouter(route_class=ControlRoute, tags=["Sites"])


Domain: TypeAlias = Annotated[str, Field(description="where visitors find it; no two sites have the same")]


class SiteFields(Body):
    """What is absent stays as it is, or takes its default in a new site."""

    domain: Domain = ""
    prefix: Folder = ""
    named_index: NamedFile = Field(None, alias="index")
    named_not_found: NamedFile = Field(None, alias="notFound")
    alias: Alias = None
    name: Name = ""
    description: Description = ""
    meta: MetaUpdate = {}

    def patch(self, call: Call) -> SitePatch:
        """The store's form; raises `Invalid` for a domain that cannot be registered here."""
        patch = cast(SitePatch, self.model_dump(exclude_unset=True))
        if "domain" in patch:
            patch["domain"] = parse_domain(patch["domain"], call.config.platform_domains)
        return patch


class NewSiteFields(SiteFields):
    domain: Domain


@router.post("/space/{spaceId}/site/create", **declare("sites:write", IdView, statuses=(409,)))
async def create_site(spaceId: str, body: NewSiteFields, call: CurrentCall) -> Response:
    """Bind a domain to a space. Visitors of the domain get the space's files from the next request on."""
    patch = body.patch(call)
    space = await call.get_space(spaceId)
    site = await call.metadata.create_site(NewSite(space_id=space.id, **patch))
    return call.answer_id(site.id)


@router.get(
    "/space/{spaceId}/site/list",
    **declare("sites:read", ListView[SiteView], also=RECORDS, parameters=[META_FILTER_PARAMETER]),
)
async def list_sites(
    spaceId: str,
    query: CurrentListQuery,
    meta: MetaFilter,
    call: CurrentCall,
    domain: Annotated[str | None, Query(description="Keeps the site at this domain")] = None,
) -> Response:
    """List a space's sites."""
    wanted = None if domain is None else parse_domain(domain, call.config.platform_domains)
    space = await call.get_space(spaceId)
    read = partial(call.metadata.list_sites, space.id, domain=wanted, meta=meta)
    return await answer_list(call, query, "site", read, SiteView)


@router.get("/space/{spaceId}/site/{siteId}/fetch", **declare("sites:read", SiteView))
async def fetch_site(spaceId: str, siteId: str, call: CurrentCall) -> Response:
    """Fetch a site by its id or alias."""
    return call.answer(SiteView.model_validate(await call.get_site(await call.get_space(spaceId), siteId)))


@router.get("/space/{spaceId}/site/{siteId}/status", **declare("sites:read", SiteStatusView))
async def site_status(spaceId: str, siteId: str, call: CurrentCall) -> Response:
    """Tell whether visitors can get at a site: its named files, its domain, the certificate, the processes that serve.

    What is wrong with its rule files is told line by line.
    """
    site = await call.get_site(await call.get_space(spaceId), siteId)
    addresses = await call.config.directory.find(site.domain)
    named = [await _named(call, site, name) for name in (site.index, site.not_found)]
    problems, unlisted = await find_problems(call, site.space_id, [site])
    view = SiteStatusView(
        id=site.id,
        domain=site.domain,
        index=named[0],
        not_found=named[1],
        dns=DnsView.model_validate(addresses),
        certificate=_certificate(call.config, site),
        workers=await _workers(call, site),
        problems=problems,
        unlisted=unlisted,
    )
    return call.answer(view)


def _certificate(config: ControlConfig, site: Site) -> CertificateView:
    shown = config.certificate
    if shown is None:
        return CertificateView(state="none", expires_at=None)
    return CertificateView(state=shown.judge(site.domain, config.clock()), expires_at=shown.ends_at)


async def _workers(call: Call, site: Site) -> list[WorkerView]:
    hosted = await call.metadata.find_site([site.domain])
    version = hosted.version if hosted else site.revision
    readiness = call.config.readiness()
    return [
        WorkerView(name=name, state=state, applied=readiness.applied.get(name, -1) >= version)
        for name, state in sorted(readiness.workers.items())
    ]


async def _named(call: Call, site: Site, name: str) -> NamedFileView:
    path = join(site.prefix, name)
    return NamedFileView(path=path, exists=await call.metadata.find_file(site.space_id, path) is not None)


@router.post("/space/{spaceId}/site/{siteId}/update", **declare("sites:write", IdView, statuses=(409,)))
async def update_site(spaceId: str, siteId: str, body: SiteFields, call: CurrentCall) -> Response:
    """Change a site. Only the fields that are sent change; null or an empty text clears one, save the domain."""
    patch = body.patch(call)
    site = await call.get_site(await call.get_space(spaceId), siteId)
    await call.metadata.update_site(site.id, patch)
    return call.answer_id(site.id)


@router.post("/space/{spaceId}/site/{siteId}/delete", **declare("sites:write", IdView))
async def delete_site(spaceId: str, siteId: str, body: NoFields, call: CurrentCall) -> Response:
    """Delete a site: its domain stops serving at once and is free again. The space's files stay."""
    site = await call.get_site(await call.get_space(spaceId), siteId)
    await call.metadata.delete_site(site.id)
    return call.answer_id(site.id)

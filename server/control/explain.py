"""Why a site answers a URL as it does."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Annotated

from fastapi import APIRouter, Query
from starlette.responses import Response

from server.control.call import Call, CurrentCall
from server.control.errors import Detail, bad_request
from server.control.explanations import (
    CandidateView,
    DependsView,
    ExplainedFileView,
    ExplanationView,
    HeaderView,
    HostView,
    LookupView,
    Role,
    RuleView,
    ServingSiteView,
    Tree,
)
from server.control.gate import ControlRoute, declare
from server.edge.decision import Decision, Lookup, Shown
from server.edge.explain import Explanation, explain
from server.edge.response import Content
from server.edge.rule_files import REDIRECTS
from server.edge.wording import sentences, why
from storage.models import HostedSite, Site
from storage.paths import join

MAX_HEADERS = 100  # as many lines as visitors may send

_HEADER = re.compile(r"([!#$%&'*+\-.^_`|~0-9A-Za-z]+):[ \t]*([\t\x20-\x7e\x80-\xff]*)")  # RFC 9110 §5.1, §5.5

router = APIRouter(route_class=ControlRoute, tags=["Sites"])


@router.get("/space/{spaceId}/site/{siteId}/explain", **declare("sites:read", ExplanationView))
async def explain_site(
    spaceId: str,
    siteId: str,
    call: CurrentCall,
    url: Annotated[str, Query(description="a path, with or without a query, or a whole URL of the site")],
    header: Annotated[
        Sequence[str],
        Query(description="a header of the request, as `Name: value`; any number of times", max_length=MAX_HEADERS),
    ] = (),
    method: Annotated[str, Query(description="of the request", pattern=r"^[!#$%&'*+\-.^_`|~0-9A-Za-z]{1,32}$")] = "GET",
) -> Response:
    """Tell what a visitor gets for a URL and why, in words and data: the names tried and which exist, the rule that
    applies, and each header with where its value is from.

    It is decided by what serves visitors, on what is published now. Of sites of others nothing is told.
    """
    headers = [_parse_header(text) for text in header]
    site = await call.get_site(await call.get_space(spaceId), siteId)
    if all(name != b"host" for name, _ in headers):
        headers.append((b"host", site.domain.encode("ascii")))
    target = url.partition("#")[0].encode()  # browsers do not send a fragment
    now = call.config.clock() / 1000
    base, previews = call.config.widget_base, call.config.previews
    known = await explain(call.metadata, call.blobs, previews, site.id, method, target, headers, now, base)
    return call.answer(await _view(call, site, method, url, known))


def _parse_header(text: str) -> tuple[bytes, bytes]:
    found = _HEADER.fullmatch(text)
    if found is None:
        raise bad_request([Detail("header", "is not Name: value in characters that a header can have")])
    return found[1].lower().encode("ascii"), found[2].encode("latin-1")


async def _view(call: Call, site: Site, method: str, url: str, known: Explanation) -> ExplanationView:
    here = known.answered_by is not None and known.answered_by.id == site.id
    decision = known.decision
    return ExplanationView(
        url=url,
        method=method,
        words=list(sentences(known)),
        site=_serving(known.answered_by) if here else None,
        host=HostView(name=known.host, site=await _visible(call, known.answered_by)),
        path=known.path,
        lookups=[] if decision is None else [_lookup(each) for each in decision.lookups],
        rule=None if decision is None else _rule(site, decision),
        file=None if decision is None else _file(known, decision),
        status=known.status,
        headers=[HeaderView.model_validate(each) for each in known.headers],
        depends_on=None if decision is None else _depends(decision, known.content),
        kept=known.kept,
    )


def _serving(hosted: HostedSite | None) -> ServingSiteView | None:
    if hosted is None:
        return None
    return ServingSiteView(
        id=hosted.id,
        domain=hosted.domain,
        prefix=hosted.prefix,
        version=hosted.version,
        deployment=None if hosted.preview is None else hosted.preview.deployment_id,
    )


async def _visible(call: Call, hosted: HostedSite | None) -> str | None:
    """The site's id, if it is any of the caller's business."""
    site = None if hosted is None else await call.metadata.find_site_by_id(hosted.id)
    return site.id if site is not None and site.workspace_id == call.caller.workspace_id else None


def _lookup(lookup: Lookup) -> LookupView:
    wanted = lookup.wanted
    folder = () if wanted.folder_index is None else (wanted.folder_index,)
    roles: tuple[tuple[Role, tuple[str, ...]], ...] = (
        ("file", wanted.files),
        ("folder", folder),
        ("notFound", wanted.not_found),
    )
    candidates = [
        CandidateView(path=name, role=role, exists=lookup.has(name)) for role, names in roles for name in names
    ]
    return LookupView(path=lookup.path, candidates=candidates)


def _rule(site: Site, decision: Decision) -> RuleView | None:
    if decision.outcome is None:
        return None
    rule = decision.outcome.rule
    reason = why(decision.outcome, decision.lookups[0])
    return RuleView(file=join(site.prefix, REDIRECTS), line=rule.line, text=rule.text, why=reason)


def _file(known: Explanation, decision: Decision) -> ExplainedFileView | None:
    answer, content, site = decision.answer, known.content, known.answered_by
    if answer.file is None or content is None:
        return None
    blob = content.blob
    tree: Tree = "previous" if isinstance(answer, Shown) and answer.lost else "live"
    if site is not None and site.preview is not None:
        tree = "deployment"
    return ExplainedFileView(
        path=answer.file.path, tree=tree, coding=content.coding, digest=blob.digest, size=blob.size
    )


def _depends(decision: Decision, content: Content | None) -> DependsView:
    inputs = decision.inputs
    return DependsView(
        query=sorted(inputs.query),
        cookies=sorted(inputs.cookies),
        languages=sorted(inputs.languages),
        navigation=inputs.navigation,
        codings=[] if content is None else list(content.codings),
    )

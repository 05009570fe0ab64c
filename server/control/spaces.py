"""Spaces: create, list, fetch, update, delete."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Annotated, TypeAlias, cast

from fastapi import APIRouter, Query
from starlette.responses import Response

from server.control.call import Call, CurrentCall
from server.control.fields import Alias, Body, Description, MetaUpdate, Name, NoFields, Reference
from server.control.gate import EXPORT, RECORDS, ControlRoute, declare
from server.control.pagination import META_FILTER_PARAMETER, CurrentListQuery, MetaFilter
from server.control.records import Read, answer_list, export
from server.control.views import IdView, ListView, SpaceView
from storage.models import NewSpace, SpacePatch

router = APIRouter(route_class=ControlRoute, tags=["Spaces"])


ContactFilter: TypeAlias = Annotated[str | None, Query(description="Keeps the spaces of this contact")]


class SpaceFields(Body):
    """What is absent stays as it is, or empty in a new space."""

    alias: Alias = None
    name: Name = ""
    description: Description = ""
    contact_id: Reference = None
    meta: MetaUpdate = {}

    def patch(self) -> SpacePatch:
        return cast(SpacePatch, self.model_dump(exclude_unset=True))


@router.post("/space/create", **declare("spaces:write", IdView, statuses=(409,)))
async def create_space(body: SpaceFields, call: CurrentCall) -> Response:
    """Create a space, which owns files and the sites that serve them."""
    space = await call.metadata.create_space(NewSpace(workspace_id=call.caller.workspace_id, **body.patch()))
    return call.answer_id(space.id)


@router.get(
    "/space/list",
    **declare("spaces:read", ListView[SpaceView], also=RECORDS, confinable=True, parameters=[META_FILTER_PARAMETER]),
)
async def list_spaces(
    query: CurrentListQuery,
    meta: MetaFilter,
    call: CurrentCall,
    contactId: ContactFilter = None,
) -> Response:
    """List the workspace's spaces."""
    return await answer_list(call, query, "space", _reading(call, contactId, meta), SpaceView)


@router.get(
    "/space/export",
    **declare("spaces:read", ListView[SpaceView], also=EXPORT, confinable=True, parameters=[META_FILTER_PARAMETER]),
)
async def export_spaces(
    query: CurrentListQuery,
    meta: MetaFilter,
    call: CurrentCall,
    contactId: ContactFilter = None,
) -> Response:
    """Export the workspace's spaces, all of them unless `take` says how many, as JSON, JSON lines or CSV."""
    return await export(call, query, "space", _reading(call, contactId, meta), SpaceView)


def _reading(call: Call, contact_id: str | None, meta: Mapping[str, str]) -> Read:
    """The caller's spaces; those that it is confined to, if it is."""
    caller = call.caller
    return partial(
        call.metadata.list_spaces, caller.workspace_id, contact_id=contact_id, meta=meta, among=caller.spaces
    )


@router.get("/space/{spaceId}/fetch", **declare("spaces:read", SpaceView))
async def fetch_space(spaceId: str, call: CurrentCall) -> Response:
    """Fetch a space by its id or alias."""
    return call.answer(SpaceView.model_validate(await call.get_space(spaceId)))


@router.post("/space/{spaceId}/update", **declare("spaces:write", IdView, statuses=(409,)))
async def update_space(spaceId: str, body: SpaceFields, call: CurrentCall) -> Response:
    """Change a space. Only the fields that are sent change; null or an empty text clears one."""
    space = await call.get_space(spaceId)
    await call.metadata.update_space(space.id, body.patch())
    return call.answer_id(space.id)


@router.post("/space/{spaceId}/delete", **declare("spaces:write", IdView))
async def delete_space(spaceId: str, body: NoFields, call: CurrentCall) -> Response:
    """Delete a space with its sites, files and deployments. Its domains are free at once; there is no way back."""
    space = await call.get_space(spaceId)
    await call.metadata.delete_space(space.id)
    return call.answer_id(space.id)

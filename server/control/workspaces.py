"""Workspaces: create, list, fetch, update; for the root key."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, TypeAlias, cast

from fastapi import APIRouter
from pydantic import Field
from starlette.responses import Response

from server.control.call import CurrentCall
from server.control.fields import MAX_WHOLE, WHOLE, Alias, Body, Name
from server.control.gate import RECORDS, ControlRoute, declare
from server.control.pagination import CurrentListQuery
from server.control.records import answer_list
from server.control.views import IdView, ListView, WorkspaceUseView, WorkspaceView
from storage.workspaces import WorkspacePatch

router = APIRouter(route_class=ControlRoute, tags=["Workspaces"])

Limit: TypeAlias = Annotated[int, Field(ge=0, le=MAX_WHOLE), WHOLE] | None


class WorkspaceFields(Body):
    """What is absent stays as it is, or empty in a new workspace. null lifts a limit; one below what there is already
    takes nothing away."""

    alias: Alias = None
    name: Name = ""
    max_sites: Limit = None
    max_files: Limit = None
    max_bytes: Limit = None
    max_widgets: Limit = None
    requests_per_minute: Limit = None

    def patch(self) -> WorkspacePatch:
        return cast(WorkspacePatch, self.model_dump(exclude_unset=True))


@router.post("/workspace/create", **declare("root", IdView))
async def create_workspace(body: WorkspaceFields, call: CurrentCall) -> Response:
    """Create a workspace, a tenant. Keys for it are made with `key/create` and `workspace`."""
    workspace = await call.metadata.create_workspace(body.patch())
    return call.answer_id(workspace.id)


@router.get("/workspace/list", **declare("root", ListView[WorkspaceView], also=RECORDS))
async def list_workspaces(query: CurrentListQuery, call: CurrentCall) -> Response:
    """List every workspace."""
    return await answer_list(call, query, "workspace", call.metadata.list_workspaces, WorkspaceView)


@router.get("/workspace/{workspaceId}/fetch", **declare("root", WorkspaceUseView))
async def fetch_workspace(workspaceId: str, call: CurrentCall) -> Response:
    """Fetch a workspace by its id or alias, and what it has."""
    workspace = await call.get_workspace(workspaceId)
    usage = await call.metadata.measure_workspace(workspace.id)
    return call.answer(WorkspaceUseView.model_validate({**asdict(workspace), "usage": asdict(usage)}))


@router.post("/workspace/{workspaceId}/update", **declare("root", IdView))
async def update_workspace(workspaceId: str, body: WorkspaceFields, call: CurrentCall) -> Response:
    """Change a workspace. Only the fields that are sent change."""
    workspace = await call.get_workspace(workspaceId)
    await call.metadata.update_workspace(workspace.id, body.patch())
    return call.answer_id(workspace.id)

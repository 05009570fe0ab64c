"""The audit log: who changed what, and when."""

from __future__ import annotations

from functools import partial
from typing import Annotated

from fastapi import APIRouter, Query
from starlette.responses import Response

from server.control.call import CurrentCall
from server.control.gate import FOR_ROOT, RECORDS, ControlRoute, declare
from server.control.pagination import CurrentListQuery
from server.control.records import answer_list
from server.control.views import AuditView, ListView

router = APIRouter(route_class=ControlRoute, tags=["Audit"])


# The list of scopes is closed, and who may make keys may know what is done with them.
@router.get("/audit/list", **declare("keys:write", ListView[AuditView], also=RECORDS, statuses=(404,), confinable=True))
async def list_audit(
    query: CurrentListQuery,
    call: CurrentCall,
    kind: Annotated[str | None, Query(description="Keeps the changes of such objects, such as `site`")] = None,
    id: Annotated[str | None, Query(description="Keeps the changes of the object with this id")] = None,
    action: Annotated[str | None, Query(description="Keeps such changes, such as `site.update`")] = None,
    workspace: Annotated[str | None, Query(description=f"Of another workspace: {FOR_ROOT}")] = None,
) -> Response:
    """List the changes that were made in the workspace. Of a file that was changed by itself, the id is the file's; of
    several at once, the space's."""
    read = partial(
        call.metadata.list_audit,
        await call.choose_workspace(workspace),
        kind=kind,
        object_id=id,
        action=action,
        spaces=call.caller.spaces,
    )
    return await answer_list(call, query, "audit", read, AuditView)

"""What an endpoint works with: the stores, who calls, and the objects that the caller's path names."""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends
from starlette.requests import Request
from starlette.responses import Response

from server.control.auth import Caller
from server.control.config import ControlConfig
from server.control.errors import ApiError
from server.control.fields import ALIAS
from server.control.views import IdView, View
from storage.blobs import BlobStore
from storage.errors import NotFound
from storage.metadata import MetadataStore
from storage.models import Deployment, Key, Site, Space

_ID = re.compile(r"[a-z]+_[0-9a-z]{38}")  # storage.ids; anything else is not worth a query


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One authenticated request."""

    metadata: MetadataStore
    blobs: BlobStore
    config: ControlConfig
    turns: asyncio.Semaphore  # of large JSON bodies, see `bodies.open_json`
    caller: Caller

    def answer(self, view: View) -> Response:
        """200 with `view`, in the caller's dialect."""
        return view.render(sdk=self.caller.dialect == "sdk")

    def answer_id(self, id: str) -> Response:
        return self.answer(IdView(id=id))

    def check_workspace(self, workspace_id: str, kind: str) -> None:
        """Raises 401, as the product text has it, for what belongs to another workspace."""
        if workspace_id != self.caller.workspace_id:
            raise ApiError(401, "NOT_AUTHORIZED", f"This {kind} belongs to another workspace")

    async def get_space(self, ref: str) -> Space:
        """The caller's space named by its id, its alias, or `@` and its alias.

        One that a token is not confined to is treated as another workspace's.
        """
        space = await self.metadata.find_space(ref) if _ID.fullmatch(ref) else None
        if space is not None:
            self.check_workspace(space.workspace_id, "space")
            if not self.caller.may_enter(space.id):
                raise ApiError(401, "NOT_AUTHORIZED", "This token is confined to other spaces")
            return space
        alias = _parse_alias_ref(ref)
        space = await self.metadata.find_space_by_alias(self.caller.workspace_id, alias) if alias else None
        if space is None or not self.caller.may_enter(space.id):
            raise NotFound("space", ref)
        return space

    async def get_site(self, space: Space, ref: str) -> Site:
        """The site of `space` named as for `get_space`."""
        site = await self.metadata.find_site_by_id(ref) if _ID.fullmatch(ref) else None
        alias = _parse_alias_ref(ref)
        if site is None and alias:
            site = await self.metadata.find_site_by_alias(self.caller.workspace_id, alias)
        if site is None or site.space_id != space.id:
            raise NotFound("site", ref)
        return site

    async def get_deployment(self, space: Space, id: str) -> Deployment:
        """The deployment of `space` with this id."""
        deployment = await self.metadata.find_deployment(id) if _ID.fullmatch(id) else None
        if deployment is None or deployment.space_id != space.id:
            raise NotFound("deployment", id)
        return deployment

    async def get_key(self, id: str) -> Key:
        """The caller's key with this id."""
        key = await self.metadata.find_key(id) if _ID.fullmatch(id) else None
        if key is None:
            raise NotFound("key", id)
        self.check_workspace(key.workspace_id, "key")
        return key


def _parse_alias_ref(ref: str) -> str | None:
    alias = ref.removeprefix("@")
    return alias if ALIAS.fullmatch(alias) else None


async def _current_call(request: Request) -> Call:
    call: Call = request.state.call
    return call


CurrentCall = Annotated[Call, Depends(_current_call)]

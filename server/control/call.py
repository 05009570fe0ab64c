"""What an endpoint works with: the stores, who calls, and the objects that the caller's path names."""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends
from starlette.requests import Request
from starlette.responses import Response

from server.compression import codings_for, make_variants
from server.control.auth import ROOT, Caller
from server.control.config import ControlConfig
from server.control.errors import ApiError
from server.control.fields import ALIAS
from server.control.rates import Rates
from server.control.views import IdView, View
from storage import edits
from storage.blobs import BlobStore
from storage.errors import NotFound
from storage.ids import SITE_ID
from storage.metadata import MetadataStore
from storage.models import Blob, Coding, Deployment, Key, Site, Space
from storage.widgets import Widget
from storage.workspaces import Workspace

_ID = re.compile(r"[a-z]+_[0-9a-z]{38}")  # storage.ids; anything else is not worth a query


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One authenticated request."""

    metadata: MetadataStore
    blobs: BlobStore
    config: ControlConfig
    turns: asyncio.Semaphore  # of large JSON bodies, see `bodies.open_json`
    heavy: asyncio.Semaphore  # of what keeps a processor busy for long
    rates: Rates
    caller: Caller
    workspace: Workspace  # the caller's

    def answer(self, view: View) -> Response:
        """200 with `view`, in the caller's dialect."""
        return view.render(sdk=self.caller.dialect == "sdk")

    def answer_id(self, id: str) -> Response:
        return self.answer(IdView(id=id))

    async def compress(self, path: str, blob: Blob) -> None:
        """Make what variants a file's first visitors shall find: gzip, which is quick. The rest is done later."""
        if variants := await self.make_variants(path, blob):
            await self.metadata.put_variants(self.caller.workspace_id, {blob.digest: variants})

    async def make_variants(self, path: str, blob: Blob) -> dict[Coding, Blob | None]:
        """The variants that `compress` makes, before anything is noted of them."""
        codings = [coding for coding in codings_for(path, blob.size) if coding == "gzip"]
        return await make_variants(self.blobs, blob, codings) if codings else {}

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

    async def get_widget(self, ref: str) -> Widget:
        """The caller's site of the Sites API, named by its `site_id` or its id; another workspace's is not there."""
        if _ID.fullmatch(ref):
            widget = await self.metadata.find_widget_by_id(ref)
        else:
            widget = await self.metadata.find_widget(ref) if SITE_ID.fullmatch(ref) else None
        if widget is None or widget.workspace_id != self.workspace.id:
            raise NotFound("site", ref)
        return widget

    async def get_key(self, id: str) -> Key:
        """The caller's key with this id; any workspace's for the root key."""
        key = await self.metadata.find_key(id) if _ID.fullmatch(id) else None
        if key is None:
            raise NotFound("key", id)
        if self.caller.kind != "root":
            self.check_workspace(key.workspace_id, "key")
        return key

    async def get_workspace(self, ref: str) -> Workspace:
        """The workspace named by its id, its alias, or `@` and its alias. For the root key only: it tells of others."""
        self.caller.require(ROOT)
        alias = _parse_alias_ref(ref)
        workspace = await self.metadata.find_workspace(ref) if alias == ref else None
        if workspace is None and alias:
            workspace = await self.metadata.find_workspace_by_alias(alias)
        if workspace is None:
            raise NotFound("workspace", ref)
        return workspace

    async def choose_workspace(self, ref: str | None) -> str:
        """The id of the workspace that a call is about: the caller's, or another that the root key names."""
        if ref is None:
            return self.workspace.id
        return (await self.get_workspace(ref)).id

    async def check_room(self, request: Request, *, overhead: int = 0) -> None:
        """Raises `QuotaExceeded` if the workspace has no room for as many bytes as the request announces, `overhead` of
        which may be no content.

        Not the last word: what is stored is judged with the write itself. But it spares both sides the upload.
        """
        length = request.headers.get("content-length", "")
        if length.isdecimal():
            await self.check_room_for(max(0, int(length) - overhead))

    async def check_room_for(self, size: int) -> None:
        """As `check_room`, for `size` bytes more."""
        if self.workspace.max_bytes is not None:
            usage = await self.metadata.measure_workspace(self.workspace.id)
            edits.check_quota(edits.BYTES, self.workspace, usage.bytes + size)


def _parse_alias_ref(ref: str) -> str | None:
    alias = ref.removeprefix("@")
    return alias if ALIAS.fullmatch(alias) else None


async def _current_call(request: Request) -> Call:
    call: Call = request.state.call
    return call


CurrentCall = Annotated[Call, Depends(_current_call)]

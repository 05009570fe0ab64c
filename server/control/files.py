"""Files of a space: upload, list, download, delete. Blob first, row second: a broken upload leaves nothing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import TypeAdapter, ValidationError
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from server.control import bodies, multipart
from server.control.call import Call, CurrentCall
from server.control.errors import bad_request, details_of
from server.control.fields import Body
from server.control.gate import BYTES, ControlRoute, declare
from server.control.pagination import CurrentListQuery, ListQuery, render_page
from server.control.views import EntryView, IdView, ListView
from server.edge.media_types import content_type
from storage.blobs import BlobReader
from storage.errors import Invalid, NotFound
from storage.models import PageQuery
from storage.paths import parse_folder, parse_path, path_id

router = APIRouter(route_class=ControlRoute, tags=["Files"])

Recursive = Annotated[bool, Query(description="Everything below the folder, instead of one level")]


class DataUrl(Body):
    """A file in JSON."""

    file: str


_UPLOAD_BODY = {
    "required": True,
    "description": "The file's bytes as they are, or as the form's one part, or in a data: URL. A file that is itself "
    "JSON is sent as application/octet-stream.",
    "content": {
        "application/octet-stream": BYTES,
        multipart.FORM: {"schema": {"type": "object", "properties": {"file": BYTES["schema"]}}},
        bodies.JSON: {"schema": TypeAdapter(DataUrl).json_schema()},
    },
}


@router.post("/space/{spaceId}/storage/upload/{path:path}", **declare("files:write", IdView, requestBody=_UPLOAD_BODY))
async def upload_file(spaceId: str, path: str, request: Request, call: CurrentCall) -> Response:
    """Put a file at a path, in place of what was there. It is live when the call returns."""
    kept = parse_path(path)
    content = await _content(request, call)
    space = await call.get_space(spaceId)
    blob = await call.blobs.put(content, limit=call.config.max_file_bytes)
    await call.compress(kept, blob)
    await call.metadata.put_files(space.id, {kept: blob})
    return call.answer_id(path_id(kept))


async def _content(request: Request, call: Call) -> AsyncIterator[bytes]:
    """The uploaded file's chunks; judges what can be judged before they are read."""
    limit = call.config.max_file_bytes
    match bodies.media_type(request):
        case bodies.JSON:
            async with bodies.open_json(request, call.config.max_large_json_bytes, call.turns) as body:
                return _once(await asyncio.to_thread(_data_url, body.value))
        case multipart.FORM:
            limit += multipart.MAX_OVERHEAD
            bodies.check_length(request, limit)
            return multipart.read_file(bodies.read_stream(request, limit), request.headers["content-type"])
        case _:
            bodies.check_length(request, limit)
            await call.check_room(request)
            return bodies.read_stream(request, limit)


def _data_url(body: object) -> bytes:
    try:
        url = DataUrl.model_validate(body).file
    except ValidationError as exc:
        raise bad_request(details_of(exc.errors(), skip=0)) from None
    return bodies.parse_data_url(url, field="file")


async def _once(content: bytes) -> AsyncIterator[bytes]:
    yield content


@router.get("/space/{spaceId}/storage/list", **declare("files:read", ListView[EntryView]))
async def list_root(spaceId: str, query: CurrentListQuery, call: CurrentCall, recursive: Recursive = False) -> Response:
    """List the files and folders at the space's root."""
    return await _list(call, spaceId, "", query, recursive)


@router.get("/space/{spaceId}/storage/list/{path:path}", **declare("files:read", ListView[EntryView]))
async def list_folder(
    spaceId: str, path: str, query: CurrentListQuery, call: CurrentCall, recursive: Recursive = False
) -> Response:
    """List the files and folders in a folder. A folder is there while it has files; one that is not lists nothing."""
    return await _list(call, spaceId, path, query, recursive)


async def _list(call: Call, space_ref: str, path: str, query: ListQuery, recursive: bool) -> Response:
    folder = parse_folder(path)
    page_query = query.page("file", default_order="asc")
    space = await call.get_space(space_ref)
    page = await call.metadata.list_files(space.id, folder, recursive=recursive, query=page_query)
    return call.answer(render_page("file", page, EntryView.model_validate))


class Download(StreamingResponse):
    """A blob on its way; it is let go of however that ends."""

    def __init__(self, reader: BlobReader, media_type: str) -> None:
        headers = {
            "Content-Length": str(reader.size),
            # A tenant's page must not run with the control API's origin.
            "Content-Disposition": "attachment",
            "X-Content-Type-Options": "nosniff",
        }
        super().__init__(reader.read(0, reader.size), headers=headers, media_type=media_type)
        self._reader = reader

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            await self._reader.close()


@router.get("/space/{spaceId}/storage/download/{path:path}", **declare("files:read", None))
async def download_file(spaceId: str, path: str, call: CurrentCall) -> Response:
    """Download a file's bytes."""
    kept = parse_path(path)
    space = await call.get_space(spaceId)
    file = await call.metadata.find_file(space.id, kept)
    if file is None:
        raise NotFound("file", kept)
    return Download(await call.blobs.open(file.digest), content_type(kept))


class DeleteFields(Body):
    """`recursive`: the path is a folder, and everything below it goes. It may be a query parameter instead."""

    recursive: bool = False


@router.post("/space/{spaceId}/storage/delete/{path:path}", **declare("files:write", IdView))
async def delete_file(
    spaceId: str, path: str, body: DeleteFields, call: CurrentCall, recursive: Recursive = False
) -> Response:
    """Delete a file, or with `recursive` a folder and everything below it."""
    kept = parse_path(path)
    space = await call.get_space(spaceId)
    if (body.recursive or recursive) and await call.metadata.delete_tree(space.id, kept):
        return call.answer_id(path_id(kept))
    if await call.metadata.find_file(space.id, kept) is None:
        below = await call.metadata.list_files(space.id, kept, recursive=True, query=PageQuery(take=1))
        if below.items:
            raise Invalid("recursive", f"must be true: {kept!r} is a folder, and everything below it would go")
        raise NotFound("file", kept)
    await call.metadata.put_files(space.id, {}, delete=[kept])
    return call.answer_id(path_id(kept))

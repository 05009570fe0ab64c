"""Files of a space. Blob first, row second: a broken upload leaves nothing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable
from typing import Annotated
from urllib.parse import quote, urlencode

from fastapi import APIRouter, Depends, Query
from pydantic import TypeAdapter, ValidationError
from starlette.requests import Request
from starlette.responses import Response

from server.control import bodies, links, multipart
from server.control.accept import choose_media_type
from server.control.call import Call, CurrentCall
from server.control.config import ControlConfig
from server.control.downloads import answer_file
from server.control.errors import ApiError, bad_request, details_of
from server.control.examples import EXAMPLES
from server.control.fields import Body
from server.control.gate import BYTES, BYTES_TYPE, FILE, RECORDS, ControlRoute, Gate, check_url, declare
from server.control.pagination import CurrentListQuery, ListQuery
from server.control.records import answer_list
from server.control.views import EntryView, LinkView, ListView, PathView
from storage.errors import Invalid, NotFound
from storage.metadata import MetadataStore
from storage.models import Entry, File, Page, PageQuery
from storage.paths import parse_folder, parse_path, path_id

router = APIRouter(route_class=ControlRoute, tags=["Files"])

LAST_SECOND = 253_402_300_799  # the end of the year 9999

Recursive = Annotated[bool, Query(description="Everything below the folder, instead of one level")]


class DataUrl(Body):
    """A file in JSON."""

    file: str


_UPLOAD_BODY = {
    "required": False,  # no body is an empty file
    "description": "The file's bytes as they are, or as the form's one part, or in a data: URL. A file that is itself "
    "JSON is sent as application/octet-stream.",
    "content": {
        "application/octet-stream": BYTES,
        multipart.FORM: {"schema": {"type": "object", "properties": {"file": BYTES["schema"]}}},
        bodies.JSON: {"schema": TypeAdapter(DataUrl).json_schema() | {"examples": [EXAMPLES["DataUrl"]]}},
    },
}


@router.post(
    "/space/{spaceId}/storage/upload/{path:path}", **declare("files:write", PathView, requestBody=_UPLOAD_BODY)
)
async def upload_file(spaceId: str, path: str, request: Request, call: CurrentCall) -> Response:
    """Put a file at a path, in place of what was there. It is live when the call returns."""
    kept = parse_path(path)
    content = await _content(request, call)
    space = await call.get_space(spaceId)
    blob = await call.blobs.put(content, limit=call.config.max_file_bytes)
    await call.compress(kept, blob)
    await call.metadata.put_files(space.id, {kept: blob})
    return call.answer(PathView(path=kept))


async def _content(request: Request, call: Call) -> AsyncIterator[bytes]:
    """The uploaded file's chunks; judges what can be judged before they are read."""
    media_type = bodies.media_type(request)
    if media_type == bodies.JSON:
        async with bodies.open_json(request, call.config.max_large_json_bytes, call.turns) as body:
            return _once(await asyncio.to_thread(_data_url, body.value))
    content = bodies.read_upload(request, call.config.max_file_bytes)
    if media_type != multipart.FORM:
        await call.check_room(request)
    return content


def _data_url(body: object) -> bytes:
    try:
        url = DataUrl.model_validate(body).file
    except ValidationError as exc:
        raise bad_request(details_of(exc.errors(), skip=0)) from None
    return bodies.parse_data_url(url, field="file")


async def _once(content: bytes) -> AsyncIterator[bytes]:
    yield content


@router.get("/space/{spaceId}/storage/list", **declare("files:read", ListView[EntryView], also=RECORDS))
async def list_root(spaceId: str, query: CurrentListQuery, call: CurrentCall, recursive: Recursive = False) -> Response:
    """List the files and folders at the space's root."""
    return await _list(call, spaceId, "", query, recursive)


@router.get("/space/{spaceId}/storage/list/{path:path}", **declare("files:read", ListView[EntryView], also=RECORDS))
async def list_folder(
    spaceId: str, path: str, query: CurrentListQuery, call: CurrentCall, recursive: Recursive = False
) -> Response:
    """List the files and folders in a folder. A folder is there while it has files; one that is not lists nothing."""
    return await _list(call, spaceId, path, query, recursive)


async def _list(call: Call, space_ref: str, path: str, query: ListQuery, recursive: bool) -> Response:
    folder = parse_folder(path)
    space = await call.get_space(space_ref)

    def read(page_query: PageQuery) -> Awaitable[Page[Entry]]:
        return call.metadata.list_files(space.id, folder, recursive=recursive, query=page_query)

    return await answer_list(call, query, "file", read, EntryView, default_order="asc")


@router.get(
    "/space/{spaceId}/storage/download/{path:path}",
    **declare("files:read", LinkView, also=FILE, statuses=(206, 304, 412, 416)),
)
async def download_file(spaceId: str, path: str, request: Request, call: CurrentCall) -> Response:
    """Download a file's bytes, all or a range of them.

    With `Accept: application/json` the answer is a link instead, which works without a key for five minutes.
    """
    kept = parse_path(path)
    space = await call.get_space(spaceId)
    file = await get_file(call.metadata, space.id, kept)
    if choose_media_type(request.headers.get("accept"), (BYTES_TYPE, bodies.JSON)) == bodies.JSON:
        return call.answer(LinkView(id=path_id(kept), url=_link(request, call.config, space.id, kept)))
    return await answer_file(request, file, call.blobs, call.config.clock())


def _link(request: Request, config: ControlConfig, space_id: str, path: str) -> str:
    """Where the caller found this server; a proxy in front of it says whether that was over TLS."""
    scheme = request.headers.get("x-forwarded-proto")
    if scheme not in ("http", "https"):
        scheme = request.url.scheme
    query = urlencode(links.sign(config.link_key, space_id, path, config.clock())._asdict())
    return f"{scheme}://{request.url.netloc}/api/v1/space/{space_id}/storage/signed/{quote(path)}?{query}"


async def _signature(
    expires: Annotated[int, Query(ge=0, le=LAST_SECOND, description="When the link ends, in seconds since 1970")],
    signature: Annotated[str, Query(pattern="^[0-9a-f]{64}$", description="What shows that it was made here")],
) -> links.Signature:
    return links.Signature(expires, signature)


signed_router = APIRouter(tags=["Files"])


@signed_router.get(
    "/space/{spaceId}/storage/signed/{path:path}", **declare(None, None, also=FILE, statuses=(206, 304, 403, 412, 416))
)
async def download_by_link(
    spaceId: str, path: str, signature: Annotated[links.Signature, Depends(_signature)], request: Request
) -> Response:
    """Download a file's bytes by the link that its download gave. No key is needed."""
    gate: Gate = request.app.state.gate
    check_url(request)
    kept = parse_path(path)
    if not links.holds(gate.config.link_key, spaceId, kept, signature, gate.config.clock()):
        raise ApiError(403, "NOT_AUTHORIZED", "This link is not valid, or its time is over: ask for a new one")
    file = await get_file(gate.metadata, spaceId, kept)
    return await answer_file(request, file, gate.blobs, gate.config.clock())


async def get_file(metadata: MetadataStore, space_id: str, path: str) -> File:
    """The live file; raises `NotFound`."""
    file = await metadata.find_file(space_id, path)
    if file is None:
        raise NotFound("file", path)
    return file


class Destination(Body):
    """`destinationPath` is where it is to be, in the same space."""

    destination_path: str


@router.post("/space/{spaceId}/storage/copy/{path:path}", **declare("files:write", PathView))
async def copy_file(spaceId: str, path: str, body: Destination, call: CurrentCall) -> Response:
    """Copy a file, or a folder with everything below it. What is at the same paths is replaced, the rest stays."""
    return await _copy(call, spaceId, path, body, move=False)


@router.post("/space/{spaceId}/storage/move/{path:path}", **declare("files:write", PathView))
async def move_file(spaceId: str, path: str, body: Destination, call: CurrentCall) -> Response:
    """Move a file, or a folder with everything below it. What is at the same paths is replaced, the rest stays."""
    return await _copy(call, spaceId, path, body, move=True)


async def _copy(call: Call, space_ref: str, path: str, body: Destination, *, move: bool) -> Response:
    kept = parse_path(path)
    destination = parse_path(body.destination_path, field="destinationPath")
    space = await call.get_space(space_ref)
    await call.metadata.copy_files(space.id, kept, destination, move=move)
    return call.answer(PathView(path=destination))


class DeleteFields(Body):
    """`recursive`: everything below the path goes too. It may be a query parameter instead."""

    recursive: bool = False


@router.post("/space/{spaceId}/storage/delete/{path:path}", **declare("files:write", PathView))
async def delete_file(
    spaceId: str, path: str, body: DeleteFields, call: CurrentCall, recursive: Recursive = False
) -> Response:
    """Delete a file, or with `recursive` a folder and everything below it."""
    kept = parse_path(path)
    space = await call.get_space(spaceId)
    if not await call.metadata.delete_tree(space.id, kept, recursive=body.recursive or recursive):
        below = await call.metadata.list_files(space.id, kept, recursive=True, query=PageQuery(take=1))
        if below.items:
            raise Invalid("recursive", f"must be true: {kept!r} is a folder, and everything below it would go")
        raise NotFound("file", kept)
    return call.answer(PathView(path=kept))

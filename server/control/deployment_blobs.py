"""The contents of a deployment: which it misses, and uploading them, one or many in a call."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Mapping
from contextlib import suppress

from fastapi import APIRouter
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from server.control import bodies, multipart
from server.control.call import Call, CurrentCall
from server.control.contents import BATCH, BATCH_BYTES, HELD_BYTES, Held, check_size, keep_all, keep_stream
from server.control.deployment_views import MissingView, TakenView
from server.control.gate import BYTES, ControlRoute, declare
from server.control.views import IdView
from storage.blobs import parse_digest
from storage.errors import Invalid, NotFound, StorageError
from storage.models import Blob, Digest

router = APIRouter(route_class=ControlRoute, tags=["Deployments"])

_BLOB_BODY = {
    "required": False,  # no body is an empty content
    "description": "The content's bytes as they are.",
    "content": {"application/octet-stream": BYTES},
}
_BLOBS_BODY = {
    "required": True,
    "description": "A part for each content, in any order: its name is the content's digest, its body the content.",
    "content": {multipart.FORM: {"schema": {"type": "object", "additionalProperties": BYTES["schema"]}}},
}


@router.get("/space/{spaceId}/deployment/{deploymentId}/missing", **declare("files:read", MissingView))
async def list_missing(spaceId: str, deploymentId: str, call: CurrentCall) -> Response:
    """The contents to upload before a deployment can be activated: all that the workspace does not have."""
    deployment = await call.get_deployment(await call.get_space(spaceId), deploymentId)
    missing = await call.metadata.list_missing(deployment.id)
    return call.answer(MissingView(id=deployment.id, missing=list(missing)))


@router.post(
    "/space/{spaceId}/deployment/{deploymentId}/blob/{digest}",
    **declare("files:write", IdView, requestBody=_BLOB_BODY),
)
async def upload_blob(spaceId: str, deploymentId: str, digest: str, request: Request, call: CurrentCall) -> Response:
    """Upload one content that the deployment misses. It is refused unless it is what the manifest says."""
    parse_digest(digest)
    space = await call.get_space(spaceId)
    deployment = await call.get_deployment(space, deploymentId)
    path, wanted = await _get_wanted(call, deployment.id, digest)
    bodies.check_length(request, wanted.size)
    await call.check_room(request)
    await keep_stream(call, path, wanted, bodies.read_stream(request, wanted.size))
    return call.answer_id(digest)


@router.post(
    "/space/{spaceId}/deployment/{deploymentId}/blobs",
    **declare("files:write", TakenView, requestBody=_BLOBS_BODY),
)
async def upload_blobs(spaceId: str, deploymentId: str, request: Request, call: CurrentCall) -> Response:
    """Upload many contents that the deployment misses, as a form with a part for each, named by its digest.

    Each is refused unless it is what the manifest says, and the call ends there. What came before stays, then as where
    the call breaks off: `missing` tells what is left.
    """
    deployment = await call.get_deployment(await call.get_space(spaceId), deploymentId)
    if bodies.media_type(request) != multipart.FORM:
        raise Invalid("body", f"has to be {multipart.FORM}, with a part for each content")
    overhead = multipart.MAX_OVERHEAD + deployment.file_count * multipart.PART_OVERHEAD
    limit = deployment.byte_count + overhead
    bodies.check_length(request, limit)
    await call.check_room(request, overhead=overhead)
    taking = _Taking(call, deployment.id)
    parts = multipart.read_parts(bodies.read_stream(request, limit), request.headers["content-type"])
    await taking.take_all(parts)
    return call.answer(TakenView(id=deployment.id, taken=taking.taken))


async def _get_wanted(call: Call, deployment_id: str, digest: Digest) -> tuple[str, Blob]:
    """The first path that has this content, and the content."""
    found = await call.metadata.find_deployment_blobs(deployment_id, [digest])
    if digest not in found:
        raise _unknown(digest)
    return found[digest]


def _unknown(digest: Digest) -> NotFound:
    return NotFound("blob of this deployment", digest)


class _Taking:
    """One call's contents. Small ones wait in memory until there are enough of them."""

    def __init__(self, call: Call, deployment_id: str) -> None:
        self.taken: list[Digest] = []
        self._call = call
        self._deployment_id = deployment_id
        self._held: dict[Digest, bytes] = {}

    async def take_all(self, parts: AsyncIterator[multipart.Part]) -> None:
        try:
            async for part in parts:
                await self._take(part)
        except (ClientDisconnect, StorageError):
            with suppress(StorageError):  # of two refusals, the caller gets the first
                await self._store()
            raise
        await self._store()

    async def _take(self, part: multipart.Part) -> None:
        digest = parse_digest(part.name, field=part.name or "body")
        data = bytearray()
        async for chunk in part.chunks:
            data += chunk
            if len(data) > HELD_BYTES:
                await self._take_large(digest, _chain(data, part.chunks))
                return
        self._held[digest] = bytes(data)
        if len(self._held) == BATCH or sum(map(len, self._held.values())) >= BATCH_BYTES:
            await self._store()

    async def _take_large(self, digest: Digest, chunks: AsyncIterator[bytes]) -> None:
        path, wanted = await _get_wanted(self._call, self._deployment_id, digest)
        await self._call.check_room_for(wanted.size)
        await keep_stream(self._call, path, wanted, chunks)
        self.taken.append(digest)

    async def _store(self) -> None:
        """Keep what waits. Raises the first objection to any of it, once all others are kept."""
        held, self._held = self._held, {}
        if not held:
            return
        wanted = await self._call.metadata.find_deployment_blobs(self._deployment_id, list(held))
        contents, objections = await asyncio.to_thread(_judge, held, wanted)
        if contents:
            await keep_all(self._call, contents)
            self.taken += [content.blob.digest for content in contents]
        if objections:
            raise objections[0]


async def _chain(first: bytearray, rest: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    yield bytes(first)
    async for chunk in rest:
        yield chunk


def _judge(
    held: Mapping[Digest, bytes], wanted: Mapping[Digest, tuple[str, Blob]]
) -> tuple[list[Held], list[StorageError]]:
    """Which contents are what their parts' names and the manifest say, and why others are not."""
    contents: list[Held] = []
    objections: list[StorageError] = []
    for digest, data in held.items():
        try:
            contents.append(_judge_one(digest, data, wanted))
        except StorageError as exc:
            objections.append(exc)
    return contents, objections


def _judge_one(digest: Digest, data: bytes, wanted: Mapping[Digest, tuple[str, Blob]]) -> Held:
    if digest not in wanted:
        raise _unknown(digest)
    found = hashlib.sha256(data).hexdigest()
    if found != digest:
        raise Invalid(digest, f"is not the digest of this part, which is {found}: upload the file it was made from")
    path, blob = wanted[digest]
    check_size(len(data), blob)
    return Held(path, blob, data)

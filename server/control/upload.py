"""A deployment in one call: an archive of all its files.

1. the archive goes to the disk as it arrives, under no name, so that nothing is left of it whatever happens
2. all of it is read and judged; nothing of one that is refused is kept
3. the deployment is made, which says which contents are missing; the archive is read again for those
4. it is activated

Reading waits for the disk and keeps a processor busy, so it is done in threads, for a few archives at a time.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryFile
from typing import Annotated, BinaryIO, cast

from fastapi import APIRouter, Depends, Query
from starlette.requests import Request
from starlette.responses import Response

from server.control import bodies, multipart
from server.control.archive_formats import CHUNK_BYTES
from server.control.archives import Content, Limits, Placing, Survey, read_contents, survey
from server.control.call import Call, CurrentCall
from server.control.contents import BATCH, BATCH_BYTES, HELD_BYTES, Held, keep_all, keep_stream
from server.control.deployment_views import UploadView
from server.control.deployments import check_base
from server.control.fields import MAX_DESCRIPTION, MAX_WHOLE
from server.control.gate import BYTES, ControlRoute, declare
from server.control.problems import find_problems
from server.control.views import ProblemView
from storage.errors import StorageError
from storage.medium import medium
from storage.models import Blob, Deployment, Mode, NewDeployment
from storage.paths import MAX_SEGMENTS, parse_folder

router = APIRouter(route_class=ControlRoute, tags=["Deployments"])

_SCRATCH = "the place for archives"

_ARCHIVE_BODY = {
    "required": True,
    "description": "A .zip, .tar.gz or .tar, as it is or as the form's one part `file`; its first bytes tell which.",
    "content": {
        "application/octet-stream": BYTES,
        "application/gzip": BYTES,
        "application/zip": BYTES,
        "application/x-tar": BYTES,
        multipart.FORM: {"schema": {"type": "object", "properties": {"file": BYTES["schema"]}}},
    },
}


@dataclass(frozen=True, slots=True)
class _Wish:
    """What the query says."""

    placing: Placing
    mode: Mode
    message: str
    activate: bool
    base: int | None


async def _read_wish(
    mode: Annotated[Mode, Query(description="`replace` all that is below the prefix, or `merge` into it")] = "replace",
    prefix: Annotated[str, Query(description="the folder that the files go to; by default the space's root")] = "",
    message: Annotated[str, Query(description="yours", max_length=MAX_DESCRIPTION)] = "",
    strip: Annotated[int, Query(description="folders to take off each name", ge=0, le=MAX_SEGMENTS)] = 0,
    activate: Annotated[bool, Query(description="publish it at once")] = True,
    base: Annotated[
        int | None, Query(description="of a merge: the revision that it starts from", ge=0, le=MAX_WHOLE)
    ] = None,
) -> _Wish:
    check_base(mode, base)
    placing = Placing(prefix=parse_folder(prefix, field="prefix"), strip=strip)
    return _Wish(placing, mode, message, activate, base)


@router.post(
    "/space/{spaceId}/deployment/upload",
    **declare("files:write", UploadView, statuses=(409,), requestBody=_ARCHIVE_BODY),
)
async def upload_deployment(
    spaceId: str, request: Request, wish: Annotated[_Wish, Depends(_read_wish)], call: CurrentCall
) -> Response:
    """Deploy a .zip or .tar.gz in one call: everything in it, or nothing if anything in it is not as it should be.

    It is live when the call returns, unless `activate=false`. Names that begin with a dot, save `.well-known`, and
    `__MACOSX` are left out. A single folder around everything stays, unless `strip=1`.
    """
    space = await call.get_space(spaceId)
    chunks = bodies.read_upload(request, call.config.max_archive_bytes)
    limits = Limits(file_bytes=call.config.max_file_bytes, bytes=call.config.max_unpacked_bytes)
    with _open_archive(call.config.body_folder) as archive:
        await _receive(chunks, archive)
        async with call.heavy:
            surveyed = await asyncio.to_thread(survey, archive, limits, wish.placing)
            new = NewDeployment(
                space_id=space.id,
                files=surveyed.files,
                mode=wish.mode,
                prefix=wish.placing.prefix,
                message=wish.message,
                base=wish.base,
            )
            deployment = await call.metadata.create_deployment(new)
            try:
                stored = await _store_missing(call, archive, surveyed, wish.placing, deployment.id)
                if wish.activate:
                    deployment = await call.metadata.activate_deployment(deployment.id, skew=call.config.skew)
            except BaseException:
                with suppress(StorageError):  # then it is forgotten as any that nobody has activated
                    await call.metadata.delete_deployment(deployment.id)
                raise
    return call.answer(await _view(call, deployment, surveyed, stored))


def _open_archive(folder: Path | None) -> BinaryIO:
    with medium(_SCRATCH):
        return cast(BinaryIO, TemporaryFile(dir=folder))


async def _receive(chunks: AsyncIterator[bytes], archive: BinaryIO) -> None:
    """Write what arrives to the disk."""
    pending = bytearray()
    async for chunk in chunks:
        pending += chunk
        if len(pending) >= CHUNK_BYTES:
            await asyncio.to_thread(_write, archive, pending)
            pending = bytearray()
    await asyncio.to_thread(_write, archive, pending)


def _write(archive: BinaryIO, data: bytearray) -> None:
    with medium(_SCRATCH):
        archive.write(data)
        archive.flush()


async def _store_missing(
    call: Call, archive: BinaryIO, surveyed: Survey, placing: Placing, deployment_id: str
) -> Sequence[Blob]:
    """Keep the contents that the workspace does not have yet."""
    missing = await call.metadata.list_missing(deployment_id)
    sizes = {blob.digest: blob.size for blob in surveyed.files.values()}
    await call.check_room_for(sum(sizes[digest] for digest in missing))
    contents = read_contents(archive, surveyed, placing, missing)
    stored: list[Blob] = []
    while batch := await asyncio.to_thread(_take, contents):
        if held := [Held(content.path, content.blob, data) for content, data in batch if data is not None]:
            await keep_all(call, held)
        for content, data in batch:
            if data is None:
                await keep_stream(call, content.path, content.blob, _pull(content.chunks))
        stored += [content.blob for content, _ in batch]
    return stored


def _take(contents: Iterator[Content]) -> list[tuple[Content, bytes | None]]:
    """The next contents: small ones whole, or up to one that is not and is yet to be read."""
    taken: list[tuple[Content, bytes | None]] = []
    size = 0
    for content in contents:
        if content.blob.size > HELD_BYTES:
            return [*taken, (content, None)]
        taken.append((content, b"".join(content.chunks)))
        size += content.blob.size
        if size >= BATCH_BYTES or len(taken) == BATCH:
            break
    return taken


async def _pull(chunks: Iterator[bytes]) -> AsyncIterator[bytes]:
    """What a thread has to fetch."""
    while (chunk := await asyncio.to_thread(next, chunks, None)) is not None:
        yield chunk


async def _view(call: Call, deployment: Deployment, surveyed: Survey, stored: Sequence[Blob]) -> UploadView:
    problems: list[ProblemView] = []
    unlisted = 0
    if deployment.revision is not None:
        problems, unlisted = await find_problems(call, deployment.space_id)
    return UploadView(
        id=deployment.id,
        revision=deployment.revision,
        file_count=deployment.file_count,
        byte_count=deployment.byte_count,
        new_count=len(stored),
        new_bytes=sum(blob.size for blob in stored),
        skipped=surveyed.skipped,
        problems=problems,
        unlisted=unlisted,
    )

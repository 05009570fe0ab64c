"""A file's bytes as an answer: whole, in part, or "you have it already", by the functions that serve visitors."""

from __future__ import annotations

from collections.abc import AsyncIterator

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from server.control.errors import ApiError, render
from server.edge.conditions import finish, http_date
from server.edge.media_types import content_type
from server.edge.parts import read_parts
from server.edge.request import Request as EdgeRequest
from server.edge.request import read_request
from server.edge.response import Content, Parts, file_representation
from server.edge.response import Response as Answer
from storage.blobs import BlobReader, BlobStore
from storage.models import Blob, File, Millis

# A tenant's page must not run with the control API's origin.
ATTACHMENT = (b"content-disposition", b"attachment")

REFUSALS = {
    412: ("PRECONDITION_FAILED", "The file is not as the request's precondition wants it"),
    416: ("RANGE_NOT_SATISFIABLE", "The file has no such range: Content-Range tells its size"),
}


class Download(StreamingResponse):
    """Parts of a blob on their way; it is let go of however that ends."""

    def __init__(self, answer: Answer, chunks: AsyncIterator[bytes], reader: BlobReader) -> None:
        super().__init__(chunks, status_code=answer.status)
        self.raw_headers = list(answer.headers)
        self._reader = reader

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            await self._reader.close()


async def answer_file(request: Request, file: File, blobs: BlobStore, now: Millis) -> Response:
    """What `request` gets of `file`: 200, 206, 304, 412 or 416. Raises `Corrupt`, `Unavailable`."""
    blob = Blob(digest=file.digest, size=file.size)
    date = http_date(min(file.modified_at, now) // 1000)  # RFC 9110 §8.8.2.1: none in the future
    stored = file_representation(Content(content_type(file.path), blob, blob), file.modified_at, date)
    answer = finish(stored, _conditions(request))
    if answer.status in REFUSALS:
        return render(request, ApiError(answer.status, *REFUSALS[answer.status]), _content_range(answer))
    answer = Answer(answer.status, (*answer.headers, ATTACHMENT), answer.body)
    if not isinstance(answer.body, Parts):
        bodiless = Response(answer.body, answer.status)
        bodiless.raw_headers = list(answer.headers)
        return bodiless
    reader = await blobs.open(file.digest)
    return Download(answer, read_parts(answer.body, reader), reader)


def _conditions(request: Request) -> EdgeRequest:
    """Its preconditions and ranges. Whose the file is has been found out: host and target no longer matter."""
    headers = [header for header in request.scope["headers"] if header[0] != b"host"]
    return read_request("GET", b"/", "1.0", headers)


def _content_range(answer: Answer) -> dict[str, str]:
    """Of a 416: how large the file is."""
    return {name.decode(): value.decode() for name, value in answer.headers if name == b"content-range"}

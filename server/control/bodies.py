"""Request bodies: how much of one is read, and JSON out of it.

Visitors may be answered by the same process, so a body that takes long to parse is parsed in a thread. The parser does
not let go of the interpreter there, which is why the number of values is limited as well: at the limit it takes 40 ms
for the manifest of 100,000 files and 120 ms for as many keys as there can be, and 50 MB for the values.

A large body waits on the disk until it is whole and has its turn, so that memory does not grow with how many there are:
who sends them may take as long as they like.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
import re
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from tempfile import SpooledTemporaryFile
from typing import Any, NamedTuple
from urllib.parse import unquote_to_bytes

from pydantic_core import from_json
from starlette.requests import Request

from server.control import multipart
from server.control.envelope import body_may_exceed
from server.control.errors import ApiError, Detail, bad_request
from storage.errors import Invalid, TooLarge, Unavailable

JSON = "application/json"
MERGE_PATCH = "application/merge-patch+json"  # RFC 7396 §4, which is what each PATCH here takes

SMALL_JSON = 256 * 1024  # bytes: parsed in a few milliseconds, for which a thread is not worth its hop
MAX_VALUES = 400_000  # brackets and commas of a body: a manifest has three for each file
LARGE_AT_ONCE = 2  # bodies larger than that which are held in memory as values

MAX_URL_HEAD = 1024  # characters of a data: URL up to its comma
MAX_ESCAPED_URL = 256 * 1024  # characters of a data: URL that may be percent-encoded: decoding takes 100 times its size

# RFC 2397: data:[<media type>][;base64],<data>
_DATA_URL = re.compile(r"data:[^,]*?(?P<base64>;base64)?,", re.IGNORECASE)


def media_type(request: Request) -> str:
    """The request's Content-Type without parameters, in lower case; `""` if it has none."""
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


def require_json(request: Request) -> None:
    """Raises 415 for anything else."""
    given = media_type(request)
    if given != JSON and not (given == MERGE_PATCH and request.method == "PATCH"):
        raise ApiError(415, "UNSUPPORTED_MEDIA_TYPE", f"Send the body as Content-Type: {JSON}")


def check_length(request: Request, limit: int) -> None:
    """Raises `TooLarge` if the request announces more than `limit` bytes, before any is read."""
    if "content-length" in request.headers and body_may_exceed(request.headers, limit):
        raise TooLarge(limit)


async def read_stream(request: Request, limit: int) -> AsyncIterator[bytes]:
    """The body in chunks; raises `TooLarge` past `limit` bytes and reads no further."""
    size = 0
    async with aclosing(request.stream()) as chunks:
        async for chunk in chunks:
            size += len(chunk)
            if size > limit:
                raise TooLarge(limit)
            if chunk:
                yield chunk


def read_upload(request: Request, limit: int) -> AsyncIterator[bytes]:
    """The content that is uploaded, as the body or as its form's one part; raises 413 or `Invalid`, here and later."""
    if media_type(request) != multipart.FORM:
        check_length(request, limit)
        return read_stream(request, limit)
    limit += multipart.MAX_OVERHEAD
    check_length(request, limit)
    return multipart.read_file(read_stream(request, limit), request.headers["content-type"])


class JsonBody(NamedTuple):
    """A body's value, and a digest of its bytes."""

    value: Any
    digest: str


@asynccontextmanager
async def open_json(
    request: Request, limit: int, turns: asyncio.Semaphore, folder: Path | None = None
) -> AsyncIterator[JsonBody]:
    """The body as JSON; an empty one counts as `{}`. Raises `TooLarge`, 400 if it is not JSON, or `Unavailable`.

    A large one waits for its turn in `folder` (None: where temporary files go). The block holds the turn: it is to end
    when the values are no longer needed.
    """
    check_length(request, limit)
    with SpooledTemporaryFile(SMALL_JSON, dir=str(folder) if folder else None) as kept:
        size = await _receive(request, limit, kept)
        if size <= SMALL_JSON:
            yield _parse_body(kept)
            return
        async with turns:
            yield await asyncio.to_thread(_parse_body, kept)


async def _receive(request: Request, limit: int, kept: SpooledTemporaryFile[bytes]) -> int:
    """Keep the body's bytes; how many."""
    size = values = 0
    async for chunk in read_stream(request, limit):
        values += sum(chunk.count(mark) for mark in (b",", b"[", b"{"))
        if values > MAX_VALUES:
            raise bad_request([Detail("body", f"has more than {MAX_VALUES} values: send less at once")])
        size += len(chunk)
        if size <= SMALL_JSON:
            kept.write(chunk)
        else:
            await asyncio.to_thread(_write, kept, chunk)
    return size


def _write(kept: SpooledTemporaryFile[bytes], chunk: bytes) -> None:
    try:
        kept.write(chunk)
    except OSError as exc:
        raise Unavailable(f"a body cannot be kept until it is whole: {exc}") from exc


def _parse_body(kept: SpooledTemporaryFile[bytes]) -> JsonBody:
    kept.seek(0)
    body = kept.read()
    return JsonBody(parse_json(body), hashlib.sha256(body).hexdigest())


def parse_json(body: bytes) -> Any:
    """Raises 400.

    pydantic's parser takes no lone surrogate, no NaN and no nesting deeper than 200, which is what a store can keep.
    """
    try:
        # Without its cache of strings, which makes a manifest, where all differ, take half as long again.
        return from_json(body or b"{}", allow_inf_nan=False, cache_strings="none")
    except ValueError as exc:
        raise bad_request([Detail("body", f"is not valid JSON: {exc}")]) from None


def parse_data_url(text: str, *, field: str) -> bytes:
    """The content of a `data:` URL, in base64 or percent-encoded; raises `Invalid`."""
    head = _DATA_URL.match(text, 0, MAX_URL_HEAD)
    if head is None:
        raise Invalid(field, "is not a data: URL, such as data:text/plain;base64,aGk=")
    if "%" in text and len(text) > MAX_ESCAPED_URL:
        raise Invalid(field, f"is percent-encoded and longer than {MAX_ESCAPED_URL} characters: send it in base64")
    content = unquote_to_bytes(text[head.end() :])
    if not head["base64"]:
        return content
    try:
        return base64.b64decode(content, validate=True)
    except binascii.Error:
        raise Invalid(field, "is not valid base64 after the comma") from None

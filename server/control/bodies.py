"""Request bodies: how much of one is read, and JSON out of it."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any
from urllib.parse import unquote_to_bytes

from pydantic_core import from_json
from starlette.requests import Request

from server.control.envelope import body_may_exceed
from server.control.errors import ApiError, Detail, bad_request
from storage.errors import Invalid, TooLarge

JSON = "application/json"

# RFC 2397: data:[<media type>][;base64],<data>
_DATA_URL = re.compile(r"data:[^,]*?(?P<base64>;base64)?,", re.IGNORECASE)


def media_type(request: Request) -> str:
    """The request's Content-Type without parameters, in lower case; `""` if it has none."""
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


def require_json(request: Request) -> None:
    """Raises 415 for anything else."""
    if media_type(request) != JSON:
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


async def read_json(request: Request, limit: int) -> Any:
    """The body as JSON; an empty one counts as `{}`. Raises `TooLarge`, or 400 if it is not JSON.

    pydantic's parser takes no lone surrogate, no NaN and no nesting deeper than 200, which is what a store can keep.
    """
    check_length(request, limit)
    body = b"".join([chunk async for chunk in read_stream(request, limit)])
    try:
        return from_json(body or b"{}", allow_inf_nan=False)
    except ValueError as exc:
        raise bad_request([Detail("body", f"is not valid JSON: {exc}")]) from None


def parse_data_url(text: str, *, field: str) -> bytes:
    """The content of a `data:` URL, in base64 or percent-encoded; raises `Invalid`."""
    head = _DATA_URL.match(text)
    if head is None:
        raise Invalid(field, "is not a data: URL, such as data:text/plain;base64,aGk=")
    content = unquote_to_bytes(text[head.end() :])
    if not head["base64"]:
        return content
    try:
        return base64.b64decode(content, validate=True)
    except binascii.Error:
        raise Invalid(field, "is not valid base64 after the comma") from None

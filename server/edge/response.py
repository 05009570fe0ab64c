"""What goes back: a `Representation` that may be kept, and the `Response` that one request gets from it.

Header names are lower-case bytes. Neither holds Date: it is added when the response is sent off (`stamp`).
"""

from __future__ import annotations

import html
from collections.abc import Iterable
from dataclasses import dataclass, replace
from http import HTTPStatus
from typing import TypeAlias

from server.edge.codings import IDENTITY, Coding
from server.edge.request import Refusal
from storage.models import Blob, Digest, Millis

Headers: TypeAlias = tuple[tuple[bytes, bytes], ...]

ALLOW = (b"allow", b"GET, HEAD, OPTIONS")
NOSNIFF = (b"x-content-type-options", b"nosniff")
NO_STORE = (b"cache-control", b"no-store")
REVALIDATE = (b"cache-control", b"public, max-age=0, must-revalidate")
VARY = (b"vary", b"accept-encoding")  # RFC 9110 §12.5.5: on every coding, or a cache gives one to all
HTML = (b"content-type", b"text/html; charset=utf-8")
RETRY_AFTER_SECONDS = 5

_EXTRA: dict[int, Headers] = {405: (ALLOW,), 503: ((b"retry-after", str(RETRY_AFTER_SECONDS).encode()),)}

_PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>{status} {reason}</title>
<style>
:root {{ color-scheme: light dark }}
body {{ font: 1rem/1.5 system-ui, sans-serif; max-width: 36rem; margin: 20vh auto 0; padding: 0 1.5rem }}
h1 {{ font-size: 1.5rem; margin: 0 }}
p {{ opacity: .75 }}
</style>
<h1>{status} {reason}</h1>
<p>{detail}</p>
</html>
"""


@dataclass(frozen=True, slots=True)
class Span:
    """Bytes `start` up to, but without, `stop` of a blob that is not in memory."""

    start: int
    stop: int


@dataclass(frozen=True, slots=True)
class Parts:
    """A body that is still to be read: literal bytes and spans of one blob, in order; `size` in bytes in all."""

    blob: Blob
    parts: tuple[bytes | Span, ...]
    size: int


Body: TypeAlias = bytes | Parts


@dataclass(frozen=True, slots=True)
class Response:
    """What one request gets. For HEAD the body is empty and the headers are those of GET. `site_id` is of the site that
    it is of, "" where there is none; it is not sent."""

    status: int
    headers: Headers
    body: Body = b""
    site_id: str = ""

    @property
    def size(self) -> int:
        """Bytes of the body."""
        return len(self.body) if isinstance(self.body, bytes) else self.body.size


@dataclass(frozen=True, slots=True)
class Representation:
    """A whole answer to GET, the same for everybody whom its cache key covers.

    `etag` (quoted) and `modified` (seconds since the epoch) are the validators of a file; None for pages and redirects,
    to which preconditions and ranges do not apply. What is made here has no `modified`. A `location` goes out with the
    request's query behind it. A file that has variants names all its `codings`, the smallest first, and this is in
    `coding`; others name none. `digest` is that of the body where this is a blob's content.
    """

    status: int
    headers: Headers
    body: bytes | Blob
    etag: bytes | None = None
    modified: int | None = None
    location: str | None = None
    coding: Coding = IDENTITY
    codings: tuple[Coding, ...] = ()
    digest: Digest | None = None

    @property
    def size(self) -> int:
        """Bytes of the body."""
        return len(self.body) if isinstance(self.body, bytes) else self.body.size


@dataclass(frozen=True, slots=True)
class Page(Representation):
    """One whose body is at hand."""

    body: bytes


def etag_of(blob: Blob) -> bytes:
    """A strong entity tag (RFC 9110 §8.8.3): half of the content's SHA-256 is far more than chance needs."""
    return f'"{blob.digest[:32]}"'.encode()


@dataclass(frozen=True, slots=True)
class Content:
    """What is sent of a file: the blob of one of its codings. `body` is the blob again where it is too large to keep.

    `codings` as in `Representation`.
    """

    media_type: str
    blob: Blob
    body: bytes | Blob
    coding: Coding = IDENTITY
    codings: tuple[Coding, ...] = ()

    @property
    def headers(self) -> Headers:
        """Those that describe it."""
        described = [
            (b"content-type", self.media_type.encode("ascii")),
            (b"content-length", str(self.blob.size).encode()),
        ]
        if self.coding != IDENTITY:
            described.append((b"content-encoding", self.coding.encode("ascii")))
        if self.codings:
            described.append(VARY)
        return tuple(described)


def file_representation(content: Content, modified: Millis, date: bytes) -> Representation:
    """The 200 for a file. `date` is `modified` as an HTTP date."""
    stored = _shown(content, (b"last-modified", date), REVALIDATE)
    return replace(stored, modified=modified // 1000)


def made_representation(content: Content, caching: tuple[bytes, bytes] = REVALIDATE) -> Representation:
    """The 200 for what is made here: as a file's, but nobody can tell when it last changed."""
    return _shown(content, caching)


def _shown(content: Content, *headers_of_kind: tuple[bytes, bytes]) -> Representation:
    etag = etag_of(content.blob)
    headers = (*content.headers, (b"etag", etag), *headers_of_kind, (b"accept-ranges", b"bytes"), NOSNIFF)
    return Representation(
        200,
        headers,
        content.body,
        etag,
        coding=content.coding,
        codings=content.codings,
        digest=content.blob.digest,
    )


def error_representation(content: Content, status: int = 404) -> Representation:
    """The error that shows a site's own page. It has no validators: a 304 would lose the status."""
    headers = (*content.headers, NO_STORE, NOSNIFF)
    return Representation(
        status, headers, content.body, coding=content.coding, codings=content.codings, digest=content.blob.digest
    )


def is_about_caching(name: bytes) -> bool:
    """Whether it is Cache-Control or what some shared caches heed in its place (RFC 9213, Edge Architecture)."""
    return name.endswith(b"cache-control") or name == b"surrogate-control"


def varying(headers: Headers, fields: Iterable[bytes]) -> Headers:
    """`headers` of an answer that depended on these fields of the request: Vary says so, and one that depended on a
    cookie is for nobody else's eyes."""
    fields = tuple(fields)
    if not fields:
        return headers
    out = []
    vary = b", ".join(fields)
    for name, value in headers:
        if name == b"vary":
            vary = b", ".join([value, *(field for field in fields if field not in value.lower().split(b", "))])
        elif b"cookie" in fields and name != b"cache-control" and is_about_caching(name):
            continue  # for shared caches, which have no business with it
        elif name == b"cache-control" and b"cookie" in fields and b"no-store" not in value:
            directives = [directive.strip() for directive in value.split(b",")]
            kept = [directive for directive in directives if directive.lower() not in (b"public", b"private")]
            out.append((name, b", ".join([b"private", *kept])))
        else:
            out.append((name, value))
    return (*out, (b"vary", vary))


def page(status: int, detail: str, extra: Iterable[tuple[bytes, bytes]] = ()) -> Page:
    """Our own small page for a status; `detail` is plain text."""
    reason = HTTPStatus(status).phrase
    body = _PAGE.format(status=status, reason=html.escape(reason), detail=html.escape(detail)).encode()
    length = (b"content-length", str(len(body)).encode())
    return Page(status, (HTML, length, *_EXTRA.get(status, ()), *extra, NO_STORE, NOSNIFF), body)


NOT_ALLOWED = page(405, "This site can be read, and nothing else: use GET or HEAD.")


def refusal_page(refusal: Refusal) -> Page:
    """The page for what cannot be served as it was asked."""
    return page(refusal.status, f"Sorry, {refusal.detail}.")


def redirect(status: int, location: str) -> Representation:
    """A redirect; `location` is percent-encoded and has no query."""
    plain = page(status, f"The page is at {location}")
    return replace(plain, location=location, headers=(*plain.headers[:-2], REVALIDATE, NOSNIFF))


OPTIONS = Representation(204, (ALLOW, NOSNIFF), b"")


def stamp(response: Response, date: bytes, site_id: str = "") -> Response:
    """`response` with its Date (RFC 9110 §6.6.1) and the site that it is of."""
    return Response(response.status, (*response.headers, (b"date", date)), response.body, site_id)

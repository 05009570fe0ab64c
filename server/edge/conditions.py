"""`finish`: from a representation to what one request gets of it. Pure, and the same for every door.

1. preconditions in the order of RFC 9110 §13.2.2 → 304 or 412
2. Range and If-Range (§14, §13.1.5) → 206 or 416
3. HEAD: the headers alone
4. Repr-Digest, if it is asked for (RFC 9530)
"""

from __future__ import annotations

import calendar
import hashlib
import re
from dataclasses import replace
from email.utils import formatdate
from typing import Literal

from server.edge.codings import IDENTITY
from server.edge.digests import repr_digest, wants_sha256
from server.edge.request import Request
from server.edge.response import Body, Headers, Parts, Representation, Response, Span, page

MAX_RANGES = 16
MAX_ELEMENTS = 1024  # of a Range that is read at all: who asks for more pieces is better served with the whole (§14.2)

# What describes the body alone stays out of a 304 (RFC 9110 §15.4.5); it has an ETag, so Last-Modified adds nothing.
_NOT_IN_304 = frozenset({b"content-type", b"content-length", b"content-encoding", b"accept-ranges", b"last-modified"})

_OF_PARTS = frozenset({b"content-type", b"content-encoding"})

_TAG = r'"[\x21\x23-\x7e\x80-\xff]*+"'
_ETAG = re.compile(rf"(W/)?({_TAG})")
_ETAG_LIST = re.compile(rf"(?:[ \t]*+,)*[ \t]*+(?:W/)?{_TAG}[ \t]*+(?:,[ \t]*+(?:(?:W/)?{_TAG}[ \t]*+)?)*")
_RANGE = re.compile(r"[ \t]*+(?:(\d{1,18}+)-(\d{1,18}+)?|-(\d{1,18}+))[ \t]*+")

_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_LONG_DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
_TIME = r"(\d\d):(\d\d):(\d\d)"
_MONTH = rf"({'|'.join(_MONTHS)})"
_IMF_FIXDATE = re.compile(rf"(?:{'|'.join(_DAYS)}), (\d\d) {_MONTH} (\d{{4}}) {_TIME} GMT", re.ASCII)
_RFC850 = re.compile(rf"(?:{'|'.join(_LONG_DAYS)}), (\d\d)-{_MONTH}-(\d\d) {_TIME} GMT", re.ASCII)
_ASCTIME = re.compile(rf"(?:{'|'.join(_DAYS)}) {_MONTH} ([ \d]\d) {_TIME} (\d{{4}})", re.ASCII)


def finish(stored: Representation, request: Request) -> Response:
    """What `request` gets of `stored`, the full answer to GET."""
    if request.want_repr_digest is not None:
        return _with_digest(stored, request, request.want_repr_digest)
    head = request.method == "HEAD"
    if stored.etag is not None:
        match _precondition(stored.etag, stored.modified, request):
            case 304:
                return Response(304, tuple(header for header in stored.headers if header[0] not in _NOT_IN_304))
            case 412:
                return _whole(page(412, "The file is not as the request's precondition wants it."), head)
        # Range is defined for GET alone (§14.2).
        if request.range is not None and not head and _if_range(stored, request.if_range):
            ranges = parse_range(request.range, stored.size)
            if ranges is not None:
                return _partial(stored, ranges)
    response = _whole(stored, head)
    if stored.location is None:
        return response
    location = f"{stored.location}?{request.query}" if request.query else stored.location
    return Response(response.status, (*response.headers, (b"location", location.encode("ascii"))), response.body)


def _with_digest(stored: Representation, request: Request, wanted: str) -> Response:
    """With the digest of the whole of `stored`, also on a part of it and for HEAD (RFC 9530 §3, appendix B), if wanted.

    Not on a 304, which leaves out what describes a representation that the client has (RFC 9110 §15.4.5); nor on a 412
    or a 416, whose page is another one. The wish does not select the representation, and an answer is as good with the
    field as without for whoever asks next: it is no matter of Vary (§12.5.5) or of the cache.
    """
    response = finish(stored, replace(request, want_repr_digest=None))
    if stored.digest is None or response.status not in (stored.status, 206) or not wants_sha256(wanted):
        return response
    return replace(response, headers=(*response.headers, repr_digest(stored.digest)))


def _whole(stored: Representation, head: bool) -> Response:
    return Response(stored.status, stored.headers, b"" if head else _body(stored, ((0, stored.size),)))


def _body(stored: Representation, ranges: tuple[tuple[int, int], ...], around: tuple[bytes, ...] = (b"", b"")) -> Body:
    """The bytes of `ranges`; `around` are the literals before each and after the last."""
    body = stored.body
    if isinstance(body, bytes):
        if len(ranges) == 1 and not around[0]:
            return body[slice(*ranges[0])]
        return b"".join(
            [*(text + body[start:stop] for text, (start, stop) in zip(around, ranges, strict=False)), around[-1]]
        )
    parts: list[bytes | Span] = []
    for text, (start, stop) in zip(around, ranges, strict=False):
        parts += [text, Span(start, stop)]
    parts.append(around[-1])
    size = sum(len(part) if isinstance(part, bytes) else part.stop - part.start for part in parts)
    return Parts(body, tuple(part for part in parts if part), size)


# Preconditions


def _precondition(etag: bytes, modified: int | None, request: Request) -> Literal[304, 412] | None:
    """304, 412 or None to go on; GET and HEAD only reach here.

    Dates say nothing where `modified` is not known (§13.1.3, §13.1.4).
    """
    tag = etag.decode("ascii")
    if request.if_match is not None:
        if not _matches(request.if_match, tag, strong=True):
            return 412
    elif request.if_unmodified_since is not None:
        limit = parse_http_date(request.if_unmodified_since)
        if limit is not None and modified is not None and modified > limit:
            return 412
    if request.if_none_match is not None:
        return 304 if _matches(request.if_none_match, tag, strong=False) else None
    if request.if_modified_since is not None:
        since = parse_http_date(request.if_modified_since)
        if since is not None and modified is not None and modified <= since:
            return 304
    return None


def _matches(field: str, tag: str, *, strong: bool) -> bool:
    """Whether `field` ("*" or a list) has `tag`, by strong or weak comparison (§8.8.3.2). Bad syntax has nothing."""
    if field == "*":
        return True
    if not _ETAG_LIST.fullmatch(field):
        return False
    return any(opaque == tag and not (weak and strong) for weak, opaque in _ETAG.findall(field))


def _if_range(stored: Representation, field: str | None) -> bool:
    """Whether Range still applies: the validator must match strongly, a date exactly (§13.1.5).

    All codings of a file have one date: it does not tell a part of one from a part of another, so it counts only for
    the file as it is.
    """
    if field is None:
        return True
    if field.startswith(('"', "W/")):
        return stored.etag is not None and field == stored.etag.decode("ascii")
    date = parse_http_date(field)
    return stored.coding == IDENTITY and date is not None and date == stored.modified


def parse_http_date(text: str) -> int | None:
    """Seconds since the epoch for the three forms of RFC 9110 §5.6.7; None for anything else."""
    if found := _IMF_FIXDATE.fullmatch(text):
        day, month, year, hour, minute, second = found.groups()
    elif found := _RFC850.fullmatch(text):
        day, month, year, hour, minute, second = found.groups()
        # §5.6.7 wants the century that keeps it within 50 years ahead; dates of this form are from before 2070.
        year = f"20{year}" if year < "70" else f"19{year}"
    elif found := _ASCTIME.fullmatch(text):
        month, day, hour, minute, second, year = found.groups()
    else:
        return None
    if not (1 <= int(day) <= 31 and int(hour) < 24 and int(minute) < 60 and int(second) <= 60 and int(year) >= 1601):
        return None
    return calendar.timegm((int(year), _MONTHS.index(month) + 1, int(day), int(hour), int(minute), int(second)))


def http_date(seconds: int) -> bytes:
    """IMF-fixdate, the form that is sent."""
    return formatdate(seconds, usegmt=True).encode("ascii")


# Ranges


def parse_range(field: str, size: int) -> tuple[tuple[int, int], ...] | None:
    """(start, stop) of each range of `field` that `size` bytes satisfy, overlaps merged, in the order asked for.

    None: another unit, bad syntax or too many ranges, and the whole is sent. Empty: none can be satisfied (416).
    """
    unit, equals, text = field.partition("=")
    if not equals or unit.strip().lower() != "bytes":
        return None
    specs = text.split(",", MAX_ELEMENTS)
    if len(specs) > MAX_ELEMENTS:
        return None
    wanted = []
    for spec in specs:
        if not spec.strip(" \t"):
            continue  # an empty list element (§5.6.1.2)
        if not (found := _RANGE.fullmatch(spec)):
            return None
        first, last, suffix = found.groups()
        if suffix is not None:
            span = (max(0, size - int(suffix)), size)
        elif last is not None and int(last) < int(first):
            return None
        else:
            span = (int(first), size if last is None else min(int(last) + 1, size))
        wanted.append(span)
    if not wanted:
        return None
    merged = _merge([span for span in wanted if span[0] < span[1]])
    return merged if len(merged) <= MAX_RANGES else None


def _merge(spans: list[tuple[int, int]]) -> tuple[tuple[int, int], ...]:
    """`spans` with those that overlap as one, in the place of the one asked for first (RFC 9110 §15.3.7.2)."""
    merged: list[tuple[int, int, int]] = []  # start, stop, place
    for start, stop, place in sorted((start, stop, place) for place, (start, stop) in enumerate(spans)):
        if merged and start < merged[-1][1]:
            previous = merged.pop()
            merged.append((previous[0], max(previous[1], stop), min(previous[2], place)))
        else:
            merged.append((start, stop, place))
    return tuple((start, stop) for start, stop, _ in sorted(merged, key=lambda span: span[2]))


def _partial(stored: Representation, ranges: tuple[tuple[int, int], ...]) -> Response:
    size = stored.size
    if not ranges:
        unsatisfied = page(416, f"The file has {size} bytes.", [(b"content-range", f"bytes */{size}".encode())])
        return Response(416, unsatisfied.headers, _body(unsatisfied, ((0, unsatisfied.size),)))
    if len(ranges) == 1:
        (start, stop) = ranges[0]
        headers = _replace(stored.headers, b"content-length", str(stop - start).encode())
        content_range = (b"content-range", f"bytes {start}-{stop - 1}/{size}".encode())
        return Response(206, (*headers, content_range), _body(stored, ranges))
    return _multipart(stored, ranges)


def _multipart(stored: Representation, ranges: tuple[tuple[int, int], ...]) -> Response:
    """multipart/byteranges (§14.6). The boundary is a hash: the same request, the same bytes.

    What describes the file is said of its parts (§15.3.7.2). The answer as a whole is not in the file's coding.
    """
    described = b"".join(b"%b: %b\r\n" % header for header in stored.headers if header[0] in _OF_PARTS)
    boundary = hashlib.sha256(repr((stored.etag, ranges)).encode()).hexdigest()[:24].encode()
    around = [
        b"%b--%b\r\n%bcontent-range: bytes %d-%d/%d\r\n\r\n"
        % (b"\r\n" if place else b"", boundary, described, start, stop - 1, stored.size)
        for place, (start, stop) in enumerate(ranges)
    ]
    around.append(b"\r\n--%b--\r\n" % boundary)
    length = sum(map(len, around)) + sum(stop - start for start, stop in ranges)
    whole = tuple(header for header in stored.headers if header[0] != b"content-encoding")
    headers = _replace(whole, b"content-type", b"multipart/byteranges; boundary=" + boundary)
    return Response(
        206, _replace(headers, b"content-length", str(length).encode()), _body(stored, ranges, tuple(around))
    )


def _replace(headers: Headers, name: bytes, value: bytes) -> Headers:
    return tuple((name, value) if header[0] == name else header for header in headers)

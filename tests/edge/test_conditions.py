"""Preconditions, ranges and HEAD, on a representation alone."""

from __future__ import annotations

import email.parser
import email.policy
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.edge.conditions import MAX_RANGES, finish, http_date, parse_http_date, parse_range
from server.edge.request import Request
from server.edge.response import Content, Parts, Representation, Span, file_representation, page, redirect
from storage.models import Blob
from tests.support.hosting import digest_of

BODY = bytes(range(256)) * 4
BLOB = Blob(digest=digest_of(BODY), size=len(BODY))
MODIFIED = 784_111_777  # Sun, 06 Nov 1994 08:49:37 GMT
DATE = "Sun, 06 Nov 1994 08:49:37 GMT"
LATER = "Sun, 06 Nov 1994 08:49:38 GMT"
EARLIER = "Sun, 06 Nov 1994 08:49:36 GMT"
STORED = file_representation(Content("text/plain; charset=utf-8", BLOB, BODY), MODIFIED * 1000, DATE.encode())
TAG = STORED.etag.decode() if STORED.etag else ""


def get(**fields: str) -> Request:
    return Request(**{"method": "GET", "authority": "a.test", "path": "/", **fields})


def status(**fields: str) -> int:
    return finish(STORED, get(**fields)).status


def test_a_whole_answer() -> None:
    response = finish(STORED, get())
    assert response.status == 200
    assert response.body == BODY
    assert dict(response.headers)[b"etag"] == TAG.encode()
    assert dict(response.headers)[b"last-modified"] == DATE.encode()


def test_head_has_the_same_headers() -> None:
    response = finish(STORED, get(method="HEAD"))
    assert response.headers == finish(STORED, get()).headers
    assert response.body == b""


def test_not_modified_keeps_only_what_updates_a_cache() -> None:
    response = finish(STORED, get(if_none_match=TAG))
    assert response.status == 304
    assert response.body == b""
    assert [name for name, _ in response.headers] == [b"etag", b"cache-control", b"x-content-type-options"]


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"if_none_match": TAG}, 304),
        ({"if_none_match": f"W/{TAG}"}, 304),
        ({"if_none_match": "*"}, 304),
        ({"if_none_match": f'"x", {TAG}'}, 304),
        ({"if_none_match": f'"x",,W/{TAG} ,'}, 304),
        ({"if_none_match": '"x"'}, 200),
        ({"if_none_match": TAG.strip('"')}, 200),
        ({"if_none_match": f"{TAG} x"}, 200),
        ({"if_none_match": ""}, 200),
        ({"if_none_match": '"x"', "if_modified_since": LATER}, 200),  # §13.1.3: ignored beside If-None-Match
        ({"if_modified_since": DATE}, 304),
        ({"if_modified_since": LATER}, 304),
        ({"if_modified_since": EARLIER}, 200),
        ({"if_modified_since": "yesterday"}, 200),
        ({"if_match": TAG}, 200),
        ({"if_match": "*"}, 200),
        ({"if_match": f"W/{TAG}"}, 412),
        ({"if_match": '"x"'}, 412),
        ({"if_match": '"x"', "if_none_match": TAG}, 412),
        ({"if_match": TAG, "if_none_match": TAG}, 304),
        ({"if_match": TAG, "if_unmodified_since": EARLIER}, 200),  # §13.1.4: ignored beside If-Match
        ({"if_unmodified_since": DATE}, 200),
        ({"if_unmodified_since": EARLIER}, 412),
        ({"if_unmodified_since": "yesterday"}, 200),
        ({"if_unmodified_since": DATE, "if_modified_since": DATE}, 304),
        ({"range": "bytes=0-0"}, 206),
        ({"range": "bytes=0-0", "if_range": TAG}, 206),
        ({"range": "bytes=0-0", "if_range": DATE}, 206),
        ({"range": "bytes=0-0", "if_range": f"W/{TAG}"}, 200),
        ({"range": "bytes=0-0", "if_range": '"x"'}, 200),
        ({"range": "bytes=0-0", "if_range": LATER}, 200),
        ({"range": "bytes=0-0", "if_range": "nonsense"}, 200),
        ({"range": "bytes=0-0", "if_none_match": TAG}, 304),
        ({"range": "bytes=0-0", "if_match": '"x"'}, 412),
        ({"range": "bytes=0-0", "method": "HEAD"}, 200),
        ({"range": "bytes=99999-"}, 416),
        ({"range": "bytes=-0"}, 416),
        ({"range": "lines=0-0"}, 200),
        ({"range": "bytes=1-0"}, 200),
        ({"range": "bytes"}, 200),
        ({"range": "bytes="}, 200),
        ({"range": "bytes=a-b"}, 200),
    ],
)
def test_order_of_preconditions(fields: dict[str, str], expected: int) -> None:
    assert status(**fields) == expected


def test_pages_have_no_preconditions() -> None:
    error = page(404, "not here")
    for fields in ({"if_none_match": "*"}, {"if_match": '"x"'}, {"range": "bytes=0-0"}):
        assert finish(error, get(**fields)).status == 404


def test_a_redirect_takes_the_query_along() -> None:
    assert dict(finish(redirect(308, "/a/"), get(query="b=c")).headers)[b"location"] == b"/a/?b=c"
    assert dict(finish(redirect(308, "/a/"), get()).headers)[b"location"] == b"/a/"


def test_an_unsatisfied_range_tells_the_size() -> None:
    response = finish(STORED, get(range="bytes=1024-"))
    assert dict(response.headers)[b"content-range"] == b"bytes */1024"


def test_an_empty_file_has_no_range() -> None:
    empty = file_representation(Content("text/plain", Blob(digest=digest_of(b""), size=0), b""), 0, b"")
    assert finish(empty, get(range="bytes=0-")).status == 416
    assert finish(empty, get()).body == b""


@pytest.mark.parametrize(
    ("field", "expected"),
    [
        ("bytes=0-0", ((0, 1),)),
        ("bytes=5-", ((5, 10),)),
        ("bytes=-3", ((7, 10),)),
        ("bytes=-99", ((0, 10),)),
        ("bytes=0-99", ((0, 10),)),
        ("BYTES = 0-0", ((0, 1),)),
        ("bytes= 0-0 ,\t2-2", ((0, 1), (2, 3))),
        ("bytes=,0-0,", ((0, 1),)),
        ("bytes=8-9,0-1", ((8, 10), (0, 2))),
        ("bytes=0-3,2-5", ((0, 6),)),
        ("bytes=4-5,8-9,0-4", ((0, 6), (8, 10))),
        ("bytes=0-1,2-3", ((0, 2), (2, 4))),
        ("bytes=0-0,99-", ((0, 1),)),
        ("bytes=10-", ()),
        ("bytes=-0", ()),
        ("bytes=" + ",".join(["1-1"] * 1000), ((1, 2),)),
        ("bytes=0-0 1-1", None),
        ("bytes=0-0,x", None),
        ("bytes=--1", None),
        ("bytes=1", None),
        ("bytes=" + "1" * 19 + "-", None),
    ],
)
def test_ranges(field: str, expected: tuple[tuple[int, int], ...] | None) -> None:
    assert parse_range(field, 10) == expected


def test_too_many_ranges_get_the_whole() -> None:
    def some(count: int) -> str:
        return "bytes=" + ",".join(f"{2 * n}-{2 * n}" for n in range(count))

    assert status(range=some(MAX_RANGES)) == 206
    assert status(range=some(MAX_RANGES + 1)) == 200


def multipart(response_headers: dict[bytes, bytes], body: bytes) -> list[tuple[str, bytes]]:
    """The parts, as Python's own MIME parser takes them apart."""
    raw = b"content-type: " + response_headers[b"content-type"] + b"\r\n\r\n" + body
    message = email.parser.BytesParser(policy=email.policy.HTTP).parsebytes(raw)
    parts = []
    for part in message.iter_parts():
        assert part.get_content_type() == "text/plain"
        content = part.get_payload(decode=True)
        assert isinstance(content, bytes)
        parts.append((str(part["content-range"]), content))
    return parts


def test_several_ranges() -> None:
    text = b"0123456789" * 10
    blob = Blob(digest=digest_of(text), size=100)
    stored = file_representation(Content("text/plain; charset=utf-8", blob, text), 0, b"")
    response = finish(stored, get(range="bytes=90-,0-4,3-6"))
    headers = dict(response.headers)
    assert response.status == 206
    assert isinstance(response.body, bytes)
    assert headers[b"content-length"] == str(len(response.body)).encode()
    assert b"content-range" not in headers
    assert multipart(headers, response.body) == [("bytes 90-99/100", b"0123456789"), ("bytes 0-6/100", b"0123456")]


def joined(response_body: bytes | Parts) -> bytes:
    if isinstance(response_body, bytes):
        return response_body
    assert response_body.size == sum(p.stop - p.start if isinstance(p, Span) else len(p) for p in response_body.parts)
    return b"".join(BODY[part.start : part.stop] if isinstance(part, Span) else part for part in response_body.parts)


LARGE = Representation(200, STORED.headers, BLOB, STORED.etag, STORED.modified)


@pytest.mark.parametrize("field", [None, "bytes=1-2", "bytes=-5", "bytes=0-9,20-29,-1"])
def test_what_is_not_in_memory_gets_the_same_bytes(field: str | None) -> None:
    request = Request(method="GET", authority="a.test", path="/", range=field)
    large, small = finish(LARGE, request), finish(STORED, request)
    assert isinstance(large.body, Parts)
    assert (large.status, large.headers, joined(large.body)) == (small.status, small.headers, small.body)


SPEC = st.one_of(
    st.tuples(st.integers(0, 30), st.integers(0, 30)).map(lambda pair: f"{min(pair)}-{max(pair)}"),
    st.integers(0, 30).map(lambda first: f"{first}-"),
    st.integers(0, 30).map(lambda last: f"-{last}"),
)


def slices(specs: list[str], size: int) -> set[int]:
    """Which offsets are asked for, by another way of reading."""
    wanted: set[int] = set()
    for spec in specs:
        first, _, last = spec.partition("-")
        if first == "":
            wanted |= set(range(size)[-int(last) :] if int(last) else [])
        else:
            wanted |= set(range(size)[int(first) : int(last) + 1 if last else size])
    return wanted


@given(specs=st.lists(SPEC, min_size=1, max_size=10), size=st.integers(0, 25))
def test_ranges_cover_what_was_asked_for_and_nothing_else(specs: list[str], size: int) -> None:
    ranges = parse_range("bytes=" + ",".join(specs), size)
    assert ranges is not None
    offsets = [offset for start, stop in ranges for offset in range(start, stop)]
    assert len(offsets) == len(set(offsets))
    assert set(offsets) == slices(specs, size)


@given(specs=st.lists(SPEC, min_size=1, max_size=6), size=st.integers(0, 25))
def test_the_bytes_of_any_ranges_of_any_size(specs: list[str], size: int) -> None:
    """Put together from the answer as a client does it, they are what slicing gives."""
    text = BODY[:size]
    blob = Blob(digest=digest_of(text), size=size)
    stored = file_representation(Content("text/plain", blob, text), 0, b"")
    response = finish(stored, get(range="bytes=" + ",".join(specs)))
    headers, wanted = dict(response.headers), slices(specs, size)
    assert isinstance(response.body, bytes)
    if response.status == 416:
        assert not wanted
        assert headers[b"content-range"] == f"bytes */{size}".encode()
        return
    assert response.status == 206
    single = headers.get(b"content-range")
    parts = multipart(headers, response.body) if single is None else [(single.decode(), response.body)]
    found: dict[int, int] = {}
    for content_range, content in parts:
        first, last, whole = map(int, re.split("[-/]", content_range.removeprefix("bytes ")))
        assert (whole, last - first + 1) == (size, len(content))
        found.update(enumerate(content, first))
    assert found == {place: text[place] for place in wanted}


@given(st.text(max_size=60))
def test_no_range_field_breaks_it(field: str) -> None:
    response = finish(STORED, get(range=field))
    assert response.status in (200, 206, 416)


@given(st.text(max_size=60))
def test_no_precondition_breaks_it(field: str) -> None:
    for name in ("if_match", "if_none_match", "if_modified_since", "if_unmodified_since", "if_range"):
        assert status(**{name: field, "range": "bytes=0-0"}) in (200, 206, 304, 412)


@pytest.mark.parametrize(
    "text", [DATE, "Sunday, 06-Nov-94 08:49:37 GMT", "Sun Nov  6 08:49:37 1994"]
)  # the three of RFC 9110 §5.6.7
def test_dates(text: str) -> None:
    assert parse_http_date(text) == MODIFIED


def test_dates_of_the_next_century() -> None:
    assert parse_http_date("Sunday, 06-Nov-26 08:49:37 GMT") == parse_http_date("Fri, 06 Nov 2026 08:49:37 GMT")


@pytest.mark.parametrize(
    "text",
    ["", "Sun, 06 Nov 1994 08:49:37", "Sun, 06 Nov 1994 08:49:37 +0100", "Sun, 6 Nov 1994 08:49:37 GMT",
     "Sun, 00 Nov 1994 08:49:37 GMT", "Sun, 06 Nov 1994 24:49:37 GMT", "Sun, 06 Nov 1994 08:60:37 GMT",
     "Sun, 06 Nov 1994 08:49:61 GMT", "Sun, 06 Nov 1400 08:49:37 GMT", "Sun, 06 nov 1994 08:49:37 GMT",
     "Sun, ٠٦ Nov 1994 08:49:37 GMT"],
)  # fmt: skip
def test_what_is_no_date(text: str) -> None:
    assert parse_http_date(text) is None


@given(st.integers(0, 253_402_300_799))
def test_dates_round_trip(seconds: int) -> None:
    assert parse_http_date(http_date(seconds).decode()) == seconds

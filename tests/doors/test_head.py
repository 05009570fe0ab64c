"""The strict reader, without a connection."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.doors.head import (
    MAX_CHUNK_LINE_BYTES,
    MAX_DRAIN_BYTES,
    MAX_HEAD_BYTES,
    MAX_HEADER_LINES,
    Drain,
    find_head_end,
    parse_head,
)
from server.edge.request import MAX_TARGET_BYTES, Refusal

GET = b"GET / HTTP/1.1\r\nhost: a.test"


def refused(data: bytes) -> int:
    """The status that a head or an incomplete one is refused with, or 0."""
    try:
        end = find_head_end(bytearray(data), 0)
        if end >= 0:
            parse_head(data[: end - 4])
    except Refusal as refusal:
        return refusal.status
    return 0


def test_a_head() -> None:
    head = parse_head(b"GET /a?b HTTP/1.1\r\nHost:  a.test \r\nX-Empty:\r\nX-Obs: \xe9\t!")
    assert (head.method, head.target, head.version) == (b"GET", b"/a?b", "1.1")
    assert head.headers == [(b"host", b"a.test"), (b"x-empty", b""), (b"x-obs", b"\xe9\t!")]
    assert head.body is None
    assert head.keep_alive
    assert not head.expects_continue


def test_a_go_ahead_is_waited_for_in_http_1_1_alone() -> None:
    assert parse_head(b"POST / HTTP/1.1\r\nexpect: 100-Continue").expects_continue
    assert not parse_head(b"POST / HTTP/1.0\r\nexpect: 100-continue").expects_continue


@pytest.mark.parametrize(
    ("head", "keep_alive"),
    [
        (b"GET / HTTP/1.1\r\nconnection: close", False),
        (b"GET / HTTP/1.1\r\nConnection: x, CLOSE", False),
        (b"GET / HTTP/1.1\r\nconnection: keep-alive", True),
        (b"GET / HTTP/1.0\r\nconnection: keep-alive", False),
        (b"GET / HTTP/1.9", True),
    ],
)
def test_keep_alive(head: bytes, keep_alive: bool) -> None:
    assert parse_head(head).keep_alive is keep_alive


@pytest.mark.parametrize(
    "data",
    [
        b"GET / HTTP/1.1\nhost: a\n\n",
        b"GET / HTTP/1.1\r\nhost: a\n\r\n",
        b"GET / HTTP/1.1\r\nhost: a\r\rb: c\r\n\r\n",
        b"GET / HTTP/1.1\rhost: a",
        b"GET / HTTP/1.1\r\nhost: a\r\r\n\r\n",
        b"GET /\r\n\r\n",
        b"GET  / HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1 \r\n\r\n",
        b" GET / HTTP/1.1\r\n\r\n",
        b"GET\t/ HTTP/1.1\r\n\r\n",
        b"GET / http/1.1\r\n\r\n",
        b"GET / HTTP/1.10\r\n\r\n",
        b"G(T / HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\n folded: x\r\n\r\n",
        b"GET / HTTP/1.1\r\na: b\r\n c\r\n\r\n",
        b"GET / HTTP/1.1\r\na : b\r\n\r\n",
        b"GET / HTTP/1.1\r\n: b\r\n\r\n",
        b"GET / HTTP/1.1\r\nab\r\n\r\n",
        b"GET / HTTP/1.1\r\na: \x00\r\n\r\n",
        b"GET / HTTP/1.1\r\na: \x7f\r\n\r\n",
        b"GET / HTTP/1.1\r\na\xe9: b\r\n\r\n",
        GET + b"\r\ncontent-length: 1\r\ncontent-length: 1\r\n\r\n",
        GET + b"\r\ncontent-length: 1, 1\r\n\r\n",
        GET + b"\r\ncontent-length: +1\r\n\r\n",
        GET + b"\r\ncontent-length: -1\r\n\r\n",
        GET + b"\r\ncontent-length: 0x1\r\n\r\n",
        GET + b"\r\ncontent-length:\r\n\r\n",
        GET + b"\r\ncontent-length: 1 1\r\n\r\n",
        GET + b"\r\ncontent-length: 1234567890123456789\r\n\r\n",
        GET + b"\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n\r\n",
        GET + b"\r\ntransfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n\r\n",
        GET + b"\r\ntransfer-encoding: chunked, chunked\r\n\r\n",
        GET + b"\r\ntransfer-encoding: chunked, gzip\r\n\r\n",
        GET + b"\r\ntransfer-encoding: gzip\r\n\r\n",
        GET + b"\r\ntransfer-encoding: xchunked\r\n\r\n",
        GET + b"\r\ntransfer-encoding: \x0bchunked\r\n\r\n",
        GET + b"\r\ntransfer-encoding:\r\n\r\n",
        b"POST / HTTP/1.0\r\ntransfer-encoding: chunked\r\n\r\n",
    ],
)
def test_bad_heads(data: bytes) -> None:
    assert refused(data) == 400


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"GET / HTTP/2.0\r\n\r\n", 505),
        (b"GET / HTTP/0.9\r\n\r\n", 505),
        (GET + b"\r\ntransfer-encoding: gzip, chunked\r\n\r\n", 501),
        (b"GET /" + b"a" * (MAX_TARGET_BYTES + 100), 414),
        (b"GET /" + b"a" * (MAX_TARGET_BYTES + 100) + b" HTTP/1.1\r\n\r\n", 414),
        (GET + b"\r\na: " + b"b" * MAX_HEAD_BYTES, 431),
        (GET + b"\r\na: " + b"b" * MAX_HEAD_BYTES + b"\r\n\r\n", 431),
        (GET + b"\r\na: b" * MAX_HEADER_LINES + b"\r\n\r\n", 431),
        (GET + b"\r\na: b" * (MAX_HEADER_LINES - 1) + b"\r\n\r\n", 0),
        (GET + b"\r\na: " + b"b" * (MAX_HEAD_BYTES - 60) + b"\r\n\r\n", 0),
        (b"GET /" + b"a" * (MAX_TARGET_BYTES - 1) + b" HTTP/1.1\r\n\r\n", 0),
    ],
)
def test_limits_and_versions(data: bytes, status: int) -> None:
    assert refused(data) == status


@given(data=st.binary(max_size=60), cuts=st.lists(st.integers(0, 60), max_size=4))
def test_a_head_ends_in_the_same_place_however_it_arrives(data: bytes, cuts: list[int]) -> None:
    data = b"GET / HTTP/1.1\r\n" + data + b"\r\n\r\n"

    def read(steps: list[int]) -> int:
        seen = 0
        for stop in steps:
            try:
                end = find_head_end(bytearray(data[:stop]), seen)
            except Refusal:
                return -2
            if end >= 0:
                return end
            seen = stop
        return -1

    assert read([*sorted(min(16 + cut, len(data)) for cut in cuts), len(data)]) == read([len(data)])


def drain(length: int | None, data: bytes, cuts: tuple[int, ...] = ()) -> bytes | None:
    """What is left behind the body, None if it has not all come; fed in pieces."""
    body = Drain(length)
    buffer = bytearray()
    edges = [0, *sorted(cuts), len(data)]
    done = False
    for start, stop in zip(edges, edges[1:], strict=False):
        buffer += data[start:stop]
        done = done or body.feed(buffer)
    return bytes(buffer) if done else None


CHUNKED = b'3\r\nabc\r\nA;x=y;z="q\\"q" ; w\r\n0123456789\r\n000\r\nX-Sum: x\r\n\r\n'


def test_bodies() -> None:
    assert drain(3, b"abcGET") == b"GET"
    assert drain(3, b"ab") is None
    assert drain(None, CHUNKED + b"GET") == b"GET"
    assert drain(None, b"0\r\n\r\n") == b""
    assert drain(None, CHUNKED[:-1]) is None


@given(st.lists(st.integers(0, len(CHUNKED)), max_size=6))
def test_a_chunked_body_ends_in_the_same_place_however_it_arrives(cuts: list[int]) -> None:
    assert drain(None, CHUNKED + b"GET /", tuple(cuts)) == b"GET /"


@pytest.mark.parametrize(
    "data",
    [b"x\r\n", b"\r\n", b"-1\r\n", b"1 \n", b"3\r\nabcd\r\n", b"3\r\nabcX", b"3\r\nabc\rX", b"3\nabc", b"1;\x00\r\n",
     b"3 \r\n", b"0x3\r\n", b"0\r\nbad trailer\r\n\r\n", b"0\r\n a: b\r\n\r\n", b"0\r\nhost: a\r\n\r\n",
     b"1;a=\"\r\n", b"1" * 17 + b"\r\n",
     b"1;" + b"a" * MAX_CHUNK_LINE_BYTES],
)  # fmt: skip
def test_bad_chunks(data: bytes) -> None:
    with pytest.raises(Refusal) as refusal:
        drain(None, data)
    assert refusal.value.status == 400


def test_long_bodies_are_not_read() -> None:
    assert Drain(MAX_DRAIN_BYTES + 1).too_long
    assert not Drain(MAX_DRAIN_BYTES).too_long
    assert drain(MAX_DRAIN_BYTES, b"a" * MAX_DRAIN_BYTES) == b""
    assert drain(MAX_DRAIN_BYTES + 1, b"a" * (MAX_DRAIN_BYTES + 1)) is None  # though all of it is there
    many = Drain(None)
    assert not many.feed(bytearray(b"1\r\na\r\n" * MAX_DRAIN_BYTES))
    assert many.too_long
    large = Drain(None)
    assert not large.feed(bytearray(b"ffffffffffff\r\n"))
    assert large.too_long

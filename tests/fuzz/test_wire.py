"""Requests by the thousand over real connections: each answered, as it should be, in order, or refused and ended.

Two kinds of stream, each sent in pieces, several requests at a time:

* well-formed requests, whose meaning is known from how they were made: as many answers as requests, each what the edge
  says without a wire;
* the same with bytes changed: as many answers as a reader of the whole stream finds in it.

How long: see `budget`.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.fuzz.budget import PROFILE, SECONDS, check_form, repeat
from tests.fuzz.grammar import Message, messages, mostly
from tests.fuzz.oracle import Due, Oracle
from tests.support import corpus
from tests.support.hosting import in_thread, memory_hosting
from tests.support.wire import Wire

CLOSE = ("connection", "close")

HOSTILE = (
    b"\r", b"\n", b"\r\n", b"\r\n\r\n", b"\n\n", b"\0", b" ", b"\t", b"\x0b", b"\x7f", b"\xff", b":", b",", b";", b"/",
    b"%", b"0", b"1", b"\r\n ", b"HTTP/1.0", b"HTTP/1.1", b"HTTP/2.0", b"Host: basic.test\r\n",
    b"Connection: close\r\n", b"Content-Length: 0\r\n", b"Content-Length: 5\r\n", b"Transfer-Encoding: chunked\r\n",
    b"0\r\n\r\n", b"Transfer-Encoding: gzip, chunked\r\n", b"GET / HTTP/1.1\r\nHost: basic.test\r\n\r\n",
    b"X: " + b"a" * 5000 + b"\r\n", b"X: y\r\n" * 60,
)  # fmt: skip
cuts = st.lists(st.floats(0, 1, exclude_max=True), max_size=6)


@pytest.fixture(scope="module")
def oracle() -> Iterator[Oracle]:
    oracle = Oracle()
    yield oracle
    oracle.close()


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    with in_thread(memory_hosting, corpus.fill) as port:
        yield port


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    """Well-formed requests with a few bytes changed, put in, left out or repeated."""
    stream = b"".join(message.whole for message in draw(st.lists(messages(), min_size=1, max_size=4)))
    for _ in range(draw(mostly(st.just(1), st.integers(2, 4), weight=2))):
        start = draw(st.integers(0, len(stream)))
        stop = min(len(stream), start + draw(st.sampled_from([0, 0, 1, 1, 2, 8, 40])))
        middle = draw(st.sampled_from([*HOSTILE, b"", stream[start:stop] * 2]))
        stream = stream[:start] + middle + stream[stop:]
    return stream


@pytest.mark.slow
@pytest.mark.timeout(SECONDS + 120)
def test_well_formed_requests(port: int, oracle: Oracle) -> None:
    @PROFILE
    @given(batch=st.lists(messages(), min_size=1, max_size=6), cuts=cuts, half_closes=st.booleans())
    def check(batch: list[Message], cuts: list[float], half_closes: bool) -> None:
        stream = b"".join(message.whole for message in batch)
        due = list(oracle.of_messages(batch))
        assert [answer.closes for answer in oracle.of_stream(stream)] == [answer.closes for answer in due]
        converse(port, stream, cuts, due, half_closes=half_closes)

    repeat(check)


@pytest.mark.slow
@pytest.mark.timeout(SECONDS + 120)
def test_mutated_requests(port: int, oracle: Oracle) -> None:
    @PROFILE
    @given(stream=mutated(), cuts=cuts, half_closes=st.booleans())
    def check(stream: bytes, cuts: list[float], half_closes: bool) -> None:
        converse(port, stream, cuts, list(oracle.of_stream(stream)), half_closes=half_closes)

    repeat(check)


def converse(port: int, stream: bytes, cuts: list[float], due: list[Due], *, half_closes: bool) -> None:
    """Send `stream` in pieces, and perhaps an end behind it; what is due comes, and nothing else."""
    with Wire(port) as wire:
        edges = [0, *sorted(int(cut * len(stream)) for cut in cuts), len(stream)]
        try:
            for start, stop in zip(edges, edges[1:], strict=False):
                wire.send(stream[start:stop])
            if half_closes:
                wire.socket.shutdown(socket.SHUT_WR)
        except OSError:  # refused before all of it was sent
            assert due[-1].closes
        for place, expected in enumerate(due, 1):
            last = place == len(due)
            receive(wire, expected, may_close=half_closes and last)
        if not half_closes and not (due and due[-1].closes):
            wire.socket.shutdown(socket.SHUT_WR)  # what is left is no whole request, and now never will be
        assert wire.at_end()


def receive(wire: Wire, expected: Due, *, may_close: bool) -> None:
    answer = wire.receive(expected.method)
    check_form(answer)
    assert answer.status == expected.status
    headers = [header for header in answer.headers if header != CLOSE]
    assert (CLOSE in answer.headers) is expected.closes or may_close
    if expected.exact:
        assert headers == expected.headers
        assert answer.body == expected.body

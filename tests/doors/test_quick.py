"""The quick reader against the strict one: what it takes, the strict one takes too, and with the same meaning."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.doors.head import parse_head
from server.doors.quick import FIELDS, QuickReader
from server.edge.request import Refusal

LINE = b"GET /a HTTP/1.1\r\n"
BROWSER = (
    b"Host: a.test\r\nUser-Agent: Mozilla/5.0 (X11)\r\nAccept: text/html,*/*;q=0.8\r\nAccept-Encoding: gzip, br\r\n"
    b"Connection: keep-alive\r\nCookie: a=b; c=d\r\nsec-ch-ua-mobile: ?0\r\n\r\n"
)


def check(raw: bytes) -> bool:
    """Whether the quick reader takes `raw`; then it has to be right."""
    fields = QuickReader().read(raw)
    if fields is None:
        return False
    assert raw.endswith(b"\r\n\r\n")
    head = parse_head(LINE + raw[:-4])  # raises what the strict reader has against it
    assert head.body is None
    assert not head.expects_continue
    assert [(name.lower(), value.strip(b" \t")) for name, value in fields.items()] == head.headers
    return True


def test_what_browsers_send_is_taken() -> None:
    reader = QuickReader()
    for _ in range(3):
        fields = reader.read(BROWSER)
        assert fields is not None
        assert fields[b"Host"] == b"a.test"
        assert len(fields) == 7
    assert check(BROWSER)


@pytest.mark.parametrize("place", ["before", "within", "behind", "alone"])
@pytest.mark.parametrize("name", [b"Cookie", b"Host", b"User-Agent"])
def test_no_octet_in_a_value_is_let_through(name: bytes, place: str) -> None:
    taken = 0
    for octet in range(256):
        odd = bytes([octet])
        value = {"before": odd + b"ab", "within": b"a" + odd + b"b", "behind": b"ab" + odd, "alone": odd}[place]
        taken += check(b"Accept: */*\r\n" + name + b": " + value + b"\r\n\r\n")
    assert taken > 200


@pytest.mark.parametrize("octet", range(256))
def test_no_octet_anywhere_else_is_let_through(octet: int) -> None:
    data = b"Host: a.test\r\nAccept: */*\r\n\r\n"
    for place in range(len(data)):
        check(data[:place] + bytes([octet]) + data[place:])
        check(data[:place] + bytes([octet]) + data[place + 1 :])


@pytest.mark.parametrize(
    "lines",
    [
        b"Host: a.test\r\nHost: b.test\r\n\r\n",
        b"Host: a.test\r\nhost: b.test\r\n\r\n",
        b"Host: a.test\r\nContent-Length: 5\r\n\r\n",
        b"Host: a.test\r\nContent-Length: 5\r\n\r\nabcde",
        b"Host: a.test\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"Host: a.test\r\nRange: bytes=0-1\r\n\r\n",
        b"Host: a.test\r\nExpect: 100-continue\r\n\r\n",
        b"Host: a.test\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
        b"Host: a.test\r\nCookie: a\r\n b\r\n\r\n",
        b"Host: a.test\r\nCookie: a\r\n\tb\r\nAccept: x\r\n\r\n",
        b"Host: a.test\n\r\n",
        b"Host: a.test\r\n\n",
        b"Host: a.test\r\n\r\nGET /b HTTP/1.1\r\nHost: a.test\r\n\r\n",
        b"Host: a.test\r\n\r\nGET /b HTTP/1.1\r\nAccept: a.test\r\n\r\n",
        b"Host: a.test\r\n",
        b"Host: a.test",
        b"Host : a.test\r\n\r\n",
        b"Host a.test\r\n\r\n",
        b"\r\n",
        b"",
    ],
)
def test_what_is_unusual_is_left_alone_and_leaves_nothing_behind(lines: bytes) -> None:
    reader = QuickReader()
    if lines != b"\r\n":
        assert reader.read(lines) is None
    fields = reader.read(BROWSER)
    assert fields is not None
    assert len(fields) == 7


NAMES = st.sampled_from(
    [*sorted(FIELDS), b"host", b"HOST", b"X-Other", b"Content-Length", b"Transfer-Encoding", b"Hos t"]
)
VALUES = st.one_of(st.binary(max_size=8), st.sampled_from([b"", b"a.test", b" a ", b"\ta", b"close", b"0", b"chunked"]))
ENDS = st.sampled_from([b"\r\n"] * 8 + [b"\n", b"\r", b"\r\n "])


@given(st.lists(st.tuples(NAMES, VALUES, ENDS), max_size=6), st.randoms(use_true_random=False))
def test_whatever_it_takes_the_strict_reader_takes(lines: list[tuple[bytes, bytes, bytes]], rng: random.Random) -> None:
    data = b"".join(name + b": " + value + end for name, value, end in lines) + b"\r\n"
    check(data)
    cut = rng.randrange(len(data))
    check(data[:cut] + bytes([rng.randrange(256)]) + data[cut + rng.randrange(3) :])


def test_the_strict_reader_refuses_what_this_test_would_miss() -> None:
    with pytest.raises(Refusal):
        parse_head(LINE + b"Host: a\x00b")

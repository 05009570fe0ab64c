"""Heads with lines cut out, against the strict reader: whoever is met is met for what all of his lines say."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.doors.answers import Answers, cut_conditions
from server.doors.head import parse_head
from server.doors.journal import Journal
from server.doors.senders import NO_MANNER, Manner
from server.doors.shapes import Names, Shape, shape_of_conditions, shape_of_senders
from server.edge.request import Request
from tests.support.hosting import Hosting, memory_hosting

HOST = b"Host: a.test\r\n"
AGENT = b"User-Agent: Mozilla/5.0 (X11)\r\n"
COOKIE = b"Cookie: a=b; c=d\r\n"
TAG = b'If-None-Match: "0123"\r\n'
DATE = b"If-Modified-Since: Mon, 21 Sep 2026 14:13:20 GMT\r\n"
CONDITIONS = {b"if-match", b"if-modified-since", b"if-none-match", b"if-range", b"if-unmodified-since", b"range"}


def _fit(shape: Shape, lines: bytes) -> list[bytes] | None:
    rest = shape.cut(lines, 0)
    return shape.fit(rest) if rest else None


class Meeting:
    """Tables of a site that has been visited, and whoever was met last."""

    def __init__(self, hosting: Hosting) -> None:
        self.journal = Journal(write=lambda lines: None)
        self.answers = Answers(hosting.edge, self.journal)
        self.last, self.lines = NO_MANNER, b""
        self.shapes: list[tuple[Shape, Manner]] = []
        self.fitted = 0

    def meet(self, lines: bytes) -> tuple[Manner, bytes, bytes | None] | None:
        """As the door does: the sender, what the log says of him, his validator; after a look at what they rest on."""
        whole = b"\r\n" + lines
        cut = cut_conditions(whole)
        met = None if cut is None else self.answers.meet(cut[0], self.last)
        if cut is None or met is None:
            assert all(_fit(shape, whole) is None for shape, _ in self.shapes)
            return None
        manner, sender, names = met
        self.shapes = [(shape, of) for shape, of in self.shapes if of is manner]
        assert sender.host == "a.test"
        log = self.journal.format.sender(*names)
        self._compare(lines, manner, log, *cut[1:])
        self._fit(whole, cut, names)
        self._remember(whole, cut[0], manner, names)
        return manner, log, cut[1]

    def _fit(self, whole: bytes, cut: tuple[bytes, bytes | None, bytes | None], names: Names) -> None:
        """Whoever fits is who is met."""
        for shape, _ in self.shapes:
            values = _fit(shape, whole)
            if values is None:
                continue
            self.fitted += 1
            if shape.names is None:
                assert shape.conditions(values) == cut[1:]
            else:
                assert (shape.say(values), cut[1:]) == (self.journal.format.sender(*names), (None, None))

    def _remember(self, whole: bytes, lines: bytes, manner: Manner, names: Names) -> None:
        if manner is self.last:
            if lines != whole and lines == self.lines:
                self.shapes.append((shape_of_conditions(whole), manner))
            elif (
                lines == whole
                and (shape := shape_of_senders(self.lines, lines, names, self.journal.format)) is not None
            ):
                self.shapes.append((shape, manner))
        self.last, self.lines = manner, lines
        del self.shapes[:-4]

    def _compare(self, lines: bytes, manner: Manner, log: bytes, etag: bytes | None, span: bytes | None) -> None:
        assert lines.endswith(b"\r\n\r\n")
        if etag is not None and etag != b'"0123"':
            return  # one that is not the answer's own is read before it is believed
        head = parse_head(b"GET / HTTP/1.1\r\n" + lines[:-4])  # raises what the strict reader has against it
        assert (head.body, head.keep_alive, head.expects_continue) == (None, not manner.closes, False)
        said = {name: [value for other, value in head.headers if other == name] for name, _ in head.headers}
        assert said[b"host"] == [b"a.test"]
        assert said.get(b"if-none-match", [None]) == [etag]
        assert said.get(b"range", [None]) == [None if span is None else span.strip(b" \t")]
        known = {b"if-none-match", b"if-modified-since"} if etag else set()
        assert CONDITIONS & said.keys() <= known | ({b"range"} if span is not None else set())
        [coding] = said.get(b"accept-encoding", [None])
        assert manner.accept_encoding == (None if coding is None else coding.decode("latin-1"))
        [referer], [agent] = said.get(b"referer", [b""]), said.get(b"user-agent", [b""])
        assert log == self.journal.format.sender(b"a.test", referer, agent)


@pytest.fixture(scope="module")
def meeting() -> Iterator[Meeting]:
    with asyncio.Runner() as runner:
        hosts = memory_hosting()
        hosting = runner.run(hosts.__aenter__())
        runner.run(hosting.site("a.test", {"index.html": b"home"}))
        response, _ = runner.run(hosting.edge.respond(Request(method="GET", authority="a.test", path="/")))
        assert response.status == 200
        yield Meeting(hosting)
        runner.run(hosts.__aexit__(None, None, None))


@pytest.mark.parametrize(
    "lines",
    [
        HOST,
        HOST + AGENT + COOKIE,
        HOST + COOKIE + COOKIE + AGENT,
        HOST + AGENT + TAG + DATE,
        HOST + DATE + COOKIE + TAG,
        HOST + b"user-agent: x\r\nreferer: http://b.test/\r\n",
        HOST + b"Referer: http://b.test/\r\nAccept-Encoding: br\r\n",
        HOST + b"User-Agent:   x \r\n",
        AGENT + COOKIE + HOST,
        HOST + b"Range: bytes=0-1\r\n",
        HOST + b"Connection: close\r\n",
        HOST + b"connection:  CLOSE\r\n" + AGENT,
    ],
)
def test_what_browsers_send_is_met(meeting: Meeting, lines: bytes) -> None:
    for _ in range(2):
        assert meeting.meet(lines + b"\r\n")


@pytest.mark.parametrize(
    "lines",
    [
        AGENT,
        HOST + HOST,
        HOST + AGENT + AGENT,
        HOST + AGENT + b"user-agent: y\r\n",
        HOST + b"User-Agent:y\r\n" + AGENT,
        HOST + b"referer: y\r\nReferer: x\r\n",
        HOST + TAG + TAG,
        HOST + TAG + b"if-none-match: x\r\n",
        HOST + TAG + DATE + DATE,
        HOST + DATE,
        HOST + TAG + b"If-Modified-Since: \0\r\n",
        HOST + b"Range: bytes=0-1\r\nrange: bytes=0-1\r\n",
        HOST + b"Range: bytes=0-1\r\nRange: bytes=0-1\r\n",
        HOST + b"Range: bytes=0-1\r\nIf-Range: x\r\n",
        HOST + b"Connection: close, te\r\n",
        HOST + b"Cookie: a\r\n b\r\n",
        HOST + b"Cookie: a\rb\r\n",
        HOST + b"Cookie: a\nb: c\r\n",
        HOST + b"Cookie: \x80\r\n",
        HOST + b"User-Agent: a\0\r\n",
        HOST + b"User-Agent: a\r\n\tb\r\n",
        HOST + AGENT + b"\r\nGET / HTTP/1.1\r\n" + HOST + COOKIE,
        HOST + b"A: b\r\n" * 99,
    ],
)
def test_what_is_unusual_is_left_alone(meeting: Meeting, lines: bytes) -> None:
    meeting.meet(HOST + AGENT + b"\r\n")
    assert meeting.meet(lines + b"\r\n") is None
    assert meeting.meet(HOST + AGENT + b"\r\n")


def test_what_changes_alone_is_seen_to_change(meeting: Meeting) -> None:
    fitted = meeting.fitted
    for number in range(4):
        meeting.meet(HOST + b"User-Agent: %d\r\nReferer:  /%d \r\nCookie: %d\r\n\r\n" % (number, number, number))
    assert meeting.fitted > fitted + 1
    fitted = meeting.fitted
    for number in range(4):
        meeting.meet(HOST + b"Range: bytes=%d-\r\nUser-Agent: x\r\n" % number + TAG + DATE + b"\r\n")
    assert meeting.fitted > fitted + 1


@pytest.mark.parametrize("mark", [b"User-Agent", b"Cookie", b"Referer", b"If-Modified-Since", b"Range"])
def test_no_octet_in_a_value_is_let_through(meeting: Meeting, mark: bytes) -> None:
    taken = 0
    for octet in range(256):
        tag = TAG if mark == b"If-Modified-Since" else b""
        met = meeting.meet(HOST + tag + mark + b": a" + bytes([octet]) + b"b\r\n\r\n")
        taken += met is not None
    assert taken == 0x7F - 0x20


NAMES = st.sampled_from(
    [b"Host", b"User-Agent", b"user-agent", b"Cookie", b"Referer", b"If-None-Match", b"If-Modified-Since", b"Accept",
     b"Accept-Encoding", b"Connection", b"Range", b"X-Other", b"Content-Length", b"cookie"]
)  # fmt: skip
VALUES = st.one_of(
    st.sampled_from([b"a.test", b'"0123"', b"x", b"", b"keep-alive", b"gzip", b"a\r\nHost: b.test"]),
    st.binary(max_size=4),
)
ENDS = st.sampled_from([b"\r\n"] * 9 + [b"\n", b"\r", b"\r\n ", b"\r\n\r\n"])
MARKS = st.sampled_from([b": "] * 9 + [b":", b" :"])


@given(st.lists(st.tuples(NAMES, MARKS, VALUES, ENDS), max_size=6))
def test_whoever_is_met_is_who_he_says(meeting: Meeting, lines: list[tuple[bytes, bytes, bytes, bytes]]) -> None:
    text = b"".join(b"".join(line) for line in lines)
    meeting.meet(text + b"\r\n")
    meeting.meet(HOST + text + b"\r\n")
    meeting.meet(HOST + AGENT + COOKIE + text + b"\r\n")
    meeting.meet(HOST + COOKIE + text + b"\r\n")


@given(st.lists(st.lists(VALUES, min_size=6, max_size=6), max_size=6), st.permutations(range(7)))
def test_whoever_fits_is_who_would_be_met(meeting: Meeting, heads: list[list[bytes]], order: list[int]) -> None:
    marks = [b"User-Agent: ", b"Cookie: ", b"Referer: ", b"If-None-Match: ", b"If-Modified-Since: ", b"Range: "]
    for leave in (0, 3):  # who has no conditions is told from who has
        meeting.meet(HOST + b"\r\n")
        for values in heads:
            lines = [HOST, *(mark + value + b"\r\n" for mark, value in zip(marks, values, strict=True))]
            meeting.meet(b"".join(lines[place] for place in order if place <= 6 - leave) + b"\r\n")

"""The rules of RFC 9113 and RFC 7541, one by one: what a peer must not do, and what it is told."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from server.doors.h2.connection import MAX_STREAMS
from server.doors.h2.frames import (
    ACK,
    CONTINUATION,
    DATA,
    ENABLE_PUSH,
    END_HEADERS,
    END_STREAM,
    GOAWAY,
    HAS_PRIORITY,
    HEADERS,
    INITIAL_WINDOW_SIZE,
    MAX_FRAME_SIZE,
    NO_RFC7540_PRIORITIES,
    PADDED,
    PING,
    PREFACE,
    PRIORITY,
    PUSH_PROMISE,
    RST_STREAM,
    SETTINGS,
    WINDOW_UPDATE,
    Code,
    render_frame,
    render_settings,
)
from tests.support.http2 import CACHED, H2Peer, request

Does = Callable[[H2Peer], None]
WHOLE = END_HEADERS | END_STREAM
POST = request(method="POST")


def number(value: int) -> bytes:
    return value.to_bytes(4, "big")


def setting(name: int, value: int) -> bytes:
    return render_settings({name: value})[9:]


def frame(kind: int, flags: int = 0, stream: int = 0, payload: bytes = b"") -> Does:
    return lambda peer: peer.frame(kind, flags, stream, payload)


def several(*steps: Does) -> Does:
    def do(peer: H2Peer) -> None:
        for step in steps:
            step(peer)

    return do


def headers(stream: int, fields: object = None, flags: int = WHOLE, before: bytes = b"", behind: bytes = b"") -> Does:
    """HEADERS; `before` and `behind` stand around the block."""

    def do(peer: H2Peer) -> None:
        block = peer.block(request() if fields is None else fields)  # type: ignore[arg-type]
        peer.frame(HEADERS, flags, stream, before + block + behind)

    return do


def posted(stream: int, *fields: tuple[str, str]) -> Does:
    return headers(stream, request("/", *fields, method="POST"), END_HEADERS)


def raw(data: bytes) -> Does:
    return lambda peer: peer.send(data)


# What is done → the code of the GOAWAY that follows, behind which the connection ends.
CONNECTION_FAULTS: dict[str, tuple[Does, Code]] = {
    # §4.2, §4.3
    "a frame that is too large": (frame(DATA, 0, 1, bytes(16385)), Code.FRAME_SIZE_ERROR),
    "a large HEADERS": (frame(HEADERS, WHOLE, 1, bytes(16385)), Code.FRAME_SIZE_ERROR),
    "a frame of 2^16 bytes": (raw(b"\1\0\0\0\0\0\0\0\1"), Code.FRAME_SIZE_ERROR),
    "a block that cannot be read": (frame(HEADERS, WHOLE, 1, b"\x40"), Code.COMPRESSION_ERROR),
    "PRIORITY in a block": (
        several(headers(1, flags=END_STREAM), frame(PRIORITY, 0, 1, number(0) + b"\0")), Code.PROTOCOL_ERROR),
    "HEADERS of another stream in a block": (several(headers(1, flags=END_STREAM), headers(3)), Code.PROTOCOL_ERROR),
    "an unknown frame in a block": (several(headers(1, flags=END_STREAM), frame(0xBB, 0, 1)), Code.PROTOCOL_ERROR),
    # §5.1
    "DATA on an idle stream": (frame(DATA, END_STREAM, 1, b"a"), Code.PROTOCOL_ERROR),
    "RST_STREAM on an idle stream": (frame(RST_STREAM, 0, 1, number(8)), Code.PROTOCOL_ERROR),
    "WINDOW_UPDATE on an idle stream": (frame(WINDOW_UPDATE, 0, 1, number(8)), Code.PROTOCOL_ERROR),
    "CONTINUATION on an idle stream": (frame(CONTINUATION, END_HEADERS, 1), Code.PROTOCOL_ERROR),
    "CONTINUATION on a closed stream": (several(headers(1), frame(CONTINUATION, END_HEADERS, 1)), Code.PROTOCOL_ERROR),
    "DATA behind RST_STREAM": (
        several(posted(1), frame(RST_STREAM, 0, 1, number(8)), frame(DATA, 0, 1, b"a")), Code.STREAM_CLOSED),
    "HEADERS behind RST_STREAM": (
        several(posted(1), frame(RST_STREAM, 0, 1, number(8)), headers(1)), Code.STREAM_CLOSED),
    # §5.1.1
    "an even stream": (headers(2), Code.PROTOCOL_ERROR),
    "a stream that was passed over": (several(headers(5), headers(3)), Code.PROTOCOL_ERROR),
    # §5.3, RFC 7540 §5.3.1
    "a stream that depends on itself": (
        headers(1, flags=WHOLE | HAS_PRIORITY, before=number(1) + b"\0"), Code.PROTOCOL_ERROR),
    "PRIORITY that depends on itself": (frame(PRIORITY, 0, 1, number(1) + b"\0"), Code.PROTOCOL_ERROR),
    # §6.1, §6.2
    "DATA on stream 0": (frame(DATA, 0, 0, b"a"), Code.PROTOCOL_ERROR),
    "DATA with too much padding": (several(posted(1), frame(DATA, PADDED, 1, b"\5test")), Code.PROTOCOL_ERROR),
    "DATA without its padding": (several(posted(1), frame(DATA, PADDED, 1)), Code.PROTOCOL_ERROR),
    "HEADERS on stream 0": (headers(0), Code.PROTOCOL_ERROR),
    "HEADERS with too much padding": (headers(1, flags=WHOLE | PADDED, before=b"\xff"), Code.PROTOCOL_ERROR),
    "HEADERS that ends in its priority": (
        frame(HEADERS, WHOLE | HAS_PRIORITY, 1, b"\0\0\0"), Code.FRAME_SIZE_ERROR),
    # §6.3, §6.4
    "PRIORITY on stream 0": (frame(PRIORITY, 0, 0, bytes(5)), Code.PROTOCOL_ERROR),
    "PRIORITY of four bytes on an idle stream": (frame(PRIORITY, 0, 1, bytes(4)), Code.FRAME_SIZE_ERROR),
    "RST_STREAM on stream 0": (frame(RST_STREAM, 0, 0, bytes(4)), Code.PROTOCOL_ERROR),
    "RST_STREAM of three bytes": (several(headers(1), frame(RST_STREAM, 0, 1, bytes(3))), Code.FRAME_SIZE_ERROR),
    # §6.5
    "SETTINGS on a stream": (frame(SETTINGS, 0, 1), Code.PROTOCOL_ERROR),
    "SETTINGS of three bytes": (frame(SETTINGS, 0, 0, bytes(3)), Code.FRAME_SIZE_ERROR),
    "an acknowledgement with settings": (frame(SETTINGS, ACK, 0, setting(ENABLE_PUSH, 0)), Code.FRAME_SIZE_ERROR),
    "ENABLE_PUSH of 2": (frame(SETTINGS, 0, 0, setting(ENABLE_PUSH, 2)), Code.PROTOCOL_ERROR),
    "INITIAL_WINDOW_SIZE of 2^31": (
        frame(SETTINGS, 0, 0, setting(INITIAL_WINDOW_SIZE, 2**31)), Code.FLOW_CONTROL_ERROR),
    "MAX_FRAME_SIZE below the least": (frame(SETTINGS, 0, 0, setting(MAX_FRAME_SIZE, 16383)), Code.PROTOCOL_ERROR),
    "MAX_FRAME_SIZE beyond the most": (frame(SETTINGS, 0, 0, setting(MAX_FRAME_SIZE, 2**24)), Code.PROTOCOL_ERROR),
    "NO_RFC7540_PRIORITIES of 2": (frame(SETTINGS, 0, 0, setting(NO_RFC7540_PRIORITIES, 2)), Code.PROTOCOL_ERROR),
    # §6.6 to §6.8
    "PUSH_PROMISE": (frame(PUSH_PROMISE, END_HEADERS, 1, number(2)), Code.PROTOCOL_ERROR),
    "PING on a stream": (frame(PING, 0, 1, bytes(8)), Code.PROTOCOL_ERROR),
    "PING of six bytes": (frame(PING, 0, 0, bytes(6)), Code.FRAME_SIZE_ERROR),
    "GOAWAY on a stream": (frame(GOAWAY, 0, 1, bytes(8)), Code.PROTOCOL_ERROR),
    "GOAWAY of four bytes": (frame(GOAWAY, 0, 0, bytes(4)), Code.FRAME_SIZE_ERROR),
    # §6.9
    "WINDOW_UPDATE by nothing": (frame(WINDOW_UPDATE, 0, 0, number(0)), Code.PROTOCOL_ERROR),
    "WINDOW_UPDATE of three bytes": (frame(WINDOW_UPDATE, 0, 0, bytes(3)), Code.FRAME_SIZE_ERROR),
    "a window that is too large": (frame(WINDOW_UPDATE, 0, 0, number(2**31 - 1)), Code.FLOW_CONTROL_ERROR),
    "a stream's window that settings make too large": (
        several(frame(SETTINGS, 0, 0, setting(INITIAL_WINDOW_SIZE, 1)), posted(1),
                frame(WINDOW_UPDATE, 0, 1, number(2**31 - 2)),
                frame(SETTINGS, 0, 0, setting(INITIAL_WINDOW_SIZE, 9))), Code.FLOW_CONTROL_ERROR),
    # §6.10
    "CONTINUATION on stream 0": (
        several(headers(1, flags=END_STREAM), frame(CONTINUATION, END_HEADERS, 0)), Code.PROTOCOL_ERROR),
    "CONTINUATION behind the end of a block": (
        several(headers(1), frame(CONTINUATION, END_HEADERS, 1)), Code.PROTOCOL_ERROR),
    "CONTINUATION behind DATA": (
        several(posted(1), frame(DATA, 0, 1, b"a"), frame(CONTINUATION, END_HEADERS, 1)), Code.PROTOCOL_ERROR),
    "CONTINUATION of another stream": (
        several(headers(1, flags=END_STREAM), frame(CONTINUATION, END_HEADERS, 3)), Code.PROTOCOL_ERROR),
    # RFC 7541 §2.3.3, §4.2, §5.2, §6.1, §6.3
    "an index beyond the tables": (headers(1, behind=b"\xff\x00"), Code.COMPRESSION_ERROR),
    "a name beyond the tables": (headers(1, behind=b"\x7f\x7f\x01a"), Code.COMPRESSION_ERROR),
    "a table size update behind a field": (headers(1, behind=b"\x20"), Code.COMPRESSION_ERROR),
    "padding of more than seven bits": (
        headers(1, behind=b"\x00\x85\xf2\xb2\x4a\x84\xff\x84\x49\x50\x9f\xff"), Code.COMPRESSION_ERROR),
    "padding by zeros": (
        headers(1, behind=b"\x00\x85\xf2\xb2\x4a\x84\xff\x83\x49\x50\x90"), Code.COMPRESSION_ERROR),
    "the end of a string in a string": (
        headers(1, behind=b"\x00\x85\xf2\xb2\x4a\x84\xff\x87\x49\x51\xff\xff\xff\xfa\x7f"), Code.COMPRESSION_ERROR),
    "index 0": (headers(1, behind=b"\x80"), Code.COMPRESSION_ERROR),
    "a table larger than it may be": (headers(1, before=b"\x3f\xe2\x1f"), Code.COMPRESSION_ERROR),
    "an integer without end": (headers(1, behind=b"\xff" * 12), Code.COMPRESSION_ERROR),
    "a field that ends too early": (headers(1, behind=b"\x00\x05ab"), Code.COMPRESSION_ERROR),
    "a name and no value": (headers(1, behind=b"\x04"), Code.COMPRESSION_ERROR),
}  # fmt: skip


@pytest.mark.parametrize("name", CONNECTION_FAULTS)
async def test_the_connection_ends(name: str, peer: H2Peer) -> None:
    do, code = CONNECTION_FAULTS[name]
    do(peer)
    assert await peer.ended() == code


@pytest.mark.parametrize(
    "data",
    [b"INVALID CONNECTION PREFACE\r\n\r\n", b"PRI * HTTP/2.0\r\n\r\nSN\r\n\r\n", PREFACE[:-1]],
    ids=["another protocol", "a letter is wrong", "the end is missing"],
)
async def test_without_the_preface_it_is_no_http2(data: bytes, h2_port: int) -> None:
    peer = await H2Peer.connect(h2_port)
    peer.send(data)
    peer.writer.write_eof()
    assert (await peer.rest()).startswith((b"HTTP/1.1 400", b"HTTP/1.1 505") if data != PREFACE[:-1] else b"")
    await peer.close()


@pytest.mark.parametrize(
    "first", [render_frame(PING, 0, 0, bytes(8)), render_frame(SETTINGS, ACK, 0), render_frame(0xBB, 0, 0)]
)
async def test_the_first_frame_has_to_be_settings(first: bytes, h2_port: int) -> None:
    peer = await H2Peer.connect(h2_port)
    peer.send(PREFACE + first)
    assert await peer.ended() == Code.PROTOCOL_ERROR
    await peer.close()


@pytest.mark.parametrize("do", [frame(DATA, 0, 1, b"a"), headers(1)])
async def test_a_stream_that_has_been_answered_is_closed(do: Does, peer: H2Peer) -> None:
    assert (await peer.get(1)).status == 200
    do(peer)
    assert await peer.ended() == Code.STREAM_CLOSED


X = ("x-a", "b")

# Fields of a request that is malformed (§8.1.1).
MALFORMED: dict[str, list[tuple[str, str]]] = {
    # §8.2.1
    "an upper case name": request("/", ("X-A", "b")),
    "a name with a space": request("/", ("x a", "b")),
    "an empty name": request("/", ("", "b")),
    "a name with a colon": request("/", ("x:a", "b")),
    "a name above 127": request("/", ("x\xe4", "b")),
    "a line feed in a value": request("/", ("x-a", "b\nc")),
    "a carriage return in a value": request("/", ("x-a", "b\rc")),
    "NUL in a value": request("/", ("x-a", "b\0c")),
    "DEL in a value": request("/", ("x-a", "b\x7f")),
    "a space before a value": request("/", ("x-a", " b")),
    "a tab behind a value": request("/", ("x-a", "b\t")),
    # §8.2.2
    "connection": request("/", ("connection", "keep-alive")),
    "keep-alive": request("/", ("keep-alive", "1")),
    "proxy-connection": request("/", ("proxy-connection", "keep-alive")),
    "transfer-encoding": request("/", ("transfer-encoding", "chunked")),
    "upgrade": request("/", ("upgrade", "h2c")),
    "te other than trailers": request("/", ("te", "trailers, deflate")),
    # §8.3
    "an unknown pseudo-header": request("/", (":test", "ok")),
    "one of a response": [*request(), (":status", "200")],
    ":protocol": [(":protocol", "websocket"), *request("/", method="CONNECT")],
    "one behind a field": [X, *request()],
    "one at the end": [*request()[:-1], X, (":path", "/")],
    # §8.3.1
    "an empty :path": request(""),
    "a :path without a slash": request("a.txt"),
    "an absolute :path": request("http://a.test/a.txt"),
    "no :method": request()[1:],
    "no :scheme": [request()[0], *request()[2:]],
    "no :path": request()[:-1],
    ":method twice": [request()[0], *request()],
    ":scheme twice": [request()[1], *request()],
    ":path twice": [*request(), (":path", "/a.txt")],
    ":authority twice": [(":authority", "a.test"), *request()],
    "a :scheme that is none": [(":scheme", "1"), *(each for each in request() if each[0] != ":scheme")],
    "a :method that is no token": request(method="G T"),
    "an empty :method": request(method=""),
    "host and :authority that differ": request("/", ("host", "b.test")),
    # §8.5
    "CONNECT with a path": request(method="CONNECT"),
    "CONNECT without an authority": [(":method", "CONNECT")],
    # §8.1.1
    "a length and no body": request("/", ("content-length", "1"), method="POST"),
    "a length that is none": request("/", ("content-length", "one")),
    "two lengths": request("/", ("content-length", "0"), ("content-length", "0")),
    "a list of lengths": request("/", ("content-length", "0, 0")),
    "a negative length": request("/", ("content-length", "-1")),
}


@pytest.mark.parametrize("name", MALFORMED)
async def test_a_malformed_request_is_reset(name: str, peer: H2Peer) -> None:
    fields = [(key.encode("latin-1"), value.encode("latin-1")) for key, value in MALFORMED[name]]
    peer.ask(1, fields)
    assert await peer.was_reset(1) == Code.PROTOCOL_ERROR
    assert (await peer.get(3)).body == b"0123456789"


# What is done → the code of the RST_STREAM that stream 1 gets.
STREAM_FAULTS: dict[str, tuple[Does, Code]] = {
    "DATA on a half-closed stream": (
        several(headers(1, request("/cached.bin")), frame(DATA, END_STREAM, 1, b"a")), Code.STREAM_CLOSED),
    "HEADERS on a half-closed stream": (several(headers(1, request("/cached.bin")), headers(1)), Code.STREAM_CLOSED),
    "PRIORITY of four bytes": (several(posted(1), frame(PRIORITY, 0, 1, bytes(4))), Code.FRAME_SIZE_ERROR),
    "a stream's window widened by nothing": (several(posted(1), frame(WINDOW_UPDATE, 0, 1, number(0))),
                                             Code.PROTOCOL_ERROR),
    "a stream's window that is too large": (
        several(posted(1), frame(WINDOW_UPDATE, 0, 1, number(2**31 - 1))), Code.FLOW_CONTROL_ERROR),
    "a body shorter than its length": (
        several(posted(1, ("content-length", "2")), frame(DATA, END_STREAM, 1, b"a")), Code.PROTOCOL_ERROR),
    "a body longer than its length": (
        several(posted(1, ("content-length", "2")), frame(DATA, 0, 1, b"abc")), Code.PROTOCOL_ERROR),
    "a body longer than its length at its end": (
        several(posted(1, ("content-length", "1")), frame(DATA, 0, 1, b"a"), frame(DATA, END_STREAM, 1, b"a")),
        Code.PROTOCOL_ERROR),
    "a body of another length before trailers": (
        several(posted(1, ("content-length", "1")), headers(1, [X])), Code.PROTOCOL_ERROR),
    "trailers that do not end the stream": (several(posted(1), headers(1, [X], END_HEADERS)), Code.PROTOCOL_ERROR),
    "a second request": (several(posted(1), headers(1, POST, END_HEADERS)), Code.PROTOCOL_ERROR),
    "a pseudo-header in trailers": (several(posted(1), headers(1, [(":method", "POST")])), Code.PROTOCOL_ERROR),
    "a control byte in trailers": (several(posted(1), headers(1, [("x-a", "\n")])), Code.PROTOCOL_ERROR),
}  # fmt: skip


@pytest.mark.parametrize("name", STREAM_FAULTS)
async def test_the_stream_is_reset(name: str, peer: H2Peer) -> None:
    do, code = STREAM_FAULTS[name]
    do(peer)
    assert await peer.was_reset(1) == code
    assert (await peer.get(3)).body == b"0123456789"


async def test_streams_beyond_the_limit_are_refused(peer: H2Peer) -> None:
    peer.set({INITIAL_WINDOW_SIZE: 0})
    for stream in range(1, 2 * MAX_STREAMS + 3, 2):
        peer.ask(stream)
    last = 2 * MAX_STREAMS + 1
    assert await peer.was_reset(last) == Code.REFUSED_STREAM
    peer.frame(SETTINGS, 0, 0, setting(INITIAL_WINDOW_SIZE, 100))
    assert (await peer.seek(DATA, last - 2)).payload == b"0123456789"


# What is well-formed, though it may look odd.
ALLOWED: dict[str, Does] = {
    "a frame of the largest size": several(
        headers(1, POST, END_HEADERS), frame(DATA, END_STREAM, 1, bytes(16384))),
    "a frame of an unknown kind": several(frame(0xBB, 0xFF, 0, b"abc"), frame(0xBB, 0, 1, b"abc"), headers(1)),
    "the reserved bit": lambda peer: peer.send(
        b"\x80".join(_split_at(render_frame(HEADERS, WHOLE, 1, peer.block(request())), 5))),
    "flags that are not defined": several(frame(PING, 0xFE, 0, bytes(8)), headers(1, flags=WHOLE | 0xD2)),
    "a setting that is not defined": several(frame(SETTINGS, 0, 0, setting(0xBB, 1)), headers(1)),
    "a setting twice": several(frame(SETTINGS, 0, 0, setting(ENABLE_PUSH, 1) + setting(ENABLE_PUSH, 0)), headers(1)),
    "PRIORITY on an idle stream": several(frame(PRIORITY, 0, 3, bytes(5)), headers(1)),
    "PRIORITY on a closed stream": several(headers(1), frame(PRIORITY, 0, 1, bytes(5))),
    "WINDOW_UPDATE on a closed stream": several(headers(1), frame(WINDOW_UPDATE, 0, 1, number(9))),
    "RST_STREAM on a closed stream": several(headers(1), frame(RST_STREAM, 0, 1, number(8))),
    "priority and padding": headers(
        1, flags=WHOLE | PADDED | HAS_PRIORITY, before=b"\3" + number(3) + b"\xff", behind=bytes(3)),
    "padding in DATA": several(posted(1, ("content-length", "2")), frame(DATA, PADDED | END_STREAM, 1, b"\3ab\0\0\0")),
    "DATA of padding alone": several(posted(1), frame(DATA, PADDED | END_STREAM, 1, b"\2\0\0")),
    "GOAWAY": several(frame(GOAWAY, 0, 0, bytes(8) + b"words"), headers(1)),
    "an answer to no PING": several(frame(PING, ACK, 0, bytes(8)), headers(1)),
    "te: trailers": headers(1, request("/a.txt", ("te", "Trailers"))),
    "host beside :authority": headers(1, request("/a.txt", ("host", "A.test"))),
    "host in the place of :authority": headers(1, request("/a.txt", ("host", "a.test"), host=None)),
    "cookies in crumbs": headers(1, request("/a.txt", *[("cookie", f"c{n}=1") for n in range(200)])),
    "trailers": several(posted(1), frame(DATA, 0, 1, b"a"), headers(1, [X])),
    "an empty block of trailers": several(posted(1), frame(HEADERS, WHOLE, 1)),
    "a table size update": headers(1, before=b"\x20\x3f\xe1\x1f"),
    "an integer in two bytes": headers(1, behind=b"\x0f\x82\x00\x01a"),
    "streams with gaps": several(headers(7), headers(4001), headers(4003)),
}  # fmt: skip


def _split_at(data: bytes, place: int) -> tuple[bytes, bytes]:
    return data[:place], data[place + 1 :]


@pytest.mark.parametrize("name", ALLOWED)
async def test_what_is_allowed(name: str, peer: H2Peer) -> None:
    ALLOWED[name](peer)
    peer.ask(8001)
    while (frame := await peer.next()).stream != 8001:
        assert frame.kind not in (RST_STREAM, GOAWAY), frame


async def test_a_block_in_pieces(peer: H2Peer) -> None:
    block = peer.block(request())
    peer.frame(HEADERS, END_STREAM, 1, block[:1])
    for octet in block[1:9]:
        peer.frame(CONTINUATION, 0, 1, bytes([octet]))
    peer.frame(CONTINUATION, END_HEADERS, 1, block[9:])
    assert (await peer.response(1)).body == b"0123456789"


async def test_settings_and_pings_are_answered(peer: H2Peer) -> None:
    first = await peer.next()
    assert (first.kind, first.flags, first.stream) == (SETTINGS, 0, 0)
    assert await peer.next() == first.__class__(SETTINGS, ACK, 0, b"")
    peer.frame(PING, 0, 0, b"12345678")
    assert await peer.next() == first.__class__(PING, ACK, 0, b"12345678")


async def test_no_more_is_sent_than_the_windows_allow(peer: H2Peer) -> None:
    peer.set({INITIAL_WINDOW_SIZE: 3})
    peer.ask(1)
    assert (await peer.seek(DATA, 1)).payload == b"012"
    peer.frame(SETTINGS, 0, 0, setting(INITIAL_WINDOW_SIZE, 0))  # it has -3 now
    peer.frame(WINDOW_UPDATE, 0, 1, number(4))
    assert (await peer.seek(DATA, 1)).payload == b"3"
    peer.frame(SETTINGS, 0, 0, setting(INITIAL_WINDOW_SIZE, 5))
    assert (await peer.seek(DATA, 1)).payload == b"45678"
    peer.frame(WINDOW_UPDATE, 0, 1, number(1000))
    last = await peer.seek(DATA, 1)
    assert (last.payload, last.flags) == (b"9", END_STREAM)


async def test_large_bodies_share_the_window_of_the_connection(h2_port: int) -> None:
    peer = await H2Peer.connect(h2_port)
    peer.send(PREFACE + render_settings({INITIAL_WINDOW_SIZE: 2**24}))
    for stream in (1, 3):
        peer.ask(stream, request("/cached.bin"))
    bodies = {1: b"", 3: b""}
    while bodies != {1: CACHED, 3: CACHED}:
        piece = await peer.next()
        if piece.kind == DATA:
            assert len(piece.payload) <= 16384
            bodies[piece.stream] += piece.payload
            peer.frame(WINDOW_UPDATE, 0, 0, number(len(piece.payload)))
    assert piece.flags == END_STREAM
    await peer.close()


async def test_larger_frames_for_who_takes_them(peer: H2Peer) -> None:
    peer.set({INITIAL_WINDOW_SIZE: 2**24, MAX_FRAME_SIZE: 2**20})
    peer.frame(WINDOW_UPDATE, 0, 0, number(2**24))
    assert (await peer.get(1, request("/cached.bin"))).body == CACHED
    assert max(len(frame.payload) for frame in peer.seen) == 65536

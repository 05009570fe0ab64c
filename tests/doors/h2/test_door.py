"""What the HTTP/2 door answers by itself, what it leaves to a task, how long it waits, and how it ends."""

from __future__ import annotations

import gc

import pytest

from server.doors import phases
from server.doors.h2.answers import MAX_FIELDS_BYTES
from server.doors.h2.frames import (
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    GOAWAY,
    HEADERS,
    INITIAL_WINDOW_SIZE,
    PING,
    RST_STREAM,
    SETTINGS,
    WINDOW_UPDATE,
    Code,
    render_frame,
    render_reset,
)
from server.doors.h2.protocol import MAX_CALLS, MAX_KNOWN, Http2Protocol
from server.doors.h2.receiver import BUDGET, MAX_CONTINUATIONS, RESET_COST
from server.doors.head import MAX_DRAIN_BYTES, MAX_HEADER_LINES
from server.doors.journal import Journal, Tally
from server.doors.phases import DEADLINES, MAX_DISCARDED_BYTES, Phase
from tests.support.connections import until, until_unconnected
from tests.support.hosting import Hosting, memory_hosting, served
from tests.support.http2 import CACHED, FILES, H2Peer, h2_connected, request

SHORT = 0.05
BIG = b"x" * (24 * 1024 * 1024)  # more than sockets buffer, and than the edge keeps
SMALL = 64 * 1024  # a client's receive buffer


@pytest.fixture
def called(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """The targets of requests that took a task."""
    targets: list[bytes] = []
    call = Http2Protocol._call

    def note(self: Http2Protocol, stream: object, head: object) -> None:
        targets.append(head.target)  # type: ignore[attr-defined]
        call(self, stream, head)  # type: ignore[arg-type]

    monkeypatch.setattr(Http2Protocol, "_call", note)
    return targets


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """The targets of requests that took more than a look-up."""
    targets: list[bytes] = []
    begin = Http2Protocol._begin_request

    def note(self: Http2Protocol, number: int, head: object, **options: bool) -> None:
        targets.append(head.target)  # type: ignore[attr-defined]
        begin(self, number, head, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(Http2Protocol, "_begin_request", note)
    return targets


async def test_only_the_first_of_many_takes_a_task(called: list[bytes], read: list[bytes]) -> None:
    async with h2_connected() as (_, peer):
        for stream in range(1, 61, 6):
            assert (await peer.get(stream, request("/"))).body == b"home"
            moved = await peer.get(stream + 2, request("/docs?q"))
            assert (moved.status, moved.header("location")) == (308, "/docs/?q")
            assert (await peer.get(stream + 4)).body == b"0123456789"
        assert called == [b"/", b"/docs?q"]
        # Once more each is read in full; then it is looked up, save what repeats its query.
        assert [target for target in read if target != b"/docs?q"] == [b"/", b"/a.txt", b"/"]


async def test_validators_are_looked_up(read: list[bytes]) -> None:
    async with h2_connected() as (_, peer):
        for stream in (1, 3):
            tag = (await peer.get(stream)).header("etag")
        assert tag is not None
        del read[:]
        dated = ("if-modified-since", "Mon, 21 Sep 2026 14:13:20 GMT")
        for stream in (5, 7):
            unchanged = await peer.get(stream, request("/a.txt", ("if-none-match", tag), dated))
            assert (unchanged.status, unchanged.body, unchanged.header("etag")) == (304, b"", tag)
        assert read == []
        assert (await peer.get(9, request("/a.txt", ("if-none-match", '"other"')))).body == b"0123456789"
        assert (await peer.get(11, request("/a.txt", dated))).status == 304
        assert (await peer.get(13, request("/a.txt", ("if-none-match", "\xe4")))).status == 200
        assert len(read) == 3


async def test_what_is_missing_is_looked_up_too(read: list[bytes]) -> None:
    async with h2_connected(files={**FILES, "404.html": b"lost"}) as (_, peer):
        for stream in range(1, 41, 2):
            answer = await peer.get(stream, request(f"/none-{stream}", ("if-none-match", '"x"')))
            assert (answer.status, answer.body) == (404, b"lost")
        assert len(read) < 15


@pytest.mark.parametrize(
    "fields",
    [
        request("/a.txt", method="HEAD"),
        request("/a.txt", ("range", "bytes=2-3")),
        request("/a.txt", ("x-a", "1"), ("x-a", "2")),
        request("/a.txt", host="nobody.test"),
        request("/a.txt", host="a..test"),
        request("/a.txt", host=None),
        request("/a.txt", ("host", "a.test"), ("host", "a.test"), host=None),
        request("/%2e%2e/"),
        request("/" + "a" * 9000),
        request("*", method="OPTIONS"),
        request("*", method="OPTIONS", host="a..test"),
        request("*", method="OPTIONS", host="nobody.test"),
        request("*"),
        request("/a#b"),
        request("/", method="PATCH"),
        [(":method", "CONNECT"), (":authority", "a.test:443")],
        request("/", *[("x-a", "b" * 500) for _ in range(80)]),
        request("/", *[("x-a", "b") for _ in range(MAX_HEADER_LINES + 1)]),
    ],
    ids=lambda fields: " ".join(value[:12] for _, value in fields[:5]),
)
async def test_others_are_answered_all_the_same(fields: list[tuple[str, str]], peer: H2Peer) -> None:
    first = await peer.get(1, fields)
    again = await peer.get(3, fields)
    assert (first.status, first.headers, first.body) == (again.status, again.headers, again.body)
    assert first.status in (200, 204, 206, 400, 404, 405, 414, 431)
    length = first.header("content-length")
    assert length is None or int(length) == len(first.body) or fields[0][1] == "HEAD"


@pytest.mark.parametrize(("count", "size"), [(80, 500), (MAX_HEADER_LINES + 1, 1)], ids=["bytes", "lines"])
async def test_who_says_too_much_is_refused_whatever_is_in_memory(count: int, size: int, peer: H2Peer) -> None:
    for stream in (1, 3):
        await peer.get(stream)
    fields = request("/a.txt", *[(f"x-{number}", "b" * size) for number in range(count)])
    assert (await peer.get(5, fields)).status == 431


async def test_a_site_that_changes(called: list[bytes]) -> None:
    async with h2_connected() as (hosting, peer):
        for stream in range(1, 9, 2):
            assert (await peer.get(stream)).body == b"0123456789"
        hosting.clock.now += 2
        await hosting.publish("a.test", {"a.txt": b"changed"})
        for stream in range(9, 17, 2):
            assert (await peer.get(stream)).body == b"changed"


async def test_empty_files_are_looked_up(read: list[bytes]) -> None:
    async with h2_connected(files={"a.txt": b""}) as (_, peer):
        for stream in range(1, 13, 2):
            answer = await peer.get(stream)
            assert (answer.status, answer.body, answer.header("content-length")) == (200, b"", "0")
        assert read == [b"/a.txt"] * len(read)
        assert len(read) < 4


async def test_a_site_for_pages_of_others(peer: H2Peer) -> None:
    for stream in range(1, 9, 2):
        assert (await peer.get(stream, request("/a.txt", ("origin", "https://b.test")))).status == 200


async def test_more_blocks_than_are_kept(peer: H2Peer) -> None:
    for number in range(3 * MAX_KNOWN):
        fields = request(f"/a.txt?{number}")
        assert (await peer.get(2 * number + 1, fields)).body == b"0123456789"


async def test_many_requests_at_once(peer: H2Peer) -> None:
    await peer.get(1)
    await peer.get(3)
    block = peer.block(request())
    count = 3000  # more than are put together before they are written
    peer.send(b"".join(render_frame(HEADERS, END_HEADERS | END_STREAM, 5 + 2 * n, block) for n in range(count)))
    for number in range(count):
        assert (await peer.seek(DATA, 5 + 2 * number)).payload == b"0123456789"


async def test_a_client_that_does_not_read_is_not_read() -> None:
    async with h2_connected(receive_buffer=SMALL, settings={INITIAL_WINDOW_SIZE: 2**24}) as (_, peer):
        peer.reader._transport.pause_reading()  # type: ignore[attr-defined]
        for stream in range(1, 101, 2):
            peer.ask(stream, request("/cached.bin"))
        found: list[Http2Protocol] = []
        await until(lambda: bool(find(found)) and found[0].paused)
        assert len(found[0].streams) > 10
        assert found[0].transport.get_write_buffer_size() < 1_000_000
        peer.reader._transport.resume_reading()  # type: ignore[attr-defined]
        bodies: dict[int, int] = {}
        while sum(bodies.values()) < 50 * len(CACHED):
            piece = await peer.next()
            if piece.kind == DATA:
                bodies[piece.stream] = bodies.get(piece.stream, 0) + len(piece.payload)
        assert len(bodies) == 50


def find(found: list[Http2Protocol]) -> list[Http2Protocol]:
    """The door's end of each connection."""
    doors = [each for each in gc.get_objects() if isinstance(each, Http2Protocol)]
    found[:] = [each for each in doors if each in {*each.connections}]
    return found


async def test_header_tables_that_are_too_small(h2_port: int) -> None:
    peer = await H2Peer.connect(h2_port)
    peer.begin({1: 100})
    peer.decoder.max_allowed_table_size = 100
    for stream in (1, 3, 5):
        assert (await peer.get(stream)).body == b"0123456789"
    assert peer.decoder.header_table_size == 0
    peer.set({1: 4096})
    peer.set({1: 0})
    assert (await peer.get(7)).body == b"0123456789"
    await peer.close()


async def test_header_blocks_longer_than_a_frame() -> None:
    value = "|" * 1800  # which takes more in Huffman's code
    rules = "/a.txt\n" + "".join(f"  X-{number}: {value}\n" for number in range(9))
    async with h2_connected(files={"a.txt": b"a", "_headers": rules.encode()}) as (_, peer):
        for stream in (1, 3, 5):
            answer = await peer.get(stream)
            assert answer.header("x-8") == value
            assert any(frame.kind == CONTINUATION for frame in peer.seen)
    assert len(rules) > MAX_FIELDS_BYTES


# Bodies.


async def test_bodies_are_read_past(peer: H2Peer) -> None:
    post = request("/", method="POST")
    peer.ask(1, post, ends=False)
    for _ in range(4):
        peer.frame(DATA, 0, 1, bytes(16000))
    peer.frame(DATA, END_STREAM, 1)
    assert (await peer.response(1)).status == 405
    assert any(frame.kind == WINDOW_UPDATE and frame.stream == 1 for frame in peer.seen)
    assert any(frame.kind == WINDOW_UPDATE and frame.stream == 0 for frame in peer.seen)
    assert (await peer.get(3)).status == 200


@pytest.mark.parametrize("told", [True, False])
async def test_a_long_body_is_not_read(told: bool) -> None:
    length = [("content-length", str(MAX_DRAIN_BYTES + 1))] if told else []
    async with h2_connected({**DEADLINES, Phase.CLOSING: SHORT}) as (_, peer):
        peer.ask(1, request("/", *length, method="POST"), ends=False)
        if not told:
            for _ in range(5):
                peer.frame(DATA, 0, 1, bytes(MAX_DRAIN_BYTES // 4))
        assert (await peer.response(1)).status == 405
        assert await peer.was_reset(1) == Code.NO_ERROR
        peer.frame(DATA, 0, 1, b"on its way")
        peer.frame(HEADERS, END_HEADERS | END_STREAM, 1, peer.block([("x-trailer", "on its way")]))
        assert (await peer.get(3, request("/a.txt", ("x-trailer", "on its way")))).status == 200


async def test_a_body_that_is_too_long_even_to_be_thrown_away(peer: H2Peer) -> None:
    peer.ask(1, request("/", method="POST"), ends=False)
    for _ in range(MAX_DISCARDED_BYTES // 16384 - 1):
        peer.frame(DATA, 0, 1, bytes(16384))
    assert (await peer.response(1)).status == 405
    for _ in range(3):
        peer.frame(DATA, 0, 1, bytes(16384))
    assert await peer.was_reset(1) == Code.NO_ERROR


async def test_a_body_beyond_all_windows() -> None:
    async with h2_connected(settings={INITIAL_WINDOW_SIZE: 5}) as (_, peer):
        peer.ask(1, request("/", ("expect", "100-continue"), method="POST"), ends=False)
        await peer.seek(DATA, 1)
        for _ in range(MAX_DISCARDED_BYTES // 16384 + 5):
            peer.frame(DATA, 0, 1, bytes(16384))
        assert await peer.was_reset(1) == Code.NO_ERROR


async def test_a_client_that_says_all_before_it_looks_for_the_answer(peer: H2Peer) -> None:
    peer.ask(1, request("/", method="POST"), ends=False)
    for _ in range(10):
        peer.frame(DATA, 0, 1, bytes(16384))
    assert (await peer.response(1)).status == 405
    peer.frame(DATA, END_STREAM, 1)
    assert (await peer.get(3)).status == 200
    assert all(frame.kind != RST_STREAM for frame in peer.seen)


async def test_a_body_that_waits_to_be_asked_for_is_not() -> None:
    async with h2_connected({**DEADLINES, Phase.CLOSING: SHORT}) as (_, peer):
        peer.ask(1, request("/", ("expect", "100-continue"), ("content-length", "1"), method="POST"), ends=False)
        assert (await peer.response(1)).status == 405
        assert await peer.was_reset(1) == Code.NO_ERROR


# Answers that take a task.


async def test_a_large_file_comes_in_pieces() -> None:
    async with h2_connected(
        files={"big.bin": BIG[: 1 << 22], "a.txt": b"a"}, settings={INITIAL_WINDOW_SIZE: 2**25}
    ) as (_, peer):
        assert (await peer.get(1, request("/big.bin"))).body == BIG[: 1 << 22]
        part = await peer.get(3, request("/big.bin", ("range", "bytes=1000000-1000003")))
        assert (part.status, part.body) == (206, b"xxxx")


async def test_a_reset_ends_the_reading() -> None:
    async with h2_connected(files={"big.bin": BIG, "a.txt": b"a"}) as (_, peer):
        peer.ask(1, request("/big.bin"))
        await peer.seek(DATA, 1)
        [door] = find([])
        task = door.streams[1].task
        assert task is not None
        peer.send(render_reset(1, Code.CANCEL))
        await until(task.done)
        assert task.cancelled()
        peer.ask(3)
        assert (await peer.seek(DATA, 3)).payload == b"a"


async def test_who_leaves_ends_the_reading() -> None:
    async with h2_connected(files={"big.bin": BIG, "a.txt": b"a"}) as (_, peer):
        peer.ask(1, request("/big.bin"))
        await peer.seek(DATA, 1)
        [door] = find([])
        task = door.streams[1].task
        assert task is not None
        await peer.close()
        await until(task.done)
        assert door.streams == {}


async def test_answers_that_take_a_task_take_turns(called: list[bytes]) -> None:
    files = {"big.bin": BIG[: 1 << 22], "a.txt": b"a"}
    async with h2_connected(settings={INITIAL_WINDOW_SIZE: 0}, files=files) as (_, peer):
        streams = range(1, 2 * MAX_CALLS + 7, 2)
        for stream in streams:
            peer.ask(stream, request(f"/big.bin?{stream}"))
        for _ in range(MAX_CALLS):
            await peer.seek_any(HEADERS)
        peer.ask(2 * MAX_CALLS + 7)  # which is in memory
        await peer.seek(HEADERS, 2 * MAX_CALLS + 7)
        assert len(called) == len(streams)
        assert {frame.stream for frame in peer.seen if frame.kind == HEADERS} == {
            *streams[:MAX_CALLS],
            2 * MAX_CALLS + 7,
        }
        peer.send(render_reset(1, Code.CANCEL))
        await peer.seek(HEADERS, streams[MAX_CALLS])


async def test_a_fault_of_ours_ends_the_stream(caplog: pytest.LogCaptureFixture) -> None:
    async with h2_connected() as (hosting, peer):

        async def fail(*_: object) -> None:
            raise RuntimeError("on purpose")

        respond, hosting.edge.respond = hosting.edge.respond, fail  # type: ignore[method-assign, assignment]
        peer.ask(1, request("/"))
        assert await peer.was_reset(1) == Code.INTERNAL_ERROR
        assert "on purpose" in caplog.text
        hosting.edge.respond = respond  # type: ignore[method-assign]
        assert (await peer.get(3)).status == 200


# What costs a peer little.


@pytest.mark.parametrize(
    ("frames", "most"),
    [
        (lambda n: render_frame(PING, 0, 0, bytes(8)), BUDGET),
        (lambda n: render_frame(SETTINGS, 0, 0), BUDGET),
        (lambda n: render_frame(0xBB, 0, 0), BUDGET),
        (lambda n: render_frame(2, 0, 1, bytes(5)), BUDGET),
        (lambda n: render_frame(WINDOW_UPDATE, 0, 3, b"\0\0\0\1"), BUDGET),
        (lambda n: render_frame(DATA, 0, 1, b""), BUDGET),
        (lambda n: render_frame(DATA, 8, 1, b"\1\0"), BUDGET),
        (lambda n: render_frame(RST_STREAM, 0, 1, bytes(4)), BUDGET),
        (lambda n: render_frame(HEADERS, 5, 2 * n + 5, b"\x82"), BUDGET // RESET_COST),
    ],
    ids=["PING", "SETTINGS", "unknown", "PRIORITY", "WINDOW_UPDATE", "empty DATA", "padding", "resets", "malformed"],
)
async def test_floods_end_the_connection(frames: object, most: int, peer: H2Peer) -> None:
    peer.ask(1, request("/", method="POST"), ends=False)
    peer.ask(3, request("/cached.bin"))
    await peer.seek(DATA, 3)
    peer.send(b"".join(frames(number) for number in range(most + 2)))  # type: ignore[operator]
    assert await peer.ended() == Code.ENHANCE_YOUR_CALM


async def test_rapid_resets_end_the_connection(peer: H2Peer) -> None:
    block = peer.block(request("/cached.bin"))
    for stream in range(1, 2 * BUDGET, 2):
        peer.frame(HEADERS, END_HEADERS | END_STREAM, stream, block)
        peer.send(render_reset(stream, Code.CANCEL))
    assert await peer.ended() == Code.ENHANCE_YOUR_CALM


async def test_small_steps_of_windows_that_nobody_waits_for(peer: H2Peer) -> None:
    for number in range(3):
        assert (await peer.get(2 * number + 1)).body == b"0123456789"
        peer.send(render_frame(WINDOW_UPDATE, 0, 0, b"\0\0\0\1") * BUDGET)
    assert (await peer.get(7)).status == 200


async def test_header_blocks_without_end(peer: H2Peer) -> None:
    peer.frame(HEADERS, END_STREAM, 1, b"")
    for _ in range(MAX_CONTINUATIONS + 1):
        peer.frame(CONTINUATION, 0, 1, b"")
    assert await peer.ended() == Code.ENHANCE_YOUR_CALM


async def test_header_blocks_that_are_large(peer: H2Peer) -> None:
    peer.frame(HEADERS, END_STREAM, 1, bytes(16384))
    for _ in range(4):
        peer.frame(CONTINUATION, 0, 1, bytes(16384))
    assert await peer.ended() == Code.ENHANCE_YOUR_CALM


async def test_header_blocks_that_become_large(peer: H2Peer) -> None:
    long = ("x-a", "b" * 3900)
    block = peer.block(request("/a.txt", long)) + b"\xbe" * 10000
    peer.frame(HEADERS, END_HEADERS | END_STREAM, 1, block)
    assert await peer.ended() == Code.ENHANCE_YOUR_CALM


# How long it waits.


@pytest.mark.parametrize(
    "sent",
    [b"", b"PRI * HTTP/2.0\r\n\r\n"],
)
async def test_who_does_not_begin_is_left(sent: bytes) -> None:
    deadlines = {**DEADLINES, Phase.READING: SHORT, Phase.IDLE: SHORT}
    async with memory_hosting() as hosting, served(hosting.edge, deadlines) as port:
        peer = await H2Peer.connect(port)
        peer.send(sent)
        assert (await peer.rest()).startswith(b"HTTP/1.1 408 " if sent else b"")
        await peer.close()


@pytest.mark.parametrize("data", [b"\0\0\4", render_frame(HEADERS, 0, 1, b"\x82")], ids=["a frame", "a block"])
async def test_what_does_not_end_in_time(data: bytes) -> None:
    async with h2_connected({**DEADLINES, Phase.READING: SHORT}) as (_, peer):
        assert (await peer.get(1)).status == 200
        peer.send(data)
        assert await peer.ended() == Code.NO_ERROR


@pytest.mark.slow
async def test_frames_that_are_never_at_an_end_together_are_in_time() -> None:
    async with h2_connected({**DEADLINES, Phase.READING: 0.5}) as (_, peer):
        ping = render_frame(PING, 0, 0, bytes(8))
        peer.send(ping[:5])
        end = peer.loop.time() + 0.7
        while peer.loop.time() < end:
            peer.send(ping[5:] + ping[:5])  # each is whole at once, and the next has begun
            assert (await peer.seek(PING)).payload == bytes(8)
            await peer.until(peer.loop.time() + 0.02)
        assert await peer.ended() == Code.NO_ERROR  # the last is not


@pytest.mark.slow
async def test_who_is_not_read_is_not_late() -> None:
    deadlines = {**DEADLINES, Phase.READING: 0.5}
    files = {"big.bin": BIG, "a.txt": b"a"}
    async with h2_connected(deadlines, {INITIAL_WINDOW_SIZE: 2**25}, files, receive_buffer=SMALL) as (_, peer):
        await peer.get(5)
        [door] = find([])
        peer.reader._transport.pause_reading()  # type: ignore[attr-defined]
        peer.ask(7, request("/big.bin"))
        peer.ask(9, request(method="POST"), ends=False)
        ping = render_frame(PING, 0, 0, bytes(8))
        peer.send(ping[:5])
        await until(lambda: door.paused and door.begins)
        await peer.until(peer.loop.time() + 0.6)
        peer.send(ping[5:])
        peer.frame(DATA, END_STREAM, 9)
        peer.reader._transport.resume_reading()  # type: ignore[attr-defined]
        while (frame := await peer.next()).stream != 9 or frame.kind != HEADERS:
            assert frame.kind != GOAWAY
        assert peer.read_answer(frame.payload).status == 405


async def test_settings_that_do_not_come() -> None:
    async with memory_hosting() as hosting, served(hosting.edge, {**DEADLINES, Phase.READING: SHORT}) as port:
        peer = await H2Peer.connect(port)
        peer.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
        assert await peer.ended() == Code.NO_ERROR
        await peer.close()


async def test_a_slow_body_is_408() -> None:
    async with h2_connected({**DEADLINES, Phase.READING: SHORT, Phase.CLOSING: SHORT}) as (_, peer):
        peer.ask(1, request("/", ("content-length", "2"), method="POST"), ends=False)
        peer.frame(DATA, 0, 1, b"1")
        answer = await peer.response(1)
        assert answer.status == 408
        assert b"did not come in time" in answer.body
        assert await peer.was_reset(1) == Code.NO_ERROR


async def test_an_idle_connection_is_closed() -> None:
    async with h2_connected({**DEADLINES, Phase.IDLE: SHORT, Phase.READING: SHORT}) as (_, peer):
        assert (await peer.get(1)).status == 200
        assert await peer.ended() == Code.NO_ERROR


async def test_a_stream_that_gets_no_window_ends() -> None:
    deadlines = {**DEADLINES, Phase.WRITING: SHORT}
    async with h2_connected(deadlines, {INITIAL_WINDOW_SIZE: 5}) as (_, peer):
        peer.ask(1)
        assert (await peer.seek(DATA, 1)).payload == b"01234"
        assert await peer.was_reset(1) == Code.CANCEL


async def test_who_takes_nothing_is_dropped() -> None:
    deadlines = {**DEADLINES, Phase.WRITING: SHORT}
    files = {"big.bin": BIG, "a.txt": b"a"}
    async with h2_connected(deadlines, {INITIAL_WINDOW_SIZE: 2**25}, files, receive_buffer=SMALL) as (_, peer):
        peer.reader._transport.pause_reading()  # type: ignore[attr-defined]
        peer.ask(1, request("/big.bin"))
        await peer.writer.drain()
        await until_unconnected(peer)


@pytest.mark.slow
async def test_who_reads_less_than_the_kernel_waits_for_is_served() -> None:
    deadlines = {**DEADLINES, Phase.WRITING: 0.5}
    files = {"big.bin": BIG, "a.txt": b"a"}
    async with h2_connected(deadlines, {INITIAL_WINDOW_SIZE: 2**25}, files, receive_buffer=SMALL) as (_, peer):
        peer.ask(1, request("/big.bin"))
        size = 0
        while size < len(BIG):
            if size < 1 << 20:
                await peer.until(peer.loop.time() + 0.025)  # 640 KB a second; see `Peer.dawdle`
            size += len((await peer.seek(DATA, 1)).payload)


async def test_what_comes_behind_the_end_is_thrown_away(peer: H2Peer) -> None:
    peer.frame(PING, 0, 1, bytes(8))
    await peer.seek(GOAWAY)
    peer.send(bytes(MAX_DISCARDED_BYTES + 1))
    await until_unconnected(peer)


async def test_who_does_not_close_is_dropped() -> None:
    async with h2_connected({**DEADLINES, Phase.CLOSING: SHORT}) as (_, peer):
        peer.frame(PING, 0, 1, bytes(8))
        await peer.seek(GOAWAY)
        await until(lambda: not find([]))


async def test_who_has_said_all_still_gets_the_answers() -> None:
    async with h2_connected() as (_, peer):
        peer.ask(1, request("/"))
        peer.ask(3)
        peer.writer.write_eof()
        assert (await peer.seek(DATA, 3)).payload == b"0123456789"
        assert (await peer.seek(DATA, 1)).payload == b"home"
        assert await peer.ended() is None


async def test_who_has_said_all_gives_no_window() -> None:
    async with h2_connected(settings={INITIAL_WINDOW_SIZE: 5}) as (_, peer):
        peer.ask(1)
        peer.writer.write_eof()
        assert (await peer.seek(DATA, 1)).payload == b"01234"
        assert await peer.ended() is None


# How it ends.


async def test_a_server_that_stops_lets_requests_come_in(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("server.doors.h2.connection.LAST_CALL_SECONDS", 0.2)
    async with h2_connected(settings={INITIAL_WINDOW_SIZE: 5}) as (_, peer):
        peer.ask(1)
        await peer.seek(DATA, 1)
        [door] = find([])
        door.shutdown()
        door.shutdown()
        warning = await peer.seek(GOAWAY)
        assert (warning.code, warning.payload[:4]) == (Code.NO_ERROR, b"\x7f\xff\xff\xff")
        peer.ask(3)
        await peer.seek(DATA, 3)
        last = await peer.seek(GOAWAY)
        assert (last.code, last.payload[:4]) == (Code.NO_ERROR, b"\0\0\0\3")
        peer.ask(5)  # too late
        for stream in (1, 3):
            peer.frame(WINDOW_UPDATE, 0, stream, b"\0\0\1\0")
            assert (await peer.seek(DATA, stream)).ends_stream
        assert await peer.ended() is None
        assert all(frame.stream != 5 for frame in peer.seen)


async def test_no_stream_is_served_behind_the_last() -> None:
    async with h2_connected() as (_, peer):
        for stream in (1, 3, 5):
            await peer.get(stream)
        [door] = find([])
        peer.ask(7, request("/", method="POST"), ends=False)  # so that it stays open
        await until(lambda: 7 in door.streams)
        door.site_gone(frozenset())
        last = await peer.seek(GOAWAY)
        assert last.payload[:4] == b"\0\0\0\7"
        peer.ask(9)  # which is known by its block
        peer.ask(11, request("/docs"))
        peer.frame(DATA, END_STREAM, 7)
        assert (await peer.response(7)).status == 405
        assert await peer.ended() is None


async def held(peer: H2Peer) -> Http2Protocol:
    """The server's end, whose stream 1 stays open."""
    peer.ask(1, request("/", method="POST"), ends=False)
    await until(lambda: any(1 in door.streams for door in find([])))
    [door] = find([])
    return door


async def test_what_follows_on_a_stream_behind_the_last_is_ignored() -> None:
    async with h2_connected() as (_, peer):
        door = await held(peer)
        door.site_gone(frozenset())
        assert (await peer.seek(GOAWAY)).payload[:4] == b"\0\0\0\1"
        peer.ask(3, request("/", method="POST"), ends=False)  # on its way when the peer was told
        peer.frame(DATA, 0, 3, b"body")
        peer.ask(3, [("x-trailer", "1")])
        peer.frame(DATA, END_STREAM, 1)
        assert (await peer.response(1)).status == 405
        assert await peer.ended() is None


async def test_the_last_that_was_told_does_not_grow() -> None:
    async with h2_connected() as (_, peer):
        door = await held(peer)
        door.site_gone(frozenset())
        await peer.seek(GOAWAY)
        peer.ask(3)
        peer.frame(PING, 0, 1, bytes(8))  # which no stream may have
        fault = await peer.seek(GOAWAY)
        assert (fault.code, fault.payload[:4]) == (Code.PROTOCOL_ERROR, b"\0\0\0\1")


async def test_pings_do_not_keep_a_connection() -> None:
    async with h2_connected({**DEADLINES, Phase.IDLE: 0.2, Phase.READING: SHORT}) as (_, peer):
        assert (await peer.get(1)).status == 200
        end = peer.loop.time() + 1
        code = None
        while code is None and peer.loop.time() < end:
            peer.frame(PING, 0, 0, bytes(8))
            answered = await peer.next()
            code = answered.code if answered.kind == GOAWAY else None
            await peer.until(peer.loop.time() + 0.01)
        assert code == Code.NO_ERROR


async def gone(hosting: Hosting, *ids: str) -> None:
    for site_id in ids:
        await hosting.metadata.delete_site(site_id)
    await hosting.edge.follower.poll()


async def test_a_site_that_goes_takes_its_streams_along(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(phases, "GONE_SECONDS", SHORT)
    async with memory_hosting() as hosting:
        hosting.edge.cache.max_body = len(CACHED)
        first = await hosting.site("a.test", FILES)
        await hosting.site("b.test", FILES)
        async with served(hosting.edge) as port:
            peer, other = await H2Peer.connect(port), await H2Peer.connect(port)
            peer.begin({INITIAL_WINDOW_SIZE: 5})
            other.begin()
            await other.get(1, request("/docs", host="b.test"))
            for stream, host in ((1, "a.test"), (3, "b.test")):
                peer.ask(stream, request(host=host))
                await peer.seek(DATA, stream)
            await gone(hosting, first.id)
            assert (await peer.seek(GOAWAY)).payload[:4] == b"\0\0\0\3"
            assert (await peer.seek(RST_STREAM, 1)).code == Code.CANCEL
            peer.frame(WINDOW_UPDATE, 0, 3, b"\0\0\1\0")
            assert (await peer.seek(DATA, 3)).payload == b"56789"
            assert await peer.ended() is None
            assert (await other.get(3, request("/docs", host="b.test"))).status == 308
            await peer.close()
            await other.close()


async def test_idle_connections_end_with_their_site() -> None:
    async with h2_connected() as (hosting, peer):
        for stream in (1, 3, 5):
            await peer.get(stream)
        [(_, site_id)] = hosting.edge.visits.sites()
        await gone(hosting, site_id)
        assert await peer.ended() == Code.NO_ERROR


# What is noted.


async def test_answers_are_noted() -> None:
    lines: list[bytes] = []
    tallies: list[Tally] = []
    journal = Journal(lambda: 1_790_000_000.0, write=lines.append, count=lambda counted: tallies.extend(counted))
    async with memory_hosting() as hosting:
        await hosting.site("a.test", FILES)
        async with served(hosting.edge, journal=journal) as port:
            peer = await H2Peer.connect(port)
            peer.begin()
            agent = ("user-agent", "tests"), ("referer", "/from")
            for stream in (1, 3, 5):
                await peer.get(stream, request("/a.txt?q", *agent))
            await peer.get(7, request("/" + "a" * 9000))
            await peer.close()
        journal.flush()
    [*answered, refused, end] = b"".join(lines).split(b"\n")
    assert end == b""
    assert len(answered) == 3
    for line in answered:
        assert b'"method":"GET","target":"/a.txt?q","protocol":"HTTP/2.0","status":200,"bytes":10' in line
        assert b'"host":"a.test","referer":"/from","user_agent":"tests"' in line
    assert b'"status":414' in refused
    assert {tally.status for tally in tallies} == {200, 414}


async def test_what_has_ended_may_still_be_told() -> None:
    async with h2_connected() as (_, peer):
        await peer.get(1)
        [door] = find([])
        peer.frame(PING, 0, 1, bytes(8))
        await peer.seek(GOAWAY)
        door.shutdown()
        door.site_gone(frozenset({"a.test"}))
        door.finish_connection()
        assert await peer.ended() is None

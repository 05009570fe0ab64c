"""HTTP/2 by the thousand: what can be said in it is answered as in HTTP/1.1, and what cannot ends nothing but itself.

* requests of the grammar and of the corpus, many to a connection, in frames of random sizes that arrive in pieces:
  the status, the fields and the body that HTTP/1.1 gets
* the same with bytes changed, frames made up, left out and repeated: whatever comes back is well-formed, at the latest
  the deadline ends the connection, nothing is logged, and others are served

Normally it takes seconds and is the same each time; `FUZZ_SECONDS=600` goes on for so long in all, each time otherwise.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Coroutine, Iterator
from contextlib import AsyncExitStack
from random import Random

import pytest

from server.doors.h2 import frames
from server.doors.h2.frames import Code, render_frame, render_headers
from server.doors.phases import DEADLINES, Phase
from tests.fuzz.budget import SECONDS
from tests.fuzz.test_doors import make_pool
from tests.support import corpus
from tests.support.h2_corpus import Message, translate
from tests.support.hosting import memory_hosting, served
from tests.support.http2 import H2Peer, request
from tests.support.wire import Answer

ROUNDS = 60  # of each test, where no time is given
PREFACE = frames.PREFACE + frames.render_settings({frames.INITIAL_WINDOW_SIZE: 2**24})
WIDE = frames.render_window_update(0, 2**30)
HOSTILE = (
    b"", b"\0", b"\xff", b"\x80", b"\x7f\xff", b"\xff\xff\xff\xff\x7f", b"\x20", b"\x3f\xe1\x1f", b"\x82", b"\0\0\0",
    *(render_frame(kind, flags, stream, bytes(size))
      for kind in range(11) for flags in (0, 1, 4, 5, 8, 0x25) for stream in (0, 1, 4) for size in (0, 4, 5, 8)),
)  # fmt: skip


class Servers:
    """One edge, served in three ways: as ever, with short deadlines for who leaves a message unfinished, and by tasks
    alone."""

    def __init__(self) -> None:
        self._runner = asyncio.Runner()
        self._stack = AsyncExitStack()
        self.port, self.hasty, self.slow = self._runner.run(self._open())

    async def _open(self) -> tuple[int, int, int]:
        hosting = await self._stack.enter_async_context(memory_hosting())
        await corpus.fill(hosting)
        short = {**DEADLINES, Phase.READING: 0.05, Phase.IDLE: 0.05, Phase.WRITING: 0.05, Phase.CLOSING: 0.05}
        return (
            await self._stack.enter_async_context(served(hosting.edge)),
            await self._stack.enter_async_context(served(hosting.edge, short)),
            await self._stack.enter_async_context(served(hosting.edge, fast=False)),
        )

    def run(self, coroutine: Coroutine[None, None, None]) -> None:
        """In the loop that they are in."""
        self._runner.run(coroutine)

    def close(self) -> None:
        """Their end."""
        self._runner.run(self._stack.aclose())
        self._runner.close()


@pytest.fixture(scope="module")
def servers() -> Iterator[Servers]:
    servers = Servers()
    yield servers
    servers.close()


@pytest.fixture(scope="module")
def pool() -> list[tuple[bytes, Message]]:
    """Requests as HTTP/1.1 has them, and as HTTP/2 does."""
    found = []
    for raw in make_pool():
        said = translate(raw)
        if said is not None and len(said) == 1:
            found.append((raw, said[0]))
    return found


def rounds() -> Iterator[Random]:
    """Sources of chance, one for each round."""
    end = time.monotonic() + SECONDS / 2
    number = 0
    while number < ROUNDS or time.monotonic() < end:
        yield Random(number if not SECONDS else None)
        number += 1


def said(random: Random, peer: H2Peer, messages: list[Message]) -> bytes:
    """Their frames, each message on its stream; bodies are cut anywhere."""
    parts = []
    for place, message in enumerate(messages):
        stream = 2 * place + 1
        parts += render_headers(stream, peer.block(message.fields), ends=not message.body)
        left = message.body
        while left:
            size = random.randint(1, len(left))
            piece, left = left[:size], left[size:]
            parts.append(render_frame(frames.DATA, 0 if left else frames.END_STREAM, stream, piece))
    return b"".join(parts)


async def in_pieces(random: Random, peer: H2Peer, data: bytes) -> None:
    edges = [0, *sorted(random.randrange(len(data) + 1) for _ in range(random.randrange(8))), len(data)]
    for start, stop in zip(edges, edges[1:], strict=False):
        peer.send(data[start:stop])
        for _ in range(3):
            await asyncio.sleep(0)


async def by_http1(port: int, raw: bytes) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(raw)
    writer.write_eof()
    data = await reader.read()
    writer.close()
    return data


def as_http1(answer: Answer) -> tuple[int, list[tuple[str, str]], bytes]:
    return answer.status, answer.headers, answer.body


def read_http1(data: bytes) -> tuple[int, list[tuple[str, str]], bytes]:
    head, _, body = data.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    headers = [(name, value) for name, _, value in (line.partition(": ") for line in lines)]
    return int(first.split(" ")[1]), [each for each in headers if each != ("connection", "close")], body


@pytest.mark.slow
@pytest.mark.timeout(SECONDS + 120)
def test_the_same_answers_as_http1(servers: Servers, pool: list[tuple[bytes, Message]]) -> None:
    async def check(random: Random) -> None:
        asked = [random.choice(pool) for _ in range(random.randint(1, 12))]
        peer = await H2Peer.connect(random.choice([servers.port, servers.port, servers.slow]))
        peer.send(PREFACE + WIDE)
        await in_pieces(random, peer, said(random, peer, [message for _, message in asked]))
        answers = await collect(peer, len(asked))
        for place, (raw, _) in enumerate(asked):
            due = read_http1(await by_http1(servers.port, raw))
            assert as_http1(answers[2 * place + 1]) == due, raw
        await peer.close()

    for random in rounds():
        servers.run(check(random))


async def collect(peer: H2Peer, count: int) -> dict[int, Answer]:
    """The answers of so many streams, in whatever order their frames come."""
    answers: dict[int, Answer] = {}
    ended = 0
    while ended < count:
        frame = await peer.next()
        assert frame.kind in (frames.SETTINGS, frames.WINDOW_UPDATE, frames.HEADERS, frames.DATA), frame
        if frame.kind == frames.HEADERS:
            answers[frame.stream] = peer.read_answer(frame.payload)
        elif frame.kind == frames.DATA:
            answers[frame.stream].body += frame.payload
        ended += frame.ends_stream
    return answers


@pytest.mark.slow
@pytest.mark.timeout(SECONDS + 120)
def test_what_is_malformed(
    servers: Servers, pool: list[tuple[bytes, Message]], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)

    async def check(random: Random) -> None:
        peer = await H2Peer.connect(servers.hasty)
        data = said(random, peer, [random.choice(pool)[1] for _ in range(random.randint(1, 6))])
        if random.random() < 0.9:
            data = PREFACE + WIDE + data
        for _ in range(random.choice([1, 1, 1, 2, 5])):
            start = random.randrange(len(data))
            stop = start + random.choice([0, 0, 1, 1, 2, 8, 40])
            data = data[:start] + random.choice([*HOSTILE, data[start:stop] * 2, random.randbytes(8)]) + data[stop:]
        await in_pieces(random, peer, data)
        await check_form(peer, switched=data.startswith(frames.PREFACE))
        await peer.close()
        other = await H2Peer.connect(servers.port)
        other.begin()
        assert (await other.get(1, request("*", method="OPTIONS"))).status == 204
        await other.close()

    for random in rounds():
        servers.run(check(random))
    assert caplog.records == []


async def check_form(peer: H2Peer, *, switched: bool) -> None:
    """All that comes back until the end, which the server brings about, is frames; or HTTP/1.1."""
    if not switched:
        answer = await peer.rest()
        assert not answer or answer.startswith(b"HTTP/1.1 4") or answer.startswith(b"HTTP/1.1 505"), answer
        return
    try:
        while True:
            frame = await peer.next()
            if frame.kind == frames.HEADERS:
                answer_ = peer.read_answer(frame.payload)
                assert answer_.status < 500 or answer_.status in (501, 505)
            elif frame.kind in (frames.RST_STREAM, frames.GOAWAY):
                assert frame.code is not Code.INTERNAL_ERROR
    except EOFError:
        pass

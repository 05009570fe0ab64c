"""Two doors, one edge: the same bytes sent to the fast door and to the ASGI door bring the same bytes back.

Requests of the grammar, some with bytes changed, and those of the corpus, split and pipelined at random. Both servers
run in the test's own loop, so each piece arrives at both as it was cut. Normally it takes seconds and is the same each
time; `DOORS_REQUESTS=10000` sends as many, others each time.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from random import Random

import pytest
from hypothesis import HealthCheck, Phase, given, settings

from tests.fuzz.grammar import Message, messages
from tests.fuzz.test_wire import HOSTILE
from tests.support import corpus
from tests.support.hosting import file_hosting, served

WANTED = int(os.environ.get("DOORS_REQUESTS", "0"))
REQUESTS = WANTED or 2000
# Ends every connection: answered, or else at the latest the bytes behind it are no request, whatever came before.
END = b"OPTIONS * HTTP/1.1\r\nHost: end.test\r\nConnection: close\r\n\r\n" + b"\0" * 70_000 + b"\r\n\r\n\r\n"


class Doors:
    """Both, each with stores and an edge of its own."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._runner = asyncio.Runner()
        self._stack = AsyncExitStack()
        self._ports = self._runner.run(self._open())

    async def _open(self) -> list[int]:
        ports = []
        for name, fast in (("fast", True), ("asgi", False)):
            hosting = await self._stack.enter_async_context(file_hosting(self._directory / name))
            await corpus.fill(hosting)
            ports.append(await self._stack.enter_async_context(served(hosting.edge, fast=fast)))
        return ports

    def close(self) -> None:
        """Their end."""
        self._runner.run(self._stack.aclose())
        self._runner.close()

    def answers(self, pieces: list[bytes]) -> list[bytes]:
        """All that comes back from each."""
        return self._runner.run(self._converse(pieces))

    async def _converse(self, pieces: list[bytes]) -> list[bytes]:
        peers = [await asyncio.open_connection("127.0.0.1", port) for port in self._ports]
        answers = [asyncio.create_task(_read(reader)) for reader, _ in peers]
        for piece in pieces:
            for _, writer in peers:
                writer.write(piece)
            for _ in range(3):  # turns in which both doors get this piece, and answer if they can at once
                await asyncio.sleep(0)
        async with asyncio.timeout(20):
            received = [await answer for answer in answers]
        for _, writer in peers:
            writer.transport.abort()
        return received


async def _read(reader: asyncio.StreamReader) -> bytes:
    data = b""
    try:
        while chunk := await reader.read(1_000_000):
            data += chunk
    except ConnectionResetError:
        data += b"(reset)"
    return data


@pytest.fixture(scope="module")
def doors(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Doors]:
    doors = Doors(tmp_path_factory.mktemp("doors"))
    yield doors
    doors.close()


def make_pool() -> list[bytes]:
    """Requests of the grammar and, as often, of the corpus."""
    pool: list[bytes] = []

    @settings(
        max_examples=REQUESTS // 5,
        derandomize=not WANTED,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        phases=[Phase.generate],
    )
    @given(message=messages())
    def collect(message: Message) -> None:
        pool.append(message.whole)

    collect()
    cases = [case.request for case in corpus.load_cases()]
    pool += cases * max(1, len(pool) // len(cases))
    # Whether a body that waits for a go-ahead has come by the time of its answer is a matter of time.
    return [request for request in pool if b"expect" not in request.lower()]


def split(random: Random, requests: list[bytes]) -> list[bytes]:
    """The pieces that they are sent in: each by itself, as browsers do, or cut anywhere."""
    if random.random() < 0.5:
        return requests
    stream = b"".join(requests)
    edges = [0, *sorted(random.randrange(len(stream)) for _ in range(random.randrange(8))), len(stream)]
    return [stream[start:stop] for start, stop in zip(edges, edges[1:], strict=False) if start < stop]


def mutate(random: Random, request: bytes) -> bytes:
    """With a few bytes changed, put in, left out or repeated."""
    start = random.randrange(len(request))
    stop = start + random.choice([0, 0, 1, 1, 2, 8, 40])
    return request[:start] + random.choice([*HOSTILE, b"", request[start:stop] * 2]) + request[stop:]


def same(fast: bytes, asgi: bytes, *, spoilt: bool) -> bool:
    """Whether they are equal. Of a request that is wrong in two ways, which one is told at the end depends on how the
    bytes arrive, and they arrive otherwise at a door that is busy."""
    if fast == asgi or not spoilt:
        return fast == asgi
    ends = [data.rpartition(b"HTTP/1.1 4") for data in (fast, asgi)]
    return ends[0][0] == ends[1][0] and all(b"\r\nconnection: close\r\n" in end for *_, end in ends)


@pytest.mark.slow
@pytest.mark.timeout(120 + REQUESTS / 10)
def test_both_doors_say_the_same(doors: Doors) -> None:
    pool = make_pool()
    seed = int.from_bytes(os.urandom(4)) if WANTED else 4
    random = Random(seed)
    sent = answered = 0
    while sent < REQUESTS:
        requests = [random.choice(pool) for _ in range(random.randrange(1, 12))]
        spoilt = random.random() < 0.2
        if spoilt:
            place = random.randrange(len(requests))
            requests[place] = mutate(random, requests[place])
        sent += len(requests)
        pieces = split(random, requests)
        fast, asgi = doors.answers([*pieces, END])
        if not same(fast, asgi, spoilt=spoilt):  # told so, since pytest's own comparison of megabytes takes minutes
            place = len(os.path.commonprefix([fast, asgi]))
            shown = slice(max(0, place - 800), place + 100)
            pytest.fail(f"seed {seed}: sent {pieces}\nfast at {place}: {fast[shown]!r}\nasgi: {asgi[shown]!r}")
        answered += fast.count(b"\r\nx-content-type-options: nosniff\r\n")
    print(f"{sent} requests, of which {answered} were answered; the others were behind one that ends its connection")
    assert answered > sent / 3

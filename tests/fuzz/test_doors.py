"""Two doors, one edge: the same bytes sent to the fast door and to the ASGI door bring the same bytes back.

Requests of the grammar, some with bytes changed, those of the corpus, and visits of browsers, whose heads repeat but
for a few lines, split and pipelined at random. Both servers run in the test's own loop, so each piece arrives at both
as it was cut. Normally it takes seconds and is the same each time; `DOORS_REQUESTS=10000` sends as many, others each
time.
"""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from random import Random
from urllib.parse import quote

import pytest
from hypothesis import HealthCheck, Phase, given, settings

from tests.fuzz.grammar import FILES, Message, messages
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


# What a browser's next request may have in other words. The door cuts these lines out: as they stand, or not at all.
VARYING = (
    "User-Agent: Mozilla/5.0 ({})", "User-Agent:{}", "user-agent: {}", "User-Agent:  {} ", "User-Agent: \xe9{}",
    "User-Agent: {}\t", "Referer: https://b.test/{}", "Referer:", "Referer: \x01{}", "Cookie: id={}; beta=1",
    "Cookie: id={0}; a={1}", "Cookie: {0}\r\nCookie: {0}", "Cookie: {}\r\n folded", "Cookie : {}", "Cookie: {}\rX: y",
    "Cookie: {}\nX: y", "If-None-Match: {tag}", "If-None-Match: W/{tag}", 'If-None-Match: "{}", {tag}',
    "If-None-Match:{tag}", "If-None-Match: {tag}\t", "If-None-Match: {tag}\r\nIf-None-Match: {tag}", "If-None-Match: *",
    "If-None-Match: {tag}\r\nIf-Modified-Since: {date}", "If-None-Match: {}\r\nIf-Modified-Since: \xff",
    "If-Modified-Since: {date}\r\nIf-None-Match: {tag}", "If-Modified-Since: {date}", "Accept-Encoding: br;q=0.{}",
    "If-None-Match: {tag}\r\nRange: bytes=0-{}", "Host: b.test", "Connection: close", "Content-Length: 0", "X-{}: y",
)  # fmt: skip


def browse(random: Random) -> list[bytes]:
    """A visit: some requests of one browser for a few files of a site, and for what is missing there."""
    domain = random.choice(FILES)[0]
    files = random.sample([file for file in FILES if file[0] == domain][:10], k=1) * 2 + [(domain, "none/x", b'"none"')]
    ballast = "Sec-Fetch-User: ?1\r\nAccept: text/html" if random.random() < 0.8 else f"Cookie: {'x' * 5000}"
    requests = []
    for _ in range(random.randrange(2, 12)):
        _, path, tag = random.choice(files)
        query = random.choice(
            ["", "", "", f"?v={random.randrange(3)}", "?", "?#", "?" + "q" * random.choice([40, 9000])]
        )
        lines = ["Host: " + domain.replace("*", "any"), ballast, "Accept-Encoding: gzip, br"]
        if random.random() < 0.7:
            line = random.choice(VARYING).format(
                random.randrange(100), "y" * 4200, tag=tag.decode(), date="Mon, 21 Sep 2026 14:13:20 GMT"
            )
            lines.insert(random.randrange(len(lines) + 1), line)
        method = random.choice(["GET"] * 9 + ["HEAD"])
        requests.append("\r\n".join([f"{method} /{quote(path)}{query} HTTP/1.1", *lines, "", ""]).encode("latin-1"))
    return requests


def split(random: Random, requests: list[bytes]) -> list[bytes]:
    """The pieces that they are sent in: each by itself, as browsers do, or cut anywhere, or in a line's end."""
    way = random.random()
    if way < 0.5:
        return requests
    stream = b"".join(requests)
    places = range(len(stream)) if way < 0.8 else [found.start() + 1 for found in re.finditer(b"[\r\n]", stream)] or [0]
    edges = [0, *sorted(random.choice(places) for _ in range(random.randrange(8))), len(stream)]
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
        visit = random.random() < 0.4
        requests = browse(random) if visit else [random.choice(pool) for _ in range(random.randrange(1, 12))]
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

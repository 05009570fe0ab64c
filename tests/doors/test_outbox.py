"""Answers that leave together: none is lost, none waits for long, and nothing overtakes one."""

from __future__ import annotations

import asyncio
import math
import random
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager

import pytest
import uvloop

from server.doors import outbox
from server.doors.fast import FastProtocol
from server.doors.outbox import FEWEST, MOST, Outbox
from server.doors.phases import Phase
from server.doors.tables import SMALL_BODY_BYTES
from tests.support.connections import Peer, protocols
from tests.support.hosting import Hosting, memory_hosting, served

FILES = {
    "index.html": b"home",
    "page.html": b"page",
    "small.png": b"x" * SMALL_BODY_BYTES,
    "large.png": b"y" * (SMALL_BODY_BYTES + 1),
    "404.html": b"lost",
}
WARM = 3

Connection = tuple[Peer, FastProtocol]
Run = Callable[[Callable[[], Coroutine[None, None, None]]], None]


def ask(target: str, *lines: str, method: str = "GET") -> bytes:
    return "\r\n".join([f"{method} {target} HTTP/1.1", "Host: a.test", *lines, "", ""]).encode()


def door_of(peer: Peer) -> FastProtocol:
    name = peer.writer.get_extra_info("sockname")
    [found] = [door for door in protocols() if door.transport.get_extra_info("peername") == name]
    assert isinstance(found, FastProtocol)
    return found


@asynccontextmanager
async def connected(count: int) -> AsyncIterator[tuple[Hosting, list[Connection]]]:
    """Connections on which every page is known."""
    async with memory_hosting() as hosting:
        await hosting.site("a.test", FILES)
        async with served(hosting.edge) as port:
            peers = [await Peer.connect(port) for _ in range(count)]
            for _ in range(WARM):
                for peer in peers:
                    for target in ("/page", "/", "/small.png", "/large.png", "/none"):
                        peer.send(ask(target))
                        await peer.answer()
            try:
                yield hosting, [(peer, door_of(peer)) for peer in peers]
            finally:
                for peer in peers:
                    await peer.close()


def hold(*doors: FastProtocol) -> None:
    """Let each have been asked for a page, the answer not yet written."""
    for door in doors:
        door._outbox.is_open, door._outbox._since = True, math.inf  # whatever there has been of late
        door.data_received(ask("/page"))
    assert len(doors[0]._outbox.held) == len(doors)


@pytest.fixture(params=[asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest) -> Run:
    def run_in(test: Callable[[], Coroutine[None, None, None]]) -> None:
        with asyncio.Runner(loop_factory=request.param) as runner:
            runner.run(test())

    return run_in


def test_answers_leave_at_the_end_of_the_turn(run: Run) -> None:
    async def test() -> None:
        async with connected(3) as (_, connections):
            hold(*(door for _, door in connections))
            for peer, _ in connections:
                assert await peer.answer() == (200, b"page")
            ours = connections[0][1]._outbox
            assert (ours.held, ours.is_open) == ([], False), f"fewer than {FEWEST} are not worth while"

    run(test)


def test_enough_of_them_leave_at_once(run: Run) -> None:
    async def test() -> None:
        async with connected(MOST + 1) as (_, connections):
            doors = [door for _, door in connections]
            hold(*doors[: MOST - 1])
            ours = doors[0]._outbox
            doors[MOST - 1].data_received(ask("/page"))
            assert ours.held == []
            doors[MOST].data_received(ask("/page"))
            assert len(ours.held) == 1
            for peer, _ in connections:
                assert await peer.answer() == (200, b"page")
            assert ours.is_open

    run(test)


def _serve_slowly(door: FastProtocol) -> None:
    door.data_received(ask("/", "X-Unheard-Of: 1", method="OPTIONS"))


def _send_a_file(door: FastProtocol) -> None:
    door.data_received(ask("/large.png"))


def _send_a_part(door: FastProtocol) -> None:
    door.data_received(ask("/large.png", "Range: bytes=0-9"))


def _refuse(door: FastProtocol) -> None:
    door.data_received(b"GET / HTTP/1.1\r\nHost : a.test\r\n\r\n")


def _answer_last(door: FastProtocol) -> None:
    door.data_received(ask("/", "Connection: close"))


def _take_half(door: FastProtocol) -> None:
    door.data_received(ask("/")[:20])


def _end_reading(door: FastProtocol) -> None:
    if not door.eof_received():
        door.transport.close()


def _delete_site(door: FastProtocol) -> None:
    door.site_gone({"a.test"})


def _stop(door: FastProtocol) -> None:
    door.shutdown()
    door._close_unless_busy()


def _time_out(door: FastProtocol) -> None:
    door._deadline, door._phase = 0.0, Phase.IDLE
    door._on_timer()


def _cut_off(door: FastProtocol) -> None:
    door._drop()


@pytest.mark.parametrize(
    "happen",
    [
        _serve_slowly, _send_a_file, _send_a_part, _refuse, _answer_last, _take_half, _end_reading, _delete_site, _stop,
        _time_out, _cut_off,
    ],
)  # fmt: skip
def test_nothing_overtakes_one_that_is_held(run: Run, happen: Callable[[FastProtocol], None]) -> None:
    async def test() -> None:
        async with connected(2) as (_, [(first, door), (second, other)]):
            hold(door, other)
            happen(door)
            assert await first.answer() == (200, b"page")
            assert await second.answer() == (200, b"page")

    run(test)


def test_who_has_left_takes_nobody_along(run: Run) -> None:
    async def test() -> None:
        async with connected(3) as (_, connections):
            hold(*(door for _, door in connections))
            connections[0][1].transport.abort()
            for peer, _ in connections[1:]:
                assert await peer.answer() == (200, b"page")
            assert await connections[0][0].rest() == b""

    run(test)


def test_what_goes_wrong_with_one_is_told_and_ends_that_alone(run: Run, caplog: pytest.LogCaptureFixture) -> None:
    async def test() -> None:
        async with connected(3) as (_, connections):
            hold(*(door for _, door in connections))
            connections[0][1].transport.write_eof()
            for peer, _ in connections[1:]:
                assert await peer.answer() == (200, b"page")
            assert await connections[0][0].rest() == b""
        assert [record.message for record in caplog.records] == ["an answer could not be written"]

    run(test)


def test_it_opens_when_there_are_many() -> None:
    ours = Outbox()
    for now, count, is_open in (
        (1.0, 50, False),  # in a second
        (1.0002, 50 + FEWEST, False),  # too soon to tell
        (1.001, 50 + FEWEST, True),
        (1.0014, 51 + FEWEST, True),
        (1.003, 49 + 3 * FEWEST, False),
        (1.005, 51 + 5 * FEWEST, True),
        (1.105, 49 + 15 * FEWEST, False),
    ):
        ours.consider(now, count)
        assert ours.is_open == is_open


def test_all_get_their_own_whatever_the_order(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pipelined, split and by turns, on more connections than are held at a time."""
    monkeypatch.setattr(outbox, "FEWEST", 0)
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    draw = random.Random(seed)
    bodies = {"/": b"home", "/page": b"page", "/none": b"lost"}
    bodies |= {f"/{name}": FILES[name] for name in ("small.png", "large.png")}

    async def test() -> None:
        async with connected(2 * MOST) as (_, connections):
            for _ in range(8):
                asked: list[tuple[Peer, list[str]]] = []
                for peer, _ in connections:
                    targets = draw.choices(list(bodies), [8, 8, 2, 2, 1], k=draw.choice([1, 1, 1, 2, 5]))
                    stream = b"".join(map(ask, targets))
                    at = draw.choice([len(stream), draw.randrange(len(stream))])
                    peer.send(stream[:at])
                    await asyncio.sleep(0)
                    peer.send(stream[at:])
                    asked.append((peer, targets))
                for peer, targets in asked:
                    for target in targets:
                        assert (await peer.answer())[1] == bodies[target]

    run(test)

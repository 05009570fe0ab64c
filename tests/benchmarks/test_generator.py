"""The load generator: it counts what was answered, from when it was due, and takes no wrong answer."""

from __future__ import annotations

import socket
import threading
from dataclasses import replace
from typing import Any

import pytest

from benchmarks import generator
from benchmarks.generator import Plan, WrongAnswer, percentile
from tests.benchmarks.serving import answering

REQUEST = b"GET / HTTP/1.1\r\nHost: bench.localhost\r\n\r\n"
PAGE = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\npage"


def send_page(connection: socket.socket, _request: bytes) -> None:
    connection.sendall(PAGE)


def plan(port: int, *, seconds: float = 0.05, clients: int = 3, **options: Any) -> Plan:
    return replace(Plan(port, [[(REQUEST, len(PAGE))]] * clients, 200, seconds), **options)


def nothing() -> None:
    pass


def test_a_closed_loop() -> None:
    with answering(send_page) as port:
        tally = generator.run(plan(port), nothing)
    assert tally.requests > 10
    assert 0 < tally.p50 <= tally.p99 <= tally.p999 < tally.seconds
    assert tally.unanswered == 0


def test_answers_in_pieces_are_put_together() -> None:
    def in_pieces(connection: socket.socket, _request: bytes) -> None:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for first in range(0, len(PAGE), 20):
            connection.sendall(PAGE[first : first + 20])

    with answering(in_pieces) as port:
        assert generator.run(plan(port, idle=1), nothing).requests > 1


@pytest.mark.parametrize(
    ("answer", "complaint"),
    [
        (PAGE.replace(b"200", b"500"), "begins with b'HTTP/1.1 500"),
        (PAGE + b"more", "has 46 bytes, not 42"),
        (b"", "closed a connection"),
        (PAGE[:30], "closed"),
    ],
)
def test_a_wrong_answer_ends_the_run(answer: bytes, complaint: str) -> None:
    def wrongly(connection: socket.socket, _request: bytes) -> None:
        connection.sendall(answer)
        if len(answer) < len(PAGE):
            connection.shutdown(socket.SHUT_RDWR)

    with answering(wrongly) as port, pytest.raises(WrongAnswer, match=complaint):
        generator.run(plan(port), nothing)


@pytest.mark.parametrize("count", [2, 5])
def test_numbered_requests_are_sent_once_each(count: int) -> None:
    seen: list[bytes] = []

    def note(connection: socket.socket, request: bytes) -> None:
        seen.append(request.split()[1])
        connection.sendall(PAGE)

    numbered = (b"GET /{number} HTTP/1.1\r\nHost: a\r\n\r\n", len(PAGE))
    with answering(note) as port:
        tally = generator.run(Plan(port, [[numbered]] * 3, 200, 60.0, numbers=range(count)), nothing)
    assert tally.requests == count
    assert sorted(seen) == [b"/%010d" % number for number in range(count)]


def test_idle_connections_have_asked_once_before_it_begins() -> None:
    seen: list[int] = []
    before: list[int] = []

    def note(connection: socket.socket, _request: bytes) -> None:
        seen.append(connection.getpeername()[1])
        connection.sendall(PAGE)

    with answering(note) as port:
        generator.run(plan(port, idle=4), lambda: before.append(len(seen)))
    assert before == [4]
    assert len(set(seen)) == 7


@pytest.mark.slow
def test_an_open_loop_counts_from_when_a_request_was_due() -> None:
    stall = 0.3  # seconds, for the first answer only: the others are quick, but those due meanwhile wait for it
    stalled = threading.Event()

    def stall_once(connection: socket.socket, _request: bytes) -> None:
        if not stalled.is_set():
            stalled.set()
            threading.Event().wait(stall)
        connection.sendall(PAGE)

    with answering(stall_once) as port:
        tally = generator.run(plan(port, clients=1, seconds=0.4, rate=200.0), nothing)
    assert tally.requests > 40
    assert tally.unanswered == 0
    assert tally.p50 > stall / 4
    assert tally.p99 > stall / 2


@pytest.mark.slow
def test_an_open_loop_counts_what_is_never_answered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(generator, "DRAIN_SECONDS", 0.3)

    def never(_connection: socket.socket, _request: bytes) -> None:
        pass

    with answering(never) as port:
        tally = generator.run(plan(port, seconds=0.1, rate=100.0), nothing)
    assert tally.requests == 0
    assert tally.unanswered > 3
    assert tally.p50 > 0.2


@pytest.mark.parametrize(("share", "value"), [(0.5, 2), (0.75, 3), (0.76, 4), (0.999, 4), (0.0, 1)])
def test_percentiles(share: float, value: float) -> None:
    assert percentile([1, 2, 3, 4], share) == value

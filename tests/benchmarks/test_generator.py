"""The load generator: it counts what was answered, from when it was due, and takes no wrong answer."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from benchmarks import generator
from benchmarks.generator import Plan, Tally, begin, generating
from benchmarks.processes import BenchError
from tests.benchmarks.serving import answering

REQUEST = b"GET / HTTP/1.1\r\nHost: bench.localhost\r\n\r\n"
PAGE = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\npage"
CLIENTS = 3

pytestmark = pytest.mark.skipif(shutil.which(generator.COMPILER) is None, reason="there is no C compiler")


def send_page(connection: socket.socket, _request: bytes) -> None:
    connection.sendall(PAGE)


def plan(port: int, *, seconds: float = 0.05, clients: int = CLIENTS, **options: Any) -> Plan:
    return replace(Plan(port, [[(REQUEST, len(PAGE))]] * clients, 200, seconds), **options)


def run(plan: Plan, meanwhile: Callable[[], object] = lambda: None) -> Tally:
    """`meanwhile` is called when all is connected, before the word."""
    with generating(min(os.sched_getaffinity(0)), plan) as process:
        meanwhile()
        return begin(process, plan.seconds)


def test_it_compiles_without_a_warning(tmp_path: Path) -> None:
    warnings = ["-Wall", "-Wextra", "-Wconversion", "-Wshadow", "-Werror"]
    command = [
        generator.COMPILER,
        *generator.FLAGS,
        *warnings,
        "-o",
        str(tmp_path / "it"),
        str(generator.SOURCE),
        "-lm",
    ]
    subprocess.run(command, check=True)


def test_it_is_compiled_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(generator, "BUILD", tmp_path / "build")
    program = generator.build()
    made = program.stat().st_mtime_ns
    assert generator.build() == program
    assert program.stat().st_mtime_ns == made
    assert list((tmp_path / "build").iterdir()) == [program]


def test_what_keeps_it_from_being_compiled_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(generator, "BUILD", tmp_path / "build")
    broken = tmp_path / "broken.c"
    broken.write_text("int main(")
    monkeypatch.setattr(generator, "SOURCE", broken)
    with pytest.raises(BenchError, match=r"does not compile: .*broken\.c"):
        generator.build()
    monkeypatch.setattr(generator, "COMPILER", "no-such-compiler")
    with pytest.raises(BenchError, match="there is no C compiler .no-such-compiler.*make bench-deps"):
        generator.build()


@pytest.mark.parametrize(
    ("said", "complaint"),
    [
        (b"nonsense\n", "first line is not as it should be"),
        (b"1 200 1 0 1 0 -1 1\n0\n", "a client has no exchanges"),
        (b"1 200 1 0 1 0 -1 1\n1\n9 GET\n", "an exchange is not as it should be"),
        (b"1 200 1 0 1 0 -1 1\n1\n9 9\nGET", "a request ends early"),
    ],
)
def test_a_plan_that_cannot_be_read(said: bytes, complaint: str) -> None:
    done = subprocess.run([generator.build()], input=said, capture_output=True, check=False)
    assert done.returncode == 1
    assert complaint in done.stderr.decode()


def test_a_closed_loop() -> None:
    with answering(send_page) as port:
        tally = run(plan(port))
    assert tally.requests > 10
    assert 0 < tally.p50 <= tally.p99 <= tally.p999 < tally.seconds
    assert 0 < tally.busy < 1.1
    assert tally.unanswered == 0
    assert tally.late == 0


def test_each_client_sends_its_own_in_turn() -> None:
    seen: dict[int, list[bytes]] = {}

    def note(connection: socket.socket, request: bytes) -> None:
        seen.setdefault(connection.getpeername()[1], []).append(request.split()[1])
        connection.sendall(PAGE if request.split()[1] < b"/c" else PAGE + b"s")

    paths = [[b"/a", b"/b", b"/c"], [b"/d", b"/e"]]  # of two lengths of answers
    exchanges = [[(REQUEST.replace(b"/", path, 1), len(PAGE) + (path >= b"/c")) for path in client] for client in paths]
    with answering(note) as port:
        tally = run(Plan(port, exchanges, 200, 0.05))
    assert tally.requests == sum(map(len, seen.values())) - len(paths)  # each has asked once before
    for client, sent in zip(paths, seen.values(), strict=True):
        assert sent == (client * len(sent))[: len(sent)]


def test_answers_in_pieces_are_put_together() -> None:
    def in_pieces(connection: socket.socket, _request: bytes) -> None:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for first in range(0, len(PAGE), 7):  # the first ends within the status line
            connection.sendall(PAGE[first : first + 7])

    with answering(in_pieces) as port:
        assert run(plan(port, idle=1)).requests > 1


@pytest.mark.parametrize("rate", [None, 1000.0])
@pytest.mark.parametrize(
    ("answer", "complaint"),
    [
        (PAGE.replace(b"200", b"500"), "begins with HTTP/1.1 500 OK"),
        (PAGE + b"more", "has 46 bytes, not 42"),
        (b"", "closed a connection that was to be kept"),
        (PAGE[:30], "closed after 30 of 42 bytes"),
    ],
)
def test_a_wrong_answer_ends_the_run(answer: bytes, complaint: str, rate: float | None) -> None:
    """Later as at the first."""
    asked: list[int] = []

    def wrongly(connection: socket.socket, _request: bytes) -> None:
        asked.append(1)
        is_first = len(asked) <= CLIENTS
        connection.sendall(PAGE if is_first else answer)
        if not is_first and len(answer) < len(PAGE):
            connection.shutdown(socket.SHUT_RDWR)

    with answering(wrongly) as port, pytest.raises(BenchError, match=f"^while it was timed: .*{complaint}"):
        run(plan(port, seconds=10.0, rate=rate))
    with answering(wrongly) as port, pytest.raises(BenchError, match=f"^while connecting: .*{complaint}"):
        run(plan(port, rate=rate))


def test_what_nobody_has_asked_for() -> None:
    def note(connection: socket.socket, _request: bytes) -> None:
        asked.append(connection)
        connection.sendall(PAGE)

    asked: list[socket.socket] = []
    with answering(note) as port, pytest.raises(BenchError, match="nobody has asked for: HTTP/1.1 200"):
        run(plan(port, clients=1, seconds=10.0, rate=0.1), lambda: asked[0].sendall(PAGE))


def test_a_server_that_is_not_there() -> None:
    with answering(send_page) as port:
        pass
    with pytest.raises(BenchError, match="while connecting: connection 1: Connection refused"):
        run(plan(port))


@pytest.mark.parametrize("count", [2, 5])
def test_numbered_requests_are_sent_once_each(count: int) -> None:
    seen: list[bytes] = []

    def note(connection: socket.socket, request: bytes) -> None:
        seen.append(request.split()[1])
        connection.sendall(PAGE)

    numbered = (b"GET /{number}/{number} HTTP/1.1\r\nHost: a\r\n\r\n", len(PAGE))
    with answering(note) as port:
        tally = run(Plan(port, [[numbered]] * 3, 200, 60.0, numbers=count))
    assert tally.requests == count
    assert sorted(seen) == [b"/%010d/%010d" % (number, number) for number in range(count)]


def test_all_connections_have_asked_once_before_it_begins() -> None:
    seen: list[int] = []
    before: list[int] = []

    def note(connection: socket.socket, _request: bytes) -> None:
        seen.append(connection.getpeername()[1])
        connection.sendall(PAGE)

    with answering(note) as port:
        run(plan(port, idle=4), lambda: before.append(len(seen)))
    assert before == [CLIENTS + 4]
    assert len(set(seen)) == CLIENTS + 4
    assert [seen.count(one) for one in seen[CLIENTS : CLIENTS + 4]] == [1] * 4


def test_an_idle_connection_has_to_stay_open() -> None:
    asked: list[socket.socket] = []

    def note(connection: socket.socket, _request: bytes) -> None:
        asked.append(connection)
        connection.sendall(PAGE)

    with answering(note) as port, pytest.raises(BenchError, match="closed an idle connection"):
        run(plan(port, idle=2), lambda: asked[CLIENTS].shutdown(socket.SHUT_RDWR))


def test_a_schedule_is_kept() -> None:
    rate, seconds = 2000.0, 0.2
    with answering(send_page) as port:
        tally = run(plan(port, seconds=seconds, rate=rate))
    assert tally.requests == pytest.approx(rate * seconds, rel=0.2)  # Poisson: four standard deviations
    assert tally.unanswered == 0
    assert tally.seconds > seconds * 0.9
    assert tally.late > 0


@pytest.mark.slow
def test_a_schedule_counts_from_when_a_request_was_due() -> None:
    stall = 1.0  # seconds, once: the other answers are quick, but the requests due meanwhile wait for it
    asked: list[int] = []

    def stall_once(connection: socket.socket, _request: bytes) -> None:
        asked.append(1)
        if len(asked) == 10:
            threading.Event().wait(stall)
        connection.sendall(PAGE)

    with answering(stall_once) as port:
        tally = run(plan(port, clients=1, seconds=stall * 1.5, rate=200.0))
    assert tally.requests > 200
    assert tally.unanswered == 0
    assert 0.15 * stall < tally.p50 < 0.35 * stall  # half were due in its first three quarters
    assert 0.9 * stall < tally.p99 < 1.2 * stall
    assert tally.late < 0.3 * stall  # they waited for the connection, which is no lateness of the generator


@pytest.mark.slow
def test_a_schedule_counts_what_is_never_answered() -> None:
    asked: list[int] = []

    def for_a_while(connection: socket.socket, _request: bytes) -> None:
        asked.append(1)
        if len(asked) <= CLIENTS + 1:
            connection.sendall(PAGE)

    with answering(for_a_while) as port:
        tally = run(plan(port, seconds=0.1, rate=200.0, drain=0.3))
    assert tally.requests == 1
    assert tally.unanswered > 5  # those that no connection was free for, too
    assert 0.3 < tally.p50 < 0.5


@pytest.mark.slow
def test_nothing_answered_is_no_figure() -> None:
    asked: list[int] = []

    def once(connection: socket.socket, _request: bytes) -> None:
        asked.append(1)
        if len(asked) <= CLIENTS:
            connection.sendall(PAGE)

    with answering(once) as port, pytest.raises(BenchError, match="no answer at all"):
        run(plan(port, seconds=0.05, rate=200.0, drain=0.1))


@pytest.mark.slow
def test_more_connections_than_an_address_has_ports(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As compiled for a smaller number of them."""
    seen: list[str] = []

    def note(connection: socket.socket, _request: bytes) -> None:
        seen.append(connection.getpeername()[0])
        connection.sendall(PAGE)

    monkeypatch.setattr(generator, "BUILD", tmp_path)
    monkeypatch.setattr(generator, "FLAGS", (*generator.FLAGS, "-DPORTS_OF_AN_ADDRESS=4U"))
    with answering(note) as port:
        run(plan(port, idle=6))
    assert seen[: CLIENTS + 6] == ["127.0.0.1"] * 4 + ["127.0.0.2"] * 4 + ["127.0.0.3"]

"""A load generator of our own, for what wrk cannot do: connections that each keep to a browser's head, requests that
leave at set times whether or not earlier ones were answered, and a number of requests that are each sent once.

`python -m benchmarks.generator` reads a pickled `Plan` from standard input, connects, sends what is to be sent once,
says `ready`, and begins at the next line of input. Then it prints one line of JSON, a `Tally`.

Every answer has to begin with the status line and to have the length that it had when it was checked; the first one
that does not ends the run. Measured, it costs 6 µs a request, as wrk does.
"""

from __future__ import annotations

import gc
import json
import math
import pickle
import random
import select
import socket
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, suppress
from dataclasses import asdict, dataclass
from itertools import cycle
from typing import TypeAlias

BUFFER = 1024 * 1024
PATIENCE = 10.0  # seconds without any answer
DRAIN_SECONDS = 2.0  # for what is unanswered when the last request of a schedule was due
MARK = b"{number}"

Exchange: TypeAlias = tuple[bytes, int]  # a request, and the length of its answer, head included


@dataclass(frozen=True, slots=True)
class Plan:
    """What to send to `port` of 127.0.0.1 for `seconds`.

    Each of `clients` has a connection, on which it sends its exchanges in turn, over and over: as fast as they are
    answered, or `rate` requests a second over all of them, at random times (Poisson). `idle` further connections send
    the first client's first request once, before the start, and stay open.

    With `numbers` each connection sends what the first client does, `{number}` in it replaced by the next of them,
    until all are used up.
    """

    port: int
    clients: Sequence[Sequence[Exchange]]
    status: int
    seconds: float
    rate: float | None = None
    idle: int = 0
    numbers: Sequence[int] | None = None


@dataclass(frozen=True, slots=True)
class Tally:
    """What came of it. Latencies in seconds: with a rate from when a request was due, otherwise from when it was sent.

    `late` is how late the generator itself was at the 99th percentile, with a rate. `unanswered` were due and had no
    answer by the end; they count among the latencies with the time until then.
    """

    requests: int
    seconds: float
    p50: float
    p99: float
    p999: float
    busy: float  # share of the time that this process used of its core
    late: float = 0.0
    unanswered: int = 0


class WrongAnswer(Exception):
    """An answer was not what was checked; the text says how."""


class Connection:
    """One client's connection, and its request under way."""

    __slots__ = ("due", "expected", "got", "next", "recv_into", "send", "sock")

    def __init__(self, port: int, exchanges: Iterator[Exchange]) -> None:
        self.sock = socket.create_connection(("127.0.0.1", port), timeout=PATIENCE)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.sock.setblocking(False)
        self.recv_into = self.sock.recv_into
        self.send = self.sock.send
        self.next = exchanges.__next__
        self.expected = 0
        self.got = 0
        self.due = 0.0

    def start(self, due: float) -> None:
        """Send the next request. Raises `StopIteration` if there is none."""
        request, self.expected = self.next()
        self.due = due
        if self.send(request) != len(request):
            raise WrongAnswer("the server does not read")

    def finish(self, got: int, buffer: bytearray, status: bytes) -> bool:
        """Of an answer that has not come whole in one piece: whether its end has come, `got` bytes after `self.got`."""
        if got == 0:
            raise WrongAnswer("the server closed a connection that was to be kept")
        if self.got == 0 and not buffer.startswith(status):
            raise WrongAnswer(f"the answer begins with {bytes(buffer[: min(got, 60)])!r}")
        self.got += got
        while self.got < self.expected:
            try:
                more = self.recv_into(buffer)
            except BlockingIOError:
                return False
            if more == 0:
                raise WrongAnswer(f"the server closed after {self.got} of {self.expected} bytes")
            self.got += more
        if self.got != self.expected:
            raise WrongAnswer(f"the answer has {self.got} bytes, not {self.expected}")
        self.got = 0
        return True


class Generator:
    """The connections of a plan."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._status = f"HTTP/1.1 {plan.status} ".encode()
        self._buffer = bytearray(BUFFER)
        self._epoll = select.epoll()
        self._connections: dict[int, Connection] = {}
        self._idle: list[Connection] = []

    def connect(self) -> None:
        """Open them all. Raises `WrongAnswer`, `OSError`."""
        plan = self._plan
        numbered = None if plan.numbers is None else _numbered(plan.clients[0], plan.numbers)
        for exchanges in plan.clients:
            connection = Connection(plan.port, numbered or cycle(exchanges))
            self._connections[connection.sock.fileno()] = connection
            self._epoll.register(connection.sock, select.EPOLLIN)
        for _ in range(plan.idle):
            self._idle.append(Connection(plan.port, cycle(plan.clients[0])))
            self._exchange_once(self._idle[-1])

    def close(self) -> None:
        """Close them all."""
        for connection in [*self._connections.values(), *self._idle]:
            connection.sock.close()
        self._epoll.close()

    def _exchange_once(self, connection: Connection) -> None:
        connection.sock.setblocking(True)
        connection.start(0.0)
        while not connection.finish(connection.recv_into(self._buffer), self._buffer, self._status):
            pass

    def run_closed(self) -> tuple[list[float], float]:
        """Send as fast as it is answered: latencies, and the seconds that it took."""
        latencies: list[float] = []
        add, clock, poll = latencies.append, time.perf_counter, self._epoll.poll
        buffer, status, connections = self._buffer, self._status, self._connections
        start = now = clock()
        end = start + self._plan.seconds
        waiting = 0
        with suppress(StopIteration):  # fewer requests than connections
            for connection in connections.values():
                connection.start(start)
                waiting += 1
        while waiting:
            events = poll(PATIENCE)
            if not events:
                raise WrongAnswer(f"no answer for {PATIENCE:g} s")
            for descriptor, _ in events:
                connection = connections[descriptor]
                got = connection.recv_into(buffer)
                # The usual case, an answer in one piece, is judged here: the call would cost more than the rest.
                is_usual = not connection.got and got == connection.expected and buffer.startswith(status)
                if not is_usual and not connection.finish(got, buffer, status):
                    continue
                now = clock()
                add(now - connection.due)
                try:
                    if now < end:
                        connection.start(now)
                        continue
                except StopIteration:
                    pass
                waiting -= 1
        return latencies, now - start

    def run_open(self, rate: float) -> tuple[list[float], float, list[float], int]:
        """Send at set times: latencies, seconds, how late each was sent though a connection was free, unanswered."""
        due = _arrivals(rate, self._plan.seconds)
        latencies: list[float] = []
        late: list[float] = []
        clock, poll = time.perf_counter, self._epoll.poll
        buffer, status, connections = self._buffer, self._status, self._connections
        free = deque(connections.values())
        sent, total = 0, len(due)
        start = clock()
        give_up = start + self._plan.seconds + DRAIN_SECONDS
        while len(latencies) < total and (now := clock()) < give_up:
            while sent < total and free and start + due[sent] <= now:
                at = start + due[sent]
                if len(free) > 1:
                    late.append(now - at)
                free.popleft().start(at)
                sent += 1
                now = clock()
            for descriptor, _ in poll(0):
                connection = connections[descriptor]
                got = connection.recv_into(buffer)
                is_usual = not connection.got and got == connection.expected and buffer.startswith(status)
                if not is_usual and not connection.finish(got, buffer, status):
                    continue
                latencies.append(clock() - connection.due)
                free.append(connection)
        seconds = clock() - start
        unanswered = total - len(latencies)
        waiting = [connection.due for connection in connections.values() if connection not in free]
        latencies += [start + seconds - at for at in waiting] + [seconds - at for at in due[sent:]]
        return latencies, seconds, late, unanswered


def _numbered(exchanges: Sequence[Exchange], numbers: Sequence[int]) -> Iterator[Exchange]:
    for number, (request, length) in zip(numbers, cycle(exchanges), strict=False):
        yield request.replace(MARK, b"%010d" % number), length


def _arrivals(rate: float, seconds: float) -> list[float]:
    """When requests are due, in seconds from the start: independent of each other, as visitors are."""
    draw = random.Random(1)
    times: list[float] = []
    at = draw.expovariate(rate)
    while at < seconds:
        times.append(at)
        at += draw.expovariate(rate)
    return times


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest of sorted `values` that at least `share` of them do not exceed."""
    return values[max(0, math.ceil(share * len(values)) - 1)] if values else math.nan


def run(plan: Plan, wait: Callable[[], object]) -> Tally:
    """Connect, call `wait`, and send. Raises `WrongAnswer`, `OSError`."""
    late: list[float] = []
    unanswered = 0
    with closing(Generator(plan)) as generator:
        generator.connect()
        wait()
        used = time.process_time()
        if plan.rate is None:
            latencies, seconds = generator.run_closed()
        else:
            latencies, seconds, late, unanswered = generator.run_open(plan.rate)
        busy = (time.process_time() - used) / seconds
    latencies.sort()
    return Tally(
        requests=len(latencies) - unanswered,
        seconds=seconds,
        p50=percentile(latencies, 0.5),
        p99=percentile(latencies, 0.99),
        p999=percentile(latencies, 0.999),
        busy=busy,
        late=percentile(sorted(late), 0.99) if late else 0.0,
        unanswered=unanswered,
    )


def main() -> None:
    """Talk to whoever started it."""
    plan: Plan = pickle.load(sys.stdin.buffer)
    gc.disable()  # its pauses would be taken for the server's

    def wait() -> None:
        print("ready", flush=True)
        sys.stdin.buffer.readline()

    try:
        print(json.dumps(asdict(run(plan, wait))))
    except (WrongAnswer, OSError) as exc:
        sys.exit(f"{exc}")


if __name__ == "__main__":
    main()

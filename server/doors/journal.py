"""What the doors note of each answer: a line of the access log, and a count by site and status.

Noting is appending to two lists; whatever can be put into words beforehand has been. If there is much the lines go on
in one piece, and the counts are added up; once a second both go to whoever wants them.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from server.doors.log_format import FORMATS, UNKNOWN, LogFormat
from server.edge.conditions import http_date

# Before their lines are handed on. So many are joined in one go, and answers wait for that: at 59,000 requests a second
# the 99th percentile of latency was 0.3 to 1.8 ms with 2048, 0.2 to 0.3 ms with 256.
# Driven to its limit, a request costs 1 to 5% more CPU time so.
MAX_NOTES = 256
# Before counts are handed on, of things that are counted apart: 0.5 ms. Each answer that no door remembers is one.
MAX_COUNTED = 1024


@dataclass(frozen=True, slots=True, eq=False)
class Tally:
    """What is counted together. Compared by identity, so that counting is a loop in C."""

    site_id: str  # "": no site
    status: int
    size: int  # bytes of the body
    remembered: bool = False  # the edge was not even asked


@dataclass(frozen=True, slots=True)
class Asked:
    """What the log tells of a request, as it was sent; `UNKNOWN` or b"" where nothing is known."""

    method: bytes = UNKNOWN
    target: bytes = UNKNOWN
    protocol: bytes = UNKNOWN
    host: bytes = b""
    referer: bytes = b""
    user_agent: bytes = b""

    @classmethod
    def read(
        cls,
        method: bytes,
        target: bytes,
        version: str,
        headers: Iterable[tuple[bytes, bytes]],
        authority: str | None = None,
    ) -> Asked:
        """Of a request that was read. `authority` stands for Host where the target has one; header names in lower
        case."""
        host = referer = user_agent = b""
        for name, value in headers:
            if name == b"user-agent":
                user_agent = value
            elif name == b"referer":
                referer = value
            elif name == b"host":
                host = value
        if authority is not None:
            host = authority.encode("latin-1")
        # ASGI has no minor version beside 2; logs are read by what knows those of other servers, which write one.
        protocol = b"HTTP/2.0" if version == "2" else b"HTTP/" + version.encode("ascii")
        return cls(method, target, protocol, host, referer, user_agent)


class Moment:
    """The second that it is, in the words of answers and of the log."""

    __slots__ = ("begin", "date", "http_date", "log", "until")

    def __init__(self, now: float, wall: float, log_format: LogFormat) -> None:
        """`now` by the loop's clock, `wall` in seconds since the epoch. It lasts up to `until`, by the loop's clock."""
        second = int(wall)
        self.begin = now - (wall - second)
        self.until = self.begin + 1
        self.http_date = http_date(second)
        self.date = b"date: %b\r\n" % self.http_date
        self.log = log_format.second(second)


class Journal:
    """One worker's. `write` takes whole lines of the access log; None: nobody reads one. `count` takes tallies."""

    def __init__(
        self,
        clock: Callable[[], float] = time.time,
        log_format: LogFormat = FORMATS["json"],
        write: Callable[[bytes], None] | None = None,
        count: Callable[[Mapping[Tally, int]], None] = lambda tallies: None,
    ) -> None:
        """`clock` gives seconds since the epoch."""
        self.format = log_format
        self.moment = Moment(-2.0, 0.0, log_format)  # long over
        self.now = -2.0  # by the loop's clock, which stands still while what has come is answered
        self._stamp = b""  # what the log says of it
        self._clock = clock
        self._write = write
        self._count = count
        self._millis = log_format.millis
        self._pieces: list[bytes] = []  # of lines
        self._tallies: list[Tally] = []
        self._gathered = 0  # of them so far
        self._counter: Counter[Tally] = Counter()
        self._flushing: asyncio.TimerHandle | None = None

    def tick(self, loop: asyncio.AbstractEventLoop, now: float) -> Moment:
        """The moment that `now` is in, by the loop's clock. What is noted in it is handed on when it is over."""
        moment = self.moment
        if now >= moment.until or now < moment.begin:
            moment = self.moment = Moment(now, self._clock(), self.format)
            if self._flushing is None:
                self._flushing = loop.call_at(moment.until, self._flush_when_due, loop)
        self.now = now
        self._stamp = moment.log + self._millis[int((now - moment.begin) * 1000)]
        return moment

    def note(self, tally: Tally, peer: bytes, request: bytes, sender: bytes) -> None:
        """An answer given at the time of the last `tick`; the pieces as `format` writes them."""
        tallies = self._tallies
        tallies.append(tally)
        self._pieces += (peer, self._stamp, request, sender)  # also for nobody: asking would cost those who have a log
        if len(tallies) >= MAX_NOTES:
            self._gather()

    def count_noted(self) -> int:
        """How many answers there have been so far."""
        return self._gathered + len(self._tallies)

    def note_answer(
        self, loop: asyncio.AbstractEventLoop, peer: bytes, asked: Asked, status: int, size: int, site_id: str = ""
    ) -> None:
        """Note an answer of which nothing was put into words beforehand; `size` in bytes of body that were sent."""
        line = asked.method, asked.target, asked.protocol
        sender = self.format.sender(asked.host, asked.referer, asked.user_agent)
        self.note_size(loop, peer, line, sender, Tally(site_id, status, size))

    def note_size(
        self,
        loop: asyncio.AbstractEventLoop,
        peer: bytes,
        line: tuple[bytes, bytes, bytes],
        sender: bytes,
        tally: Tally,
    ) -> None:
        """Note an answer to method, target and protocol, whose status and size were not known beforehand."""
        self.tick(loop, loop.time())
        request = b""
        if self._write is not None:
            request = self.format.request(*line, tally.status, tally.size, tally.site_id.encode("ascii"))
        self.note(tally, peer, request, sender)

    def _flush_when_due(self, loop: asyncio.AbstractEventLoop) -> None:
        self._flushing = None
        self.flush()
        if loop.time() < self.moment.until:  # another has begun before the timer's turn came
            self._flushing = loop.call_at(self.moment.until, self._flush_when_due, loop)

    def flush(self) -> None:
        """Hand on what has been noted."""
        self._gather()
        self._hand_on_counts()

    def _gather(self) -> None:
        """Hand on the lines, and add up the counts."""
        pieces, tallies = self._pieces, self._tallies
        if tallies:
            self._pieces, self._tallies = [], []
            self._counter.update(tallies)
            self._gathered += len(tallies)
            if self._write is not None:
                self._write(b"".join(pieces))
            if len(self._counter) >= MAX_COUNTED:
                self._hand_on_counts()

    def _hand_on_counts(self) -> None:
        if self._counter:
            counter, self._counter = self._counter, Counter()
            self._count(counter)

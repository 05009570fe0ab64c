"""Each answer is noted once, as it was asked for and as it was given, whichever door gave it."""

from __future__ import annotations

import asyncio
import hashlib
import json
import threading
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import pytest

from server.doors.journal import Journal
from server.doors.log_format import FORMATS
from server.doors.phases import DEADLINES, Phase
from tests.support import corpus
from tests.support.corpus import Case, load_cases
from tests.support.hosting import in_thread, memory_hosting, served, served_by_hypercorn
from tests.support.wire import Wire, get

CASES = load_cases()
BEHIND_HYPERCORN = [case for case in CASES if not case.hardened and case.by_hypercorn is None]


@dataclass
class Log:
    """The lines of a server, and its journal."""

    lines: list[dict[str, Any]] = field(default_factory=list)
    counted: Counter[tuple[str, int, int]] = field(default_factory=Counter)
    came: threading.Condition = field(default_factory=threading.Condition)

    def write(self, lines: bytes) -> None:
        with self.came:
            self.lines += [json.loads(line) for line in lines.splitlines()]
            self.came.notify_all()

    def take(self, count: int) -> list[dict[str, Any]]:
        """The next so many; waits for them."""
        with self.came:
            assert self.came.wait_for(lambda: len(self.lines) >= count, 10), f"{len(self.lines)} of {count} lines came"
            taken, self.lines[:] = self.lines[:count], self.lines[count:]
        return taken

    def journal(self) -> Journal:
        return PromptJournal(time.time, FORMATS["json"], self.write)


class PromptJournal(Journal):
    """One that hands everything on at once."""

    def note(self, *arguments: Any) -> None:
        super().note(*arguments)
        self.flush()


@contextmanager
def logged(serve: Callable[..., Any]) -> Iterator[tuple[Log, int]]:
    """The corpus' sites behind a server, and its log."""
    log = Log()
    with in_thread(memory_hosting, corpus.fill, partial(serve, journal=log.journal())) as port:
        yield log, port


@pytest.fixture(scope="module")
def fast() -> Iterator[tuple[Log, int]]:
    with logged(served) as both:
        yield both


@pytest.fixture(scope="module")
def slow() -> Iterator[tuple[Log, int]]:
    with logged(partial(served, fast=False)) as both:
        yield both


@pytest.fixture(scope="module")
def hypercorn() -> Iterator[tuple[Log, int]]:
    with logged(served_by_hypercorn) as both:
        yield both


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
@pytest.mark.parametrize("door", ["fast", "slow"])
def test_case(case: Case, door: str, request: pytest.FixtureRequest) -> None:
    compare(case, *request.getfixturevalue(door))


@pytest.mark.parametrize("case", BEHIND_HYPERCORN, ids=lambda case: case.name)
def test_case_behind_hypercorn(case: Case, hypercorn: tuple[Log, int]) -> None:
    compare(case, *hypercorn, hardened=False)


def compare(case: Case, log: Log, port: int, *, hardened: bool = True) -> None:
    """Twice, because what was answered once is answered by other means."""
    log.lines.clear()
    first = case.request.lstrip(b"\r\n").split(b"\r\n")[0].split(b" ")
    for _ in range(2):
        with Wire(port) as wire:
            wire.send(case.request)
            answers = [wire.receive(expected.method or case.method) for expected in case.answers]
            lines = log.take(len(answers))
        # What is pipelined behind an answer may be noted before it: that is done when it has left.
        assert Counter((line["status"], line["bytes"]) for line in lines) == Counter(
            (answer.status, len(answer.body)) for answer in answers
        )
        assert {line["remote"] for line in lines} == {"127.0.0.1"}
        if len(first) == 3 and answers[0].status not in (400, 414, 505):
            target = first[1].decode("utf-8", "replace")
            asked = [(line["method"], line["target"] if hardened else line["target"].rstrip("?")) for line in lines]
            assert (first[0].decode(), target if hardened else target.rstrip("?")) in asked
    assert not log.lines


def test_who_says_something_else_each_time(fast: tuple[Log, int], slow: tuple[Log, int]) -> None:
    """Heads that differ from those before in a few values, on one connection: each is answered and noted as it says."""
    for log, port in (fast, slow):
        log.lines.clear()
        with Wire(port) as wire:

            def ask(*lines: str, wire: Wire = wire) -> tuple[int, bytes]:
                wire.send("\r\n".join(["GET /a.txt HTTP/1.1", "Host: basic.test", *lines, "", ""]).encode("latin-1"))
                answer = wire.receive("GET")
                return answer.status, answer.body

            status, body = ask()
            assert status == 200
            tag = f'"{hashlib.sha256(body).hexdigest()[:32]}"'
            whole = (200, body)
            for number in range(4):
                assert ask(f"User-Agent: a{number}", f"Cookie: c{number}", f"Referer:  r{number} ") == whole
            assert ask("User-Agent: a9", f"Cookie: {'x' * 6000}", "Referer: r9") == whole
            assert ask("User-Agent: \xe9", "Cookie: ", "Referer: ") == whole
            for number in range(4):
                assert ask("User-Agent: b", f"Range: bytes={number}-{number}") == (206, body[number : number + 1])
            assert ask("User-Agent: b", "Range: bytes=9999999-")[0] == 416
            for known in (tag, tag, '"other"', tag, f'W/{tag}, "x"', "nonsense", "*"):
                expected = whole if known in ('"other"', "nonsense") else (304, b"")
                assert ask("User-Agent: c", f"If-None-Match: {known}", "If-Modified-Since: never") == expected
            lines = log.take(19)
            said = [(line["status"], line["user_agent"], line["referer"]) for line in lines]
            assert said == [
                (200, "", ""),
                *((200, f"a{number}", f"r{number}") for number in range(4)),
                (200, "a9", "r9"),
                (200, "\ufffd", ""),
                *((206, "b", "") for _ in range(4)),
                (416, "b", ""),
                *((status, "c", "") for status in (304, 304, 200, 304, 304, 200, 304)),
            ]


def test_fields(fast: tuple[Log, int], slow: tuple[Log, int]) -> None:
    for log, port in (fast, slow):
        for _ in range(3):
            get(port, "basic.test", "/a.txt?q=%22", 'User-Agent: x"y\\z\xe9', "Referer: http://r/")
            (line,) = log.take(1)
            assert line["site"].startswith("site_")
            del line["site"], line["time"]
            assert line == {
                "remote": "127.0.0.1", "method": "GET", "target": "/a.txt?q=%22", "protocol": "HTTP/1.1",
                "status": 200, "bytes": line["bytes"], "host": "basic.test", "referer": "http://r/",
                "user_agent": 'x"y\\zé',
            }  # fmt: skip
        get(port, "basic.test", "http://basic.test/a.txt")
        assert log.take(1)[0]["target"] == "http://basic.test/a.txt"
        get(port, "nobody.test", "/")
        assert log.take(1)[0]["site"] == ""


@pytest.mark.parametrize(
    ("sent", "status", "method", "target", "protocol"),
    [
        (b"GET /x HTTP/1.1\r\nHost", 408, "GET", "/x", "HTTP/1.1"),
        (b"GET /x", 408, "GET", "/x", "-"),
        (b"GET", 408, "GET", "-", "-"),
        (b"\x16\x03\x01\r\n\r\n", 400, "-", "-", "-"),
        (b"GET /x HTTP/1.1\r\nbad header: \r\n\r\n", 400, "GET", "/x", "HTTP/1.1"),
        (b"HEAD /x HTTP/1.1\r\n : \r\n\r\n", 400, "HEAD", "/x", "HTTP/1.1"),
        (b"GET /" + b"x" * 9000 + b" HTTP/1.1\r\n", 414, "GET", "/" + "x" * 8187, "-"),
        (b"POST /y HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nz\r\n", 400, "POST", "/y", "HTTP/1.1"),
    ],
)
def test_refusals(sent: bytes, status: int, method: str, target: str, protocol: str) -> None:
    log = Log()
    serve = partial(served, deadlines={**DEADLINES, Phase.READING: 0.05}, journal=log.journal())
    with in_thread(memory_hosting, corpus.fill, serve) as port, Wire(port) as wire:
        wire.send(sent)
        answer = wire.receive(method)
        (line,) = log.take(1)
    assert answer.status == status
    assert (line["status"], line["bytes"]) == (status, len(answer.body))
    assert (line["method"], line["target"], line["protocol"]) == (method, target, protocol)


@asynccontextmanager
async def big_site(journal: Journal, kind: str, size: int) -> AsyncIterator[int]:
    async with memory_hosting() as hosting:
        await hosting.site("a.test", {"big.bin": b"x" * size})
        serve = served if kind == "uvicorn" else served_by_hypercorn
        async with serve(hosting.edge, journal=journal) as port:
            yield port


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["uvicorn", "hypercorn"])
async def test_who_leaves_is_noted_with_what_was_sent(kind: str) -> None:
    size = 64 * 1024 * 1024
    log = Log()
    async with big_site(log.journal(), kind, size) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET /big.bin HTTP/1.1\r\nHost: a.test\r\n\r\n")
        await reader.readexactly(1_000_000)
        writer.transport.abort()
        (line,) = await asyncio.to_thread(log.take, 1)
    assert line["status"] == 200
    assert 900_000 < line["bytes"] < size

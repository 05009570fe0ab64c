"""How much of the corpus the fast door answers by itself."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from server.doors.head import Head
from server.doors.http1 import EdgeProtocol
from tests.support.connections import Peer
from tests.support.corpus import Case, fill, load_cases
from tests.support.hosting import file_hosting, served

LEAST = 0.95
MISSING = (404, 410, 451)  # of a path without a file, which is asked for each time, so that a scan pushes out nothing


@pytest.mark.slow
async def test_the_share_of_gets_that_need_no_task(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    by_task: list[bytes] = []
    serve = EdgeProtocol._serve

    def counted(self: EdgeProtocol, head: Head, *, keep_alive: bool) -> bool:
        by_task.append(head.method)
        return serve(self, head, keep_alive=keep_alive)

    monkeypatch.setattr(EdgeProtocol, "_serve", counted)
    gets, missing, tasks, tasks_of_missing = 0, 0, 0, 0
    async with file_hosting(tmp_path) as hosting:
        await fill(hosting)
        hosting.clock.now += 60  # what has changed within this second is not kept
        async with served(hosting.edge) as port:
            cases = list(load_cases())
            for case in cases:  # so that the server is warm
                await exchange(port, case.request, methods_of(case))
            for case in cases:
                by_task.clear()
                methods = methods_of(case)
                assert await exchange(port, case.request, methods) == len(methods), case.name
                misses = sum(
                    answer.status in MISSING and method == "GET"
                    for answer, method in zip(case.answers, methods, strict=True)
                )
                of_missing = min(by_task.count(b"GET"), misses)
                gets += methods.count("GET")
                missing += misses
                tasks += by_task.count(b"GET")
                tasks_of_missing += of_missing
    known, share = 1 - (tasks - tasks_of_missing) / (gets - missing), 1 - tasks / gets
    print(f"without a task: {known:.1%} of {gets - missing} GETs of what there is, {share:.1%} of all {gets}")
    assert min(known, share) >= LEAST


def methods_of(case: Case) -> list[str]:
    """Of its requests that are answered."""
    return [expected.method or case.method for expected in case.answers]


async def exchange(port: int, request: bytes, methods: list[str]) -> int:
    """Send it on a connection of its own; how many answers have come."""
    peer = await Peer.connect(port)
    peer.send(request)
    count = 0
    for method in methods:
        head = await peer.head()
        length = 0
        if method != "HEAD" and b"content-length: " in head:
            length = int(head.split(b"content-length: ")[1].split(b"\r\n")[0])
        async with asyncio.timeout(10):
            await peer.reader.readexactly(length)
        count += 1
    await peer.close()
    return count

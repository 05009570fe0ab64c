"""Testing the data connections of sites, each in a process of its own (`probe`)."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

SECONDS = 5.0  # for all of a test
AT_ONCE = 4  # others wait, which counts
PROBE = "server.control.probe"
_OWN = ("PG", "SPACELANE_")  # what the names of variables begin with that are the operator's business


class Connections:
    """`networks` are those in which private addresses are allowed, such as 10.0.0.0/8."""

    def __init__(self, networks: Sequence[str] = (), seconds: float = SECONDS) -> None:
        self._networks = list(networks)
        self._seconds = seconds
        self._turns = asyncio.Semaphore(AT_ONCE)

    async def test(self, connection: Mapping[str, Any]) -> dict[str, Any]:
        """`{"ok": True, "latency_ms"}`, or `{"ok": False, "error"}` in the server's own words or ours."""
        task = json.dumps({**connection, "networks": self._networks}).encode()
        try:
            async with asyncio.timeout(self._seconds), self._turns:
                output = await _run(task)
        except TimeoutError:
            return {"ok": False, "error": f"no answer within {self._seconds:g} seconds"}
        with suppress(ValueError):
            outcome: dict[str, Any] = json.loads(output)
            return outcome
        return {"ok": False, "error": "the server sends more than a test takes"}


async def _run(task: bytes) -> bytes:
    """What the program says to `task`; it does not outlive this call."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(_OWN)}
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", PROBE, stdin=PIPE, stdout=PIPE, stderr=asyncio.subprocess.DEVNULL, env=environment
    )
    try:
        output, _ = await process.communicate(task)
        return output
    finally:
        await _end(process)


async def _end(process: Process) -> None:
    if process.returncode is None:
        process.kill()
        await process.wait()

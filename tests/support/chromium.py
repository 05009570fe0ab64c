"""Chromium without a window, told what to do by the DevTools protocol over a pair of pipes.

With --remote-debugging-pipe it reads commands from descriptor 3 and writes answers and events to descriptor 4, each a
JSON object that ends in NUL (https://chromedevtools.github.io/devtools-protocol/).
"""

from __future__ import annotations

import json
import os
import select
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any

PROGRAM = shutil.which("chromium")
INSTALL = "Chromium is not installed: apt-get install chromium"
SECONDS = 30

# It is to speak to nobody but the edge, and to do nothing of its own accord.
FLAGS = (
    "--headless",
    "--no-sandbox",  # which cannot be made as root in a container; all that it loads is ours
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--remote-debugging-pipe",
)

Event = dict[str, Any]


class Tab:
    """One page of a browser, with all that is reported about it."""

    def __init__(self, send: int, receive: int) -> None:
        self._send = send
        self._receive = receive
        self._buffer = b""
        self._numbers = count(1)
        self._session: dict[str, str] = {}
        self.events: list[Event] = []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        attached = self.call("Target.attachToTarget", targetId=target, flatten=True)
        self._session = {"sessionId": attached["sessionId"]}
        self.call("Page.enable")
        self.call("Network.enable")

    def call(self, method: str, **parameters: object) -> dict[str, Any]:
        """What a command returns."""
        number = next(self._numbers)
        command = {"id": number, "method": method, "params": parameters, **self._session}
        os.write(self._send, json.dumps(command).encode() + b"\0")
        while (message := self._next()).get("id") != number:
            self.events.append(message)
        assert "error" not in message, message
        result: dict[str, Any] = message["result"]
        return result

    def open(self, url: str) -> None:
        """Go there; returns once the page and everything on it is loaded."""
        self.events.clear()
        self.call("Page.navigate", url=url)
        self._wait_for("Page.loadEventFired")

    def reload(self) -> None:
        """As its button does: what may be kept is asked for again, with conditions."""
        self.events.clear()
        self.call("Page.reload")
        self._wait_for("Page.loadEventFired")

    def evaluate(self, script: str) -> Any:
        """The value of some JavaScript in the page; a promise is waited for."""
        answer = self.call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def statuses(self) -> dict[str, int]:
        """By URL, the status that came over the wire since the page was last opened; of redirects the last."""
        urls = {
            event["params"]["requestId"]: event["params"]["request"]["url"] for event in self._all("requestWillBeSent")
        }
        return {
            urls[event["params"]["requestId"]]: event["params"]["statusCode"]
            for event in self._all("responseReceivedExtraInfo")
        }

    def redirects(self) -> list[tuple[str, int, str]]:
        """(from, status, to) of each redirect that was followed since the page was last opened."""
        sent = [event["params"] for event in self._all("requestWillBeSent")]
        return [
            (request["redirectResponse"]["url"], request["redirectResponse"]["status"], request["request"]["url"])
            for request in sent
            if "redirectResponse" in request
        ]

    def _all(self, name: str) -> list[Event]:
        return [event for event in self.events if event["method"] == f"Network.{name}"]

    def _wait_for(self, method: str) -> None:
        while all(event["method"] != method for event in self.events):
            self.events.append(self._next())

    def _next(self) -> Event:
        while b"\0" not in self._buffer:
            ready, _, _ = select.select([self._receive], [], [], SECONDS)
            assert ready, "Chromium says nothing"
            data = os.read(self._receive, 1 << 20)
            assert data, "Chromium has ended"
            self._buffer += data
        message, _, self._buffer = self._buffer.partition(b"\0")
        event: Event = json.loads(message)
        return event


@contextmanager
def chromium(profile: Path, port: int) -> Iterator[Tab]:
    """A browser with a new profile, to which every name under .test is 127.0.0.1:`port` and no other name exists."""
    assert PROGRAM is not None
    commands, send = os.pipe()
    receive, answers = os.pipe()
    rules = f"MAP *.test 127.0.0.1:{port}, MAP * ~NOTFOUND"
    process = subprocess.Popen(
        # A shell, because the descriptors have to be these two.
        ["bash", "-c", f'exec "$@" 3<&{commands} 4>&{answers}', "bash", PROGRAM]
        + [*FLAGS, f"--user-data-dir={profile}", f"--host-resolver-rules={rules}"],
        pass_fds=(commands, answers),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    os.close(commands)
    os.close(answers)
    try:
        yield Tab(send, receive)
    finally:
        os.close(send)  # the end of its commands is the end of the browser
        os.close(receive)
        try:
            process.wait(SECONDS)
        finally:
            process.kill()
            process.wait()

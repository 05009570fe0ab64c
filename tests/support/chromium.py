"""Chromium without a window, told what to do by the DevTools protocol over a pair of pipes.

With --remote-debugging-pipe it reads commands from descriptor 3 and writes answers and events to descriptor 4, each a
JSON object that ends in NUL (https://chromedevtools.github.io/devtools-protocol/).

It is many processes, which report independently: that a page is loaded says nothing of when the report on what came
over the wire for it arrives, and a page that was left may still be heard of. So everything here is told apart by the
page it belongs to, and read off only when all of it is there.
"""

from __future__ import annotations

import json
import os
import select
import shutil
import signal
import subprocess
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

from tests.support.missing import missing

SECONDS = 60  # of silence, where a tenth of one is usual, before it is taken for stuck

# It is to speak to nobody but the edge, and to do nothing of its own accord.
FLAGS = (
    "--headless",
    "--no-sandbox",  # which cannot be made as root in a container; all that it loads is ours
    "--disable-gpu",
    "--disable-quic",
    "--disable-breakpad",  # whose processes would leave the browser's group
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--no-proxy-server",
    "--remote-debugging-pipe",
)

Message = dict[str, Any]


@dataclass
class Exchange:
    """One request of a page, with the redirects that it went through.

    `reports` are what came over the wire, one for each response, `expected` how many of them there are, as far as is
    known. What Chromium had in its cache and did not ask about has none; of what it had in memory it says the contrary.
    """

    page: str = ""
    url: str = ""
    redirects: list[tuple[str, int, str]] = field(default_factory=list)  # from, status, to
    reports: list[Message] = field(default_factory=list)
    expected: int = 0
    is_over: bool = False
    is_from_memory: bool = False

    @property
    def is_complete(self) -> bool:
        return self.is_over and (self.is_from_memory or len(self.reports) >= self.expected)

    @property
    def statuses(self) -> list[int]:
        """That came over the wire, in order."""
        return [report["statusCode"] for report in self.reports]

    @property
    def headers(self) -> dict[str, str]:
        """Of the last response that came over the wire."""
        headers: dict[str, str] = self.reports[-1]["headers"]
        return headers

    def request_will_be_sent(self, event: Message) -> None:
        """Again for each redirect, with the response that it followed from."""
        self.page, self.url = event["loaderId"], event["request"]["url"]
        if redirect := event.get("redirectResponse"):
            self.redirects.append((redirect["url"], redirect["status"], self.url))
            self.expected += event["redirectHasExtraInfo"]

    def response_received(self, event: Message) -> None:
        self.expected += event["hasExtraInfo"]

    def response_received_extra_info(self, event: Message) -> None:
        """Before or after the response itself, or even after its end."""
        self.reports.append(event)

    def request_served_from_cache(self, _: Message) -> None:
        self.is_from_memory = True

    def loading_ended(self, _: Message) -> None:
        self.is_over = True


_NETWORK: dict[str, Callable[[Exchange, Message], None]] = {
    "Network.requestWillBeSent": Exchange.request_will_be_sent,
    "Network.responseReceived": Exchange.response_received,
    "Network.responseReceivedExtraInfo": Exchange.response_received_extra_info,
    "Network.requestServedFromCache": Exchange.request_served_from_cache,
    "Network.loadingFinished": Exchange.loading_ended,
    "Network.loadingFailed": Exchange.loading_ended,
}


class Tab:
    """One tab of a browser."""

    def __init__(self, send: int, receive: int) -> None:
        self._send = send
        self._receive = receive
        self._buffer = b""
        self._numbers = count(1)
        self._session: dict[str, str] = {}
        self._exchanges: dict[str, Exchange] = defaultdict(Exchange)
        # Pages, by an id that is new each time that one is loaded.
        self._shown = ""
        self._loaded: set[str] = set()
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = {"sessionId": self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]}
        self.call("Page.enable")
        self.call("Page.setLifecycleEventsEnabled", enabled=True)
        self.call("Network.enable")

    def call(self, method: str, **parameters: object) -> Message:
        """What a command returns."""
        number = next(self._numbers)
        command = {"id": number, "method": method, "params": parameters, **self._session}
        os.write(self._send, json.dumps(command).encode() + b"\0")
        while (message := self._receive_message(method)).get("id") != number:
            self._note(message)
        assert "error" not in message, message
        result: Message = message["result"]
        return result

    def open(self, url: str) -> Exchange:
        """Go there; returns once the page and everything on it is loaded."""
        page: str = self.call("Page.navigate", url=url)["loaderId"]
        return self._wait_for_page(page)

    def reload(self) -> Exchange:
        """As its button does: what may be kept is asked for again, with conditions."""
        before = self._shown
        self.call("Page.reload")
        self._wait_until(lambda: self._shown != before, "a new page")
        return self._wait_for_page(self._shown)

    def evaluate(self, script: str) -> Any:
        """The value of some JavaScript in the page; a promise is waited for."""
        answer = self.call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def forget(self) -> None:
        """Empty its cache."""
        self.call("Network.clearBrowserCache")

    def statuses(self) -> dict[str, list[int]]:
        """What came over the wire for each URL that the page has asked for; nothing for what was in the cache."""
        mine = [exchange for exchange in self._exchanges.values() if exchange.page == self._shown]
        self._wait_until(lambda: all(exchange.is_complete for exchange in mine), f"the end of {mine}")
        return {exchange.url: exchange.statuses for exchange in mine}

    def _wait_for_page(self, page: str) -> Exchange:
        document = self._exchanges[page]  # its request has the page's own id
        self._wait_until(lambda: page in self._loaded and document.is_complete, f"the end of {document}")
        assert self._shown == page, document
        return document

    def _wait_until(self, condition: Callable[[], bool], awaited: str) -> None:
        while not condition():
            self._note(self._receive_message(awaited))

    def _note(self, event: Message) -> None:
        method, parameters = event.get("method", ""), event.get("params", {})
        if handle := _NETWORK.get(method):
            handle(self._exchanges[parameters["requestId"]], parameters)
        elif method == "Page.frameNavigated" and "parentId" not in parameters["frame"]:
            self._shown = parameters["frame"]["loaderId"]
        elif method == "Page.lifecycleEvent" and parameters["name"] == "load":
            self._loaded.add(parameters["loaderId"])

    def _receive_message(self, awaited: str) -> Message:
        while b"\0" not in self._buffer:
            ready, _, _ = select.select([self._receive], [], [], SECONDS)
            assert ready, f"Chromium says nothing; awaited: {awaited}"
            data = os.read(self._receive, 1 << 20)
            assert data, f"Chromium has ended; awaited: {awaited}"
            self._buffer += data
        text, _, self._buffer = self._buffer.partition(b"\0")
        message: Message = json.loads(text)
        return message


@contextmanager
def chromium(port: int) -> Iterator[Tab]:
    """A new browser, to which every name under .test is 127.0.0.1:`port` and no other name exists.

    Skips the test where it is not installed. Nothing is left of it, neither process nor file.
    """
    program = shutil.which("chromium") or missing("Chromium", "chromium")
    with tempfile.TemporaryDirectory(prefix="chromium", dir="/tmp") as directory:  # the path of a socket has 107 bytes
        commands, send = os.pipe()
        receive, answers = os.pipe()
        try:
            with _running(program, port, Path(directory), commands, answers):
                os.close(commands)
                os.close(answers)
                yield Tab(send, receive)
        finally:
            os.close(send)
            os.close(receive)


def resolver_rules(port: int) -> str:
    """The flag that makes 127.0.0.1:`port` of every name under .test, and nothing of any other."""
    return f"--host-resolver-rules=MAP *.test 127.0.0.1:{port}, MAP * ~NOTFOUND"


@contextmanager
def _running(program: str, port: int, directory: Path, commands: int, answers: int) -> Iterator[None]:
    with subprocess.Popen(
        # A shell, because the descriptors have to be these two.
        ["bash", "-c", f'exec "$@" 3<&{commands} 4>&{answers}', "bash", program]
        + [*FLAGS, f"--user-data-dir={directory}/profile", resolver_rules(port)],
        pass_fds=(commands, answers),
        env={**os.environ, "HOME": str(directory), "TMPDIR": str(directory)},
        process_group=0,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    ) as process:
        assert process.stdout is not None
        try:
            yield
        finally:
            os.killpg(process.pid, signal.SIGKILL)
            process.stdout.read()  # which all of its processes have inherited, so it ends with the last of them

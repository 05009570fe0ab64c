"""Visitors amid deployments, with skew protection: only what the new tree lacks may be older, and only parts of pages.

Each tree names its generation in a page, in a style whose path stays, and in a script whose name changes. Visitors read
the page and then what goes with it, while the next trees go live.
"""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from tests.support.process import Serve
from tests.support.wire import Wire

pytestmark = pytest.mark.slow

DEPLOYMENTS = int(os.environ.get("SPACELANE_TEST_DEPLOYMENTS", "12"))
VISITORS = 4
DOMAIN = "skew.localhost"


def tree(generation: int) -> dict[str, bytes]:
    text = str(generation).encode()
    names = ("index.html", f"page-{generation}.html", "style.css", f"app-{generation}.js")
    return dict.fromkeys(names, text)


class Publisher:
    """What is live: at least `done`, and at most `tried`."""

    def __init__(self, serve: Serve, space: str) -> None:
        self._serve = serve
        self._space = space
        self.done = self.tried = 0
        self.over = threading.Event()

    def publish(self) -> None:
        draft = self._serve.draft(self._space, tree(self.done + 1))
        self.tried += 1
        self._serve.post(f"space/{self._space}/deployment/{draft}/activate")
        self.done += 1


class Visitor(threading.Thread):
    """Reads pages and their parts, on one connection, until there is no more to come."""

    def __init__(self, port: int, publisher: Publisher) -> None:
        super().__init__()
        self._port = port
        self._publisher = publisher
        self.rounds = 0
        self.older = 0  # scripts that were not of the tree that was live
        self.wrong: list[object] = []

    def run(self) -> None:
        with Wire(self._port) as wire:
            last = False
            while not last:
                last = self._publisher.over.is_set()
                try:
                    self._visit(wire)
                except Exception as exc:
                    self.wrong.append(exc)
                    return

    def _visit(self, wire: Wire) -> None:
        """One page with what goes with it."""
        before = self._publisher.done
        _, page = self._get(wire, "/")
        self._expect(before <= page <= self._publisher.tried, "page", before, page)
        status, script = self._get(wire, f"/app-{page}.js")
        if status == 200:
            self._expect(script == page, "script", page, script)
        else:  # two trees later it may be gone
            self._expect(self._publisher.tried >= page + 2, "script is gone", page, self._publisher.tried)
        before = self._publisher.done
        _, style = self._get(wire, "/style.css")
        self._expect(max(page, before) <= style <= self._publisher.tried, "style", page, before, style)
        status, _ = self._get(wire, f"/page-{page - 1}.html")
        self._expect(status == 404, "an old page", page, status)
        if page > 1:
            status, script = self._get(wire, f"/app-{page - 1}.js")
            self._expect(status == 404 or script == page - 1, "the script before", page, script)
            self.older += status == 200
        self.rounds += 1

    def _get(self, wire: Wire, path: str) -> tuple[int, int]:
        wire.send(f"GET {path} HTTP/1.1\r\nHost: {DOMAIN}\r\n\r\n".encode())
        answer = wire.receive()
        self._expect(answer.status in (200, 404), path, answer.status)
        return answer.status, int(answer.body) if answer.status == 200 else -1

    def _expect(self, holds: bool, *facts: object) -> None:
        if not holds:
            self.wrong.append(facts)


def test_only_what_the_new_tree_lacks_is_older(tmp_path: Path) -> None:
    with Serve(tmp_path / "data", "--workers", "2") as serve:
        space, _ = serve.site(DOMAIN, {})
        publisher = Publisher(serve, space)
        publisher.publish()
        visitors = [Visitor(serve.edge_port, publisher) for _ in range(VISITORS)]
        for visitor in visitors:
            visitor.start()
        try:
            while publisher.done < DEPLOYMENTS:
                publisher.publish()
        finally:
            publisher.over.set()
            for visitor in visitors:
                visitor.join()
        assert [visitor.wrong[:3] for visitor in visitors] == [[]] * VISITORS
        assert all(visitor.rounds for visitor in visitors)
        assert sum(visitor.older for visitor in visitors)
        last = serve.get(DOMAIN, f"/app-{DEPLOYMENTS - 1}.js")
        assert (last.status, last.body) == (200, str(DEPLOYMENTS - 1).encode())
        assert serve.get(DOMAIN, f"/page-{DEPLOYMENTS - 1}.html").status == 404
        print(f"{DEPLOYMENTS} deployments, {sum(visitor.rounds for visitor in visitors)} rounds of visits")

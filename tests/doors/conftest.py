"""What the doors leave to each other."""

from __future__ import annotations

import pytest

from server.doors import fast
from server.doors.http1 import EdgeProtocol


@pytest.fixture
def slowly(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """The targets that were left to uvicorn."""
    left: list[bytes] = []
    serve = EdgeProtocol._serve

    def note(self: EdgeProtocol, head: object, **options: bool) -> bool:
        left.append(head.target)  # type: ignore[attr-defined]
        return serve(self, head, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(EdgeProtocol, "_serve", note)
    return left


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """The targets of messages that were read in full, though memory answered them."""
    seen: list[bytes] = []
    serve = fast.FastProtocol._serve

    def note(self: fast.FastProtocol, head: object, **options: bool) -> bool:
        seen.append(head.target)  # type: ignore[attr-defined]
        return serve(self, head, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(fast.FastProtocol, "_serve", note)
    return seen

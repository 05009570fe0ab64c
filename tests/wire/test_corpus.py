"""Every case of the corpus, through every door, over every store."""

from __future__ import annotations

import pytest

from tests.support.corpus import Case, Expected, load_cases
from tests.support.wire import Answer, Wire, get

CASES = load_cases()


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_case(case: Case, corpus_port: int) -> None:
    run(case, corpus_port)


@pytest.mark.parametrize("case", [case for case in CASES if not case.hardened], ids=lambda case: case.name)
def test_case_behind_hypercorn(case: Case, hypercorn_port: int) -> None:
    run(case, hypercorn_port)


def test_hypercorn_refuses_websockets(hypercorn_port: int) -> None:
    handshake = "Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: eA=="
    assert get(hypercorn_port, "basic.test", "/", *handshake).status == 403


def run(case: Case, port: int) -> None:
    with Wire(port) as wire:
        wire.send(case.request)
        method = case.request.lstrip().split(b" ", 1)[0].decode("latin-1")
        for expected in case.answers:
            check(wire.receive(method), expected)
            if expected.closes:
                wire.socket.shutdown(1)
                assert wire.at_end()


def check(answer: Answer, expected: Expected) -> None:
    assert answer.status == expected.status
    for name, value in expected.headers.items():
        assert answer.header(name) == value, name
    for name in expected.absent:
        assert answer.header(name) is None, name
    for text in expected.contains:
        assert text.encode() in answer.body
    if expected.body is not None:
        assert answer.body == expected.body
    if expected.closes:
        assert answer.header("connection") == "close"
    assert answer.header("date") == "Mon, 21 Sep 2026 14:13:20 GMT"
    assert answer.header("x-content-type-options") == "nosniff"
    assert answer.header("server") is None

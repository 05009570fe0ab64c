"""Every case of the corpus, through every door, over every store."""

from __future__ import annotations

from collections import Counter

import pytest

from tests.support.corpus import Case, Expected, load_cases
from tests.support.wire import Answer, Wire, get

CASES = load_cases()
SAME_BEHIND_HYPERCORN = [case for case in CASES if not case.hardened and case.by_hypercorn is None]
REFUSED_BY_HYPERCORN = [case for case in CASES if case.hardened and case.by_hypercorn is None]
OTHERWISE_BEHIND_HYPERCORN = [case for case in CASES if case.by_hypercorn not in (None, "depends")]

PROBE = b"OPTIONS * HTTP/1.1\r\nHost: probe.test\r\n\r\n"
BODILESS = (204, 304)


def name_of(case: Case) -> str:
    return case.name


@pytest.mark.parametrize("case", CASES, ids=name_of)
def test_case(case: Case, corpus_port: int) -> None:
    for _ in range(3):  # read from the store, from memory, and known by its bytes
        run(case, corpus_port)


@pytest.mark.parametrize("case", CASES, ids=name_of)
def test_case_without_the_fast_door(case: Case, bare_port: int) -> None:
    run(case, bare_port)


@pytest.mark.parametrize("case", SAME_BEHIND_HYPERCORN, ids=name_of)
def test_case_behind_hypercorn(case: Case, hypercorn_port: int) -> None:
    run(case, hypercorn_port, hardened=False)


@pytest.mark.parametrize("case", REFUSED_BY_HYPERCORN, ids=name_of)
def test_hypercorn_refuses_it_too(case: Case, hypercorn_port: int) -> None:
    with Wire(hypercorn_port) as wire:
        wire.send(case.request)
        status = case.answers[0].status
        assert status >= 400
        assert wire.receive(case.method).status in (status, 400)


@pytest.mark.parametrize("case", OTHERWISE_BEHIND_HYPERCORN, ids=name_of)
def test_what_hypercorn_does_instead(case: Case, hypercorn_port: int) -> None:
    with Wire(hypercorn_port) as wire:
        wire.send(case.request)
        if isinstance(case.by_hypercorn, list):
            for expected in case.by_hypercorn:
                assert wire.receive(expected.method or case.method).status == expected.status
        else:  # it answers, one way or another, only when it is told that nothing more will come
            wire.socket.shutdown(1)
            assert wire.receive(case.method).status >= 200


def test_hypercorn_refuses_websockets(hypercorn_port: int) -> None:
    handshake = "Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: eA=="
    assert get(hypercorn_port, "basic.test", "/", *handshake).status == 403


def test_every_case_says_once_what_it_shows_and_what_asks_for_it() -> None:
    assert [case.name for case in CASES if not (case.shown and case.source and case.answers)] == []
    assert [name for name, count in Counter(case.name for case in CASES).items() if count > 1] == []


def run(case: Case, port: int, *, hardened: bool = True) -> None:
    """`hardened` listeners end connections where the case says so; others know more reasons, and fewer."""
    with Wire(port) as wire:
        wire.send(case.request)
        for expected in case.answers:
            method = expected.method or case.method
            answer = wire.receive(method)
            check(answer, expected)
            check_always(answer, method)
            closes = answer.header("connection") == "close"
            assert closes == expected.closes or not hardened
        if closes:
            assert wire.at_end()
        else:  # nothing has come that was not asked for, and nothing is left over of what was sent
            wire.send(PROBE)
            assert wire.receive().header("allow") == "GET, HEAD, OPTIONS"


def check(answer: Answer, expected: Expected) -> None:
    assert answer.status == expected.status
    for name, value in expected.headers.items():
        found = answer.header(name)
        if value.endswith("..."):
            assert found is not None, name
            assert found.startswith(value[:-3]), name
        else:
            assert found == value, name
    for name in expected.absent:
        assert answer.header(name) is None, name
    for text in expected.contains:
        assert text in answer.body
    if expected.body is not None:
        assert answer.body == expected.body


def check_always(answer: Answer, method: str) -> None:
    """What holds for every answer."""
    assert answer.header("date") == "Mon, 21 Sep 2026 14:13:20 GMT"
    assert answer.header("x-content-type-options") == "nosniff"
    assert answer.header("server") is None
    assert answer.header("transfer-encoding") is None
    length = answer.header("content-length")
    if answer.status in BODILESS:
        assert length is None
    elif method != "HEAD":
        assert length == str(len(answer.body))
    if answer.status >= 400:
        assert answer.header("cache-control") in ("no-store", "private, no-store")
        assert answer.header("etag") is None

"""What the corpus asks for, asked in HTTP/2: the answers of HTTP/1.1."""

from __future__ import annotations

import shutil
import subprocess

import pytest

from server.doors.h2 import frames
from tests.support.corpus import Case, load_cases
from tests.support.h2_corpus import Message, translate
from tests.support.http2 import H2Peer
from tests.wire.test_corpus import check, check_always, name_of

CASES = load_cases()
SAID: dict[str, list[Message]] = {case.name: said for case in CASES if (said := translate(case.request)) is not None}


SAYABLE = [case for case in CASES if case.name in SAID]


@pytest.mark.parametrize("corpus_port", ["memory"], indirect=True)
@pytest.mark.parametrize("case", SAYABLE, ids=name_of)
async def test_case(case: Case, corpus_port: int) -> None:
    peer = await H2Peer.connect(corpus_port)
    peer.begin({frames.INITIAL_WINDOW_SIZE: 2**24})
    stream = 1
    for _ in range(4):  # read from the store, from memory, looked up, and known by its block
        for message, expected in zip(SAID[case.name], case.answers, strict=True):
            peer.say(stream, message.fields, message.body)
            answer = await peer.response(stream)
            check(answer, expected)
            check_always(answer, message.method)
            assert answer.header("connection") is None
            stream += 2
    await peer.close()


def test_most_of_the_corpus_can_be_said() -> None:
    assert len(SAID) > 0.6 * len(CASES)


@pytest.mark.skipif(not shutil.which("nghttp") or not shutil.which("curl"), reason="the clients are not installed")
@pytest.mark.parametrize("corpus_port", ["memory"], indirect=True)
def test_other_clients(corpus_port: int) -> None:
    url = f"http://127.0.0.1:{corpus_port}/a.txt"
    curl = ["curl", "--silent", "--http2-prior-knowledge", "--header", "Host: basic.test", url]
    nghttp = ["nghttp", "--header", ":authority: basic.test", url]
    said = [subprocess.run(command, capture_output=True, check=True, timeout=30).stdout for command in (curl, nghttp)]
    assert said[0] == said[1] != b""

"""Accept-Encoding of every shape over real connections, on files that have variants.

What comes back is in a coding that the field allows, decodes to the file, and says that it varies.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator, Mapping

import brotli
import pytest
from backports import zstd
from hypothesis import given
from hypothesis import strategies as st

from tests.fuzz.budget import PROFILE, SECONDS, check_form, repeat
from tests.fuzz.grammar import FIELD
from tests.support import corpus
from tests.support.hosting import in_thread, memory_hosting
from tests.support.texts import accept_encodings
from tests.support.wire import Answer, Wire

DOMAIN = "coded.test"
FILES = corpus.contents(corpus.sites()[DOMAIN])
CODED = {"page.html", "index.html", "docs/index.html", "404.html", "large.txt"}
DECODERS: Mapping[str, Callable[[bytes], bytes]] = {
    "identity": bytes,
    "gzip": lambda body: zlib.decompress(body, 16 + zlib.MAX_WBITS),
    "br": brotli.decompress,
    "zstd": zstd.decompress,
}
paths = st.sampled_from([path for path in FILES if path != "large.txt"])  # two megabytes take long to send
any_field = st.text("gzipbrstdentyx*;q=01., \t", max_size=40) | st.text(FIELD, max_size=40)


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    with in_thread(memory_hosting, corpus.fill) as port:
        yield port


@pytest.mark.slow
@pytest.mark.timeout(SECONDS + 120)
def test_every_accept_encoding(port: int) -> None:
    with Wire(port) as wire:

        @PROFILE
        @given(path=paths, lines=st.lists(accept_encodings(), max_size=3), other=st.none() | any_field)
        def check(path: str, lines: list[tuple[str, frozenset[str]]], other: str | None) -> None:
            fields = [text for text, _ in lines]
            answer = ask(wire, path, [*fields, *([] if other is None else [other])])
            coding = check_answer(path, answer)
            if other is None and len(lines) == 1 and coding != "identity":
                assert coding in lines[0][1]
            if coding != "identity":  # some line of what was sent says so, in whatever case
                assert any(word in text.lower() for text in [*fields, other or ""] for word in (coding, "*"))

        repeat(check)


def ask(wire: Wire, path: str, fields: list[str]) -> Answer:
    lines = [f"GET /{path} HTTP/1.1", f"Host: {DOMAIN}", *(f"Accept-Encoding: {field}" for field in fields), "", ""]
    wire.send("\r\n".join(lines).encode("latin-1"))
    return wire.receive()


def check_answer(path: str, answer: Answer) -> str:
    """The coding of a good answer."""
    check_form(answer)
    assert answer.status == (404 if path == "404.html" else 200)
    coding = answer.header("content-encoding") or "identity"
    assert answer.header("vary") == ("accept-encoding" if path in CODED else None)
    assert answer.header("content-length") == str(len(answer.body))
    assert DECODERS[coding](answer.body) == FILES[path]
    return coding

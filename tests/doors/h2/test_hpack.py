"""Header blocks: what another library writes is read as that reads it, and what is spoilt is refused by both."""

from __future__ import annotations

from random import Random

import hpack
import pytest

from server.doors.h2 import hpack as ours
from server.doors.h2.frames import Code, ConnectionFault
from server.doors.h2.hpack import BlockReader, render_date, render_fields, render_status

NAMES = [b":method", b":path", b"a", b"accept", b"user-agent", b"cookie", b"x" * 20, b"x" * 300]
ALPHABET = b"abcdefGHI/;=."
ROUNDS = 500


def fields(random: Random) -> list[tuple[bytes, bytes]]:
    """Some, which are to be indexed or never."""
    made: list[tuple[bytes, bytes]] = []
    for _ in range(random.randrange(12)):
        value = bytes(random.choices(ALPHABET, k=random.choice([0, 1, 5, 40, 400, 2000])))
        kind = hpack.HeaderTuple if random.random() < 0.8 else hpack.NeverIndexedHeaderTuple
        made.append(kind(random.choice(NAMES), value))
    return made


def spoil(random: Random, block: bytes) -> bytes:
    """Change a few octets, put some in, or leave some out."""
    spoilt = bytearray(block)
    for _ in range(random.randrange(1, 4)):
        place = random.randrange(len(spoilt) + 1)
        spoilt[place : place + random.choice([0, 1, 1, 3000])] = random.choice([b"", random.randbytes(1)])
    return bytes(spoilt)


def by_theirs(decoder: hpack.Decoder, block: bytes) -> list[tuple[bytes, bytes]] | None:
    try:
        return [(bytes(name), bytes(value)) for name, value in decoder.decode(block, raw=True)]
    except (hpack.HPACKError, UnicodeDecodeError):
        return None


def by_ours(reader: BlockReader, block: bytes) -> list[tuple[bytes, bytes]] | None:
    try:
        return reader.read(block)[0]
    except ConnectionFault:
        return None


def test_two_libraries_read_the_same() -> None:
    random = Random(1)
    refused = 0
    for _ in range(ROUNDS):
        encoder, decoder, reader = hpack.Encoder(), hpack.Decoder(), BlockReader()
        for _ in range(random.randrange(1, 9)):
            if random.random() < 0.2:
                encoder.header_table_size = random.choice([0, 100, 1000, 4096])
            block = bytes(encoder.encode(fields(random), huffman=random.random() < 0.5))
            if random.random() < 0.3:
                block = spoil(random, block)
            read = by_ours(reader, block)
            assert read == by_theirs(decoder, block)
            if read is None:
                refused += 1
                break
    assert refused > ROUNDS / 10


def test_what_is_written_can_be_read() -> None:
    headers = [
        (b"content-type", b"text/html"),
        (b"accept-encoding", b"gzip, deflate"),  # the static table has it whole
        (b"vary", b""),  # so too
        (b"x-a", b"|" * 200),
        (b"x-\xe4", b"\xff\0"),
    ]
    statuses = (200, 204, 206, 304, 308, 400, 404, 405, 416, 500, 503)
    date = b"Mon, 21 Sep 2026 14:13:20 GMT"
    for status in statuses:
        block = render_status(status) + render_fields(headers) + render_date(date)
        expected = [(b":status", b"%d" % status), *headers, (b"date", date)]
        decoder = hpack.Decoder()
        for _ in range(2):  # nothing is put into the table
            assert by_theirs(decoder, block) == expected
        assert len(decoder.header_table.dynamic_entries) == 0


class PanicException(BaseException):
    """As pyo3 names it."""


class Broken:
    """A decoder with a fault of its own."""

    def __init__(self, error: BaseException) -> None:
        self.error = error

    def decode(self, *_: object) -> None:
        raise self.error


def test_a_panic_ends_no_more_than_a_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ours, "Decoder", lambda _: Broken(PanicException()))
    with pytest.raises(ConnectionFault) as caught:
        BlockReader().read(b"\x82")
    assert caught.value.code == Code.COMPRESSION_ERROR
    monkeypatch.setattr(ours, "Decoder", lambda _: Broken(KeyboardInterrupt()))
    with pytest.raises(KeyboardInterrupt):
        BlockReader().read(b"\x82")

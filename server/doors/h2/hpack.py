"""Header blocks (HPACK, RFC 7541): read with a library, behind a check of their form; written without a dynamic table.

The library's decoder is written in Rust and quick, but panics over a block that ends too early and takes a table size
update anywhere, so `scan` looks over a block's form first. It also tells whether a block leaves the dynamic table as it
is: one that does means the same until another does not, and can be known again by its bytes.

What is written is literals without indexing, and statuses of the static table, so that a block is the same bytes on
every connection.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from jh2._hazmat import Decoder, Encoder, HPACKError, OversizedHeaderListError

from server.doors.h2.frames import Code, ConnectionFault

MAX_LIST_BYTES = 64 * 1024  # of a block that is read at all, with 32 for each field (RFC 9113 §10.5.1)
MAX_INTEGER_BYTES = 4  # behind the first
NO_TABLE = b"\x20"  # a table size update to 0

_STATUSES = {200: 8, 204: 9, 206: 10, 304: 11, 400: 12, 404: 13, 500: 14}  # in the static table (appendix A)
_DATE = b"\x0f\x12\x1d"  # a literal without indexing whose name is the static table's 33rd, of 29 octets

Fields = list[tuple[bytes, bytes]]


def _malformed(detail: str) -> ConnectionFault:
    return ConnectionFault(Code.COMPRESSION_ERROR, detail)


class Scan(NamedTuple):
    """The form of a block: whether it changes the dynamic table, and its Huffman-coded strings, each with the number of
    its field, whether it is the value, and its bytes with their length before them."""

    changes: bool
    coded: list[tuple[int, int, bytes]]


def scan(block: bytes) -> Scan:
    """Raises `ConnectionFault` if `block` ends within a field, has an integer beyond measure, or a table size update
    that is not at its start (§4.2)."""
    position, end, number = 0, len(block), 0
    changes = False
    coded = []
    try:
        while position < end:
            first = block[position]
            if first >= 0x80:  # indexed, nearly always in one byte
                position = position + 1 if first != 0xFF else _read_integer(block, position, 0x7F)[1]
                number += 1
            elif 0x20 <= first < 0x40:
                if number:
                    raise _malformed("a table size update is behind a field")
                changes = True
                position = _read_integer(block, position, 0x1F)[1]
            else:
                changes = changes or first >= 0x40
                name, position = _read_integer(block, position, 0x3F if first >= 0x40 else 0x0F)
                for part in (1,) if name else (0, 1):
                    start = position
                    length, position = _read_integer(block, position, 0x7F)
                    position += length
                    if block[start] >= 0x80:
                        coded.append((number, part, block[start:position]))
                number += 1
    except IndexError:
        position = end + 1
    if position > end:
        raise _malformed("a header block ends within a field")
    return Scan(changes, coded)


def _read_integer(block: bytes, position: int, mask: int) -> tuple[int, int]:
    """(the integer, where it ends), §5.1."""
    value = block[position] & mask
    position += 1
    if value < mask:
        return value, position
    for place in range(MAX_INTEGER_BYTES):
        octet = block[position + place]
        value += (octet & 0x7F) << (7 * place)
        if octet < 0x80:
            return value, position + place + 1
    raise _malformed("an integer is too long")


class BlockReader:
    """One connection's, with its dynamic table."""

    def __init__(self) -> None:
        self._decoder = Decoder(MAX_LIST_BYTES)

    def read(self, block: bytes) -> tuple[Fields, bool]:
        """The fields, and whether the dynamic table is another now. Raises `ConnectionFault`."""
        changes, coded = scan(block)
        try:
            fields: list[tuple[bytes, bytes, bool]] = self._decoder.decode(block, True)
        except OversizedHeaderListError:
            raise ConnectionFault(Code.ENHANCE_YOUR_CALM, "the header list is too large") from None
        except HPACKError:
            raise _malformed("a header block cannot be read") from None
        except BaseException as exc:
            # A panic in Rust is no Exception; it must not end more than this connection.
            if type(exc).__name__ != "PanicException":
                raise
            raise _malformed("a header block cannot be read") from None
        for number, part, text in coded:
            # There is one right way to code a text, so this holds what fills up the last octet to §5.2, which the
            # library does not.
            if _code(fields[number][:2][part]) != text:
                raise _malformed("a string is not padded as it has to be")
        return [(name, value) for name, value, _ in fields], changes


def _code(text: bytes) -> bytes:
    """A string in Huffman's code, its length before it: the value of a literal that has no name either."""
    coded: bytes = Encoder().add((b"", text), True, True)
    return coded[2:]


def render_status(status: int) -> bytes:
    """The field `:status`."""
    index = _STATUSES.get(status)
    return b"\x08\x03%d" % status if index is None else bytes([0x80 | index])


def render_fields(fields: Iterable[tuple[bytes, bytes]]) -> bytes:
    """Literals without indexing, in Huffman's code where that is shorter; their names are in lower case."""
    encoder = Encoder()
    return b"".join(
        _without_indexing(min((encoder.add(field, True, coded) for coded in (True, False)), key=len))
        for field in fields
    )


def _without_indexing(field: bytes) -> bytes:
    """A field that is never to be indexed differs from one that is not in one bit (§6.2.2, §6.2.3); and there is
    nothing about an answer that whoever passes it on may not index. One that the static table has whole is neither."""
    return field if field[0] >= 0x80 else b"%c%b" % (field[0] & 0x0F, field[1:])


def render_date(date: bytes) -> bytes:
    """The field Date, so that there is nothing to it but putting together."""
    return _DATE + date

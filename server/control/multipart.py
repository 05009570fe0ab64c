"""The parts of a `multipart/form-data` body (RFC 7578), as they arrive: memory does not grow with their size."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator
from typing import NamedTuple, TypeAlias

from python_multipart import MultipartParser
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import parse_options_header

from storage.errors import Invalid

FORM = "multipart/form-data"
FIELD = "file"  # the one part that is taken
MAX_OVERHEAD = 64 * 1024  # bytes of a form that are not its file: boundaries, part headers, what follows the end
PART_OVERHEAD = 1024  # the same, for each part of a form of many


class Part(NamedTuple):
    """A part of a form, by its name; "" if it has none. `chunks` are to be read before the next part is taken."""

    name: str
    chunks: AsyncIterator[bytes]


async def read_file(chunks: AsyncIterable[bytes], content_type: str) -> AsyncIterator[bytes]:
    """What the part named `file` holds. Raises `Invalid` unless the form is whole and that is its only part."""
    seen = False
    async for part in read_parts(chunks, content_type):
        if part.name != FIELD:
            raise Invalid(part.name or "body", f"is not a known part: the form has one, named {FIELD}")
        if seen:
            raise Invalid(FIELD, "is there twice: upload one file at a time")
        seen = True
        async for data in part.chunks:
            yield data
    if not seen:
        raise Invalid(FIELD, "is required: a part of the form with this name")


async def read_parts(chunks: AsyncIterable[bytes], content_type: str) -> AsyncIterator[Part]:
    """The parts as they arrive. Raises `Invalid`, here or from a part's chunks, unless the form is whole."""
    events = _read_events(chunks, _Form(content_type))
    async for begun in events:
        rest = _read_part(events)
        yield Part(str(begun), rest)
        async for _ in rest:  # what nobody wanted
            pass


async def _read_part(events: AsyncIterator[_Event]) -> AsyncIterator[bytes]:
    async for event in events:
        if not isinstance(event, bytes):
            return
        yield event


async def _read_events(chunks: AsyncIterable[bytes], form: _Form) -> AsyncIterator[_Event]:
    async for chunk in chunks:
        for event in form.feed(chunk):
            yield event
    form.close()


_Event: TypeAlias = str | bytes | None  # a part begins, by its name; some of its data; it is whole


class _Form:
    """Collects what the parser reports of one form."""

    def __init__(self, content_type: str) -> None:
        boundary = parse_options_header(content_type)[1].get(b"boundary")
        if not boundary:
            raise Invalid("body", "is a form without a boundary in its Content-Type")
        self._name = b""
        self._value = b""
        self._disposition = b""
        self._whole = False
        self._events: list[_Event] = []
        try:
            self._parser = MultipartParser(
                boundary,
                {
                    "on_part_begin": self._on_part_begin,
                    "on_header_field": self._on_header_field,
                    "on_header_value": self._on_header_value,
                    "on_header_end": self._on_header_end,
                    "on_headers_finished": self._on_headers_finished,
                    "on_part_data": self._on_part_data,
                    "on_part_end": self._on_part_end,
                    "on_end": self._on_end,
                },
            )
        except FormParserError as exc:
            raise Invalid("body", f"is not a valid form: {exc}") from None

    def feed(self, chunk: bytes) -> list[_Event]:
        """What `chunk` adds."""
        try:
            self._parser.write(chunk)
        except FormParserError as exc:
            raise Invalid("body", f"is not a valid form: {exc}") from None
        events, self._events = self._events, []
        return events

    def close(self) -> None:
        """Raises `Invalid` if the form has no end."""
        if not self._whole:
            raise Invalid("body", "is a form that ends before its last boundary")

    def _on_part_begin(self) -> None:
        self._disposition = b""

    def _on_header_field(self, data: bytes, start: int, end: int) -> None:
        self._name += data[start:end]

    def _on_header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _on_header_end(self) -> None:
        if self._name.lower() == b"content-disposition":
            self._disposition = self._value
        self._name = self._value = b""

    def _on_headers_finished(self) -> None:
        name = parse_options_header(self._disposition)[1].get(b"name", b"")
        self._events.append(name.decode(errors="replace"))

    def _on_part_data(self, data: bytes, start: int, end: int) -> None:
        self._events.append(data[start:end])

    def _on_part_end(self) -> None:
        self._events.append(None)

    def _on_end(self) -> None:
        self._whole = True

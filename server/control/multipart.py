"""The file of a `multipart/form-data` body (RFC 7578), as it arrives: memory does not grow with its size."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator

from python_multipart import MultipartParser
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import parse_options_header

from storage.errors import Invalid

FORM = "multipart/form-data"
FIELD = "file"  # the one part that is taken
MAX_OVERHEAD = 64 * 1024  # bytes of a form that are not its file: boundaries, part headers, what follows the end


async def read_file(chunks: AsyncIterable[bytes], content_type: str) -> AsyncIterator[bytes]:
    """What the part named `file` holds. Raises `Invalid` unless the form is whole and that is its only part."""
    form = _Form(content_type)
    async for chunk in chunks:
        for data in form.feed(chunk):
            yield data
    form.close()


class _Form:
    """Collects what the parser reports of one form."""

    def __init__(self, content_type: str) -> None:
        boundary = parse_options_header(content_type)[1].get(b"boundary")
        if not boundary:
            raise Invalid("body", "is a form without a boundary in its Content-Type")
        self._name = b""
        self._value = b""
        self._disposition = b""
        self._seen = False
        self._whole = False
        self._data: list[bytes] = []
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
                    "on_end": self._on_end,
                },
            )
        except FormParserError as exc:
            raise Invalid("body", f"is not a valid form: {exc}") from None

    def feed(self, chunk: bytes) -> list[bytes]:
        """What `chunk` adds to the file."""
        try:
            self._parser.write(chunk)
        except FormParserError as exc:
            raise Invalid("body", f"is not a valid form: {exc}") from None
        data, self._data = self._data, []
        return data

    def close(self) -> None:
        """Raises `Invalid` if the form has no end or no file."""
        if not self._whole:
            raise Invalid("body", "is a form that ends before its last boundary")
        if not self._seen:
            raise Invalid(FIELD, "is required: a part of the form with this name")

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
        name = parse_options_header(self._disposition)[1].get(b"name", b"").decode(errors="replace")
        if name != FIELD:
            raise Invalid(name or "body", f"is not a known part: the form has one, named {FIELD}")
        if self._seen:
            raise Invalid(FIELD, "is there twice: upload one file at a time")
        self._seen = True

    def _on_part_data(self, data: bytes, start: int, end: int) -> None:
        self._data.append(data[start:end])

    def _on_end(self) -> None:
        self._whole = True

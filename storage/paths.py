"""The one form in which a file's path is kept: relative, `/` between segments, NFC.

A path that this module accepts cannot leave its space: it has no empty, `.` or `..` segment, no backslash and no
control character. Limits bound what one request can make the edge look up (`MAX_SEGMENTS` directories).
"""

from __future__ import annotations

import base64
import unicodedata

from storage.errors import Invalid

MAX_BYTES = 1024  # of the whole path, in UTF-8
MAX_SEGMENT_BYTES = 255  # what file systems allow, so that any tree can be checked out
MAX_SEGMENTS = 64


def parse_path(text: str, *, field: str = "path") -> str:
    """`text` in the kept form; slashes around and repeated ones are dropped.

    Raises `Invalid` (with `field`) that says what is wrong.
    """
    try:
        text.encode()
    except UnicodeEncodeError:
        raise Invalid(field, "has a character that UTF-8 cannot carry (a lone surrogate)") from None
    path = unicodedata.normalize("NFC", text)
    segments = [segment for segment in path.split("/") if segment]
    if not segments:
        raise Invalid(field, "is empty: name a file, such as index.html")
    for segment in segments:
        _check_segment(segment, field)
    if len(segments) > MAX_SEGMENTS:
        raise Invalid(field, f"has more than {MAX_SEGMENTS} segments")
    path = "/".join(segments)
    if len(path.encode()) > MAX_BYTES:
        raise Invalid(field, f"is longer than {MAX_BYTES} bytes")
    return path


def check_moved(field: str, destination: str, octets: int, slashes: int) -> None:
    """Raises `Invalid` if `destination` and a rest of so many bytes and slashes are too long for a path."""
    if len(destination.encode()) + octets > MAX_BYTES:
        raise Invalid(field, f"would make a path longer than {MAX_BYTES} bytes")
    if destination.count("/") + slashes >= MAX_SEGMENTS:
        raise Invalid(field, f"would make a path of more than {MAX_SEGMENTS} segments")


def _check_segment(segment: str, field: str) -> None:
    if segment in (".", ".."):
        raise Invalid(field, f"has a {segment!r} segment: write the path without it")
    if "\\" in segment:
        raise Invalid(field, "has a backslash: separate folders with /")
    if any(ord(character) < 32 or ord(character) == 127 for character in segment):
        raise Invalid(field, "has a control character")
    if len(segment.encode()) > MAX_SEGMENT_BYTES:
        raise Invalid(field, f"has a segment longer than {MAX_SEGMENT_BYTES} bytes")


def parse_folder(text: str, *, field: str = "path") -> str:
    """A folder in the kept form: `""` for the root, else as `parse_path` gives it, without a slash at the end."""
    return parse_path(text, field=field) if text.strip("/") else ""


def path_id(path: str) -> str:
    """A file's id: its path in base64url, without padding."""
    return base64.urlsafe_b64encode(path.encode()).decode().rstrip("=")


def join(folder: str, path: str) -> str:
    """`path` below `folder`, where `""` is the root."""
    return f"{folder}/{path}" if folder else path

"""What an uploaded archive would publish. Pure but for reading it.

1. `survey`         all of it is read and judged, and nothing kept: its files, by path, or why it is refused
2. `read_contents`  it is read again, for those contents that are wanted
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import BinaryIO, NamedTuple
from unicodedata import normalize

from server.control.archive_formats import FIELD, MAX_ENTRIES, Entry, list_entries, shown
from server.edge.paths import is_hidden
from storage.errors import Invalid
from storage.models import Blob, Digest
from storage.paths import join, parse_path

MAX_FILES = 100_000
# No site packs better than this: text comes to a tenth, and deflate cannot do more than a thousandth.
MAX_RATIO = 200
RATIO_FREE_BYTES = 64 * 1024 * 1024  # unpacked, below which the ratio is of no interest

_DRIVE = re.compile(r"[A-Za-z]:[/\\]")
_MACOS = "__MACOSX/"  # what macOS adds to a zip: attributes, no files of the site's


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """`file_bytes` for one file, `bytes` for all of them together."""

    file_bytes: int
    bytes: int
    files: int = MAX_FILES


@dataclass(frozen=True, slots=True, kw_only=True)
class Placing:
    """Where files go: `strip` folders are taken off each name, and the rest is put below `prefix`."""

    prefix: str = ""
    strip: int = 0


@dataclass(frozen=True, slots=True)
class Survey:
    """`files` by their kept path, prefix included; how many names were left out since nobody could ever visit them."""

    files: dict[str, Blob]
    skipped: int


class Content(NamedTuple):
    """A content that is wanted, by the first path that has it. `chunks` are to be read before the next is taken."""

    path: str
    blob: Blob
    chunks: Iterator[bytes]


class _Budget:
    """How much an archive may still unpack to."""

    def __init__(self, packed: int, limits: Limits) -> None:
        self._limit = limits.bytes
        # Of a tar, headers and what fills up blocks count too.
        self._most = limits.bytes + MAX_ENTRIES * 2048
        self._free = max(RATIO_FREE_BYTES, packed * MAX_RATIO)
        self._spent = 0

    def spend(self, size: int) -> None:
        """`size` bytes more. Raises `Invalid`."""
        self._spent += size
        self.check(self._spent, self._most)

    def check(self, size: int, most: int | None = None) -> None:
        """Raises `Invalid` if that is too much."""
        if size > (self._limit if most is None else most):
            raise Invalid(FIELD, f"unpacks to more than the limit of {self._limit} bytes: publish it in parts")
        if size > self._free:
            raise Invalid(FIELD, f"unpacks to more than {MAX_RATIO} times its size, as no site does")


def survey(file: BinaryIO, limits: Limits, placing: Placing) -> Survey:
    """Read all of the archive in `file`. Raises `Invalid`, with field "archive" or the name of an entry."""
    budget = _Budget(_size_of(file), limits)
    files: dict[str, Blob] = {}
    taken: dict[str, str] = {}
    skipped = announced = entries = 0
    for entry in list_entries(file, budget.spend):
        entries += 1
        if entries > MAX_ENTRIES:
            raise Invalid(FIELD, f"has more than {MAX_ENTRIES} entries: pack fewer files at once")
        path = place(entry, placing)
        if path is None:
            skipped += not entry.is_folder
            continue
        if len(files) == limits.files:
            raise Invalid(FIELD, f"has more than {limits.files} files: publish some of them apart, with mode=merge")
        if entry.size > limits.file_bytes:
            raise Invalid(_field(entry), f"is larger than the limit of {limits.file_bytes} bytes for a file")
        announced += entry.size
        budget.check(announced)
        _refuse_twin(entry, path, taken)
        files[path] = _digest(entry)
    if not files:
        raise Invalid(FIELD, "holds no file to publish")
    return Survey(files, skipped)


def read_contents(file: BinaryIO, surveyed: Survey, placing: Placing, wanted: Collection[Digest]) -> Iterator[Content]:
    """Those contents of an archive that has passed `survey`, each once."""
    left = set(wanted)
    for entry in list_entries(file, lambda size: None):
        if not left:
            return
        path = place(entry, placing)
        if path is not None and (blob := surveyed.files[path]).digest in left:
            left.remove(blob.digest)
            yield Content(path, blob, entry.read())


def place(entry: Entry, placing: Placing) -> str | None:
    """The path that `entry` is published at; None for a folder, and for what is left out: names that nobody could
    visit. Raises `Invalid` for what must not be in an archive, even if it would be left out."""
    field = _field(entry)
    if entry.objection:
        raise Invalid(field, entry.objection)
    if entry.name.startswith("/") or _DRIVE.match(entry.name):
        raise Invalid(field, "is an absolute path: pack the files relative to their folder")
    name = entry.name
    while name.startswith("./"):
        name = name[2:].lstrip("/")
    if entry.is_folder and name.rstrip("/") in ("", "."):
        return None
    path = parse_path(name, field=field)
    if entry.is_folder or is_hidden(path) or path.startswith(_MACOS):
        return None
    *folders, _ = path.split("/")
    if len(folders) < placing.strip:
        raise Invalid(field, f"lies in fewer than the {placing.strip} folders that are to be taken off")
    return parse_path(join(placing.prefix, "/".join(path.split("/")[placing.strip :])), field=field)


def _refuse_twin(entry: Entry, path: str, taken: dict[str, str]) -> None:
    """Names that some file systems take for one have one content there and two here: what is published must not depend
    on where an archive was made. Compared by Unicode's canonical caseless matching (D145)."""
    folded = normalize("NFD", normalize("NFD", path).casefold())
    if folded in taken:
        other = shown(taken[folded])
        raise Invalid(_field(entry), f"and {other!r} are one name, or differ only in case: rename or remove one")
    taken[folded] = entry.name


def _digest(entry: Entry) -> Blob:
    seen = hashlib.sha256()
    size = 0
    for chunk in entry.read():
        size += len(chunk)
        seen.update(chunk)
    return Blob(digest=seen.hexdigest(), size=size)


def _field(entry: Entry) -> str:
    return f"files.{shown(entry.name)}"


def _size_of(file: BinaryIO) -> int:
    file.seek(0, 2)
    return file.tell()

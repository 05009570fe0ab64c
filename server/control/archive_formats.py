"""Archives as sequences of entries: zip, and tar, plain or in gzip.

What an entry says of itself is not believed here but passed on, for `archives` to judge. Held down here is what the
standard library leaves open: how much of an archive it takes into memory at once, and that an archive is whole.

Both readers go through an archive in its own order, and an entry's content can be read only until the next is taken.
Everything waits for the disk, and much of it for the processor: it is work for a thread.
"""

from __future__ import annotations

import gzip
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import IO, BinaryIO, ParamSpec, cast

from storage.errors import Invalid

FIELD = "archive"  # what errors that are about no one entry are about

P = ParamSpec("P")

MAX_ENTRIES = 200_000  # folders included
CHUNK_BYTES = 256 * 1024
# A zip's list of entries is read at once, and so is a tar's header of a single entry.
MAX_ZIP_READ = 64 * 1024 * 1024
MAX_TAR_READ = 1024 * 1024

_MAX_SHOWN = 200  # characters of a name
_BLOCK = tarfile.BLOCKSIZE
_ZIP_ENTRY = b"PK\x01\x02"  # begins an entry in the list
_ZIP_HEADER_BYTES = 30  # of each entry's own header, its name aside
_ENCRYPTED = 0x1 | 0x40 | 0x2000  # of a zip entry's flags: the content, strongly, and the list itself
_UTF8 = 0x800
_PACKINGS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)

LINK = "is a link: put the file itself in its place"
SPECIAL = "is neither a file nor a folder: leave it out"
SPARSE = "is a sparse file: pack it whole"
ENCRYPTED = "is encrypted: pack it without a password"
PACKED_OTHERWISE = "is packed in a way that is not taken: use deflate, which is what zip programs do by default"


@dataclass(frozen=True, slots=True)
class Entry:
    """`name` as the archive has it, and the `size` that it announces; `objection`, if any, is why it cannot be taken.

    `read` gives the content in chunks, exactly once.
    """

    name: str
    size: int
    is_folder: bool
    objection: str
    read: Callable[[], Iterator[bytes]]


def list_entries(file: BinaryIO, count: Callable[[int], None]) -> Iterator[Entry]:
    """The entries of the archive in `file`. `count` is told all bytes that are unpacked, and may raise.

    Raises `Invalid` (field "archive") if it is broken, cut short, or no archive at all.
    """
    file.seek(0)
    magic = file.read(4)
    file.seek(0)
    with _broken():
        if magic[:2] == b"\x1f\x8b":
            with gzip.GzipFile(fileobj=file) as unpacked:
                yield from _list_tar(cast(BinaryIO, unpacked), count)
        elif magic in (b"PK\x03\x04", b"PK\x05\x06"):
            yield from _list_zip(file, count)
        else:
            yield from _list_tar(file, count)


@contextmanager
def _broken() -> Generator[None, None, None]:
    """What the standard library raises for archives that are not as they should be, as ours."""
    try:
        yield
    except tarfile.ReadError as exc:
        raise Invalid(FIELD, f"is not a whole .tar.gz, .tar or .zip: {exc}") from exc
    except (EOFError, gzip.BadGzipFile, zlib.error) as exc:
        raise Invalid(FIELD, f"is damaged or cut short: {exc}") from exc
    except zipfile.BadZipFile as exc:
        raise Invalid(FIELD, f"is not a whole .zip: {exc}") from exc
    except (tarfile.TarError, struct.error, ValueError, OverflowError, RuntimeError) as exc:
        # Also a header of headers of headers, and a method that this build of Python cannot unpack.
        raise Invalid(FIELD, "has an entry that cannot be read: pack it anew") from exc


def _told(read: Callable[P, Iterator[bytes]], *args: P.args, **kwargs: P.kwargs) -> Iterator[bytes]:
    """A content: whoever reads it is told as clearly."""
    with _broken():
        yield from read(*args, **kwargs)


# Zip.


class _Bounded:
    """A file of which nobody reads more than `MAX_ZIP_READ` at once, nor a list of too many entries."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.seek = file.seek
        self.tell = file.tell

    def seekable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        if size > MAX_ZIP_READ:
            raise Invalid(FIELD, f"has a list of entries of more than {MAX_ZIP_READ} bytes: pack fewer files at once")
        data = self._file.read(MAX_ZIP_READ if size < 0 else size)
        if data.count(_ZIP_ENTRY) > MAX_ENTRIES:
            raise Invalid(FIELD, f"has more than {MAX_ENTRIES} entries: pack fewer files at once")
        return data


def _list_zip(file: BinaryIO, count: Callable[[int], None]) -> Iterator[Entry]:
    with zipfile.ZipFile(cast(IO[bytes], _Bounded(file))) as archive:
        infos = archive.infolist()
        _refuse_overlaps(infos, archive.start_dir)
        for info in infos:
            yield Entry(
                name=_zip_name(info),
                size=info.file_size,
                is_folder=info.orig_filename.endswith("/"),
                objection=_zip_objection(info),
                read=partial(_told, _read_zip, archive, info, count),
            )


def _refuse_overlaps(infos: list[zipfile.ZipInfo], end: int) -> None:
    """An archive whose entries share their bytes unpacks to any number of times its size. They lie before `end`."""
    start = end
    for info in sorted(infos, key=lambda info: info.header_offset, reverse=True):
        if info.header_offset < 0 or info.header_offset + _ZIP_HEADER_BYTES + info.compress_size > start:
            raise Invalid(f"files.{shown(_zip_name(info))}", "overlaps with something else in the archive")
        start = info.header_offset


def _zip_name(info: zipfile.ZipInfo) -> str:
    """The whole name: `filename` ends at a NUL. Programs that do not say that a name is UTF-8 often mean it."""
    name = info.orig_filename
    if not info.flag_bits & _UTF8:
        try:
            return name.encode("cp437").decode("utf-8")
        except UnicodeError:
            return name
    return name


def _zip_objection(info: zipfile.ZipInfo) -> str:
    kind = stat.S_IFMT(info.external_attr >> 16)
    if kind == stat.S_IFLNK:
        return LINK
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        return SPECIAL
    if info.flag_bits & _ENCRYPTED:
        return ENCRYPTED
    return "" if info.compress_type in _PACKINGS else PACKED_OTHERWISE


def _read_zip(archive: zipfile.ZipFile, info: zipfile.ZipInfo, count: Callable[[int], None]) -> Iterator[bytes]:
    """The content, as large as announced and of the right checksum: the library sees to both."""
    left = info.file_size
    with archive.open(info) as content:
        while chunk := content.read(CHUNK_BYTES):
            count(len(chunk))
            left -= len(chunk)
            yield chunk
    if left:
        raise zipfile.BadZipFile(f"{shown(info.filename)} is shorter than it says")


# Tar.


class _Forward:
    """A stream that is only ever read on, and counted."""

    def __init__(self, stream: BinaryIO, count: Callable[[int], None]) -> None:
        self._stream = stream
        self._count = count
        self._position = 0
        self.last_block = b""  # the last piece of a block's size

    def tell(self) -> int:
        return self._position

    def seek(self, position: int) -> None:
        if position < self._position:
            raise tarfile.ReadError("an entry begins before the end of the one before it")
        while self._position < position:
            if not self.read(min(CHUNK_BYTES, position - self._position)):
                raise tarfile.ReadError("unexpected end of data")

    def read(self, size: int) -> bytes:
        if size > MAX_TAR_READ:
            raise tarfile.ReadError(f"a header has more than {MAX_TAR_READ} bytes")
        data = self._stream.read(size)
        self._position += len(data)
        self._count(len(data))
        if size == _BLOCK:
            self.last_block = data
        return data


def _list_tar(stream: BinaryIO, count: Callable[[int], None]) -> Iterator[Entry]:
    forward = _Forward(stream, count)
    with tarfile.open(fileobj=cast(IO[bytes], forward), mode="r:", encoding="utf-8") as archive:
        while (info := archive.next()) is not None:
            archive.members.clear()  # type: ignore[attr-defined]  # nobody goes back to them
            yield Entry(
                name=info.name,
                size=info.size,
                is_folder=info.isdir(),
                objection=_tar_objection(info),
                read=partial(_told, _read_tar, archive, info),
            )
    # The library takes a damaged header for the end of the archive, and a missing end for none.
    if forward.last_block != bytes(_BLOCK):
        raise tarfile.ReadError("it has no end: it is damaged or cut short")
    while forward.read(CHUNK_BYTES):  # up to gzip's checksum
        pass


def _tar_objection(info: tarfile.TarInfo) -> str:
    if info.issym() or info.islnk():
        return LINK
    if info.issparse():
        return SPARSE
    return "" if info.isdir() or info.type in (tarfile.REGTYPE, tarfile.AREGTYPE, tarfile.CONTTYPE) else SPECIAL


def _read_tar(archive: tarfile.TarFile, info: tarfile.TarInfo) -> Iterator[bytes]:
    content = archive.extractfile(info)
    assert content is not None, "it is a file"
    while chunk := content.read(CHUNK_BYTES):
        yield chunk


def shown(name: str) -> str:
    """A name as a message can have it: not too long, and without bytes that are not UTF-8."""
    text = name.encode("utf-8", "backslashreplace").decode()
    return text if len(text) <= _MAX_SHOWN else f"{text[:_MAX_SHOWN]}…"

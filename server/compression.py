"""Variants of contents: gzip, brotli and zstd, as blobs of their own.

A variant is worth keeping if it is 5% smaller than its source. The same content gives the same bytes in every process,
so that equal contents have one blob and one entity tag. Content passes in chunks: memory does not grow with it.
"""

from __future__ import annotations

import asyncio
import hashlib
import sys
import zlib
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping
from contextlib import aclosing
from typing import NamedTuple

# The bindings of brotli's own authors; the others on PyPI wrap the same encoder through one more layer.
import brotli

from server.edge.media_types import content_type, is_compressible
from storage.blobs import BlobReader, BlobStore
from storage.errors import Corrupt, TooLarge
from storage.models import Blob, Coding

# The standard library's zstd and, for Pythons that do not have it yet, its backport by the same author.
if sys.version_info >= (3, 14):  # pragma: no cover
    from compression import zstd
else:
    from backports import zstd

MIN_BYTES = 256  # of a source: below, a head and a trailer eat what is saved
_KEPT_PERCENT = 95


class _Encoder(NamedTuple):
    compress: Callable[[bytes], bytes]
    flush: Callable[[], bytes]


def _gzip(size: int, level: int) -> _Encoder:
    """zlib writes a head without a name or a time."""
    made = zlib.compressobj(level, zlib.DEFLATED, 16 + zlib.MAX_WBITS)
    return _Encoder(made.compress, made.flush)


def _brotli(size: int, level: int) -> _Encoder:
    made = brotli.Compressor(quality=level)
    return _Encoder(made.process, made.finish)


def _zstd(size: int, level: int) -> _Encoder:
    made = zstd.ZstdCompressor(level=level)
    made.set_pledged_input_size(size)
    return _Encoder(made.compress, made.flush)


_ENCODERS: Mapping[Coding, Callable[[int, int], _Encoder]] = {"gzip": _gzip, "br": _brotli, "zstd": _zstd}

# gzip keeps a publish waiting, and few browsers are left that take no other: of Python's manual, 9 would save 1.6% more
# and take three times as long. brotli: measured, a tenth smaller than at level 9 at twenty times its cost, 1.5 s a
# megabyte. zstd: the last level whose window is one that every client of HTTP has to have, 8 MiB (RFC 9659); 0.5 s a
# megabyte; 22 would save 0.1%.
BEST: Mapping[Coding, int] = {"gzip": 6, "br": 11, "zstd": 19}
# While a visitor waits: each some 20 ms a megabyte.
QUICK: Mapping[Coding, int] = {"gzip": 6, "br": 5, "zstd": 6}

# Bytes of a source: gzip keeps a publish waiting, at 60 MB/s; the others are what keeps the next site's waiting.
MAX_BYTES: Mapping[Coding, int] = {"gzip": 64 * 1024**2, "br": 16 * 1024**2, "zstd": 16 * 1024**2}


def codings_for(path: str, size: int) -> list[Coding]:
    """Those that are worth trying for a file."""
    if size < MIN_BYTES or not is_compressible(content_type(path)):
        return []
    return [coding for coding, most in MAX_BYTES.items() if size <= most]


def compress_at_once(content: bytes, levels: Mapping[Coding, int]) -> dict[Coding, bytes]:
    """`content`, which is in memory, in each coding that is worth it."""
    if len(content) < MIN_BYTES:
        return {}
    made: dict[Coding, bytes] = {}
    for coding, level in levels.items():
        encoder = _ENCODERS[coding](len(content), level)
        body = encoder.compress(content) + encoder.flush()
        if len(body) <= _most(len(content)):
            made[coding] = body
    return made


def _most(size: int) -> int:
    """Bytes that a variant of a source of `size` may have."""
    return size * _KEPT_PERCENT // 100


async def make_variants(blobs: BlobStore, source: Blob, codings: Iterable[Coding]) -> dict[Coding, Blob | None]:
    """`source` in each of `codings`, kept in the store; None for one that saves too little.

    Raises `Corrupt` if the source is missing or damaged: no variant may hide that.
    """
    return {coding: await _make_variant(blobs, source, coding) for coding in codings}


async def _make_variant(blobs: BlobStore, source: Blob, coding: Coding) -> Blob | None:
    reader = await blobs.open(source.digest)
    try:
        async with aclosing(_encode(reader, source, _ENCODERS[coding](source.size, BEST[coding]))) as encoded:
            return await blobs.put(encoded, limit=_most(source.size))
    except TooLarge:
        return None
    finally:
        await reader.close()


async def _encode(reader: BlobReader, source: Blob, encoder: _Encoder) -> AsyncGenerator[bytes, None]:
    seen = hashlib.sha256()

    def add(chunk: bytes) -> bytes:
        seen.update(chunk)
        return encoder.compress(chunk)

    async for chunk in reader.read(0, source.size):
        yield await asyncio.to_thread(add, chunk)
    if seen.hexdigest() != source.digest:
        raise Corrupt(f"blob {source.digest} does not match its digest")
    yield await asyncio.to_thread(encoder.flush)

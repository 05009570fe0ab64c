"""Variants as blobs: the same bytes always, decodable by others, kept if it is worth it."""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import random
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import brotli
import pytest
from backports import zstd

from server.compression import MAX_BYTES, MIN_BYTES, codings_for, make_variants
from storage.blobs import BlobStore
from storage.errors import Corrupt
from storage.local import LocalBlobs
from storage.memory import MemoryBlobs
from storage.models import CODINGS, Blob, Coding
from tests.support.hosting import one_chunk

DECODERS: Mapping[Coding, Callable[[bytes], bytes]] = {
    "gzip": gzip.decompress,
    "br": brotli.decompress,
    "zstd": zstd.decompress,
}
WORDS = [b"alpha", b"beta", b"gamma", b"delta", b"\n", b"<p>", b"</p>", b" "]


def text(size: int, seed: int = 1) -> bytes:
    """Something that compresses as writing does."""
    words = random.Random(seed).choices(WORDS, k=size)
    return b"".join(words)[:size]


TEXT = text(700_000)  # several chunks of a blob's reader


async def variant(blobs: BlobStore, content: bytes, coding: Coding) -> bytes | None:
    source = await blobs.put(one_chunk(content))
    blob = (await make_variants(blobs, source, [coding]))[coding]
    if blob is None:
        return None
    made = await blobs.read(blob.digest)
    assert blob.size == len(made)
    return made


@pytest.mark.parametrize("coding", CODINGS)
@pytest.mark.parametrize("size", [MIN_BYTES, 5000, len(TEXT)])
async def test_anybody_can_decode_it(coding: Coding, size: int) -> None:
    content = text(size)
    made = await variant(MemoryBlobs(), content, coding)
    assert made
    assert len(made) <= 0.95 * size
    assert DECODERS[coding](made) == content


ELSEWHERE = """
import asyncio, hashlib, sys
from pathlib import Path
from tests.test_compression import TEXT, variant
from storage.local import LocalBlobs
made = asyncio.run(variant(LocalBlobs(Path(sys.argv[1])), TEXT, sys.argv[2]))
print(hashlib.sha256(made).hexdigest())
"""


@pytest.mark.slow
@pytest.mark.parametrize("coding", CODINGS)
def test_the_same_bytes_in_every_process(tmp_path: Path, coding: Coding) -> None:
    made = asyncio.run(variant(MemoryBlobs(), TEXT, coding))
    assert made == asyncio.run(variant(LocalBlobs(tmp_path), TEXT, coding))
    command = [sys.executable, "-c", ELSEWHERE, str(tmp_path), coding]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert said.strip() == hashlib.sha256(made or b"").hexdigest()


def test_gzip_says_neither_a_name_nor_a_time() -> None:
    made = asyncio.run(variant(MemoryBlobs(), TEXT, "gzip"))
    assert made
    assert made[:8] == b"\x1f\x8b\x08\x00\x00\x00\x00\x00"


def test_zstd_stays_within_the_window_of_http() -> None:
    """RFC 9659: 8 MiB, which a frame's header says where the content is longer than that."""
    content = text(100_000) * 90
    made = asyncio.run(variant(MemoryBlobs(), content, "zstd"))
    assert made
    limit: dict[int, int] = {zstd.DecompressionParameter.window_log_max: 23}
    assert zstd.decompress(made, options=limit) == content


async def stored(blobs: LocalBlobs) -> list[Blob]:
    return [blob async for folder in blobs.list_stored(-60.0) for blob in folder]


@pytest.mark.parametrize("coding", CODINGS)
async def test_what_saves_less_than_a_twentieth_is_not_kept(tmp_path: Path, coding: Coding) -> None:
    noise = random.Random(3).randbytes(600_000)
    blobs = LocalBlobs(tmp_path)
    assert await variant(blobs, noise, coding) is None
    assert await variant(blobs, noise[:960] + bytes(40), coding) is None
    assert len(await stored(blobs)) == 2  # the sources
    assert await variant(blobs, noise[:850] + bytes(150), coding)


@pytest.mark.parametrize(
    ("path", "size", "codings"),
    [
        ("a.html", MIN_BYTES, ["gzip", "br", "zstd"]),
        ("a.html", MIN_BYTES - 1, []),
        ("a.html", MAX_BYTES["br"], ["gzip", "br", "zstd"]),
        ("a.html", MAX_BYTES["br"] + 1, ["gzip"]),
        ("a.html", MAX_BYTES["gzip"] + 1, []),
        ("a.wasm", 5000, ["gzip", "br", "zstd"]),
        ("a.png", 5000, []),
        ("a", 5000, []),
    ],
)
def test_what_is_worth_trying(path: str, size: int, codings: list[str]) -> None:
    assert sorted(codings_for(path, size)) == sorted(codings)


async def test_a_damaged_source_has_no_variant(tmp_path: Path) -> None:
    blobs = LocalBlobs(tmp_path)
    source = await blobs.put(one_chunk(TEXT))
    path = tmp_path / source.digest[:2] / source.digest[2:]
    path.write_bytes(b"?" + TEXT[1:])
    with pytest.raises(Corrupt, match="does not match"):
        await make_variants(blobs, source, ["gzip"])
    path.unlink()
    with pytest.raises(Corrupt, match="is missing"):
        await make_variants(blobs, source, ["gzip"])
    assert await stored(blobs) == []

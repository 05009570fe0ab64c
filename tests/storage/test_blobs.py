"""The contract of a blob store, on each one; then what is promised of files on a disk."""

from __future__ import annotations

import asyncio
import ctypes
import errno
import fcntl
import hashlib
import os
import random
import resource
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from storage import local_puts
from storage.blobs import BlobReader, BlobStore
from storage.errors import Corrupt, Invalid, OutOfSpace, TooLarge, Unavailable
from storage.local import CHUNK_BYTES, LEFTOVER_SECONDS, LOCK_FILE, LocalBlobs
from storage.memory import MemoryBlobs
from storage.models import Blob

ABSENT = "0" * 64
SIZES = [0, 1, 1000, CHUNK_BYTES - 1, CHUNK_BYTES, CHUNK_BYTES + 1, 3 * CHUNK_BYTES + 7]


@dataclass
class Kept:
    """A store, and what a test needs to look beneath it."""

    store: BlobStore
    damage: Callable[[str, bytes], None]  # replace what is kept under a digest
    digests: Callable[[], set[str]]  # all that a reader could see
    leftovers: Callable[[], list[object]]
    wait: Callable[[float], None]  # let so many seconds pass for all that is kept


@pytest.fixture(params=["memory", "local"])
def kept(request: pytest.FixtureRequest, tmp_path: Path) -> Kept:
    if request.param == "memory":
        clock = SteppedClock()
        memory = MemoryBlobs(clock=clock)
        return Kept(memory, memory.contents.__setitem__, lambda: set(memory.contents), list, clock.wait)
    root = tmp_path / "blobs"
    return Kept(
        LocalBlobs(root),
        lambda digest, content: replace(path_of(root, digest), content),
        lambda: set(visible(root)),
        lambda: list((root / "tmp").iterdir()),
        lambda seconds: grow_older(root, seconds),
    )


class SteppedClock:
    """Stands until it is told to wait."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now

    def wait(self, seconds: float) -> None:
        self.now += seconds


def replace(path: Path, content: bytes) -> None:
    path.unlink()
    path.write_bytes(content)


def path_of(root: Path, digest: str) -> Path:
    return root / digest[:2] / digest[2:]


def grow_older(root: Path, seconds: float) -> None:
    """What a wait would do to the files of a store: their times are further in the past."""
    for path in visible(root).values():
        facts = path.stat()
        os.utime(path, (facts.st_atime, facts.st_mtime - seconds))


def visible(root: Path) -> dict[str, Path]:
    """Every blob that a reader could see, by its name."""
    return {path.parent.name + path.name: path for path in root.glob("[0-9a-f][0-9a-f]/*")}


def digest_of(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def content_of(size: int) -> bytes:
    return random.Random(size).randbytes(size)


async def chunks_of(content: bytes, size: int = 64 * 1024) -> AsyncIterator[bytes]:
    for start in range(0, len(content), size):
        yield content[start : start + size]


async def pieces(parts: Iterable[bytes]) -> AsyncIterator[bytes]:
    for part in parts:
        yield part


async def read_all(reader: BlobReader, start: int, stop: int) -> bytes:
    return b"".join([chunk async for chunk in reader.read(start, stop)])


@pytest.mark.parametrize("size", SIZES)
async def test_round_trip(kept: Kept, size: int) -> None:
    content = content_of(size)
    blob = await kept.store.put(chunks_of(content))
    assert blob == Blob(digest=digest_of(content), size=size)
    assert await kept.store.read(blob.digest) == content
    reader = await kept.store.open(blob.digest)
    assert reader.size == size
    assert await read_all(reader, 0, size) == content
    await reader.close()
    assert kept.digests() == {blob.digest}
    assert kept.leftovers() == []


async def test_one_chunk_of_any_size(kept: Kept) -> None:
    content = content_of(5 * CHUNK_BYTES)
    blob = await kept.store.put(pieces([content]))
    assert await kept.store.read(blob.digest) == content


async def test_chunks_are_bounded(kept: Kept) -> None:
    content = content_of(3 * CHUNK_BYTES + 7)
    blob = await kept.store.put(pieces([content]))
    reader = await kept.store.open(blob.digest)
    sizes = [len(chunk) async for chunk in reader.read(5, reader.size)]
    assert max(sizes) <= CHUNK_BYTES
    assert sum(sizes) == reader.size - 5
    await reader.close()


@pytest.mark.parametrize("size", SIZES[:5])
async def test_same_content_is_kept_once(kept: Kept, size: int) -> None:
    content = content_of(size)
    first, second = await asyncio.gather(kept.store.put(chunks_of(content)), kept.store.put(chunks_of(content)))
    assert first == second == await kept.store.put(chunks_of(content))
    assert kept.digests() == {first.digest}
    assert kept.leftovers() == []


async def test_several_at_once(kept: Kept) -> None:
    contents = [content_of(size) for size in SIZES]
    assert await kept.store.put_all([]) == []
    blobs = await kept.store.put_all([*contents, contents[2]])
    assert [(blob.digest, blob.size) for blob in blobs[:-1]] == [(digest_of(each), len(each)) for each in contents]
    assert blobs[-1] == blobs[2]
    kept.wait(100)
    kept.damage(blobs[2].digest, b"damaged")
    assert await kept.store.put_all([*contents, b"new"]) == [*blobs[:-1], Blob(digest=digest_of(b"new"), size=3)]
    assert await list_stored(kept.store, 60) == set()
    for content in contents:
        assert await kept.store.read(digest_of(content)) == content
    assert kept.leftovers() == []


async def test_absent(kept: Kept) -> None:
    with pytest.raises(Corrupt, match="is missing"):
        await kept.store.read(ABSENT)
    with pytest.raises(Corrupt, match="is missing"):
        await kept.store.open(ABSENT)
    assert await kept.store.delete(ABSENT) is False


async def test_delete(kept: Kept) -> None:
    blob = await kept.store.put(chunks_of(b"gone"))
    assert await kept.store.delete(blob.digest) is True
    assert kept.digests() == set()


async def list_stored(store: BlobStore, unchanged_for: float) -> set[Blob]:
    listed = [blob async for some in store.list_stored(unchanged_for) for blob in some]
    assert len(listed) == len(set(listed))
    return set(listed)


async def test_what_is_listed_is_old_enough(kept: Kept) -> None:
    old = {await kept.store.put(chunks_of(content_of(size))) for size in SIZES}
    assert await list_stored(kept.store, 60) == set()
    assert await list_stored(kept.store, 0) == old
    kept.wait(100)
    young = await kept.store.put(chunks_of(b"young"))
    assert await list_stored(kept.store, 60) == old
    assert await list_stored(kept.store, 200) == set()
    assert await list_stored(kept.store, 0) == {*old, young}


@pytest.mark.parametrize("size", SIZES)
async def test_a_put_of_what_is_there_makes_it_young(kept: Kept, size: int) -> None:
    blob = await kept.store.put(chunks_of(content_of(size)))
    kept.wait(100)
    assert await list_stored(kept.store, 60) == {blob}
    assert await kept.store.put(chunks_of(content_of(size))) == blob
    assert await list_stored(kept.store, 60) == set()
    assert await kept.store.delete(blob.digest, unchanged_for=60) is False
    assert kept.digests() == {blob.digest}
    kept.wait(100)
    assert await kept.store.delete(blob.digest, unchanged_for=60) is True
    assert kept.digests() == set()
    assert await kept.store.delete(blob.digest, unchanged_for=60) is False
    assert await kept.store.delete(blob.digest) is False


async def test_an_open_blob_outlives_its_deletion(kept: Kept) -> None:
    blob = await kept.store.put(chunks_of(b"still here"))
    reader = await kept.store.open(blob.digest)
    await kept.store.delete(blob.digest)
    assert await read_all(reader, 0, 10) == b"still here"
    await reader.close()
    await reader.close()


@pytest.mark.parametrize("damaged", [b"", b"wholE", b"whole and more"])
async def test_damage_is_found(kept: Kept, damaged: bytes) -> None:
    blob = await kept.store.put(chunks_of(b"whole"))
    kept.damage(blob.digest, damaged)
    with pytest.raises(Corrupt, match="does not match"):
        await kept.store.read(blob.digest)


@pytest.mark.parametrize("size", [10, CHUNK_BYTES + 10])
async def test_putting_it_again_mends_damage(kept: Kept, size: int) -> None:
    content = content_of(size)
    blob = await kept.store.put(chunks_of(content))
    kept.damage(blob.digest, content[:-1] + b"?")
    await kept.store.put(chunks_of(content))
    assert await kept.store.read(blob.digest) == content


async def test_a_blob_that_ends_early(kept: Kept) -> None:
    blob = await kept.store.put(chunks_of(b"0123456789"))
    reader = await kept.store.open(blob.digest)
    chunks = reader.read(5, 12)
    assert await anext(chunks) == b"56789"
    with pytest.raises(Corrupt, match="ends at 10, before 12"):
        await anext(chunks)
    await reader.close()


@pytest.mark.parametrize("size", [10, CHUNK_BYTES, 2 * CHUNK_BYTES + 10])
async def test_limit(kept: Kept, size: int) -> None:
    content = content_of(size)
    with pytest.raises(TooLarge) as caught:
        await kept.store.put(chunks_of(content), limit=size - 1)
    assert caught.value.limit == size - 1
    assert kept.digests() == set()
    assert kept.leftovers() == []
    assert (await kept.store.put(chunks_of(content), limit=size)).size == size


async def test_limit_stops_an_endless_body(kept: Kept) -> None:
    async def endless() -> AsyncIterator[bytes]:
        while True:
            yield bytes(64 * 1024)

    body = endless()
    with pytest.raises(TooLarge):
        await kept.store.put(body, limit=CHUNK_BYTES * 2)
    await body.aclose()  # type: ignore[attr-defined]
    assert kept.leftovers() == []


@pytest.mark.parametrize("size", [10, CHUNK_BYTES + 10])
async def test_expected(kept: Kept, size: int) -> None:
    content = content_of(size)
    with pytest.raises(Invalid, match=digest_of(content)) as caught:
        await kept.store.put(chunks_of(content), expected=ABSENT)
    assert caught.value.field == "digest"
    assert kept.digests() == set()
    assert kept.leftovers() == []
    blob = await kept.store.put(chunks_of(content), expected=digest_of(content))
    assert kept.digests() == {blob.digest}


class BrokenOffError(Exception):
    """What a connection that breaks raises in the middle of a body."""


@pytest.mark.parametrize("before", [0, 1, CHUNK_BYTES, 3 * CHUNK_BYTES])
async def test_a_body_that_breaks_off(kept: Kept, before: int) -> None:
    async def broken() -> AsyncIterator[bytes]:
        if before:
            yield bytes(before)
        raise BrokenOffError

    with pytest.raises(BrokenOffError):
        await kept.store.put(broken())
    assert kept.digests() == set()
    assert kept.leftovers() == []


async def test_an_error_of_the_body_is_not_the_mediums(kept: Kept) -> None:
    async def broken() -> AsyncIterator[bytes]:
        yield b"some"
        raise ConnectionResetError("by peer")

    with pytest.raises(ConnectionResetError):
        await kept.store.put(broken())


@pytest.mark.parametrize("size", [10, 3 * CHUNK_BYTES + 10])
@pytest.mark.parametrize("turns", range(0, 40, 3))
async def test_cancelled_at_any_instant(kept: Kept, size: int, turns: int) -> None:
    content = content_of(size)

    async def slow() -> AsyncIterator[bytes]:
        async for chunk in chunks_of(content):
            await asyncio.sleep(0)
            yield chunk

    task = asyncio.create_task(kept.store.put(slow()))
    for _ in range(turns):
        await asyncio.sleep(0)
    task.cancel()
    await asyncio.sleep(0)
    task.cancel()  # a second one must not leave the thread at work behind it
    await asyncio.wait([task])
    assert kept.leftovers() == []
    for digest in kept.digests():
        assert await kept.store.read(digest) == content
    if not task.cancelled():
        assert task.result().digest in kept.digests()


async def test_cancelled_while_waiting_for_the_body(kept: Kept) -> None:
    reached = asyncio.Event()

    async def stuck() -> AsyncIterator[bytes]:
        yield bytes(2 * CHUNK_BYTES)
        reached.set()
        await asyncio.Event().wait()

    task = asyncio.create_task(kept.store.put(stuck()))
    await reached.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert kept.digests() == set()
    assert kept.leftovers() == []


async def test_cancelled_opening_and_reading(kept: Kept) -> None:
    content = content_of(4 * CHUNK_BYTES)
    blob = await kept.store.put(chunks_of(content))

    async def whole() -> bytes:
        reader = await kept.store.open(blob.digest)
        try:
            return await read_all(reader, 0, reader.size)
        finally:
            await reader.close()

    for turns in range(12):
        task = asyncio.create_task(whole())
        for _ in range(turns):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled() or task.result() == content
    assert await whole() == content


async def test_readers_share_nothing(kept: Kept) -> None:
    content = content_of(3 * CHUNK_BYTES)
    blob = await kept.store.put(chunks_of(content))
    reader = await kept.store.open(blob.digest)
    parts = await asyncio.gather(*(read_all(reader, start, start + CHUNK_BYTES * 2) for start in range(4)))
    assert parts == [content[start : start + CHUNK_BYTES * 2] for start in range(4)]
    await reader.close()


@settings(deadline=None, max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(parts=st.lists(st.binary(max_size=300), max_size=8), data=st.data())
async def test_any_split_and_any_slice(kept: Kept, parts: list[bytes], data: st.DataObject) -> None:
    content = b"".join(parts)
    blob = await kept.store.put(pieces(parts))
    assert blob == Blob(digest=digest_of(content), size=len(content))
    start = data.draw(st.integers(0, len(content)))
    stop = data.draw(st.integers(0, len(content)))
    reader = await kept.store.open(blob.digest)
    assert await read_all(reader, start, stop) == content[start:stop]
    await reader.close()
    assert await kept.store.read(blob.digest) == content


@pytest.mark.parametrize(
    ("start", "stop"),
    [
        (0, 2 * CHUNK_BYTES + 5),
        (1, CHUNK_BYTES),
        (1, CHUNK_BYTES + 1),
        (1, CHUNK_BYTES + 2),
        (CHUNK_BYTES, 2 * CHUNK_BYTES),
        (2 * CHUNK_BYTES, 2 * CHUNK_BYTES + 5),
        (7, 7),
        (9, 3),
    ],
)
async def test_slices_at_chunk_boundaries(kept: Kept, start: int, stop: int) -> None:
    content = content_of(2 * CHUNK_BYTES + 5)
    blob = await kept.store.put(chunks_of(content))
    reader = await kept.store.open(blob.digest)
    assert await read_all(reader, start, stop) == content[start:stop]
    await reader.close()


# Files on a disk.


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "data" / "blobs"


async def test_files_are_named_by_their_digest(root: Path) -> None:
    blob = await LocalBlobs(root).put(chunks_of(b"hello"))
    assert path_of(root, blob.digest).read_bytes() == b"hello"
    assert os.stat(root).st_mode & 0o777 == 0o700


async def test_two_processes_worth_of_stores_share_a_directory(root: Path) -> None:
    blob = await LocalBlobs(root).put(chunks_of(b"shared"))
    assert await LocalBlobs(root).read(blob.digest) == b"shared"


@pytest.mark.parametrize("size", [10, CHUNK_BYTES + 10])
async def test_putting_it_again_makes_it_young(root: Path, size: int) -> None:
    store = LocalBlobs(root)
    blob = await store.put(chunks_of(content_of(size)))
    path = path_of(root, blob.digest)
    os.utime(path, (1000, 1000))
    before = time.time() - 5
    await store.put(chunks_of(content_of(size)))
    assert path.stat().st_mtime > before


async def test_a_small_blob_that_is_there_is_not_written_again(root: Path) -> None:
    store = LocalBlobs(root)
    blob = await store.put(chunks_of(b"once"))
    inode = path_of(root, blob.digest).stat().st_ino
    with path_of(root, blob.digest).open("rb"):  # so that the number is not given to another file
        await store.put(chunks_of(b"once"))
        assert path_of(root, blob.digest).stat().st_ino == inode


def test_leftovers_of_a_crash_go_after_a_day(root: Path) -> None:
    LocalBlobs(root)
    old, young = root / "tmp" / "old", root / "tmp" / "young"
    for path in (old, young):
        path.write_bytes(b"partial")
    long_ago = time.time() - LEFTOVER_SECONDS - 60
    os.utime(old, (long_ago, long_ago))
    LocalBlobs(root)
    assert not old.exists()
    assert young.exists()


async def test_opening_without_waiting(kept: Kept) -> None:
    assert kept.store.open_nowait(ABSENT) is None
    blob = await kept.store.put(chunks_of(b"0123456789"))
    reader = kept.store.open_nowait(blob.digest)
    if isinstance(kept.store, MemoryBlobs):
        assert reader is None, "there are no files"
        return
    assert reader is not None
    assert reader.size == 10
    assert reader.is_at_hand(0, 10)
    await reader.fetch(0, 10)
    assert await read_all(reader, 2, 10) == b"23456789"
    reader.close_nowait()
    reader.close_nowait()


async def test_what_is_not_in_the_kernels_memory_can_be_fetched(root: Path) -> None:
    store = LocalBlobs(root)
    blob = await store.put(chunks_of(content_of(1_000_000)))
    reader = await store.open(blob.digest)
    os.posix_fadvise(reader.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    try:
        os.preadv(reader.fileno(), [bytearray(1)], 500_000, os.RWF_NOWAIT)
        pytest.skip("this file system cannot tell, or forgets nothing")
    except BlockingIOError:
        assert not reader.is_at_hand(500_000, 600_000)
    except OSError:
        pytest.skip("this file system cannot tell, or forgets nothing")
    before = set(os.listdir("/proc/self/fd"))
    await reader.fetch(500_000, 600_000)
    assert set(os.listdir("/proc/self/fd")) == before
    assert reader.is_at_hand(500_000, 600_000)
    await reader.close()


async def test_fetching_what_cannot_be_read(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object) -> bytes:
        raise OSError(errno.EIO, "broken")

    store = LocalBlobs(root)
    reader = await store.open((await store.put(chunks_of(b"0123456789"))).digest)
    before = set(os.listdir("/proc/self/fd"))
    monkeypatch.setattr(os, "pread", fails)
    monkeypatch.setattr(os, "preadv", fails)
    assert reader.is_at_hand(0, 10), "for all that can be told"
    await reader.fetch(0, 10)
    assert set(os.listdir("/proc/self/fd")) == before
    await reader.close()


async def test_fileno_is_for_sendfile(root: Path) -> None:
    store = LocalBlobs(root)
    blob = await store.put(chunks_of(b"0123456789"))
    reader = await store.open(blob.digest)
    with (root / "copy").open("wb") as copy:
        assert os.sendfile(copy.fileno(), reader.fileno(), 2, 5) == 5
    assert (root / "copy").read_bytes() == b"23456"
    await reader.close()
    with pytest.raises(Unavailable, match="closed"):
        reader.fileno()
    with pytest.raises(Unavailable, match="closed"):
        await read_all(reader, 0, 5)


@pytest.mark.parametrize("digest", ["", "../../etc/passwd", "A" * 64, "0" * 63, "ab/" + "0" * 61])
async def test_only_digests_become_file_names(root: Path, digest: str) -> None:
    store = LocalBlobs(root)
    for verb in (store.read, store.open, store.delete):
        with pytest.raises(Invalid, match="SHA-256"):
            await verb(digest)


@pytest.mark.parametrize("size", [CHUNK_BYTES // 2, 4 * CHUNK_BYTES])
async def test_a_full_disk(root: Path, size: int) -> None:
    """A limit on the size of files is as near to a full disk as a test gets without being root."""
    store = LocalBlobs(root)
    old = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size // 2, old[1]))
    try:
        with pytest.raises(Unavailable, match="^the blob store failed: File too large$"):
            await store.put(chunks_of(content_of(size)))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, old)
    assert visible(root) == {}
    assert list((root / "tmp").iterdir()) == []
    assert (await store.put(chunks_of(content_of(size)))).size == size


async def test_several_at_once_on_a_disk_that_fails(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(descriptor: int) -> int:
        ctypes.set_errno(errno.ENOSPC)
        return -1

    store = LocalBlobs(root)
    monkeypatch.setattr(local_puts, "_syncfs", fail)
    with pytest.raises(OutOfSpace, match=os.strerror(errno.ENOSPC)):
        await store.put_all([b"one", b"two"])
    assert visible(root) == {}
    assert list((root / "tmp").iterdir()) == []


async def test_several_at_once_where_a_file_system_cannot_be_flushed(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each file and each directory is, then."""
    flushed: list[str] = []

    def fsync(descriptor: int) -> None:
        flushed.append(os.readlink(f"/proc/self/fd/{descriptor}"))

    store = LocalBlobs(root)
    monkeypatch.setattr(local_puts, "_syncfs", None)
    monkeypatch.setattr(os, "fsync", fsync)
    blobs = await store.put_all([b"one", b"two"])
    assert {Path(name).parent for name in flushed[:2]} == {root / "tmp"}
    assert set(flushed[2:]) == {str(path_of(root, blob.digest).parent) for blob in blobs}
    assert set(visible(root)) == {blob.digest for blob in blobs}


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
async def test_a_full_disk_is_told_apart(root: Path, number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    def fsync(descriptor: int) -> None:
        raise OSError(number, os.strerror(number))

    store = LocalBlobs(root)
    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.raises(OutOfSpace, match=os.strerror(number)):
        await store.put(chunks_of(b"new"))
    assert visible(root) == {}


async def test_a_volume_that_is_gone(root: Path) -> None:
    store = LocalBlobs(root)
    blob = await store.put(chunks_of(b"out of reach"))
    os.rename(root, root.with_name("elsewhere"))
    for verb in (store.read, store.open, store.delete):
        with pytest.raises(Unavailable, match="No such file"):
            await verb(blob.digest)
    with pytest.raises(Unavailable, match="No such file"):
        await store.put(chunks_of(b"new"))
    with pytest.raises(Unavailable, match="No such file"):
        [_ async for _ in store.list_stored(0)]


async def test_a_name_that_is_no_file(root: Path) -> None:
    store = LocalBlobs(root)
    path_of(root, digest_of(b"blocked")).mkdir()
    with pytest.raises(Unavailable, match="Is a directory"):
        await store.put(chunks_of(b"blocked"))
    for verb in (store.read, store.open, store.delete):
        with pytest.raises(Unavailable, match="Is a directory"):
            await verb(digest_of(b"blocked"))
    assert list((root / "tmp").iterdir()) == []


async def test_a_file_that_shrinks_while_it_is_read(root: Path) -> None:
    store = LocalBlobs(root)
    blob = await store.put(chunks_of(content_of(2 * CHUNK_BYTES)))
    reader = await store.open(blob.digest)
    os.truncate(path_of(root, blob.digest), CHUNK_BYTES)
    with pytest.raises(Corrupt, match=f"{blob.digest} ends at {CHUNK_BYTES}"):
        await read_all(reader, 0, reader.size)
    await reader.close()


def test_a_directory_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(Unavailable, match="Not a directory"):
        LocalBlobs(tmp_path / "file" / "blobs")


@pytest.mark.slow
async def test_memory_does_not_grow_with_size(root: Path) -> None:
    """A child puts and reads back 256 MiB in less memory than a tenth of that."""
    script = """
import asyncio, re, sys
from pathlib import Path
from storage.local import LocalBlobs

def peak():  # not ru_maxrss, which a child has from its parent
    return int(re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1])

async def body():
    for number in range(4096):
        yield number.to_bytes(2, "big") * 32768

async def main():
    store = LocalBlobs(Path(sys.argv[1]))
    before = peak()
    blob = await store.put(body())
    reader = await store.open(blob.digest)
    size = 0
    async for chunk in reader.read(0, reader.size):
        size += len(chunk)
    await reader.close()
    assert size == blob.size == 4096 * 65536
    print(peak() - before)

asyncio.run(main())
"""
    done = await asyncio.to_thread(
        subprocess.run, [sys.executable, "-c", script, str(root)], capture_output=True, text=True, check=True
    )
    assert int(done.stdout) < 25 * 1024, "kilobytes"


PUTTER = """
import asyncio, random, sys
from pathlib import Path
from storage.local import LocalBlobs

async def body(content):
    for start in range(0, len(content), 50_000):
        yield content[start : start + 50_000]

async def put_for_ever(store, numbers):
    while True:
        blob = await store.put(body(numbers.randbytes(numbers.choice([10, 5_000, 300_000, 900_000]))))
        print(blob.digest, flush=True)
        for blob in await store.put_all([numbers.randbytes(5_000) for _ in range(numbers.randrange(9))]):
            print(blob.digest, flush=True)

async def main():
    store = LocalBlobs(Path(sys.argv[1]))
    await asyncio.gather(*(put_for_ever(store, random.Random(f"{sys.argv[2]}-{number}")) for number in range(4)))

asyncio.run(main())
"""


@pytest.mark.slow
async def test_killed_in_the_middle_of_puts(root: Path) -> None:
    seed = random.randrange(2**32)
    print("seed", seed)
    numbers = random.Random(seed)
    store = LocalBlobs(root)
    promised: list[str] = []
    for number in range(8):
        promised += put_until_killed(root, f"{seed}-{number}", after=numbers.randrange(1, 12))
        for digest, path in visible(root).items():
            assert digest_of(path.read_bytes()) == digest
    assert len(promised) >= 8
    for digest in promised:
        await store.read(digest)  # raises unless it is there, whole
    for path in (root / "tmp").iterdir():
        os.utime(path, (0, 0))
    LocalBlobs(root)
    assert list((root / "tmp").iterdir()) == []


def put_until_killed(root: Path, seed: str, after: int) -> list[str]:
    """The digests that a child process was promised before it was killed, which was after `after` of them."""
    with subprocess.Popen([sys.executable, "-c", PUTTER, str(root), seed], stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        lines = [child.stdout.readline() for _ in range(after)]
        child.kill()
        lines += child.stdout.readlines()
    assert child.returncode == -9
    return [line.strip() for line in lines if line.endswith("\n")]


@pytest.mark.slow
@pytest.mark.parametrize("size", [10, 2 * CHUNK_BYTES])
async def test_a_put_beside_a_deletion_keeps_its_content(root: Path, size: int) -> None:
    """Old content goes or becomes young, whichever comes first: what a put has acknowledged is there."""
    stores = [LocalBlobs(root) for _ in range(2)]
    content = content_of(size)
    blob = await stores[0].put(chunks_of(content))
    deleted = 0
    for _ in range(150):
        grow_older(root, 100)
        puts = asyncio.gather(*(store.put(chunks_of(content)) for store in stores))
        deleted += await stores[1].delete(blob.digest, unchanged_for=60)
        await puts
        assert await stores[0].read(blob.digest) == content
        assert await stores[0].delete(blob.digest, unchanged_for=60) is False
    assert deleted > 0


def is_held(lock: Path, how: int) -> bool:
    """Whether somebody holds the lock in a way that keeps out whoever wants it so."""
    with lock.open() as file:
        try:
            fcntl.flock(file, how | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


@pytest.mark.parametrize("size", [10, 2 * CHUNK_BYTES])
async def test_puts_and_deletions_take_turns(root: Path, size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    store, lock = LocalBlobs(root), root / LOCK_FILE
    seen: list[tuple[str, bool, bool]] = []

    def watched(module: object, name: str) -> None:
        function = getattr(module, name)

        def run(*arguments: object) -> object:
            if arguments != (lock,):  # telling the time
                seen.append((name, is_held(lock, fcntl.LOCK_EX), is_held(lock, fcntl.LOCK_SH)))
            return function(*arguments)

        monkeypatch.setattr(module, name, run)

    for module, name in ((os, "replace"), (os, "utime"), (Path, "unlink")):
        watched(module, name)
    blob = await store.put(chunks_of(content_of(size)))
    await store.put(chunks_of(content_of(size)))
    await store.delete(blob.digest)
    again = "utime" if size < CHUNK_BYTES else "replace"
    assert seen == [("replace", True, False), (again, True, False), ("unlink", True, True)]
    assert not is_held(lock, fcntl.LOCK_EX)

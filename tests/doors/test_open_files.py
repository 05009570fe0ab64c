"""Blobs that stay open while they are asked for."""

from __future__ import annotations

import asyncio
import resource
from pathlib import Path
from typing import cast

import pytest

from server.doors import open_files
from server.doors.open_files import OpenFile, OpenFiles
from storage.blobs import FileReader
from storage.errors import Unavailable
from storage.local import LocalReader
from storage.models import Digest
from tests.support.connections import until


class Opened:
    """Opens small files, and knows which are open."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self.readers: list[tuple[Digest, LocalReader]] = []

    def open(self, digest: Digest) -> FileReader | None:
        """One of that name; None for "missing"."""
        if digest == "missing":
            return None
        path = self._directory / digest
        path.write_text(digest)
        reader = LocalReader(digest, str(path))
        reader.start()
        self.readers.append((digest, reader))
        return reader

    def still(self) -> list[Digest]:
        """Those that are not closed, as often as they are open."""
        return [digest for digest, reader in self.readers if _is_open(reader)]


def _is_open(reader: FileReader) -> bool:
    try:
        reader.fileno()
    except Unavailable:
        return False
    return True


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(open_files, "KEEP_SECONDS", 0.01)


async def test_one_that_is_asked_for_again_is_opened_once(tmp_path: Path) -> None:
    opened = Opened(tmp_path)
    files = OpenFiles(opened.open)
    assert files.find("missing") is None
    for _ in range(3):
        assert files.find("a") is not None
    assert [digest for digest, _ in opened.readers] == opened.still() == ["a"]
    await until(lambda: not opened.still())  # and closed when nobody has asked for it in a while


async def test_one_in_use_stays_open_until_it_is_given_back(tmp_path: Path) -> None:
    opened = Opened(tmp_path)
    files = OpenFiles(opened.open)
    used, idle = files.find("used"), files.find("idle")
    assert used is not None
    assert idle is not None
    used.borrow()
    await until(lambda: opened.still() == ["used"])
    assert idle.descriptor == -1
    again = files.find("used")  # it may have been let go, but is there for those who have it
    assert again is not None
    again.borrow()
    used.release()
    assert "used" in opened.still()
    again.release()
    await until(lambda: not opened.still())


async def test_what_is_asked_for_all_the_time_outlives_the_turns(tmp_path: Path) -> None:
    opened = Opened(tmp_path)
    files = OpenFiles(opened.open)
    loop = asyncio.get_running_loop()
    end = loop.time() + 0.1

    def asked() -> bool:
        assert files.find("a") is not None
        return loop.time() >= end

    await until(asked)
    assert len(opened.readers) < 10
    await until(lambda: not opened.still())


class AtHand:
    """A reader of a file of which the kernel has a part in memory."""

    def __init__(self, start: int, stop: int) -> None:
        self.part = (start, stop)
        self.asked: list[tuple[int, int]] = []

    def fileno(self) -> int:
        return 0

    def is_at_hand(self, start: int, stop: int) -> bool:
        self.asked.append((start, stop))
        return self.part[0] <= start and stop <= self.part[1]


def test_what_was_at_hand_is_trusted_to_be_for_a_while() -> None:
    reader = AtHand(100, 1000)
    file = OpenFile(cast(FileReader, reader))
    assert not file.is_at_hand(0, 200, 0.0)
    assert file.is_at_hand(100, 200, 0.0)
    assert file.is_at_hand(120, 180, 0.5)
    assert file.is_at_hand(200, 300, 0.5)  # and so all from 100 to 300
    assert file.is_at_hand(100, 300, 0.9)
    assert file.is_at_hand(500, 600, 0.9)  # apart from that, which is forgotten
    assert not file.is_at_hand(600, 2000, 0.9)
    assert file.is_at_hand(550, 600, 1.8)
    assert reader.asked == [(0, 200), (100, 200), (200, 300), (500, 600), (600, 2000)]
    reader.part = (0, 0)
    assert file.is_at_hand(500, 600, 1.8)
    assert not file.is_at_hand(500, 600, 0.9 + open_files.TRUST_SECONDS)


async def test_no_more_than_so_many(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(open_files, "MAX_FILES", 3)
    monkeypatch.setattr(open_files, "KEEP_SECONDS", 60.0)
    opened = Opened(tmp_path)
    files = OpenFiles(opened.open)
    for number in range(20):
        assert files.find(f"{number}") is not None
        assert len(opened.still()) <= 6
    files.close()
    assert opened.still() == []


@pytest.mark.parametrize(("limit", "most"), [(320, 40), (resource.RLIM_INFINITY, 2 * open_files.MAX_FILES)])
async def test_most_descriptors_are_left_to_connections(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: int, most: int
) -> None:
    monkeypatch.setattr(open_files, "KEEP_SECONDS", 60.0)
    monkeypatch.setattr(resource, "getrlimit", lambda which: (limit, limit))
    opened = Opened(tmp_path)
    files = OpenFiles(opened.open)
    greatest = 0
    for number in range(most + 30):
        assert files.find(f"{number}") is not None
        if number >= most - 1:
            greatest = max(greatest, len(opened.still()))
    assert greatest == most
    files.close()
    assert opened.still() == []

"""The root key's file, as the server makes it and the commands read it."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from server.root_key import RootKeyError, make_root_key, read_root_key


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "root.key"


def test_it_is_made_once(path: Path) -> None:
    path.with_suffix(".new").write_text("what a start that was cut short left behind")
    secret = make_root_key(path)
    assert make_root_key(path) == secret == read_root_key(path)
    assert list(path.parent.iterdir()) == [path]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


@pytest.mark.parametrize(
    ("content", "text"),
    [(b"", "is empty"), (b" \n", "is empty"), (b"\xff", "no text"), (b"a\0b", "no text"), (b"a\nb", "no text")],
)
def test_what_is_no_key(path: Path, content: bytes, text: str) -> None:
    path.write_bytes(content)
    for read in (read_root_key, make_root_key):
        with pytest.raises(RootKeyError, match=text):
            read(path)
    assert path.read_bytes() == content


def test_a_file_that_is_not_there(path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read_root_key(path)

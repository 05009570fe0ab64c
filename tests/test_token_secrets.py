"""The file with what tokens are signed with."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from server.root_key import RootKeyError
from server.token_secrets import make_token_secrets


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "token.secrets"


def test_it_is_made_once(path: Path) -> None:
    (secret,) = make_token_secrets(path)
    assert make_token_secrets(path) == (secret,)
    assert len(secret) >= 43
    assert list(path.parent.iterdir()) == [path]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_two_secrets_the_newest_first(path: Path) -> None:
    path.write_text(f"{'n' * 32}\n{'o' * 32}\n")
    assert make_token_secrets(path) == ("n" * 32, "o" * 32)


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (b"", "is empty"),
        (b"\xff", "no text"),
        (b"short", "fewer than 32 characters"),
        (b"x" * 32 + b"\n" + b"short", "fewer than 32 characters"),
        ((b"x" * 32 + b"\n") * 3, "has 3 secrets"),
    ],
)
def test_what_cannot_sign(path: Path, content: bytes, text: str) -> None:
    path.write_bytes(content)
    with pytest.raises(RootKeyError, match=text):
        make_token_secrets(path)
    assert path.read_bytes() == content

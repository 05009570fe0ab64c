"""Files that hold one key: the server makes them when it first starts. The commands on its machine read the root key's;
the key that signs links to files is the server's alone."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from storage.ids import new_secret

ROOT_KEY_FILE = "root.key"
LINK_KEY_FILE = "link.key"


class RootKeyError(Exception):
    """The file holds no key; the text says what it holds instead."""


def read_root_key(path: Path) -> str:
    """The key in the file. Raises `OSError`, or `RootKeyError` for what no request could carry."""
    key = read_secret(path)
    if not key.isprintable():
        raise RootKeyError(f"{path} is no text that could be a key")
    return key


def make_root_key(path: Path, new: Callable[[], str] = new_secret) -> str:
    """The key in the file, made if there is none. It is whole from the instant it has its name. Raises as above.

    For the one server that holds the data directory's lock: nobody else makes it at the same time.
    """
    with suppress(FileNotFoundError):
        return read_root_key(path)
    secret = new()
    write_secret(path, secret)
    return secret


def read_secret(path: Path) -> str:
    """The text of a file that holds a secret. Raises `OSError`, or `RootKeyError` if it holds none."""
    try:
        text = path.read_text("ascii").strip()
    except UnicodeDecodeError as exc:
        raise RootKeyError(f"{path} is no text that could be a key") from exc
    if not text:
        raise RootKeyError(f"{path} is empty")
    return text


def write_secret(path: Path, text: str) -> None:
    """Make the file, mode 0600, whole from the instant it has its name."""
    temporary = path.with_suffix(".new")
    temporary.unlink(missing_ok=True)  # of a start that was cut short
    with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text + "\n")
        file.flush()
        os.fsync(file.fileno())
    temporary.rename(path)

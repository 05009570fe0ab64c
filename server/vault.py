"""Secrets that tenants leave here, encrypted at rest; the only use of cryptography's Fernet.

Keys are in a file beside the database and not in it, one a line, the newest first: that one encrypts, each decrypts. A
file that changes is read again, so that a rotation needs no restart.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from cryptography.fernet import Fernet, InvalidToken, MultiFernet

from server.root_key import RootKeyError, read_secret, write_secret
from storage.errors import Corrupt
from storage.metadata import MetadataStore

KEPT = 2  # keys after a rotation: a server may have used the one before until the moment of it
AT_ONCE = 500  # secrets that are read at once


class Vault:
    """Seals values for one purpose each, so that what is kept for one site cannot be passed off as another's."""

    def __init__(self, path: Path | None = None) -> None:
        """`path` is the file of the keys; without one there is a key that goes with this object."""
        self._path = path
        self._stamp: tuple[int, int] | None = None
        self._keys = MultiFernet([Fernet(_new_key())])

    def seal(self, value: Any, site_id: str, kind: str) -> str:
        """`value`, which JSON can carry, for that site and kind. Raises `Corrupt` if the keys cannot be read."""
        plain = json.dumps({"for": [site_id, kind], "value": value})
        return self._current().encrypt(plain.encode()).decode()

    def open(self, sealed: str, site_id: str, kind: str) -> Any:
        """What was sealed for them. Raises `Corrupt`, which names no secret."""
        try:
            plain = json.loads(self._current().decrypt(sealed.encode()))
        except InvalidToken:
            raise Corrupt(f"the {kind} of site {site_id} was encrypted with a key that is not there") from None
        if plain["for"] != [site_id, kind]:
            raise Corrupt(f"the {kind} of site {site_id} is another's")
        return plain["value"]

    def renew(self, sealed: str) -> str:
        """The same, encrypted with the newest key. Raises `Corrupt`."""
        try:
            return self._current().rotate(sealed.encode()).decode()
        except InvalidToken:
            raise Corrupt("a secret was encrypted with a key that is not there: put that key into the file") from None

    def _current(self) -> MultiFernet:
        if self._path is None:
            return self._keys
        try:
            status = self._path.stat()
            stamp = (status.st_mtime_ns, status.st_ino)
            if stamp != self._stamp:
                self._keys = MultiFernet([Fernet(key) for key in read_keys(self._path)])
                self._stamp = stamp
        except (OSError, RootKeyError) as exc:
            raise Corrupt(f"the keys of credentials cannot be read: {exc}") from exc
        return self._keys


def read_keys(path: Path) -> Sequence[str]:
    """Raises `OSError`, or `RootKeyError` for what are no keys."""
    keys = read_secret(path).split()
    try:
        for key in keys:
            Fernet(key)
    except ValueError as exc:
        raise RootKeyError(f"{path} has a line that is no key of credentials") from exc
    return keys


def make_keys(path: Path) -> None:
    """Make the file with one key, unless it is there. Raises `OSError`, or `RootKeyError` for what are no keys."""
    with suppress(FileNotFoundError):
        read_keys(path)
        return
    _write_keys(path, [_new_key()])


async def rotate(path: Path, metadata: MetadataStore) -> int:
    """Encrypt every secret with a new key, and let go of all keys but that and the one before; how many secrets.

    1. the new key is the first of the file, and all servers use it from then on
    2. every secret is encrypted with it; whoever changes one meanwhile does so, too
    3. older keys go. What goes wrong before leaves all of them, and it can be begun again

    Raises `OSError`, `RootKeyError`, `StorageError`.
    """
    keys = [_new_key(), *read_keys(path)]
    _write_keys(path, keys)
    vault = Vault(path)
    renewed, place = 0, ("", "")
    while secrets := await metadata.list_secrets(place, AT_ONCE):
        for secret in secrets:
            renewed += await metadata.replace_secret(secret, vault.renew(secret.sealed))
        place = (secrets[-1].widget_id, secrets[-1].kind)
    _write_keys(path, keys[:KEPT])
    return renewed


def _new_key() -> str:
    return Fernet.generate_key().decode()


def _write_keys(path: Path, keys: Sequence[str]) -> None:
    write_secret(path, "\n".join(keys))

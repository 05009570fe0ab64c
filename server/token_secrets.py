"""The secrets that tokens are signed with: the newest signs, and a second one is still believed, for rotation.

They are the `token_secrets` setting, or a file beside the root key that the server makes when it first starts: one
secret a line, the newest first.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from server.root_key import RootKeyError, read_secret, write_secret

TOKEN_SECRETS_FILE = "token.secrets"
MIN_LENGTH = 32  # characters: HS256 wants a key no shorter than its hash (RFC 7518 §3.2)
MAX_COUNT = 2


def make_token_secrets(path: Path) -> tuple[str, ...]:
    """The secrets in the file, one made if there is none. Raises `OSError`, or `RootKeyError` for what cannot be used.

    For the one server that holds the data directory's lock: nobody else makes it at the same time.
    """
    with suppress(FileNotFoundError):
        found = tuple(read_secret(path).split())
        if problem := find_problem(found):
            raise RootKeyError(f"{path} {problem}")
        return found
    secret = secrets.token_urlsafe(32)
    write_secret(path, secret)
    return (secret,)


def find_problem(found: Sequence[str]) -> str:
    """Why these cannot sign tokens; "" if they can."""
    if not 1 <= len(found) <= MAX_COUNT:
        return f"has {len(found)} secrets: give one, or two while one takes the place of the other"
    if any(len(secret) < MIN_LENGTH for secret in found):
        return f"has a secret of fewer than {MIN_LENGTH} characters: use what `openssl rand -hex 32` prints"
    return ""

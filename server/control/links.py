"""Links to files that work without a key, for a while: whoever may download a file may pass one on.

A link is the file's address, the time it ends, and an HMAC-SHA256 of both with a key that only the server knows. It
gives what is at that path when it is used, and ends early only with the file.
"""

from __future__ import annotations

import hashlib
import hmac
from typing import NamedTuple

from storage.models import Millis

LINK_SECONDS = 300


class Signature(NamedTuple):
    """What a link adds to an address: `expires` in seconds since the epoch, and the HMAC of everything, hexadecimal."""

    expires: int
    signature: str


def sign(key: bytes, space_id: str, path: str, now: Millis) -> Signature:
    """A link's signature from `now` on."""
    expires = now // 1000 + LINK_SECONDS
    return Signature(expires, _digest(key, space_id, path, expires))


def holds(key: bytes, space_id: str, path: str, given: Signature, now: Millis) -> bool:
    """Whether `given` was made by `sign` for this file, and is not over."""
    expected = _digest(key, space_id, path, given.expires)
    return hmac.compare_digest(expected.encode(), given.signature.encode()) and now < given.expires * 1000


def _digest(key: bytes, space_id: str, path: str, expires: int) -> str:
    # Neither an id nor a kept path has a line break.
    return hmac.new(key, f"{expires}\n{space_id}\n{path}".encode(), hashlib.sha256).hexdigest()

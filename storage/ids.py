"""Identifiers: a kind, then a sortable time and 128 random bits.

`space_` + 12 digits of microseconds since the epoch + 26 digits of randomness, in lower-case base 32
(Crockford's alphabet, which sorts as the numbers do). Ids made by one process strictly increase, so that keyset
pagination by id is pagination by creation.
"""

from __future__ import annotations

import re
import secrets
import string
import time

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
SITE_ID = re.compile(r"[a-z0-9]{8,32}")
_SITE_ID_ALPHABET = string.ascii_lowercase + string.digits
_SITE_ID_DIGITS = 10  # of a million names, one in 3,600 million new ones is taken
_TIME_DIGITS = 12
_RANDOM_DIGITS = 26

_last = 0


def _base32(number: int, digits: int) -> str:
    out = []
    for _ in range(digits):
        number, digit = divmod(number, 32)
        out.append(_ALPHABET[digit])
    return "".join(reversed(out))


def new_id(kind: str) -> str:
    """A new identifier of `kind`, such as `space_01h…`; later ones of this process sort after it."""
    global _last
    _last = max(_last + 1, time.time_ns() // 1000)
    return f"{kind}_{_base32(_last, _TIME_DIGITS)}{_base32(secrets.randbits(128), _RANDOM_DIGITS)}"


def new_secret(prefix: str = "sk-") -> str:
    """A secret key: `prefix` and 256 random bits in base64url. Shown once; only its hash is ever kept."""
    return f"{prefix}{secrets.token_urlsafe(32)}"


def new_site_id() -> str:
    """The public name of a widget: as short as it can be, as everybody may see it and none is given twice."""
    return "".join(secrets.choice(_SITE_ID_ALPHABET) for _ in range(_SITE_ID_DIGITS))

"""Repr-Digest for whoever asks with Want-Repr-Digest (RFC 9530). Pure.

1. `wants_sha256`  Want-Repr-Digest → whether a SHA-256 is wanted
2. `repr_digest`   the field for a content, whose SHA-256 names it: nothing is read to tell

SHA-256 is the one algorithm, so the weights only tell whether it is wanted at all.
"""

from __future__ import annotations

import re
from base64 import b64encode

from storage.models import Digest

# RFC 9651 §3.2 of the kind that RFC 9530 §4 wants: a Dictionary of Integers. Parameters may have values of any type.
_KEY = r"[a-z*][a-z0-9_\-.*]*+"
_INTEGER = r"-?[0-9]{1,15}+(?![0-9.])"
_VALUE = "|".join(
    (
        r"@?" + _INTEGER,
        r"-?[0-9]{1,12}+\.[0-9]{1,3}+(?![0-9])",  # Decimal
        r'"(?:[\x20\x21\x23-\x5b\x5d-\x7e]|\\["\\])*"',  # String
        r"[A-Za-z*][A-Za-z0-9!#$%&'*+\-.^_`|~:/]*+",  # Token
        r":[A-Za-z0-9+/=]*+:",  # Byte Sequence
        r"\?[01]",  # Boolean
        r'%"(?:[\x20\x21\x23\x24\x26-\x7e]|%[0-9a-f]{2})*"',  # Display String
    )
)
_PARAMETERS = rf"(?:; *+{_KEY}(?:=(?:{_VALUE}))?)*"
_MEMBER = re.compile(rf"({_KEY})=({_INTEGER}){_PARAMETERS}")
_DICTIONARY = re.compile(rf"{_MEMBER.pattern}(?:[ \t]*+,[ \t]*+{_MEMBER.pattern})*")

MAX_WEIGHT = 10


def wants_sha256(field: str) -> bool:
    """Whether a Want-Repr-Digest field asks for a SHA-256. One that is malformed, be it in one member, asks for nothing
    (RFC 9651 §4.2); of a key that is repeated, the last one counts (§3.2)."""
    if not _DICTIONARY.fullmatch(field):
        return False
    weights = {key: int(weight) for key, weight in _MEMBER.findall(field)}
    return all(0 <= weight <= MAX_WEIGHT for weight in weights.values()) and weights.get("sha-256", 0) > 0


def repr_digest(digest: Digest) -> tuple[bytes, bytes]:
    """The header for a representation of that digest."""
    return b"repr-digest", b"sha-256=:%b:" % b64encode(bytes.fromhex(digest))

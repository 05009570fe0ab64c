"""Which coding of a file a request gets (RFC 9110 §12.5.3). Pure.

1. `acceptable`  Accept-Encoding → the codings that it allows
2. `rank`        sizes → codings, the best first
3. `choose`      the best of those that are allowed

Among what is allowed, size decides. Weights only say what is refused (`q=0`): whoever ranks codings does so for the
sake of size, which is known here and not to the client.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import TypeAlias

Coding: TypeAlias = str

IDENTITY: Coding = "identity"
CODINGS: tuple[Coding, ...] = (IDENTITY, "zstd", "br", "gzip")  # of equal size, the first
ALIASES: Mapping[str, Coding] = {"x-gzip": "gzip"}  # RFC 9110 §8.4.1.3

MAX_KEPT_FIELD = 256  # characters; browsers send thirty

_OWS = " \t"
_WEIGHT = re.compile(r"q=(?:0(?:\.[0-9]{0,3})?|1(?:\.0{0,3})?)", re.IGNORECASE)  # §12.4.2
_ZERO = re.compile(r"q=0(?:\.0*)?", re.IGNORECASE)


def acceptable(field: str | None) -> frozenset[Coding]:
    """Those of `CODINGS` that an Accept-Encoding field allows.

    Without a field the RFC would allow everything, but who sends none may be unable to decode anything: only identity
    is. A member that is malformed allows nothing, and like `q=0` it takes back what others say of the same coding:
    what is in doubt is not sent.
    """
    if field is not None and len(field) > MAX_KEPT_FIELD:
        return _parse(field)
    return _kept(field)


def _parse(field: str | None) -> frozenset[Coding]:
    if field is None:
        return frozenset((IDENTITY,))
    said: dict[str, bool] = {}
    for member in field.split(","):
        name, semicolon, weight = member.partition(";")
        name = name.strip(_OWS).lower()
        name = ALIASES.get(name, name)
        said[name] = said.get(name, True) and (not semicolon or _accepts(weight.strip(_OWS)))
    star = said.get("*")
    unnamed = {coding: star if star is not None else coding == IDENTITY for coding in CODINGS}
    return frozenset(coding for coding in CODINGS if said.get(coding, unnamed[coding]))


# Few fields are in use, so nearly every request finds its own here; long ones are not kept.
_kept = lru_cache(maxsize=256)(_parse)


def _accepts(weight: str) -> bool:
    return _WEIGHT.fullmatch(weight) is not None and _ZERO.fullmatch(weight) is None


def rank(sizes: Mapping[Coding, int]) -> tuple[Coding, ...]:
    """The codings of `sizes`, the smallest first; of equal ones in the order of `CODINGS`."""
    return tuple(sorted(sizes, key=lambda coding: (sizes[coding], CODINGS.index(coding))))


def choose(field: str | None, ranked: Iterable[Coding]) -> Coding:
    """The first of `ranked` that `field` allows. If it allows none, identity all the same: a 406 would help nobody."""
    allowed = acceptable(field)
    for coding in ranked:
        if coding in allowed:
            return coding
    return IDENTITY

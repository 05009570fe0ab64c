"""Which form of an answer a request asks for (RFC 9110 §12.5.1). Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence

_WEIGHT = re.compile(r"[ \t]*q=(0(?:\.[0-9]{0,3})?|1(?:\.0{0,3})?)[ \t]*", re.IGNORECASE)  # §12.4.2


def choose_media_type(field: str | None, offers: Sequence[str]) -> str:
    """The one of `offers` that an Accept field weighs most; of equal ones the first.

    Without a field, or if it allows none, the first: a 406 would help nobody. Parameters of media types are ignored, a
    member with a malformed weight too.
    """
    weights = _parse(field or "*/*")
    return max(offers, key=lambda offer: _weigh(offer, weights))


def _parse(field: str) -> dict[str, float]:
    weights: dict[str, float] = {}
    for member in field.split(","):
        media_range, *parameters = member.split(";")
        weight = 1.0
        for parameter in parameters:
            if parameter.strip(" \t")[:2].lower() == "q=":
                found = _WEIGHT.fullmatch(parameter)
                weight = float(found[1]) if found else -1.0
        name = media_range.strip(" \t").lower()
        weights[name] = max(weight, weights.get(name, 0.0))
    return weights


def _weigh(offer: str, weights: dict[str, float]) -> float:
    """The most specific range counts: the type itself, then all of its kind, then everything."""
    kind = offer.partition("/")[0]
    return next((weights[name] for name in (offer, f"{kind}/*", "*/*") if name in weights), 0.0)

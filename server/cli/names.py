"""Names as people type them, and as the API wants them. Pure."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from datetime import timedelta
from urllib.parse import quote

from server.cli.errors import USAGE, CliError

MAX_ALIAS = 128  # characters
SECOND = timedelta(seconds=1)
UNITS = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}

_DURATION = re.compile(rf"([1-9][0-9]{{0,4}})([{''.join(UNITS)}])")


def normalise_domain(text: str) -> str:
    """As people type it, in lower case and without the root's dot; the server judges the rest."""
    domain = unicodedata.normalize("NFC", text.strip().lower()).removesuffix(".")
    if not domain or any(character in domain for character in "/:@ "):
        raise CliError(
            f"{text!r} is not a domain.", "Give it without http:// and port, such as docs.localhost.", exit_code=USAGE
        )
    return domain


def derive_alias(domain: str) -> str:
    """The alias of the space made for `domain`.

    No two domains share one, or publishing the one would replace the other: a domain has no underscore of its own,
    and punycode without IDNA's mappings keeps apart what they unite.
    """
    labels = (label if label.isascii() else f"xn--{label.encode('punycode').decode()}" for label in domain.split("."))
    alias = "_".join(labels).replace("*", "")
    if len(alias) <= MAX_ALIAS:
        return alias
    return f"{alias[: MAX_ALIAS - 33]}_{hashlib.sha256(domain.encode()).hexdigest()[:32]}"


def parse_duration(option: str, text: str) -> timedelta:
    """What `text`, such as 90d, that was given as `option` says."""
    match = _DURATION.fullmatch(text.strip().lower())
    if not match:
        raise CliError(
            f"{option} {text!r} is not a duration.",
            "Give a number and m, h, d or w for minutes, hours, days or weeks, such as 90d.",
            exit_code=USAGE,
        )
    return timedelta(**{UNITS[match[2]]: int(match[1])})


def segment(text: str) -> str:
    """`text` as one segment of a path."""
    return quote(text, safe="@")

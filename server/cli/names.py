"""Names as people type them, and as the API wants them. Pure."""

from __future__ import annotations

import hashlib
import unicodedata
from urllib.parse import quote

from server.cli.errors import USAGE, CliError

MAX_ALIAS = 128  # characters


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


def segment(text: str) -> str:
    """`text` as one segment of a path."""
    return quote(text, safe="@")

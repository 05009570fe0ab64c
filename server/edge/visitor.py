"""What of a request a tenant's rules may read besides its path, and which of it they do.

Each part is parsed when a rule first asks, and no further than a browser would ever fill it: a rule file cannot make
a request expensive, and neither can a request.
"""

from __future__ import annotations

import re
from collections.abc import Hashable, Iterable
from dataclasses import dataclass
from functools import cached_property
from urllib.parse import unquote_plus

# How many of each are looked at; what lies beyond is as if it were not there. Browsers keep 180 cookies a site at most.
MAX_PARAMETERS = 64
MAX_COOKIES = 256
MAX_RANGES = 64  # of Accept and Accept-Language
MAX_RANGE_PARAMETERS = 8

# What asks for a page to show, as against a part of one (Fetch §2.2.5, "navigation request").
_PAGE_DESTINATIONS = frozenset({"document", "embed", "frame", "iframe", "object"})
_PAGE_EXTENSIONS = frozenset({"html", "htm"})

LANGUAGE_TAG = re.compile(r"[a-z]{1,8}(?:-[a-z0-9]{1,8}){0,7}")
_WEIGHT = re.compile(r"[ \t]*q=([01](?:\.[0-9]{0,3})?)[ \t]*", re.IGNORECASE)  # RFC 9110 §12.4.2


@dataclass(frozen=True, slots=True)
class Inputs:
    """Which parts: names of query parameters and cookies, languages, and whether it is a navigation."""

    query: frozenset[str] = frozenset()
    cookies: frozenset[str] = frozenset()
    languages: frozenset[str] = frozenset()
    navigation: bool = False

    def __or__(self, other: Inputs) -> Inputs:
        return Inputs(
            self.query | other.query,
            self.cookies | other.cookies,
            self.languages | other.languages,
            self.navigation or other.navigation,
        )

    def __bool__(self) -> bool:
        return bool(self.query or self.cookies or self.languages or self.navigation)

    @property
    def language(self) -> bool:
        """Whether Accept-Language is read."""
        return bool(self.languages)

    @property
    def vary(self) -> tuple[bytes, ...]:
        """The request fields that belong into Vary (the query is part of the URL)."""
        cookie = (b"cookie",) if self.cookies else ()
        language = (b"accept-language",) if self.languages else ()
        return (*cookie, *language, *((b"sec-fetch-dest", b"accept") if self.navigation else ()))


NO_INPUTS = Inputs()


def join_inputs(several: Iterable[Inputs]) -> Inputs:
    """All of them. Not by `|` one after the other, whose sets grow with each of two thousand rules."""
    kept = [inputs for inputs in several if inputs]
    if len(kept) < 2:
        return kept[0] if kept else NO_INPUTS
    return Inputs(
        frozenset().union(*(inputs.query for inputs in kept)),
        frozenset().union(*(inputs.cookies for inputs in kept)),
        frozenset().union(*(inputs.languages for inputs in kept)),
        any(inputs.navigation for inputs in kept),
    )


@dataclass
class Visitor:
    """The parts of one request: its query without the "?", two fields as sent, and the verdict of `is_navigation`."""

    query: str = ""
    cookies: str | None = None
    accept_language: str | None = None
    navigation: bool = True

    @cached_property
    def parameters(self) -> dict[str, str]:
        """Decoded; of a name that is repeated, the first value."""
        found: dict[str, str] = {}
        for part in self.query.split("&", MAX_PARAMETERS)[:MAX_PARAMETERS]:
            name, _, value = part.partition("=")
            name = decode_parameter(name)
            if name and name not in found:
                found[name] = decode_parameter(value)
        return found

    @cached_property
    def cookie_names(self) -> frozenset[str]:
        """Of RFC 6265 §4.2.1, with or without a value."""
        parts = (self.cookies or "").split(";", MAX_COOKIES)[:MAX_COOKIES]
        return frozenset(part.partition("=")[0].strip(" \t") for part in parts)

    @cached_property
    def languages(self) -> frozenset[str]:
        """Those acceptable at all (a weight above 0), in lower case, each with what it is a variety of.

        "de-CH, en;q=0" gives de-ch and de. Preference does not count, the order of rules does; `*` names no language.
        """
        found: set[str] = set()
        for tag in _acceptable(self.accept_language or ""):
            if LANGUAGE_TAG.fullmatch(tag):
                subtags = tag.split("-")
                found.update("-".join(subtags[:count]) for count in range(1, len(subtags) + 1))
        return frozenset(found)

    def key(self, inputs: Inputs) -> Hashable:
        """Equal for two visitors exactly when `inputs` are: what a cache has to tell apart, and no more."""
        query = frozenset(item for item in self.parameters.items() if item[0] in inputs.query) if inputs.query else ()
        cookies = inputs.cookies & self.cookie_names if inputs.cookies else ()
        languages = inputs.languages & self.languages if inputs.languages else ()
        return query, cookies, languages, inputs.navigation and self.navigation


def decode_parameter(text: str) -> str:
    """A name or value of a query, as forms encode them; what is not UTF-8 turns into U+FFFD."""
    return unquote_plus(text) if "%" in text or "+" in text else text


def is_navigation(path: str, sec_fetch_dest: str | None, accept: str | None) -> bool:
    """Whether a request wants a page to show, and so may be given one that is not at its path.

    Its path has to look like a page's. Then `Sec-Fetch-Dest` decides if it says what the answer is for; where it is
    missing (old browsers, other programs) or "empty" (a script), HTML has to be named in `Accept`.
    """
    if not is_page_path(path):
        return False
    if sec_fetch_dest and sec_fetch_dest != "empty":
        return sec_fetch_dest in _PAGE_DESTINATIONS
    return "text/html" in _acceptable(accept or "")


def is_page_path(path: str) -> bool:
    """Whether the last segment has no extension, or a page's."""
    stem, _, extension = path.rpartition("/")[2].rpartition(".")
    return not stem or extension.lower() in _PAGE_EXTENSIONS


def _acceptable(field: str) -> list[str]:
    """The ranges of a field like `Accept` whose weight is above 0, in lower case, without parameters."""
    found = []
    for element in field.split(",", MAX_RANGES)[:MAX_RANGES]:
        name, *parameters = element.split(";", MAX_RANGE_PARAMETERS)
        weights = [weight[1] for parameter in parameters if (weight := _WEIGHT.fullmatch(parameter))]
        if not weights or float(weights[0]) > 0:
            found.append(name.strip(" \t").lower())
    return found

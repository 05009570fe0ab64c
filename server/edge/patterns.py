"""Path patterns of the rule files, and the texts into which what they capture is put.

A pattern is a path whose segments are static text, or `:name` for exactly one segment that is not empty, and whose
last segment may be `*`, the splat. It matches whole segments, as Netlify's and Cloudflare's do: `/a/*` matches `/a`,
`/a/` and `/a/b/c`, and never `/ab`. A slash at the end counts: `/a/` and `/a` are two paths. Static text may be
percent-encoded, which is also how to write a colon or an asterisk that is meant as such (`%3A`, `%2A`).

No regular expression is made of a tenant's text. A match compares each segment at most once, in C, and no pattern has
more than `MAX_SEGMENTS` of them, so that its cost does not depend on what the pattern says.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from operator import itemgetter
from typing import Any, TypeAlias
from urllib.parse import quote

from server.edge.paths import decode_path
from server.edge.request import Refusal
from server.edge.rule_lines import RuleError
from storage.paths import MAX_SEGMENTS

SPLAT = "splat"

PLACEHOLDER = re.compile(r":([A-Za-z][A-Za-z0-9_]*)")
_PLAIN = re.compile(r"[A-Za-z0-9._~-]*")  # decodes to itself
_VISIBLE_ASCII = "".join(map(chr, range(0x21, 0x7F)))

_Pick: TypeAlias = Callable[[Sequence[Any]], tuple[Any, ...]]


@dataclass(frozen=True, slots=True)
class Pattern:
    """A compiled pattern, from `parse_pattern`."""

    text: str = field(compare=False)
    segments: tuple[str | None, ...]  # decoded; None is a placeholder; without the splat
    names: tuple[str, ...]  # of what is captured, in order; the splat last
    splat: bool
    path: str | None  # the one that matches, where there is only one
    _static: _Pick = field(compare=False, repr=False)  # from a path's segments, those that have to equal `_expected`
    _expected: tuple[str | None, ...] = field(compare=False, repr=False)
    _taken: _Pick = field(compare=False, repr=False)  # from a path's segments, the values of the placeholders

    def match(self, parts: Sequence[str]) -> Sequence[str] | None:
        """The values of `names` if it matches a path, split by `split_path`; else None."""
        count = len(self.segments)
        if len(parts) != count and not (self.splat and len(parts) > count):
            return None
        if self._static(parts) != self._expected:
            return None
        values = self._taken(parts)
        if "" in values:
            return None
        return (*values, "/".join(parts[count:])) if self.splat else values

    def covers(self, other: Pattern) -> bool:
        """Whether it matches every path that `other` matches."""
        if other.path is not None:
            return self.match(other.segments) is not None  # type: ignore[arg-type]  # a written-out path has no None
        count = len(self.segments)
        longer = len(other.segments) > count
        if len(other.segments) < count or ((longer or other.splat) and not self.splat):
            return False
        pairs = zip(self.segments, other.segments, strict=False)  # the splat takes what is longer
        return all(theirs != "" if ours is None else ours == theirs for ours, theirs in pairs)


def split_path(path: str) -> list[str]:
    """The segments of a decoded path, for `Pattern.match`: "/a/" has two, the last of them empty.

    Past the most that a pattern can tell apart the rest stays in one piece, which bounds the work for any path.
    """
    return path[1:].split("/", MAX_SEGMENTS + 1)


def parse_pattern(text: str) -> Pattern:
    """The pattern that `text` says. Raises `RuleError`."""
    if "://" in text:
        raise RuleError(f"{text} names a host: a rule holds for its own site; leave off all before the path")
    if not text.startswith("/"):
        raise RuleError(f"{text} does not begin with a slash: write /{text}")
    if found := set("?#") & set(text):
        raise RuleError(f"{text} has a {min(found)}, which is no part of a path: leave off what begins there")
    if "//" in text:
        raise RuleError(f"{text} has repeated slashes, which become one before rules are tried: write one")
    raw = text[1:].split("/")
    splat = raw[-1] == "*"
    if splat:
        raw.pop()
    if len(raw) > MAX_SEGMENTS:
        raise RuleError(f"{text[:40]}… has more than {MAX_SEGMENTS} segments: end it earlier in /*")
    names = [segment[1:] for segment in raw if PLACEHOLDER.fullmatch(segment)]
    segments = tuple(None if PLACEHOLDER.fullmatch(segment) else _parse_static(segment) for segment in raw)
    if len(set(names)) < len(names):
        raise RuleError(f"{text} has a placeholder twice: give each a name of its own")
    if SPLAT in names:
        raise RuleError(f"{text} has a placeholder :{SPLAT}, the name of what * matches: give it another name")
    return _compile(text, segments, (*names, SPLAT) if splat else tuple(names), splat)


def _parse_static(segment: str) -> str:
    if "*" in segment:
        raise RuleError(f"{segment}: a * can only be the whole last segment, as in /a/*; write %2A to mean the sign")
    if segment.startswith(":") or PLACEHOLDER.search(segment):
        raise RuleError(
            f"{segment}: a placeholder is a whole segment, a colon and a name of letters, digits and _, as in /a/:name;"
            " write %3A to mean the sign"
        )
    decoded = decode_text(segment)
    if decoded in (".", ".."):
        raise RuleError(f"{segment} is a segment that no request has by the time rules are tried: leave it out")
    return decoded


def _compile(text: str, segments: tuple[str | None, ...], names: tuple[str, ...], splat: bool) -> Pattern:
    static = _picker(tuple(place for place, segment in enumerate(segments) if segment is not None))
    return Pattern(
        text=text,
        segments=segments,
        names=names,
        splat=splat,
        path=None if names else "/" + "/".join(map(str, segments)),
        _static=static,
        _expected=static(segments),
        _taken=_picker(tuple(place for place, segment in enumerate(segments) if segment is None)),
    )


@lru_cache(maxsize=1024)
def _picker(places: tuple[int, ...]) -> _Pick:
    """`itemgetter`, but giving a tuple for one place and for none too. Patterns of one shape share it."""
    if len(places) > 1:
        return itemgetter(*places)
    if places:
        only = places[0]
        return lambda parts: (parts[only],)
    return lambda parts: ()


def decode_text(text: str) -> str:
    """A part of a path, decoded as requests' paths are. Raises `RuleError`."""
    if _PLAIN.fullmatch(text):
        return text
    try:
        # The two characters in front keep a slash or dot at the start from meaning more than it does inside a path.
        return decode_path("/-" + quote(text, safe=_VISIBLE_ASCII))[2:]
    except Refusal as refusal:
        raise RuleError(f"{text}: {refusal.detail}, which no request gets past; leave it out") from None
    except UnicodeEncodeError:
        raise RuleError("has a character that UTF-8 cannot carry (a lone surrogate): remove it") from None


@dataclass(frozen=True, slots=True)
class Template:
    """Text with places for what a pattern captured: text, name, text, …, name, text."""

    pieces: tuple[str, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """What is filled in, in order."""
        return self.pieces[1::2]

    def expand(self, values: Mapping[str, str], encode: Callable[[str], str]) -> str:
        """The text with `values`, each put through `encode`, at their places."""
        if len(self.pieces) == 1:
            return self.pieces[0]
        return "".join(encode(values[piece]) if place % 2 else piece for place, piece in enumerate(self.pieces))


def parse_template(text: str, convert: Callable[[str], str]) -> Template:
    """The template that `text` says; `convert` is applied to what is between the placeholders."""
    pieces = PLACEHOLDER.split(text)
    return Template(tuple(piece if place % 2 else convert(piece) for place, piece in enumerate(pieces)))

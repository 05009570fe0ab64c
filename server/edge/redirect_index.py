"""The rules of one file, arranged for look-up: which of them is first for a request.

The first rule in the file that applies wins, whatever its kind. Rules for one written-out path are found by dictionary,
and of those that ask for one value of one query parameter (`/ p=1 /first`, as blogs leave behind by the thousand) only
the one for the request's value is looked at. What is left is tried in order, and is never more than `MAX_CHECKED`
rules of that path and as many with placeholders or a splat.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from operator import attrgetter

from server.edge.patterns import split_path
from server.edge.redirect_rules import Rule
from server.edge.visitor import NO_INPUTS, Inputs, Visitor, is_page_path, join_inputs

MAX_CHECKED = 100

_line = attrgetter("line")


@dataclass(slots=True)
class _Statics:
    """The rules for one path."""

    checked: list[Rule] = field(default_factory=list)
    by_value: dict[tuple[str, str], Rule] = field(default_factory=dict)  # (query name, value) → rule
    value_inputs: Inputs = NO_INPUTS  # of the latter
    closed: bool = False  # by a rule that always applies: none after it is ever reached


@dataclass(frozen=True, slots=True)
class Hit:
    """The rule that applies, and the values of its placeholders."""

    rule: Rule
    values: dict[str, str]


class Index:
    """Rules are added in the order of the file; from then on it is only read."""

    def __init__(self) -> None:
        self._statics: dict[str, _Statics] = {}
        self._dynamic: list[Rule] = []

    def add(self, rule: Rule) -> None:
        """`rule`, for which there has to be room."""
        path = rule.pattern.path
        if path is None:
            self._dynamic.append(rule)
            return
        statics = self._statics.setdefault(path, _Statics())
        if statics.closed:
            return
        if _asks_one_value(rule):
            statics.by_value.setdefault(rule.literals[0], rule)
            statics.value_inputs |= rule.inputs
        else:
            statics.checked.append(rule)
            statics.closed = not rule.inputs

    def has_room(self, rule: Rule) -> bool:
        """Whether the rules to try for its path, with it, are few enough."""
        statics = self._statics.get(rule.pattern.path or "")
        return statics is None or statics.closed or _asks_one_value(rule) or len(statics.checked) < MAX_CHECKED

    def find(self, path: str, visitor: Visitor) -> tuple[Hit | None, Inputs]:
        """The first rule that applies, and what was read of the visitor to tell."""
        read = [self._value_inputs(path)]
        hit = None
        for rule, captured in self._matching(path, visitor):
            if rule.inputs:
                read.append(rule.inputs)
                if rule.navigations_only and not visitor.navigation:
                    continue
            values = rule.admit(captured, visitor)
            if values is not None:
                hit = Hit(rule, values)
                break
        return hit, join_inputs(read)

    def inputs(self, path: str) -> Inputs:
        """What `find` may read for `path`, whoever asks."""
        read = [self._value_inputs(path)]
        for rule, _ in self._matching(path, Visitor()):
            if not rule.inputs:
                break
            read.append(rule.inputs)
        return join_inputs(read)

    def earlier(self, rule: Rule) -> Iterator[Rule]:
        """Those so far that a request for which `rule` is meant may meet first."""
        path = rule.pattern.path
        if path is not None and (statics := self._statics.get(path)):
            yield from statics.checked
            yield from (found for literal in rule.literals if (found := statics.by_value.get(literal)))
        yield from self._dynamic

    def _value_inputs(self, path: str) -> Inputs:
        statics = self._statics.get(path)
        return NO_INPUTS if statics is None else statics.value_inputs

    def _matching(self, path: str, visitor: Visitor) -> Iterator[tuple[Rule, Sequence[str]]]:
        """Rules whose pattern matches, in the order of the file, with what it captured."""
        parts = split_path(path) if self._dynamic else []
        for rule in _merge(self._statics_for(path, visitor), self._dynamic):
            if rule.pattern.path is not None:
                yield rule, ()
                continue
            captured = rule.pattern.match(parts)
            # An application's fallback page is not for the path of a script or an image, whoever asks.
            if captured is not None and (not rule.navigations_only or is_page_path(path)):
                yield rule, captured

    def _statics_for(self, path: str, visitor: Visitor) -> Sequence[Rule]:
        statics = self._statics.get(path)
        if statics is None:
            return ()
        if statics.by_value:
            found = [rule for item in visitor.parameters.items() if (rule := statics.by_value.get(item))]
            if found:
                return sorted([*statics.checked, *found], key=_line)
        return statics.checked


def _asks_one_value(rule: Rule) -> bool:
    """Whether it applies exactly if one query parameter has one value."""
    return len(rule.literals) == 1 and not (rule.captures or rule.cookies or rule.languages)


def _merge(first: Sequence[Rule], second: Sequence[Rule]) -> Iterator[Rule]:
    """Both by line; nothing past the rule that is taken is compared."""
    place = 0
    for rule in first:
        while place < len(second) and second[place].line < rule.line:
            yield second[place]
            place += 1
        yield rule
    yield from second[place:] if place else second

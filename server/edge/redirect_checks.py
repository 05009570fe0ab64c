"""What can be told of the rules of a `_redirects` file: those that nothing reaches, and redirects without end.

Both are advice and change nothing, and look no further than a bounded number of steps.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from operator import attrgetter
from typing import TypeAlias
from urllib.parse import quote

from server.edge.redirect_index import Hit, Index
from server.edge.redirect_rules import Rule, is_segment
from server.edge.visitor import Visitor

MAX_HOPS = 20  # after which browsers give up (Fetch §4.5)
MAX_STEPS = 5000  # in one file

_SAMPLE = "example"  # stands for what a placeholder captures


def find_shadow(rule: Rule, index: Index) -> Rule | None:
    """A rule of `index`, which holds those before `rule`, that answers whatever `rule` would answer."""
    return next((earlier for earlier in index.earlier(rule) if _answers_all_of(earlier, rule)), None)


def _answers_all_of(earlier: Rule, later: Rule) -> bool:
    literals = dict(later.literals)
    return (
        earlier.pattern.covers(later.pattern)
        and all(literals.get(name) == value for name, value in earlier.literals)
        and all(_always_has(later, name, name in earlier.path_captures) for name, _ in earlier.captures)
        and _is_wider(earlier.cookies, later.cookies)
        and _is_wider(earlier.languages, later.languages)
        and (later.navigations_only or not earlier.navigations_only)
    )


def _always_has(rule: Rule, name: str, as_segment: bool) -> bool:
    """Whether each request that `rule` is for has a value for `name`, one that can stand in a path if need be."""
    for literal, value in rule.literals:
        if literal == name:
            return value != "" and (is_segment(value) or not as_segment)
    return name in (rule.path_captures if as_segment else dict(rule.captures))


def _is_wider(earlier: frozenset[str], later: frozenset[str]) -> bool:
    """Of two conditions, of which the empty one holds for everybody."""
    return not earlier or bool(later and later <= earlier)


@dataclass(frozen=True, slots=True)
class Loop:
    """Rules that lead a visitor around, or on and on; `endless` URLs differ each time."""

    rules: tuple[Rule, ...]
    endless: bool

    @property
    def reason(self) -> str:
        """For the operator, on the line of the first rule."""
        lines = ", ".join(str(rule.line) for rule in self.rules)
        if self.endless:
            return f"redirects more than {MAX_HOPS} times in a row (by line {lines}), after which browsers give up"
        if len(self.rules) == 1:
            return (
                "redirects to what it matches itself, without end: change its target, or name what it shall not match"
            )
        return f"redirects in a circle with lines {lines}: change one of them"


def find_loops(rules: Iterable[Rule], every: Index, forced: Index, is_file: Callable[[str], bool]) -> list[Loop]:
    """Follows each redirect with a visitor for whom it is meant, through the very look-up that serves. `is_file` tells
    whether a file answers a decoded path."""
    walk = _Walk(every, forced, is_file)
    found: dict[tuple[int, ...], Loop] = {}
    for rule in rules:
        if rule.is_redirect and (loop := walk.follow(rule)):
            found.setdefault(tuple(sorted(member.line for member in loop.rules)), loop)
    return list(found.values())


_State: TypeAlias = tuple[str, str, frozenset[str], frozenset[str]]


class _Walk:
    """Remembers every state that was reached, (path, query, cookies, languages).

    From one that is known already leads no way to anything new, so that a chain is walked once however many enter it.
    """

    def __init__(self, every: Index, forced: Index, is_file: Callable[[str], bool]) -> None:
        self._every = every
        self._forced = forced
        self._is_file = is_file
        self._seen: set[_State] = set()
        self._steps = 0

    def follow(self, rule: Rule) -> Loop | None:
        visitor, captured = _sample(rule)
        values = rule.admit(captured, visitor)
        hit = None if values is None else Hit(rule, values)
        passed: list[Rule] = []
        reached: dict[_State, int] = {}  # → how many rules had been passed
        while hit is not None and hit.rule.is_redirect and not hit.rule.target.origin and self._steps < MAX_STEPS:
            self._steps += 1
            passed.append(hit.rule)
            target = hit.rule.target
            path, query = target.file_path(hit.values), target.query_with(hit.values, visitor.query)
            state = (path, query, rule.cookies, rule.languages)
            if state in reached:
                return Loop(_distinct(passed[reached[state] :]), endless=False)
            if len(passed) > MAX_HOPS:
                return Loop(_distinct(passed[MAX_HOPS // 2 :]), endless=True)
            if state in self._seen:
                return None
            self._seen.add(state)
            reached[state] = len(passed)
            visitor = replace(visitor, query=query)
            hit, _ = (self._forced if self._is_file(path) else self._every).find(path, visitor)
        return None


def _sample(rule: Rule) -> tuple[Visitor, list[str]]:
    """Somebody for whom `rule` is meant, and what its pattern captures of the path."""
    given = [*rule.literals, *((name, _SAMPLE) for name, _ in rule.captures)]
    query = "&".join(f"{quote(name, safe='')}={quote(value, safe='')}" for name, value in given)
    visitor = Visitor(query, ";".join(rule.cookies), ",".join(rule.languages))
    return visitor, [_SAMPLE] * len(rule.pattern.names)


def _distinct(rules: Iterable[Rule]) -> tuple[Rule, ...]:
    """Each once, by line."""
    return tuple(sorted(set(rules), key=attrgetter("line")))

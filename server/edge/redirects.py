"""A site's `_redirects` file: compiled once, matched for each request that its rules are for.

1. `compile_redirects`  the text → `Redirects`: rules that work, problems by line, what the rules read of a request
2. `match`              a request → the `Outcome` of the first rule that applies, or None

Rules are `from [query=value …] to [status][!] [Condition=value …]`, one a line, `#` for comments; `patterns` says what
`from` is, `redirect_rules` the rest. The first rule in the file that applies answers. A rule with `!` applies although
a file answers the path; the others are tried (`forced_only=False`) where none does. A condition holds if the visitor
has any one of its cookies, or accepts any one of its languages. All query matches of a rule have to hold.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from server.edge.redirect_checks import Loop, find_loops, find_shadow
from server.edge.redirect_index import MAX_CHECKED, Index
from server.edge.redirect_rules import Rule, parse_rule
from server.edge.rule_lines import Problem, Report, RuleError, read_lines
from server.edge.visitor import NO_INPUTS, Inputs, Visitor, join_inputs

MAX_STATIC = 2000  # rules whose path is written out
MAX_DYNAMIC = 100  # rules with placeholders or a splat


@dataclass(frozen=True, slots=True)
class Redirects:
    """A compiled file. `inputs`: what any rule reads besides the path, and `forced_inputs` any rule with `!`.

    `unlisted` counts problems beyond those that are listed; `length` is that of the file, in characters.
    """

    rules: tuple[Rule, ...]
    problems: tuple[Problem, ...]
    unlisted: int
    inputs: Inputs
    forced_inputs: Inputs
    has_forced: bool
    _every: Index = field(compare=False, repr=False)
    _forced: Index = field(compare=False, repr=False)
    length: int = field(default=0, compare=False)

    def inputs_for(self, path: str, *, forced_only: bool) -> Inputs:
        """What `match` may read for `path`, whoever asks: for a cache's key, and Vary where no rule applies."""
        if not (self.forced_inputs if forced_only else self.inputs):
            return NO_INPUTS
        return (self._forced if forced_only else self._every).inputs(path)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a rule does. A redirect has `location`, ready to be sent; other statuses the decoded path of a `target`.

    `consulted` is what was read of the request to tell. `passes_query`: the location ends in the request's query.
    """

    rule: Rule
    status: int
    location: str | None
    target: str | None
    consulted: Inputs
    passes_query: bool


def match(
    redirects: Redirects,
    path: str,
    query: str = "",
    *,
    cookies: str | None = None,
    accept_language: str | None = None,
    navigation: bool = True,
    forced_only: bool,
) -> Outcome | None:
    """What the rules make of a request.

    `forced_only` says that a file answers `path`. Whether one does has to be known first, for a forced rule does not
    overtake another that is before it. `path` is from `decode_path`, `query` has no "?", the next two are fields as
    sent (None where they are not), and `navigation` is from `is_navigation`.
    """
    if forced_only and not redirects.has_forced:
        return None
    index = redirects._forced if forced_only else redirects._every
    hit, consulted = index.find(path, Visitor(query, cookies, accept_language, navigation))
    if hit is None:
        return None
    rule, target = hit.rule, hit.rule.target
    if not rule.is_redirect:
        return Outcome(rule, rule.status, None, target.file_path(hit.values), consulted, passes_query=False)
    location = target.location(hit.values, query)
    return Outcome(rule, rule.status, location, None, consulted, passes_query=target.query is None)


def compile_redirects(text: str) -> Redirects:
    """Any text compiles; what cannot be understood is among the problems."""
    report = Report()
    rules: list[Rule] = []
    every, forced = Index(), Index()
    room = {True: MAX_STATIC, False: MAX_DYNAMIC}  # is the path written out → how many more
    for number, line in read_lines(text, report):
        try:
            rule = parse_rule(number, line)
            indexes = (every, forced) if rule.forced else (every,)
            _check_room(rule, room, indexes)
        except RuleError as error:
            report.add(number, line, str(error))
            continue
        if shadow := find_shadow(rule, indexes[-1]):
            reason = f"is never reached: line {shadow.line} answers first; remove it, or move it before that line"
            report.add(number, line, reason, left_out=False)
        room[rule.pattern.path is not None] -= 1
        rules.append(rule)
        for index in indexes:
            index.add(rule)
    return _finish(rules, report, every, forced, len(text))


def find_circles(redirects: Redirects, rules: Iterable[Rule], is_file: Callable[[str], bool]) -> list[Loop]:
    """Where `rules`, some of the file's, lead visitors around without end; `is_file`: whether a file answers a path."""
    return find_loops(rules, redirects._every, redirects._forced, is_file)


def _check_room(rule: Rule, room: dict[bool, int], indexes: tuple[Index, ...]) -> None:
    if not room[rule.pattern.path is not None]:
        raise RuleError(
            f"is one too many: a file has at most {MAX_STATIC} rules whose path is written out and {MAX_DYNAMIC}"
            " with placeholders or a splat; leave some out, or let one with a splat stand for several"
        )
    if not all(index.has_room(rule) for index in indexes):
        raise RuleError(
            f"is one too many for {rule.pattern.text}: a path has at most {MAX_CHECKED} rules, beside those that ask"
            " for one query value and nothing else; leave some out"
        )


def _finish(rules: list[Rule], report: Report, every: Index, forced: Index, length: int) -> Redirects:
    return Redirects(
        rules=tuple(rules),
        problems=report.problems,
        unlisted=report.unlisted,
        inputs=join_inputs(rule.inputs for rule in rules),
        forced_inputs=join_inputs(rule.inputs for rule in rules if rule.forced),
        has_forced=any(rule.forced for rule in rules),
        _every=every,
        _forced=forced,
        length=length,
    )

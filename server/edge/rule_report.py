"""What is wrong in a site's `_redirects`, given the files that it has: told by line, for whoever publishes.

1. lines that cannot be understood, or that an earlier line overtakes (known since it was compiled)
2. lines that nothing reaches, since a file is in the place that they are for
3. redirects in a circle, or on and on
4. targets that are not there, and redirects to redirects

A finding is made for a visitor for whom the line is meant, by following what would serve. Where a target depends on
what is asked for, no more is said of it than that nothing at all begins as it does.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence

from server.edge.decision import Moved
from server.edge.paths import Found, Redirect, encode_path
from server.edge.redirect_rules import Rule
from server.edge.redirects import Redirects, find_circles
from server.edge.rule_files import SiteRules
from server.edge.rule_lines import Problem, Report
from server.edge.trees import Tree, follow, page_request
from storage.models import HostedSite
from storage.paths import join


async def report(tree: Tree, site: HostedSite, rules: SiteRules) -> tuple[Sequence[Problem], int]:
    """The problems of the site's `_redirects`, and how many there are beyond those that are listed."""
    redirects = rules.redirects
    if redirects is None:
        return (), 0
    found = Report(redirects.problems, redirects.unlisted)
    told = {problem.line for problem in redirects.problems}
    tried = []
    for rule in redirects.rules:
        if name := _find_obstacle(tree, site, rule):
            reason = f"is never reached: {name} answers; write ! behind the status to overtake it, or remove the line"
            found.add(rule.line, rule.text, reason, left_out=False)
        elif rule.line not in told:
            tried.append(rule)
    circles = find_circles(redirects, tried, lambda path: tree.look_up(site, path).exists)
    in_circles = {rule.line for circle in circles for rule in circle.rules}
    for circle in circles:
        found.add(circle.rules[0].line, circle.rules[0].text, circle.reason, left_out=False)
    names = sorted(tree.files)
    for rule in tried:
        flaw = None if rule.line in in_circles else await _judge_target(tree, names, site, redirects, rule)
        if flaw is not None:
            found.add(rule.line, rule.text, flaw, left_out=False)
    return found.problems, found.unlisted


def _find_obstacle(tree: Tree, site: HostedSite, rule: Rule) -> str | None:
    """The file that answers in the place of a line that is for one path only."""
    if rule.pattern.path is None or rule.forced:
        return None
    lookup = tree.look_up(site, rule.pattern.path)
    if isinstance(lookup.found, Found):
        return lookup.found.file.path
    if isinstance(lookup.found, Redirect):
        return lookup.wanted.folder_index
    return None if lookup.error_page is None else lookup.error_page.path


async def _judge_target(
    tree: Tree, names: Sequence[str], site: HostedSite, redirects: Redirects, rule: Rule
) -> str | None:
    """What is wrong with where a line leads."""
    target = rule.target
    if target.origin:
        return None
    if target.path.names:
        start = target.path.pieces[0]
        start = start[: start.rfind("/") + 1]
        if start == "/" or any(_overlaps(other, start) for other in redirects.rules):
            return None
        place = join(site.prefix, start[1:])
        at = bisect_left(names, place)
        if at < len(names) and names[at].startswith(place):
            return None
        return f"leads below {start}, where there is no file: change its target, or publish what it is for"
    if not rule.is_redirect:
        return _judge_shown(tree, site, rule)
    return await _judge_redirect(tree, site, redirects, rule)


def _overlaps(rule: Rule, start: str) -> bool:
    """Whether a line may be for a path below the folder `start`."""
    if rule.pattern.path is not None:
        return rule.pattern.path.startswith(start)
    ours = rule.pattern.segments
    return all(mine in (None, theirs) for mine, theirs in zip(ours, start[1:-1].split("/"), strict=False))


def _judge_shown(tree: Tree, site: HostedSite, rule: Rule) -> str | None:
    path = rule.target.file_path({})
    lookup = tree.look_up(site, path)
    if isinstance(lookup.found, Redirect):
        lookup = tree.look_up(site, path + "/")
    if isinstance(lookup.found, Found) or (rule.status != 200 and lookup.error_page is not None):
        return None
    get = "visitors get 404" if rule.status == 200 else f"visitors get a page that only says {rule.status}"
    return f"shows {path}, where there is no file, so {get}: change its target, or publish the file"


async def _judge_redirect(tree: Tree, site: HostedSite, redirects: Redirects, rule: Rule) -> str | None:
    path = rule.target.file_path({})
    query = "" if rule.target.query is None else rule.target.query_with({}, "")
    request = page_request(path, query, _first(rule.cookies), _first(rule.languages))
    journey = await follow(tree, site, SiteRules(redirects), request)
    if journey.end == "endless":
        return None  # it is told of the circle that it leads to
    if journey.end == "missing":
        last = journey.stops[-1]
        way = f"leads to {last}" if last == path else f"leads to {path} and on to {last}"
        return f"{way}, where visitors get an error: change its target, or publish what is missing"
    first = journey.decisions[0]
    if not isinstance(first.answer, Moved):
        return None
    end = encode_path(journey.stops[-1])
    by = "the folder's missing slash" if first.outcome is None else f"line {first.outcome.rule.line}"
    if journey.end == "elsewhere":
        way_out = journey.decisions[-1].answer
        assert isinstance(way_out, Moved)
        end = way_out.location
    return f"leads to {path}, from where {by} leads on: write {end} to spare visitors a redirect"


def _first(values: frozenset[str]) -> str | None:
    return min(values, default=None)

"""What is wrong in the rule files of a space's sites, line by line, given the files that are there."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict

from server.control.call import Call
from server.control.views import ProblemView
from server.edge.rule_files import HEADERS, REDIRECTS, Compiled, SiteRules, compile_file, rule_files, site_rules
from server.edge.rule_lines import Problem
from server.edge.rule_report import report
from server.edge.trees import Tree
from storage.errors import Corrupt
from storage.models import Blob, HostedSite, PageQuery, Site

MAX_SITES = 10_000  # of a space that are looked at
MAX_VIEWS = 100  # ways in which they show it
MAX_FILES = 200_000  # of a space, above which nothing is told that takes all of them
MAX_PROBLEMS = 200  # that are listed of all sites together
_SITES_AT_ONCE = 1000
DAMAGED = "cannot be read any more, so it has no effect: what is stored is damaged. Upload it again"


async def list_views(call: Call, space_id: str) -> list[list[Site]]:
    """The space's sites, those together that show the same: they have one prefix, index and error page."""
    views: dict[tuple[str, str, str], list[Site]] = {}
    after: str | None = None
    for _ in range(0, MAX_SITES, _SITES_AT_ONCE):
        sites = await call.metadata.list_sites(space_id, PageQuery(take=_SITES_AT_ONCE, descending=False, after=after))
        for site in sites.items:
            view = (site.prefix, site.index, site.not_found)
            if view in views or len(views) < MAX_VIEWS:
                views.setdefault(view, []).append(site)
        after = sites.next
        if after is None:
            break
    return list(views.values())


async def find_problems(
    call: Call, space_id: str, sites: Sequence[Site] | None = None
) -> tuple[list[ProblemView], int]:
    """Of `sites`, or all that the space has: the problems that are listed, and how many there are beside them."""
    if sites is None:
        sites = [view[0] for view in await list_views(call, space_id)]
    paths = {path for site in sites for path in rule_files(site.prefix)}
    if not any([await call.metadata.find_file(space_id, path) for path in paths]):
        return [], 0
    return await judge_rules(call, await call.metadata.read_tree(space_id, MAX_FILES + 1), sites)


async def judge_rules(call: Call, files: Mapping[str, Blob], sites: Iterable[Site]) -> tuple[list[ProblemView], int]:
    """As `find_problems`, with these files in the space. A file that cannot be read is a problem, and no failure: what
    this is the end of has taken place."""
    found: dict[tuple[str, int, str], ProblemView] = {}  # two sites of one prefix have most of them in common
    unlisted = 0
    for site in sites:
        rules, damaged = await _read_sound_rules(call, files, site)
        for path in damaged:
            found[path, 1, DAMAGED] = ProblemView(file=path, line=1, text="", reason=DAMAGED, left_out=True)
        for path, kind in rule_files(site.prefix).items():
            if kind == REDIRECTS:
                problems, more = await _judge_redirects(files, site, rules)
            elif rules.headers is not None:
                problems, more = rules.headers.problems, rules.headers.unlisted
            else:
                continue
            unlisted += more
            for problem in problems:
                found.setdefault((path, problem.line, problem.reason), ProblemView(file=path, **asdict(problem)))
    listed = list(found.values())[:MAX_PROBLEMS]
    return listed, unlisted + len(found) - len(listed)


async def read_rules(call: Call, files: Mapping[str, Blob], site: Site) -> SiteRules:
    """What a site's rule files in `files` compile to. Raises `Corrupt`, `Unavailable`."""
    rules, damaged = await _read_sound_rules(call, files, site)
    if damaged:
        raise Corrupt(f"the rule file {damaged[0]} cannot be read")
    return rules


async def _read_sound_rules(call: Call, files: Mapping[str, Blob], site: Site) -> tuple[SiteRules, list[str]]:
    """The same of those that can be read; and the paths of those that are damaged. Raises `Unavailable`."""
    compiled: dict[str, Compiled | None] = {REDIRECTS: None, HEADERS: None}
    damaged = []
    for path, kind in rule_files(site.prefix).items():
        if path in files:
            try:
                compiled[kind] = await compile_file(call.blobs, kind, files[path].digest)
            except Corrupt:
                damaged.append(path)
    return site_rules(compiled[REDIRECTS], compiled[HEADERS], 0), damaged


async def _judge_redirects(files: Mapping[str, Blob], site: Site, rules: SiteRules) -> tuple[Sequence[Problem], int]:
    if rules.redirects is None:
        return (), 0
    if len(files) > MAX_FILES:
        return rules.redirects.problems, rules.redirects.unlisted
    # In a thread: of two thousand rules and their targets it takes a fifth of a second.
    return await asyncio.to_thread(asyncio.run, report(Tree(files), HostedSite.of(site, 0, 0), rules))

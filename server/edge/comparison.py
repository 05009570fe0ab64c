"""What visitors would lose if a site went from one tree to another.

1. the URLs that could be lost: those of files that go, those that rules answer, those that were asked for lately; and,
   where the new rules overtake files, those of every file
2. of these, the ones that answer in the one tree and not in the other, by what serves (`trees.follow`)
3. files that are in both under another name, and the lines of `_redirects` that would lead from one to the other
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from server.edge.paths import RULE_FILES, Found, Redirect, encode_path, is_hidden
from server.edge.rule_files import SiteRules
from server.edge.trees import Tree, follow, page_request
from storage.models import Blob, HostedSite

MAX_VISITED = 2000  # URLs that are judged since they were asked for, the most asked for first


@dataclass(frozen=True, slots=True)
class Changes:
    """Paths in code-point order."""

    added: tuple[str, ...]
    changed: tuple[str, ...]
    removed: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Broken:
    """A page or file that visitors would lose: its URL, and how else it is written; decoded. `file` is what was there,
    unless a rule answered. `requests` for any of them, lately."""

    url: str
    also: tuple[str, ...]
    file: str | None
    requests: int


@dataclass(frozen=True, slots=True)
class Move:
    """A content that has another name now, and the rules that would lead visitors there."""

    old: str
    new: str
    rules: tuple[str, ...]


@dataclass(slots=True)
class State:
    """A tree and a site's rules in it."""

    tree: Tree
    site: HostedSite
    rules: SiteRules
    _known: dict[str, bool] = field(default_factory=dict)

    async def answers(self, path: str) -> bool:
        """Whether a visitor who asks for a decoded path gets something in the end."""
        known = self._known.get(path)
        if known is None:
            known = self._known[path] = await self._find_out(path)
        return known

    async def _find_out(self, path: str) -> bool:
        redirects = self.rules.redirects
        if redirects is None or not redirects.has_forced:
            # Most files, and a tenth of the time that following takes.
            found = self.tree.look_up(self.site, path).found
            if isinstance(found, Found):
                return True
            if redirects is None:
                return isinstance(found, Redirect)
        return (await follow(self.tree, self.site, self.rules, page_request(path))).answers


def compare(before: Mapping[str, Blob], after: Mapping[str, Blob]) -> Changes:
    """Which files differ."""
    return Changes(
        added=tuple(sorted(after.keys() - before.keys())),
        changed=tuple(sorted(path for path in after.keys() & before.keys() if after[path] != before[path])),
        removed=tuple(sorted(before.keys() - after.keys())),
    )


async def find_broken(
    before: State, after: State, removed: Collection[str], visits: Mapping[str, int]
) -> tuple[Broken, ...]:
    """What visitors would lose, the most asked for first. `visits` are requests by decoded path."""
    found = []
    for name, urls in _list_suspects(before, after, removed, visits):
        lost = [url for url in urls if await before.answers(url) and not await after.answers(url)]
        if lost:
            requests = sum(visits.get(url, 0) for url in lost)
            found.append(Broken(lost[0], tuple(lost[1:]), name, requests))
    return tuple(sorted(found, key=lambda each: (-each.requests, each.url)))


def _list_suspects(
    before: State, after: State, removed: Collection[str], visits: Mapping[str, int]
) -> Iterator[tuple[str | None, tuple[str, ...]]]:
    """URLs that may be lost: a file, if it is one, and how its URL is written. No URL comes twice."""
    seen: set[str] = set()

    def fresh(urls: Iterable[str]) -> tuple[str, ...]:
        new = tuple(url for url in urls if url not in seen)
        seen.update(new)
        return new

    overtaken = after.rules.redirects is not None and after.rules.redirects.has_forced
    for name in before.tree.files if overtaken else removed:
        if urls := fresh(urls_of(name, before.site)):
            yield name, urls
    if before.rules.redirects is not None:
        for rule in before.rules.redirects.rules:
            if rule.pattern.path is not None and (urls := fresh((rule.pattern.path,))):
                yield None, urls
    for url in sorted(visits, key=lambda url: -visits[url])[:MAX_VISITED]:
        if urls := fresh((url,)):
            yield None, urls


def urls_of(name: str, site: HostedSite) -> tuple[str, ...]:
    """The decoded paths by which a file of the space can be had, the one to be shown first; none if it is never
    served at this site."""
    start = f"{site.prefix}/" if site.prefix else ""
    path = name.removeprefix(start)
    if not name.startswith(start) or path in RULE_FILES or is_hidden(path):
        return ()
    path = f"/{path}"
    plain = path.removesuffix(".html")
    written = (plain, path) if plain != path and not plain.endswith("/") else (path,)
    if path.endswith(f"/{site.index}"):
        folder = path[: -len(site.index)]
        return (folder, *((folder[:-1],) if folder != "/" else ()), *written)
    return written


def find_moves(
    before: Mapping[str, Blob], after: Mapping[str, Blob], changes: Changes, site: HostedSite, lost: Collection[str]
) -> tuple[Move, ...]:
    """Removed files whose content is in an added one. `lost` are the URLs for which rules are wanted."""
    places: dict[str, list[str]] = {}
    for path in changes.added:
        if after[path].size:
            places.setdefault(after[path].digest, []).append(path)
    moves = []
    for old in changes.removed:
        if found := places.get(before[old].digest):
            name = old.rpartition("/")[2]
            new = next((path for path in found if path.rpartition("/")[2] == name), found[0])
            targets = urls_of(new, site)
            rules = [
                f"{_pattern(url)} {_pattern(targets[0])} 301" for url in urls_of(old, site) if url in lost and targets
            ]
            moves.append(Move(old, new, tuple(rules)))
    return tuple(moves)


def _pattern(path: str) -> str:
    """As a line of `_redirects` has to write it so that it means just that."""
    return encode_path(path).replace(":", "%3A").replace("*", "%2A")

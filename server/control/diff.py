"""What activating a deployment would change: files, and what visitors would lose.

1. the tree as it is, or as activating another deployment would make it; and as activating this one would
2. the files that differ
3. for each way in which the space's sites show it, what answers in the one and not in the other
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated

from fastapi import APIRouter, Query
from starlette.responses import Response

from server.control.call import Call, CurrentCall
from server.control.deployment_views import (
    BrokenListView,
    BrokenView,
    DiffView,
    FileChangesView,
    FileChangeView,
    MoveListView,
    MoveView,
)
from server.control.errors import Detail, bad_request
from server.control.gate import ControlRoute, declare
from server.control.problems import MAX_FILES, judge_rules, list_views, read_rules
from server.edge.comparison import Broken, Changes, Move, State, compare, find_broken, find_moves
from server.edge.paths import encode_path
from server.edge.rule_files import rule_files
from server.edge.trees import Tree
from server.traffic import Traffic
from storage.errors import Invalid
from storage.models import Blob, Deployment, HostedSite, Millis, Site, Space

router = APIRouter(route_class=ControlRoute, tags=["Deployments"])

MAX_TAKE = 1000


@dataclass(frozen=True, slots=True)
class _Trees:
    before: Mapping[str, Blob]
    after: Mapping[str, Blob]
    changes: Changes


@dataclass(frozen=True, slots=True)
class _Loss:
    """What visitors of some sites that show the same would lose."""

    site: Site
    since: Millis | None
    broken: Sequence[Broken]
    moves: Sequence[Move]


@router.get("/space/{spaceId}/deployment/{deploymentId}/diff", **declare("files:read", DiffView))
async def diff_deployment(
    spaceId: str,
    deploymentId: str,
    call: CurrentCall,
    against: Annotated[
        str | None, Query(description="a deployment whose activation to compare with, instead of what is live")
    ] = None,
    take: Annotated[int, Query(ge=1, le=MAX_TAKE, description="how many of each list to show")] = 100,
) -> Response:
    """Tell what activating a deployment would change: the files, and the URLs that answer now and would not any longer.

    A URL counts as answering if a browser that goes there gets a page or a file in the end, redirects included.
    """
    space = await call.get_space(spaceId)
    deployment = await call.get_deployment(space, deploymentId)
    other = None if against is None else await call.get_deployment(space, against)
    async with call.heavy:
        views = await list_views(call, space.id)
        trees = await _build(call, space, views, deployment, other)
        losses = [await _find_loss(call, trees, sites) for sites in views]
        problems, unlisted = await judge_rules(call, trees.after, [sites[0] for sites in views])
    changes = trees.changes
    view = DiffView(
        id=deployment.id,
        against=None if other is None else other.id,
        added=_files(changes.added, trees.after, take),
        changed=_files(changes.changed, trees.after, take),
        removed=_files(changes.removed, trees.before, take),
        broken=_broken(losses, take),
        moved=_moved(losses, take),
        traffic_since=min((loss.since for loss in losses if loss.since is not None), default=None),
        problems=problems,
        unlisted=unlisted,
    )
    return call.answer(view)


async def _build(
    call: Call, space: Space, views: Iterable[Sequence[Site]], deployment: Deployment, other: Deployment | None
) -> _Trees:
    live = await call.metadata.read_tree(space.id, MAX_FILES + 1)
    if len(live) > MAX_FILES:
        raise bad_request([Detail("spaceId", f"has more than {MAX_FILES} files, too many to compare")])
    rules = {path for sites in views for path in rule_files(sites[0].prefix)}
    before = live if other is None else await _apply(call, live, other, rules)
    after = await _apply(call, live, deployment, rules)
    return _Trees(before, after, await asyncio.to_thread(compare, before, after))


async def _apply(
    call: Call, live: Mapping[str, Blob], deployment: Deployment, rules: Collection[str]
) -> Mapping[str, Blob]:
    """What would be live if `deployment` were activated now. Raises `Invalid` if one of the files `rules` is not there
    yet: they are read, and a digest alone gives nobody the right to what another workspace has."""
    manifest = await call.metadata.read_manifest(deployment.id)
    kept = live
    if deployment.mode == "replace":
        start = f"{deployment.prefix}/" if deployment.prefix else ""
        kept = {path: blob for path, blob in live.items() if not path.startswith(start)}
    new = {path for path in rules if path in manifest and manifest[path] != live.get(path)}
    missing = set(await call.metadata.list_missing(deployment.id)) if new else set()
    for path in sorted(new):
        if manifest[path].digest in missing:
            raise Invalid("files", f"{path!r} has not been uploaded yet, and what it says matters: upload it first")
    return {**kept, **manifest}


async def _find_loss(call: Call, trees: _Trees, sites: Sequence[Site]) -> _Loss:
    ids = frozenset(site.id for site in sites)
    hosted = HostedSite.of(sites[0], 0, 0)
    traffic = await asyncio.to_thread(call.config.traffic, ids)
    before = State(Tree(trees.before), hosted, await read_rules(call, trees.before, sites[0]))
    after = State(Tree(trees.after), hosted, await read_rules(call, trees.after, sites[0]))
    return await asyncio.to_thread(_judge, trees, before, after, sites[0], traffic)


def _judge(trees: _Trees, before: State, after: State, site: Site, traffic: Traffic) -> _Loss:
    """In a thread: of a hundred thousand files that go it takes some seconds."""
    broken = asyncio.run(find_broken(before, after, trees.changes.removed, traffic.requests))
    lost = {url for each in broken for url in (each.url, *each.also)}
    moves = find_moves(trees.before, trees.after, trees.changes, before.site, lost)
    return _Loss(site, traffic.since, broken, moves)


def _files(paths: Sequence[str], files: Mapping[str, Blob], take: int) -> FileChangesView:
    items = [FileChangeView(path=path, size=files[path].size) for path in paths[:take]]
    return FileChangesView(total=len(paths), items=items)


def _broken(losses: Iterable[_Loss], take: int) -> BrokenListView:
    found = [(loss, each) for loss in losses for each in loss.broken]
    found.sort(key=lambda pair: -pair[1].requests)
    items = [
        BrokenView(
            site=loss.site.id,
            domain=loss.site.domain,
            url=encode_path(each.url),
            also=[encode_path(url) for url in each.also],
            file=each.file,
            requests=None if loss.since is None else each.requests,
        )
        for loss, each in found[:take]
    ]
    return BrokenListView(total=len(found), items=items)


def _moved(losses: Iterable[_Loss], take: int) -> MoveListView:
    """Of sites that see a file under several URLs, the rules of all."""
    rules: dict[tuple[str, str], dict[str, None]] = {}
    for loss in losses:
        for move in loss.moves:
            rules.setdefault((move.old, move.new), {}).update(dict.fromkeys(move.rules))
    items = [MoveView(old=old, new=new, rules=list(lines)) for (old, new), lines in list(rules.items())[:take]]
    return MoveListView(total=len(rules), items=items)

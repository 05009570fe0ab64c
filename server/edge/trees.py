"""A space's files at one instant, in memory, and where they lead a visitor.

What is live is looked up in a store as it is asked for. What would be live, and questions about every file at once, are
answered from here, by the same functions (`decision.decide`).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias
from urllib.parse import urlsplit

from server.edge.decision import Decision, Lookup, Moved, Shown, decide
from server.edge.paths import candidates, decode_path, encode_path, last_change, resolve
from server.edge.redirect_checks import MAX_HOPS
from server.edge.request import Refusal, Request
from server.edge.rule_files import SiteRules
from storage.models import Blob, File, HostedSite

# shown      a page, with 200
# missing    an error
# elsewhere  another host's answer
# endless    a redirect after the other
End: TypeAlias = Literal["shown", "missing", "elsewhere", "endless"]


class Tree:
    """Implements what `decide` asks of a store; revisions and times mean nothing here."""

    def __init__(self, files: Mapping[str, Blob]) -> None:
        self.files = files

    async def find_files(self, space_id: str, paths: Collection[str], revision: int) -> Mapping[str, File]:
        """See `EdgeMetadata`."""
        return self.find_nowait(paths)

    def find_nowait(self, paths: Collection[str]) -> dict[str, File]:
        """Those of `paths` that there are."""
        return {
            path: File(path=path, digest=blob.digest, size=blob.size, modified_at=0, from_revision=0)
            for path in paths
            if (blob := self.files.get(path)) is not None
        }

    def look_up(self, site: HostedSite, path: str) -> Lookup:
        """What there is for a decoded path, rules aside."""
        wanted = candidates(path, site)
        files = self.find_nowait(wanted.names())
        return Lookup(path, wanted, files, resolve(path, wanted, files), last_change(wanted, files, site))


@dataclass(frozen=True, slots=True)
class Journey:
    """What a visitor meets: a decision for each hop; `stops` are the decoded paths asked for, one for each."""

    stops: tuple[str, ...]
    decisions: tuple[Decision, ...]
    end: End

    @property
    def answers(self) -> bool:
        """Whether the visitor gets something in the end."""
        return self.end in ("shown", "elsewhere")


def page_request(path: str, query: str = "", cookie: str | None = None, language: str | None = None) -> Request:
    """That of a browser that wants to show what is at a decoded path."""
    return Request(
        method="GET",
        authority=None,
        path=encode_path(path),
        query=query,
        cookie=cookie,
        accept_language=language,
        accept="text/html",
    )


async def follow(tree: Tree, site: HostedSite, rules: SiteRules, request: Request) -> Journey:
    """Where `request` leads, redirects within the site included. Its path has to be one that is not refused."""
    stops: list[str] = []
    decisions: list[Decision] = []
    seen: set[tuple[str, str]] = set()
    path, query = decode_path(request.path), request.query
    while (path, query) not in seen and len(stops) < MAX_HOPS:
        seen.add((path, query))
        decision = await decide(tree, site, rules, path, request)
        stops.append(path)
        decisions.append(decision)
        answer = decision.answer
        if not isinstance(answer, Moved):
            return Journey(tuple(stops), tuple(decisions), "shown" if isinstance(answer, Shown) else "missing")
        target = urlsplit(answer.location)
        if target.netloc not in ("", site.domain):
            return Journey(tuple(stops), tuple(decisions), "elsewhere")
        try:
            path, query = decode_path(target.path or "/"), target.query or (query if answer.passes_query else "")
        except Refusal:
            return Journey(tuple(stops), tuple(decisions), "missing")
        request = Request(
            method="GET",
            authority=None,
            path=encode_path(path),
            query=query,
            cookie=request.cookie,
            accept_language=request.accept_language,
            accept=request.accept,
        )
    return Journey(tuple(stops), tuple(decisions), "endless")

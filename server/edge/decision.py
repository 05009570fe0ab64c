"""What a site answers GET of a path with: decided from names and rules, told in headers, before any content is read.

1. `host_of`, `answer_to_method`  what is settled without the site's files
2. `decide`     the names that could answer, and what the rules of `_redirects` make of the request → `Decision`
3. `describe`   a file → the coding of it that the request gets
4. `represent`  the two → a whole answer
5. `edits_of`, `dress`  the site's `_headers`, and Vary for what the rules read

The library serves by these functions and `explain` reports by them: neither decides anything itself.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TypeAlias

from server.edge import header_rules
from server.edge.codings import IDENTITY, Coding, choose, rank
from server.edge.conditions import http_date
from server.edge.header_rules import Changes
from server.edge.hosted import find_files
from server.edge.hosts import HostError, parse_authority
from server.edge.media_types import content_type
from server.edge.paths import (
    Candidates,
    Found,
    Missing,
    Redirect,
    Resolution,
    candidates,
    find_live,
    find_lost,
    last_change,
    resolve,
)
from server.edge.redirects import Outcome, match
from server.edge.request import Refusal, Request
from server.edge.response import (
    NOT_ALLOWED,
    OPTIONS,
    Content,
    Representation,
    error_representation,
    file_representation,
    is_about_caching,
    page,
    redirect,
    varying,
)
from server.edge.rule_files import SiteRules
from server.edge.visitor import NO_INPUTS, Inputs, Visitor, is_navigation
from storage.file_finder import FileFinder
from storage.models import Blob, File, HostedSite, Millis

NO_FILE = page(404, "There is nothing at this address.")

_parse_authority = lru_cache(maxsize=4096)(parse_authority)


@dataclass(frozen=True, slots=True)
class Lookup:
    """The names that could answer `path`, what the store has of them, which of them answers, and when that last changed
    (the site's rules included). `lost`: what answers is not in the tree, but was in the one before (`find_lost`)."""

    path: str
    wanted: Candidates
    files: Mapping[str, File]
    found: Resolution
    modified: Millis
    lost: bool = False

    def has(self, name: str) -> bool:
        """Whether there is a file of that name, one of `wanted`."""
        return find_live(self.files, name) is not None

    @property
    def exists(self) -> bool:
        """Whether a file answers the path, be it with an error because it is the error page."""
        return not isinstance(self.found, Missing) or self.error_page is not None

    @property
    def error_page(self) -> File | None:
        """The site's error page, if it is what the path names."""
        page = self.found.page if isinstance(self.found, Missing) else None
        return page if page is not None and page.path in self.wanted.files else None


@dataclass(frozen=True, slots=True)
class Shown:
    """200 with a file. `modified` and `lost` as in `Lookup`."""

    file: File
    modified: Millis
    lost: bool = False
    status: int = 200


@dataclass(frozen=True, slots=True)
class Failed:
    """An error, with the site's page for it or, if it has none, with ours."""

    status: int
    file: File | None


@dataclass(frozen=True, slots=True)
class Moved:
    """A redirect. `passes_query`: the request's is appended as the answer is sent, so that the page is the same whether
    it was kept or not."""

    status: int
    location: str
    passes_query: bool
    file: None = None


Answer: TypeAlias = Shown | Failed | Moved


@dataclass(frozen=True, slots=True)
class Decision:
    """`lookups` are those of the path and, where a rule rewrites it, of what the rule leads to. `inputs` are what the
    rules read to judge the path, whoever asks; `outcome` is what they make of this request.

    `keep`: the answer may be kept by its path, and by what of the request `inputs` names.
    """

    lookups: tuple[Lookup, ...]
    inputs: Inputs
    outcome: Outcome | None
    answer: Answer
    keep: bool

    def may_be_kept(self, stored: Representation, now: float) -> bool:
        """Whether `stored`, which tells this, may. Last-Modified says less than it should until it is in the past."""
        return self.keep and (stored.modified or 0) <= now


def host_of(request: Request) -> str | None:
    """The host that `request` is for; None where it names none, or where it is for the server as a whole. Raises
    `Refusal` (400, 421)."""
    if request.authority is None:
        return None
    host = normal_host(request.authority)
    if request.path == "*":
        return None
    if request.server_name is not None and request.server_name != host:
        raise Refusal(421, "this connection was made for another host")
    return host


def normal_host(authority: str) -> str:
    """The host that a Host or authority names. Raises `Refusal` (400)."""
    try:
        return _parse_authority(authority)
    except HostError as exc:
        raise Refusal(400, f"the Host is malformed: {exc}") from None


def answer_to_method(method: str) -> Representation | None:
    """What answers a method without looking at files; None where they are to be looked at."""
    if method in ("GET", "HEAD"):
        return None
    return OPTIONS if method == "OPTIONS" else NOT_ALLOWED


async def decide(metadata: FileFinder, site: HostedSite, rules: SiteRules, path: str, request: Request) -> Decision:
    """What answers GET of `path` (from `decode_path`). Raises `Unavailable`, `Refusal` (not uploaded yet)."""
    lookup = await _look_up(metadata, site, rules, path)
    inputs, outcome = consult(rules, path, request, exists=lookup.exists)
    if outcome is None:
        # What is missing is not kept by path: a scan of such paths would push out the pages that are there.
        answer = _plain(lookup)
        return Decision((lookup,), inputs, None, answer, keep=not isinstance(answer, Failed))
    # Nor what a rule makes of any number of paths or queries.
    written_out = outcome.rule.pattern.path is not None
    if outcome.location is not None:
        moved, same = _moved(outcome, outcome.location, request.query)
        return Decision((lookup,), inputs, outcome, moved, keep=written_out and same)
    assert outcome.target is not None
    target = await _look_up(metadata, site, rules, outcome.target)
    if isinstance(target.found, Redirect):  # one hop: the folder's index is shown where it was asked for
        target = await _look_up(metadata, site, rules, outcome.target + "/")
    answer = _rewritten(target, outcome.status)
    return Decision((lookup, target), inputs, outcome, answer, keep=written_out and isinstance(answer, Shown))


async def _look_up(metadata: FileFinder, site: HostedSite, rules: SiteRules, path: str) -> Lookup:
    wanted = candidates(path, site)
    files = await find_files(metadata, site, wanted.names())
    shown, found = files, resolve(path, wanted, files)
    lost = find_lost(wanted, files, site) if isinstance(found, Missing) else None
    if lost is not None:  # as if it were still there, also to the rules
        shown = {**files, lost.path: lost}
        found = resolve(path, wanted, shown)
    modified = max(last_change(wanted, shown, site), rules.changed_at)
    return Lookup(path, wanted, files, found, modified, lost is not None)


def visitor_of(path: str, request: Request) -> Visitor:
    """What the rules may read of `request`."""
    navigation = is_navigation(path, request.sec_fetch_dest, request.accept)
    return Visitor(request.query, request.cookie, request.accept_language, navigation)


def consult(rules: SiteRules, path: str, request: Request, *, exists: bool) -> tuple[Inputs, Outcome | None]:
    """What the rules read to judge `path`, whoever asks, and what they make of this request."""
    if rules.redirects is None:
        return NO_INPUTS, None
    outcome = match(
        rules.redirects,
        path,
        request.query,
        cookies=request.cookie,
        accept_language=request.accept_language,
        navigation=is_navigation(path, request.sec_fetch_dest, request.accept),
        forced_only=exists,
    )
    return rules.redirects.inputs_for(path, forced_only=exists), outcome


def _plain(lookup: Lookup) -> Answer:
    """What answers where no rule does."""
    found = lookup.found
    if isinstance(found, Found):
        return Shown(found.file, lookup.modified, lookup.lost)
    if isinstance(found, Redirect):
        return Moved(found.status, found.location, passes_query=True)
    return Failed(404, found.page)


def _moved(outcome: Outcome, location: str, query: str) -> tuple[Moved, bool]:
    """The redirect of a rule, and whether it is the same for every query."""
    if outcome.passes_query and "#" not in location:
        return Moved(outcome.status, location.removesuffix(f"?{query}"), passes_query=True), query == ""
    return Moved(outcome.status, location, passes_query=False), not outcome.passes_query


def _rewritten(target: Lookup, status: int) -> Answer:
    """What a rule's target gives, shown with the rule's status."""
    match target.found:
        case Found(file):
            return Shown(file, target.modified, target.lost) if status == 200 else Failed(status, file)
        case Missing(page) if status == 200:
            return Failed(404, page)
        case _:
            return Failed(status, target.error_page)


def describe(file: File, accept_encoding: str | None, without: Collection[Coding] = ()) -> Content:
    """The coding of `file` that this Accept-Encoding gets, not yet read. `without`: codings that are damaged; the file
    itself is there to make up for them."""
    blobs: dict[Coding, Blob] = {IDENTITY: Blob(digest=file.digest, size=file.size)}
    blobs |= {variant.coding: Blob(digest=variant.digest, size=variant.size) for variant in file.variants}
    codings = rank({coding: blob.size for coding, blob in blobs.items() if coding not in without})
    coding = choose(accept_encoding, codings)
    return Content(content_type(file.path), blobs[coding], blobs[coding], coding, codings if file.variants else ())


def represent(answer: Answer, content: Content | None, now: float) -> Representation:
    """The whole answer without the site's `_headers`; `content` is of the answer's file, if it has one.

    A second change within one second is dated in the next one (`MetadataStore.put_files`). Last-Modified may not lie in
    the future (RFC 9110 §8.8.2.1), so until `now` is there it says less, and the answer is not kept.
    """
    match answer, content:
        case Shown(), Content():
            return file_representation(content, answer.modified, http_date(min(answer.modified // 1000, int(now))))
        case Failed(), Content():
            return error_representation(content, answer.status)
        case Moved(), _:
            return _redirect(answer)
    return NO_FILE if answer.status == 404 else page(answer.status, "This address is no longer in use.")


def _redirect(moved: Moved) -> Representation:
    stored = redirect(moved.status, moved.location)
    if moved.passes_query:
        return stored
    return replace(stored, location=None, headers=(*stored.headers, (b"location", moved.location.encode("ascii"))))


def edits_of(site: HostedSite, rules: SiteRules, path: str, answer: Answer) -> Changes:
    """What the site's `_headers` change. They are for files and errors; a redirect stays as it is.

    For how long a lost file may be kept is not for them to say: no cache shall have it when it is gone, or taken down.
    """
    if rules.headers is None or isinstance(answer, Moved):
        return {}
    changes = edits_for(site, rules, path, None if answer.file is None else answer.file.path, answer.status)
    if isinstance(answer, Shown) and answer.lost:
        return {name: edits for name, edits in changes.items() if not is_about_caching(name)}
    return changes


def edits_for(site: HostedSite, rules: SiteRules, path: str, name: str | None, status: int) -> Changes:
    """As `edits_of`, where the file of that name, or ours, is shown with `status`."""
    if rules.headers is None:
        return {}
    served = None if name is None else "/" + name.removeprefix(site.prefix).lstrip("/")
    return header_rules.collect(rules.headers, path, served, status, site.index)


def dress(stored: Representation, edits: Changes, inputs: Inputs) -> Representation:
    """`stored` with `edits`, and with Vary for what the rules read."""
    headers = varying(header_rules.merge(stored.headers, edits), inputs.vary)
    return stored if headers is stored.headers else replace(stored, headers=headers)

"""Why a site answers a request as it does, by the very functions that serve it (`decision`, `conditions.finish`).

1. what refuses the request, or leads it elsewhere
2. what answers, and with which headers
3. of each header, where its value is from: the headers are taken down after each step, and a step accounts for what it
   has changed

Nothing but rule files is read, and nothing is kept. What the connection is refused for (`doors.head`) is not seen here.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

from server.edge.conditions import finish
from server.edge.decision import (
    Decision,
    Moved,
    answer_to_method,
    decide,
    describe,
    dress,
    edits_of,
    host_of,
    represent,
)
from server.edge.header_rules import Changes, Edit, merge
from server.edge.hosted import find_hosted
from server.edge.injection import read_tagged
from server.edge.made import Made
from server.edge.paths import decode_path
from server.edge.preview_access import NOINDEX, Previews, mark_headers
from server.edge.redirects import Outcome
from server.edge.request import Refusal, Request, read_request
from server.edge.response import Content, Headers, Representation, refusal_page
from server.edge.rule_files import SiteRules, read_rules
from storage.blobs import BlobStore
from storage.metadata import EdgeMetadata
from storage.models import HostedSite

# default    what every file has
# widget     the tag of the site's widget, which a page has
# variant    of the coding that was chosen
# _headers   lines of the site's file
# _redirects the line of the site's file that redirects, or that its lines read more of the request than its path
# platform   of a page of Spacelane's own, or a redirect
# request    what its conditions, its range or its wishes make of the answer
# preview    what every answer of a preview says
Step: TypeAlias = Literal["default", "widget", "variant", "_headers", "_redirects", "platform", "request", "preview"]

_Step: TypeAlias = tuple[Step, Headers]

_ADDED_TO = (b"vary", NOINDEX[0])  # by a later step, that is
_NOT_OF_THE_FILE = (412, 416)  # whose page is another answer altogether


@dataclass(frozen=True, slots=True)
class Source:
    """A step that had a hand in a header; `lines` of that file, where it is one."""

    step: Step
    lines: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Header:
    name: str
    value: str
    sources: tuple[Source, ...]


@dataclass(frozen=True, slots=True)
class Explanation:
    """What a request gets and why. Steps that it does not come to are None.

    `host` is the one it names, and `answered_by` the site that has it. `path` is decoded. `is_tagged`: the page has the
    tag of the site's widget put into it. `removed` are the lines of `_headers` that take headers away. `kept`: memory
    answers the next who asks the same. `refused`: why it is not served at all. `admission`: the status of what a
    private preview answers to who comes by a link, or has none.
    """

    host: str | None = None
    answered_by: HostedSite | None = None
    refused: str | None = None
    admission: int | None = None
    path: str | None = None
    rules: SiteRules | None = None
    decision: Decision | None = None
    content: Content | None = None
    is_tagged: bool = False
    status: int | None = None
    headers: tuple[Header, ...] = ()
    removed: tuple[Edit, ...] = ()
    kept: bool = False


async def explain(
    metadata: EdgeMetadata,
    blobs: BlobStore,
    previews: Previews,
    site_id: str,
    method: str,
    target: bytes,
    headers: Sequence[tuple[bytes, bytes]],
    now: float,
    widget_base: str = "",
) -> Explanation:
    """Why the site answers as it does at `now` (seconds since the epoch). Where another answers, or none does,
    `answered_by` tells and the rest is left out. `headers` have lower-case names and include Host. `widget_base` is as
    the edge has it.

    Raises `Corrupt`, `Unavailable`.
    """
    known = Explanation()
    try:
        request = read_request(method, target, "1.1", headers)
        host = host_of(request)
        known = replace(known, host=host)
        site = None if host is None else await find_hosted(metadata, host, previews.platform_domains)
        known = replace(known, answered_by=site)
        if host is not None and (site is None or site.id != site_id):
            return known
        path = decode_path(request.path)
    except Refusal as refusal:
        return _settled(replace(known, refused=refusal.detail), method, refusal_page(refusal))
    known = replace(known, path=path)
    if site is not None and site.preview is not None:
        admission = previews.admit(site.id, site.preview, path, request, now)
        if admission is not None:
            return _settled(replace(known, admission=admission.status), method, admission)
    if (settled := answer_to_method(method)) is not None:
        return _settled(known, method, settled)
    assert site is not None, 'only "*" is for no host, and it is refused for GET and HEAD'
    try:
        rules = await read_rules(metadata, blobs, site)
        decision = await decide(metadata, site, rules, path, request)
    except Refusal as refusal:  # of a deployment that is not there yet
        return _settled(replace(known, refused=refusal.detail), method, refusal_page(refusal))
    known = replace(known, rules=rules, decision=decision)
    file = decision.answer.file
    tagged = None if file is None else await read_tagged(blobs.read, site, file, widget_base)
    return _explain_decision(replace(known, is_tagged=tagged is not None), site, rules, decision, request, tagged, now)


def _settled(known: Explanation, method: str, stored: Representation) -> Explanation:
    """What is answered without the site's files."""
    response = finish(stored, Request(method=method, authority=None, path="/"))
    steps = [("platform", response.headers), *_steps_of_preview(known.answered_by, response.headers)]
    return replace(known, status=response.status, headers=_trace(steps, {}, None))


def _explain_decision(
    known: Explanation,
    site: HostedSite,
    rules: SiteRules,
    decision: Decision,
    request: Request,
    tagged: Made | None,
    now: float,
) -> Explanation:
    assert known.path is not None
    file = decision.answer.file
    if tagged is not None:
        content: Content | None = tagged.content(request.accept_encoding)
    else:
        content = None if file is None else describe(file, request.accept_encoding)
    edits = edits_of(site, rules, known.path, decision.answer)
    plain = represent(decision.answer, content, now)
    stored = dress(plain, edits, decision.inputs)
    response = finish(stored, request)
    if response.status in _NOT_OF_THE_FILE:
        steps = _steps_to_another_page(response.headers)
    elif isinstance(decision.answer, Moved):
        steps = _steps_to_redirect(decision, plain.headers, response.headers)
    else:
        bare = None if file is None else describe(replace(file, variants=()), None)
        steps = [
            ("platform" if file is None else "default", represent(decision.answer, bare, now).headers),
            *([("widget", represent(decision.answer, tagged.content(None), now).headers)] if tagged else ()),
            ("variant", plain.headers),
            ("_headers", merge(plain.headers, edits)),
            ("_redirects", stored.headers),
            ("request", response.headers),
        ]
    steps += _steps_of_preview(site, response.headers)
    return replace(
        known,
        content=content,
        status=response.status,
        headers=_trace(steps, edits, decision.outcome),
        removed=tuple(edit for group in edits.values() for edit in group if edit.value is None),
        kept=decision.may_be_kept(stored, now),
    )


def _steps_of_preview(site: HostedSite | None, headers: Headers) -> list[_Step]:
    """What is said of every answer of a preview."""
    if site is None or site.preview is None:
        return []
    return [("preview", mark_headers(headers, site.preview))]


def _steps_to_another_page(headers: Headers) -> list[_Step]:
    """To the page that tells what is wrong with a condition or a range; Content-Range is about the latter."""
    return [("platform", tuple(header for header in headers if header[0] != b"content-range")), ("request", headers)]


def _steps_to_redirect(decision: Decision, plain: Headers, sent: Headers) -> list[_Step]:
    """Where it leads is a rule's to say, if there is one, though a query may be appended only as it is sent."""
    location = tuple(header for header in sent if header[0] == b"location")
    page = tuple(header for header in plain if header not in location)
    return [("platform", page if decision.outcome else (*page, *location)), ("_redirects", sent)]


def _trace(steps: Iterable[_Step], edits: Changes, outcome: Outcome | None) -> tuple[Header, ...]:
    """The headers after the last step, each with the steps that its value is from: the last that changed it, and those
    before where that one adds to a value. `edits` are of the step "_headers", `outcome` is of the step "_redirects"."""
    sources: dict[bytes, tuple[Source, ...]] = {}
    before: dict[bytes, list[bytes]] = {}
    headers: Headers = ()
    for step, headers in steps:
        after: dict[bytes, list[bytes]] = {}
        for name, value in headers:
            after.setdefault(name, []).append(value)
        for name, values in after.items():
            lines: tuple[int, ...] = ()
            if step == "_headers":
                lines = tuple(edit.line for edit in edits.get(name, ()) if edit.value is not None)
            elif step == "_redirects" and name == b"location" and outcome is not None:
                lines = (outcome.rule.line,)
            if lines or values != before.get(name):
                adds = name in before and (name in _ADDED_TO or step == "_redirects")
                sources[name] = (*(sources[name] if adds else ()), Source(step, lines))
        before = after
    return tuple(Header(name.decode(), value.decode("latin-1"), sources[name]) for name, value in headers)

"""What an explanation looks like; `server.edge.explain` says what is in it."""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeAlias

from pydantic import Field

from server.control.views import PrefixPath, View
from server.edge.codings import Coding
from server.edge.explain import Step
from storage.models import Digest

Role: TypeAlias = Literal["file", "folder", "notFound"]
Tree: TypeAlias = Literal["live", "previous", "deployment"]


class ServingSiteView(View):
    """The site that answers, at the version that was looked at; `deployment` is what it shows if the host is of a
    preview."""

    id: str
    domain: str
    prefix: PrefixPath
    version: int
    deployment: str | None


class HostView(View):
    """`site` has this host; it is null if none has, or one that is not in the caller's workspace."""

    name: str | None
    site: str | None


class CandidateView(View):
    """A name that could answer: as a `file`, as the index of a `folder` whose slash is missing, or as an error page."""

    path: str
    role: Role
    exists: bool


class LookupView(View):
    """The names that could answer `path`, in the order in which they do."""

    path: str
    candidates: list[CandidateView]


class RuleView(View):
    """The line of `_redirects` that answers."""

    file: str
    line: int
    text: str
    why: str


class ExplainedFileView(View):
    """The file that is shown; `digest` and `size` are of what is sent, in this coding. `tree`: whether it is of what is
    live, of what was live before the last deployment (skew protection), or of the deployment that a preview shows."""

    path: str
    tree: Tree
    coding: Coding
    digest: Digest
    size: int


class SourceView(View):
    """`default`, `variant` (of the coding), `_headers` and `_redirects` (with the lines, if it is lines that say it),
    `platform` (of a page of Spacelane's own), `request` (its conditions, range or wishes), or `preview` (which all
    answers of previews have)."""

    step: Step
    lines: list[int]


class HeaderView(View):
    """`sources`: where the value is from; several where one adds to another."""

    name: str
    value: str
    sources: list[SourceView]


class DependsView(View):
    """What of the request, besides its path, can change the answer: query parameters and cookies by name, languages,
    whether it is a navigation; and the codings that there are, the smallest first."""

    query: list[str]
    cookies: list[str]
    languages: list[str]
    navigation: bool
    codings: list[Coding]


EXAMPLE: dict[str, Any] = {
    "url": "/old?x=1",
    "method": "GET",
    "words": [
        "/old is answered by no file: there is none of app/old, app/old.html.",
        "Line 2 of _redirects applies: /old matches /old, no file answers.",
        "It is not kept in memory by its path: the rule's answer depends on the whole query.",
        "The answer is 301 Moved Permanently.",
    ],
    "site": {"id": "site_06f3…", "domain": "www.example.com", "prefix": "/app", "version": 4, "deployment": None},
    "host": {"name": "www.example.com", "site": "site_06f3…"},
    "path": "/old",
    "lookups": [
        {
            "path": "/old",
            "candidates": [
                {"path": "app/old", "role": "file", "exists": False},
                {"path": "app/old.html", "role": "file", "exists": False},
                {"path": "app/old/index.html", "role": "folder", "exists": False},
                {"path": "app/404.html", "role": "notFound", "exists": True},
            ],
        }
    ],
    "rule": {
        "file": "app/_redirects",
        "line": 2,
        "text": "/old /new",
        "why": "/old matches /old, no file answers",
    },
    "file": None,
    "status": 301,
    "headers": [
        {"name": "content-type", "value": "text/html; charset=utf-8", "sources": [{"step": "platform", "lines": []}]},
        {"name": "location", "value": "/new?x=1", "sources": [{"step": "_redirects", "lines": [2]}]},
    ],
    "dependsOn": {"query": [], "cookies": [], "languages": [], "navigation": False, "codings": []},
    "kept": False,
}


class ExplanationView(View):
    """What a visitor gets and why. `status` is null and the rest empty where the host does not lead to the site; `path`
    is decoded; `kept`: memory answers the next who asks the same. `Date`, which every answer has, is not among the
    headers."""

    url: str
    method: str
    words: Annotated[list[str], Field(description="a sentence for each step")]
    site: ServingSiteView | None
    host: HostView
    path: str | None
    lookups: list[LookupView]
    rule: RuleView | None
    file: ExplainedFileView | None
    status: int | None
    headers: list[HeaderView]
    depends_on: DependsView | None
    kept: bool

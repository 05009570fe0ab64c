"""What answers about deployments look like."""

from __future__ import annotations

from server.control.views import PrefixPath, ProblemView, Time, View
from storage.models import Digest, Mode


class DeploymentView(View):
    id: str
    space_id: str
    mode: Mode
    prefix: PrefixPath
    message: str
    base: int
    file_count: int
    byte_count: int
    revision: int | None
    created_at: Time
    activated_at: Time | None


class NewDeploymentView(View):
    """`missing` are the digests to upload before it can be activated; `base` the revision it started from."""

    id: str
    missing: list[Digest]
    base: int


class MissingView(View):
    """`missing` are the digests that are yet to be uploaded."""

    id: str
    missing: list[Digest]


class TakenView(View):
    """`taken` are the digests of the contents that were uploaded."""

    id: str
    taken: list[Digest]


class ActivatedView(View):
    """`revision` is the change by which it is live. `problems` are lines of the space's rule files that do not do what
    they say, given the files that are live now; `unlisted` counts those beyond the ones that are listed."""

    id: str
    revision: int
    problems: list[ProblemView]
    unlisted: int


class UploadView(View):
    """What an archive has become. `revision` is null where it is not activated. `newCount` and `newBytes` are of the
    contents that were not there yet; `skipped` counts names that were left out, since no visitor could have them.
    `problems` and `unlisted` are as where a deployment is activated, and empty where it is not."""

    id: str
    revision: int | None
    file_count: int
    byte_count: int
    new_count: int
    new_bytes: int
    skipped: int
    problems: list[ProblemView]
    unlisted: int


class FileChangeView(View):
    """`size` in bytes: of a removed file as it was, of others as they will be."""

    path: str
    size: int


class FileChangesView(View):
    """The first of them, by path, and how many there are."""

    total: int
    items: list[FileChangeView]


class BrokenView(View):
    """What visitors of a site would lose: its `url` there, and how else it is written (`also`). `file` is what answers
    now; null if it is a rule. `requests` of it lately; null if that is not known. Sites that show the same are told of
    once."""

    site: str
    domain: str
    url: str
    also: list[str]
    file: str | None
    requests: int | None


class BrokenListView(View):
    """The first of them, the most asked for first, and how many there are."""

    total: int
    items: list[BrokenView]


class MoveView(View):
    """A content that goes from the path `old` and comes to `new`. `rules` are lines for `_redirects` that lead visitors
    there, for each URL that would stop answering."""

    old: str
    new: str
    rules: list[str]


class MoveListView(View):
    """The first of them, by path, and how many there are."""

    total: int
    items: list[MoveView]


class DiffView(View):
    """What activating a deployment would change. `trafficSince` is when the requests that are counted begin; null where
    none are. `problems` are those of the rule files as they would then be."""

    id: str
    against: str | None
    added: FileChangesView
    changed: FileChangesView
    removed: FileChangesView
    broken: BrokenListView
    moved: MoveListView
    traffic_since: Time | None
    problems: list[ProblemView]
    unlisted: int

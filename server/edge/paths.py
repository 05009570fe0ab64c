"""From a request's path to the file that answers it. Pure: what exists is passed in.

1. `decode_path`  percent-decoding, once, and everything that is refused
2. `candidates`   the names that could answer, in the order of EDGE §2
3. `resolve`      the first that exists: `Found`, `Redirect` or `Missing`
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias
from unicodedata import normalize
from urllib.parse import quote, unquote_to_bytes

from server.edge.request import Refusal
from storage.models import File, HostedSite, Millis
from storage.paths import MAX_BYTES, MAX_SEGMENTS, join

_SLASHES = re.compile(r"/{2,}")
_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})|%00|%2[Ff]|%5[Cc]|\\")  # malformed, or a byte that no name may hold
_LOCATION_SAFE = "/:@!$&'()*+,;=-._~"  # pchar of RFC 3986 §3.3, and the slash

RULE_FILES = frozenset({"_redirects", "_headers"})


@dataclass(frozen=True, slots=True)
class Candidates:
    """Names of files, relative to the space. `files` answer in this order; `folder_index` means a slash is missing.

    `not_found` are the error pages, nearest first; `via_index` says that `files` is the index of the folder asked for.
    """

    files: tuple[str, ...]
    folder_index: str | None
    not_found: tuple[str, ...]
    via_index: bool

    def names(self) -> set[str]:
        """Every name whose existence decides the answer; not those that are too long to exist."""
        extra = () if self.folder_index is None else (self.folder_index,)
        return {name for name in (*self.files, *extra, *self.not_found) if len(name) <= MAX_BYTES}


@dataclass(frozen=True, slots=True)
class Found:
    file: File


@dataclass(frozen=True, slots=True)
class Redirect:
    location: str
    status: int


@dataclass(frozen=True, slots=True)
class Missing:
    """`page` is the site's own error page, if it has one."""

    page: File | None


Resolution: TypeAlias = Found | Redirect | Missing


def decode_path(raw: str) -> str:
    """The path in the form that names are kept in, slashes at both ends kept. Raises `Refusal` (400).

    `raw` is visible ASCII and begins with "/". Repeated slashes collapse first, so no later step can make one.
    """
    path = _SLASHES.sub("/", raw)
    if "%" in path or "\\" in path:
        if _ESCAPE.search(path):
            raise Refusal(400, "the path has a malformed or forbidden escape, or a backslash")
        try:
            path = normalize("NFC", unquote_to_bytes(path).decode())
        except UnicodeDecodeError:
            raise Refusal(400, "the path is not UTF-8") from None
    if "/." in path and not {".", ".."}.isdisjoint(path.split("/")):
        raise Refusal(400, 'the path has a "." or ".." segment')
    return path


def encode_path(path: str) -> str:
    """The percent-encoded form of a decoded path."""
    return quote(path, safe=_LOCATION_SAFE)


def candidates(path: str, site: HostedSite) -> Candidates:
    """The names below the site's prefix that could answer `path` (from `decode_path`)."""
    name = path[1:]
    not_found = _error_pages(name, site)
    if name == "" or name.endswith("/"):
        return Candidates(_servable(site, name + site.index), None, not_found, via_index=True)
    index = _servable(site, f"{name}/{site.index}")
    return Candidates(_servable(site, name, name + ".html"), index[0] if index else None, not_found, via_index=False)


def _error_pages(name: str, site: HostedSite) -> tuple[str, ...]:
    """One in each folder from the one asked for up to the prefix. No file lies deeper than MAX_SEGMENTS."""
    folders = name.split("/")[:-1][:MAX_SEGMENTS]
    nearest_first = ("/".join(folders[:depth]) for depth in range(len(folders), -1, -1))
    return tuple(join(site.prefix, join(folder, site.not_found)) for folder in nearest_first)


def _servable(site: HostedSite, *names: str) -> tuple[str, ...]:
    """Names that may ever be served, below the prefix: no rule file at the root, no dot segment but .well-known."""
    return tuple(join(site.prefix, name) for name in names if name not in RULE_FILES and not is_hidden(name))


def is_hidden(name: str) -> bool:
    """Whether a file of that name is never served, wherever it is: it has a segment that begins with a dot."""
    if not name.startswith(".") and "/." not in name:
        return False
    return any(segment.startswith(".") and segment != ".well-known" for segment in name.split("/"))


def resolve(path: str, wanted: Candidates, files: Mapping[str, File]) -> Resolution:
    """Which of `wanted` answers, given the rows of `EdgeMetadata.find_files`; those that had ended do not exist."""
    for name in wanted.files:
        file = find_live(files, name)
        if file is not None:
            # The error page by its own URL is an error too; but a folder's index is one the visitor asked for.
            return Missing(file) if name in wanted.not_found and not wanted.via_index else Found(file)
    if wanted.folder_index is not None and find_live(files, wanted.folder_index) is not None:
        return Redirect(encode_path(path + "/"), 308)
    return Missing(next(filter(None, (find_live(files, name) for name in wanted.not_found)), None))


def find_live(files: Mapping[str, File], name: str) -> File | None:
    """The file of that name in the rows of `EdgeMetadata.find_files`, unless it had ended."""
    file = files.get(name)
    return file if file is not None and file.to_revision is None else None


def last_change(wanted: Candidates, files: Mapping[str, File], site: HostedSite) -> Millis:
    """When what answers for `wanted` last changed. Removals count: a name that is deleted uncovers the next one. So
    does the site's creation: its domain may have shown another tree before."""
    times = [site.created_at, site.settings_at or 0]
    for name in wanted.files:
        if file := files.get(name):
            times.append(file.modified_at if file.removed_at is None else file.removed_at)
    return max(times)

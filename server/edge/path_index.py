"""Every path that a site may answer, so that one it cannot answer costs no query. Pure.

A path that is in the index may be answered, or not: that is looked up. One that is not in it is missing for certain,
and the error page that is shown instead is known.
"""

from __future__ import annotations

from collections.abc import Iterable
from sys import getsizeof

from server.edge.paths import RULE_FILES, is_hidden
from storage.models import HostedSite
from storage.paths import MAX_SEGMENTS

MAX_NAMES = 50_000  # of a site; more take too long to list
PLACE_BYTES = 100  # that a path takes in a set, beside its text: measured 96

_HTML = ".html"


class PathIndex:
    """Of one version of a site, from the names of the files below its prefix, relative to the space; `lost` are names
    that skew protection may still show."""

    __slots__ = ("__weakref__", "_only_page", "_pages", "_paths", "size")

    def __init__(self, site: HostedSite, names: Iterable[str], lost: Iterable[str] = ()) -> None:
        start = len(site.prefix) + 1 if site.prefix else 0
        index_end = f"/{site.index}"
        page_end = f"/{site.not_found}"
        paths: set[str] = set()
        self._pages: dict[str, str] = {}  # folder, with its slash → the error page in it
        for name in names:
            relative = name[start:]
            path = f"/{relative}"
            if path.endswith(page_end):
                self._pages[path[: -len(site.not_found)]] = name
            if relative in RULE_FILES or is_hidden(relative):
                continue  # never served
            paths.add(path)
            if path.endswith(_HTML):
                paths.add(path.removesuffix(_HTML))
            if path.endswith(index_end):
                folder = path[: -len(site.index)]
                paths.add(folder)
                paths.add(folder[:-1])
        paths.update(f"/{name[start:]}" for name in lost)
        self._only_page = self._pages.get("/") if len(self._pages) == 1 else None  # whatever is missing, as mostly
        self._paths = frozenset(paths)
        texts = sum(map(getsizeof, paths)) + sum(getsizeof(text) for page in self._pages.items() for text in page)
        self.size = 1000 + texts + PLACE_BYTES * (len(paths) + len(self._pages))  # bytes

    def may_answer(self, path: str) -> bool:
        """Whether `path` (from `decode_path`) has to be looked up."""
        return path in self._paths

    def find_page(self, path: str) -> str | None:
        """The error page for a path that is missing, as `paths.candidates` and `paths.resolve` find it."""
        if self._only_page is not None:
            return self._only_page
        pages = self._pages
        if not pages:
            return None
        folder = path[: path.rfind("/") + 1]
        if folder.count("/") > MAX_SEGMENTS:
            folder = "/".join(folder.split("/", MAX_SEGMENTS + 1)[: MAX_SEGMENTS + 1]) + "/"
        while True:
            page = pages.get(folder)
            if page is not None or folder == "/":
                return page
            folder = folder[: folder.rfind("/", 0, -1) + 1]

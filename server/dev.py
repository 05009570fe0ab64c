"""A folder as visitors would get it, from memory, by the very edge that serves them.

1. `Preview.publish`  the folder's files go into stores in memory, and rule files are looked through
2. `run`              the edge's listener answers, whatever the host; each change is published, and browsers are told
"""

from __future__ import annotations

import asyncio
import os
import socket
import threading
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import aclosing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from watchfiles import Change, watch
from watchfiles.main import FileChange

from server.doors.journal import Journal
from server.doors.log_format import FORMATS
from server.edge.edge import Edge
from server.edge.media_types import content_type
from server.edge.rule_files import HEADERS, REDIRECTS, read_rules
from server.edge.rule_lines import Problem
from server.edge.rule_report import report
from server.edge.trees import Tree
from server.listeners import edge_server
from server.node import LoneNode
from server.reloading import HTML, Browsers, add_script, create_app
from server.stores import memory_stores
from storage.models import Blob, Digest, NewSite, NewSpace

DOMAIN = "dev.localhost"  # within; visitors may use any name
CACHE_BYTES = 16 * 1024 * 1024
LOOK_MILLIS = 250  # between looks whether it is still the same folder
SETTLE_MILLIS = 100  # without a further change, before changes are looked at
_WORKSPACE = "workspace_dev"


class Source(Protocol):
    """A file to show: `path` is where visitors find it, `source` where it is."""

    @property
    def path(self) -> str: ...

    @property
    def source(self) -> Path: ...

    @property
    def digest(self) -> Digest: ...


@dataclass(frozen=True, slots=True)
class Published:
    """What a look at the folder has come to: paths that are new or other than before, paths that are gone, and what is
    wrong with rules, by file and line."""

    changed: Sequence[str]
    removed: Sequence[str]
    problems: Sequence[str]


class Preview:
    """A site in memory."""

    def __init__(self) -> None:
        node = LoneNode()
        stores = memory_stores(node.raise_revision)
        self._metadata, self._blobs = stores.metadata, stores.blobs
        self._space_id = ""
        self._shown: dict[str, tuple[Digest, Blob]] = {}  # by path: the file's own digest, and what is served of it
        self.edge = Edge(self._metadata, self._blobs, node, cache_bytes=CACHE_BYTES)

    async def open(self) -> None:
        """Make the site, which has nothing yet."""
        await self._metadata.put_workspace(_WORKSPACE, "dev")
        self._space_id = (await self._metadata.create_space(NewSpace(workspace_id=_WORKSPACE))).id
        await self._metadata.create_site(NewSite(space_id=self._space_id, domain=DOMAIN))

    async def publish(self, files: Sequence[Source]) -> Published:
        """Make `files` all that the site has. Raises `OSError` if one cannot be read."""
        wanted = {file.path: file for file in files}
        changed = {path: file for path, file in wanted.items() if self._digest_of(path) != file.digest}
        removed = self._shown.keys() - wanted.keys()
        made = {path: (file.digest, await self._blobs.put(_read(file))) for path, file in changed.items()}
        before = {blob.digest for _, blob in self._shown.values()}
        self._shown = {path: each for path, each in self._shown.items() if path in wanted} | made
        if changed or removed:
            blobs = {path: blob for path, (_, blob) in made.items()}
            await self._metadata.put_files(self._space_id, blobs, delete=removed)
        for digest in before - {blob.digest for _, blob in self._shown.values()}:
            await self._blobs.delete(digest)
        return Published(sorted(changed), sorted(removed), await self._find_problems())

    def _digest_of(self, path: str) -> Digest | None:
        return self._shown[path][0] if path in self._shown else None

    async def _find_problems(self) -> list[str]:
        site = await self._metadata.find_site([DOMAIN])
        assert site is not None, "it is made before anything is published"
        rules = await read_rules(self._metadata, self._blobs, site)
        found: list[str] = []
        if rules.redirects is not None:
            tree = Tree({path: blob for path, (_, blob) in self._shown.items()})
            found += _lines(REDIRECTS, *await report(tree, site, rules))
        if rules.headers is not None:
            found += _lines(HEADERS, rules.headers.problems, rules.headers.unlisted)
        return found


def _lines(file: str, problems: Sequence[Problem], unlisted: int) -> list[str]:
    more = [f"{file}: {unlisted} more problems"] if unlisted else []
    return [f"{file}:{each.line}: {each.reason}" for each in problems] + more


async def _read(file: Source) -> AsyncIterator[bytes]:
    """What is served of a file."""
    content = await asyncio.to_thread(file.source.read_bytes)
    yield add_script(content) if content_type(file.path).startswith(HTML) else content


def bind(port: int) -> socket.socket:
    """Listen on loopback, and nowhere else. Raises `OSError`."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(("127.0.0.1", port))
        sock.listen()
        sock.setblocking(False)
    except OSError:
        sock.close()
        raise
    return sock


async def run(
    directory: Path,
    sock: socket.socket,
    read: Callable[[], Sequence[Source] | None],
    is_watched: Callable[[str], bool],
    on_serving: Callable[[], None],
    on_published: Callable[[Published], None],
    on_answers: Callable[[bytes], None],
) -> None:
    """Serve `directory`, an absolute path without links, until cancelled. Raises `OSError` if it cannot be watched.

    `read` gives the files, None where they cannot be read just now; `is_watched` says of a path below the directory
    whether its changes matter. `on_answers` is told lines of an access log in JSON.
    """
    preview, browsers = Preview(), Browsers()
    await preview.open()
    await _publish(preview, read, on_published)
    journal = Journal(time.time, FORMATS["json"], on_answers)
    server = edge_server(preview.edge, journal=journal, fast=False, wrap=lambda app: create_app(app, browsers, DOMAIN))
    serving = asyncio.create_task(server.listen(sock))
    try:
        await server.listening.wait()
        on_serving()
        async for _ in _watch(directory, is_watched):
            if await _publish(preview, read, on_published):
                browsers.reload()
    finally:
        browsers.close()
        server.stop()
        await serving
        journal.flush()


async def _publish(
    preview: Preview, read: Callable[[], Sequence[Source] | None], tell: Callable[[Published], None]
) -> bool:
    """Whether anything has changed."""
    files = await asyncio.to_thread(read)
    if files is None:
        return False
    with suppress(OSError):  # a file went while it was read: that is a change, which is looked at next
        done = await preview.publish(files)
        if done.changed or done.removed:
            tell(done)
            return True
    return False


async def _watch(root: Path, is_watched: Callable[[str], bool]) -> AsyncIterator[None]:
    """Whenever something has changed, and once after watching has begun, for what changed before. A folder that is
    removed is waited for, as a build may make it anew."""

    def matters(change: Change, path: str) -> bool:
        name = os.path.relpath(path, root)
        return name == os.curdir or is_watched(name)

    while True:
        watched = await _wait_for(root)
        is_first = True
        found = _list_changes(root, matters)
        with suppress(FileNotFoundError):  # it went while it was to be watched
            async with aclosing(found):
                async for changes in found:
                    if changes or is_first:
                        yield
                    is_first = False
                    # A new folder may have the old one's number.
                    if (Change.deleted, str(root)) in changes or _identify(root) != watched:
                        break


async def _list_changes(root: Path, matters: Callable[[Change, str], bool]) -> AsyncGenerator[set[FileChange], None]:
    """What has changed, again and again, be it nothing. As `watchfiles.awatch`, whose cancel scopes have been seen to
    swallow the cancellation that Ctrl-C is. Raises `FileNotFoundError` if `root` is not there."""
    stop = threading.Event()
    found = watch(
        root,
        watch_filter=matters,
        debounce=16 * SETTLE_MILLIS,
        step=SETTLE_MILLIS,
        rust_timeout=LOOK_MILLIS,
        yield_on_timeout=True,
        stop_event=stop,
    )
    try:
        while (changes := await asyncio.to_thread(next, found, None)) is not None:
            yield changes
    finally:
        stop.set()


async def _wait_for(folder: Path) -> tuple[int, int]:
    """Until it is there; which one it is."""
    while True:
        found = _identify(folder)
        if found is not None:
            return found
        await asyncio.sleep(LOOK_MILLIS / 1000)


def _identify(folder: Path) -> tuple[int, int] | None:
    """Which folder that is; None if there is none."""
    try:
        found = folder.stat()
    except FileNotFoundError:
        return None
    return found.st_dev, found.st_ino

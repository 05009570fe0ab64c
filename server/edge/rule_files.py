"""Where a site's rule files are and what they compile to, for whoever serves by them or reports on them.

1. `find_sources`  which contents they have
2. `compile_file`  one content → rules
3. `read_rules`    both at once, for who does not keep them
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeAlias

from server.edge.header_rules import HeaderRules, compile_headers
from server.edge.hosted import find_files
from server.edge.redirects import Redirects, compile_redirects
from server.edge.rule_lines import MAX_FILE
from storage.blobs import BlobStore
from storage.metadata import EdgeMetadata
from storage.models import Digest, HostedSite, Millis
from storage.paths import join

Compiled: TypeAlias = Redirects | HeaderRules

REDIRECTS, HEADERS = "_redirects", "_headers"
_COMPILERS: Mapping[str, Callable[[str], Compiled]] = {REDIRECTS: compile_redirects, HEADERS: compile_headers}

MAX_READ_BYTES = 4 * MAX_FILE + 4  # enough for the compiler to see that a file is too long, in any script


@dataclass(frozen=True, slots=True)
class SiteRules:
    """What a site's files compile to; None where there is no such file. `changed_at`: the later of them (0: never)."""

    redirects: Redirects | None = None
    headers: HeaderRules | None = None
    changed_at: Millis = 0


@dataclass(frozen=True, slots=True)
class Sources:
    """The contents of a site's rule files; None where there is no such file. `changed_at` as in `SiteRules`."""

    redirects: Digest | None
    headers: Digest | None
    changed_at: Millis


def rule_files(prefix: str) -> dict[str, str]:
    """The kind of each rule file of a site with that prefix, by its path in the space."""
    return {join(prefix, name): name for name in _COMPILERS}


async def find_sources(metadata: EdgeMetadata, site: HostedSite) -> Sources:
    """What a site's rule files hold. Raises `Unavailable`, `Refusal` (`trees.find_files`)."""
    kinds = rule_files(site.prefix)
    found = await find_files(metadata, site, kinds)
    # A file that is gone changed something when it went.
    changes = [file.modified_at if file.removed_at is None else file.removed_at for file in found.values()]
    live = {kinds[path]: file.digest for path, file in found.items() if file.to_revision is None}
    return Sources(live.get(REDIRECTS), live.get(HEADERS), max(changes, default=0))


async def compile_file(blobs: BlobStore, kind: str, digest: Digest) -> Compiled:
    """The rules in a blob. In a thread: two thousand take a tenth of a second. Raises `Corrupt`, `Unavailable`."""
    reader = await blobs.open(digest)
    try:
        start = [chunk async for chunk in reader.read(0, MAX_READ_BYTES)] if reader.size > MAX_READ_BYTES else []
    finally:
        await reader.close()
    content = b"".join(start) or await blobs.read(digest)
    return await asyncio.to_thread(_COMPILERS[kind], content.decode("utf-8", "replace"))


def site_rules(redirects: Compiled | None, headers: Compiled | None, changed_at: Millis) -> SiteRules:
    """The rules that two compiled files make."""
    assert redirects is None or isinstance(redirects, Redirects)
    assert headers is None or isinstance(headers, HeaderRules)
    return SiteRules(redirects, headers, changed_at)


async def read_rules(metadata: EdgeMetadata, blobs: BlobStore, site: HostedSite) -> SiteRules:
    """A site's rules, read and compiled now. Raises `Corrupt`, `Unavailable`."""
    sources = await find_sources(metadata, site)
    kinds = ((REDIRECTS, sources.redirects), (HEADERS, sources.headers))
    redirects, headers = [None if digest is None else await compile_file(blobs, kind, digest) for kind, digest in kinds]
    return site_rules(redirects, headers, sources.changed_at)

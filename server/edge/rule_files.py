"""Where a site's rule files are and what they compile to, for whoever serves by them or reports on them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import TypeAlias

from server.edge.header_rules import HeaderRules, compile_headers
from server.edge.redirects import Redirects, compile_redirects
from server.edge.rule_lines import MAX_FILE
from storage.blobs import BlobStore
from storage.models import Digest
from storage.paths import join

Compiled: TypeAlias = Redirects | HeaderRules

REDIRECTS, HEADERS = "_redirects", "_headers"
_COMPILERS: Mapping[str, Callable[[str], Compiled]] = {REDIRECTS: compile_redirects, HEADERS: compile_headers}

MAX_READ_BYTES = 4 * MAX_FILE + 4  # enough for the compiler to see that a file is too long, in any script


def rule_files(prefix: str) -> dict[str, str]:
    """The kind of each rule file of a site with that prefix, by its path in the space."""
    return {join(prefix, name): name for name in _COMPILERS}


async def compile_file(blobs: BlobStore, kind: str, digest: Digest) -> Compiled:
    """The rules in a blob. In a thread: two thousand take a tenth of a second. Raises `Corrupt`, `Unavailable`."""
    reader = await blobs.open(digest)
    try:
        start = [chunk async for chunk in reader.read(0, MAX_READ_BYTES)] if reader.size > MAX_READ_BYTES else []
    finally:
        await reader.close()
    content = b"".join(start) or await blobs.read(digest)
    return await asyncio.to_thread(_COMPILERS[kind], content.decode("utf-8", "replace"))

"""What a directory holds that can be published, and what it holds that cannot, with the reason.

1. walk the tree in the order of names, deciding on each entry
2. keep the first of two names that Unicode makes one
3. hash what is left
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from server.cli.errors import USAGE, CliError
from storage.errors import Invalid
from storage.models import Digest
from storage.paths import parse_path

VISIBLE_DOT_NAMES = frozenset({".well-known"})  # RFC 8615; every other dotted name stays at home

HIDDEN = "hidden: the name starts with a dot"
DANGLING = "a link that leads nowhere"
LEAVES = "a link that leaves the directory"
CIRCULAR = "a link back to a folder it is in"
SPECIAL = "neither a file nor a folder"


@dataclass(frozen=True, slots=True)
class LocalFile:
    """A file to publish at `path` (the kept form), read from `source`; `size` in bytes."""

    path: str
    source: Path
    size: int
    digest: Digest


@dataclass(frozen=True, slots=True)
class Skipped:
    """A name below the directory that is not published; a folder stands for all it holds."""

    name: str
    reason: str


@dataclass(frozen=True, slots=True)
class Scan:
    """Everything found, by path in code-point order."""

    files: tuple[LocalFile, ...]
    skipped: tuple[Skipped, ...]

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(file.size for file in self.files)


def scan(directory: Path) -> Scan:
    """Walk and hash `directory`. Raises `CliError` if it is none, cannot be read or holds nothing to publish."""
    if not directory.is_dir():
        problem = "is not a directory" if directory.exists() else "does not exist"
        raise CliError(f"{directory} {problem}.", "Give the directory that holds your index.html.", exit_code=USAGE)
    sources: dict[str, tuple[str, Path]] = {}
    skipped = []
    try:
        for name, source, reason in _walk(directory, "", (os.path.realpath(directory),)):
            path = parse_path(name) if not reason else ""
            if path in sources:
                reason = f"the same path as {printable(sources[path][0])}, written in other Unicode code points"
            if reason:
                skipped.append(Skipped(printable(name), reason))
            else:
                sources[path] = (name, source)
        files = tuple(_hash(path, sources[path][1]) for path in sorted(sources))
    except OSError as exc:
        name = printable(os.fspath(exc.filename or directory))
        raise CliError(
            f"{name} cannot be read: {exc.strerror}.", "Make it readable or move it out, then run again."
        ) from exc
    if not files:
        raise CliError(f"{directory} holds no file to publish.", "Give the directory that holds your index.html.")
    return Scan(files, tuple(skipped))


def printable(name: str) -> str:
    """`name` with what a terminal must not get (control characters, undecodable bytes) written as escapes."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in name)


def _walk(folder: Path, prefix: str, trail: tuple[str, ...]) -> Iterator[tuple[str, Path, str]]:
    """(name below the root, where it is, why it is skipped or "") for each; `trail` is the real folders above."""
    with os.scandir(folder) as entries:
        names = sorted(entry.name for entry in entries)
    for name in names:
        source = folder / name
        reason = _find_objection(source, prefix + name, trail)
        if reason or not source.is_dir():
            yield prefix + name, source, reason
        else:
            yield from _walk(source, f"{prefix}{name}/", (*trail, os.path.realpath(source)))


def _find_objection(source: Path, name: str, trail: tuple[str, ...]) -> str:
    """Why `source` cannot be published; "" if it can."""
    if source.name.startswith(".") and source.name not in VISIBLE_DOT_NAMES:
        return HIDDEN
    try:
        parse_path(name)
    except Invalid as exc:
        return f"the name {exc}"
    if source.is_symlink():
        try:
            target = os.path.realpath(source, strict=True)
        except OSError:
            return DANGLING
        if not Path(target).is_relative_to(trail[0]):
            return LEAVES
        if target in trail:
            return CIRCULAR
    mode = source.stat().st_mode
    return "" if stat.S_ISREG(mode) or stat.S_ISDIR(mode) else SPECIAL


def _hash(path: str, source: Path) -> LocalFile:
    with source.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        return LocalFile(path, source, file.tell(), digest)

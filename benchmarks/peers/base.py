"""What a peer is: how to find it, and how to start it on a site."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from benchmarks.corpus import Corpus
from benchmarks.processes import ServerProcess

TEMPLATES = Path(__file__).parent


@dataclass(frozen=True, slots=True)
class Setting:
    """What a server is set up for. `hosts` 0: the one site; otherwise that many sites, each a host of its own."""

    name: str
    hosts: int = 0
    tls: bool = False
    http2: bool = False


@dataclass(frozen=True, slots=True)
class Certificate:
    """PEM files for `corpus.DOMAIN`, and that of who signed it."""

    chain: Path
    key: Path
    authority: Path


@dataclass(frozen=True, slots=True)
class Place:
    """Where a server is to run: what it serves, on which port of 127.0.0.1 and which core, and a directory of its
    own, empty, for whatever it writes."""

    setting: Setting
    corpus: Corpus
    certificate: Certificate
    directory: Path
    port: int
    core: int

    @property
    def access_log(self) -> Path:
        """Where a server writes it if it can choose."""
        return self.directory / "access.log"


class Peer(Protocol):
    """`name` is for options and files, `title` for people."""

    name: str
    title: str

    def find_version(self) -> str | None:
        """None if it is not installed."""
        ...

    def start(self, place: Place) -> AbstractContextManager[ServerProcess]:
        """It serves within the block. Raises `BenchError` if it does not start."""
        ...


def find_program(name: str) -> str | None:
    """Its path; Debian keeps servers where ordinary users do not look."""
    return shutil.which(name) or shutil.which(name, path="/usr/sbin:/usr/local/sbin")


def ask_version(name: str, *options: str) -> str | None:
    """The first number with dots in what the program says of itself; None if it is not installed."""
    program = find_program(name)
    if program is None:
        return None
    done = subprocess.run([program, *options], capture_output=True, text=True, check=False)
    found = re.search(r"\d+(\.\d+)+", done.stdout + done.stderr)
    return found[0] if found else "unknown"


def fill(template: str, values: Mapping[str, object]) -> str:
    """The file of that name in this directory, each `@name@` in it replaced."""
    text = (TEMPLATES / template).read_text()
    return re.sub(r"@(\w+)@", lambda match: str(values[match[1]]), text)

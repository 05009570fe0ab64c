r"""Wire cases as files: a request, dashed lines, what has to come back. Adding one needs no Python.

    # The heading of this file's part of the table in docs/http.md

    == what is shown — the section or the peer's bug that asks for it
    GET /a HTTP/1.1
    Host: basic.test

    --
    200
    content-type: text/plain; charset=utf-8
    - vary

    the body

Lines of a request end in CRLF. `\xNN` and `\n` and the like stand for odd bytes, `{{a*9}}` for a repetition,
`{{etag a.txt}}` for the entity tag of a file of the site that Host names, `{{size a.txt}}` for its size,
`{{sha-256 a.txt}}` for its digest as Repr-Digest gives it, `{{pass ID}}` for a pass to the preview of a deployment.
`a.txt|gzip` is that file in a coding. In an answer

    name: value   is a header, to the letter; a value that ends in "..." begins so. Other headers may be there.
    - name        a header is absent.
    ~ text        the body has the text.
    = a.txt|gzip  the body is the file; = a.txt|gzip 0-9  these bytes of it.
    to HEAD       is the method that it answers; if it is not said, the first request's.
    close         the connection ends behind it. Where it is not said, the connection goes on in step.

Further answers follow further dashed lines. A title that begins with `[hardened]` is for the hardened listener alone:
hypercorn refuses such a request with a page of its own. Where it does something else, answers behind lines
`-- hypercorn` say what; `waits` that it wants more of the request, `depends` that it is one thing or another.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
import tomllib
from base64 import b64encode
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Literal, TypeAlias, cast
from unittest.mock import patch

from server.compression import make_variants
from server.compressor import Compressor
from server.edge.response import etag_of
from storage.ids import new_id
from storage.memory import MemoryBlobs
from storage.models import CODINGS, Blob, Coding, Mode, NewSite
from tests.support.hosting import NOW, PREVIEWS, Hosting, digest_of, one_chunk

CORPUS = Path(__file__).parent.parent / "corpus"
HARDENED = "[hardened] "
PASSES_END = NOW + 3600
_MARK = re.compile(r"\{\{(?:(?P<text>[^{}*]+)\*(?P<count>\d+)|(?P<fact>etag|size|sha-256|pass) (?P<file>[^{}]+))\}\}")
_ESCAPE = re.compile(r"\\(?:x([0-9a-f]{2})|([nrt]))")
_ESCAPES = {"n": "\n", "r": "\r", "t": "\t"}

Unanswered: TypeAlias = Literal["waits", "depends"]


@dataclass
class Expected:
    """One answer."""

    status: int
    method: str | None = None  # that it answers; None: the first request's
    headers: dict[str, str] = field(default_factory=dict)
    absent: list[str] = field(default_factory=list)
    contains: list[bytes] = field(default_factory=list)
    body: bytes | None = None
    closes: bool = False


@dataclass
class Case:
    """One exchange: what is shown, what asks for it, and what comes back."""

    file: str
    shown: str
    source: str
    hardened: bool
    request: bytes
    answers: list[Expected]
    by_hypercorn: list[Expected] | Unanswered | None  # None: as above or, for a hardened case, a refusal of its own

    @property
    def name(self) -> str:
        return f"{self.file}: {self.shown}"

    @property
    def method(self) -> str:
        """Of the first request."""
        return self.request.lstrip().split(b" ", 1)[0].decode("latin-1")


def sites() -> dict[str, dict[str, object]]:
    """The sites that every case finds, by domain."""
    return tomllib.loads((CORPUS / "sites.toml").read_text())


def contents(site: dict[str, object]) -> dict[str, bytes]:
    """A site's files. A value `{repeat = "x", times = N}` stands for a long one."""
    files = site["files"]
    assert isinstance(files, dict)
    return {
        path: (value if isinstance(value, str) else value["repeat"] * value["times"]).encode()
        for path, value in files.items()
    }


@cache
def coded(content: bytes, coding: Coding) -> bytes:
    """`content` in a coding, which is worth it."""

    async def make() -> bytes:
        blobs = MemoryBlobs()
        variants = await make_variants(blobs, await blobs.put(one_chunk(content)), [coding])
        blob = variants[coding]
        assert blob
        return await blobs.read(blob.digest)

    with ThreadPoolExecutor(1) as thread:  # where no other event loop is
        return thread.submit(asyncio.run, make()).result()


async def fill(hosting: Hosting) -> None:
    """Publish all of `sites`, with the variants that the background job would make."""
    for domain, site in sites().items():
        space = str(site.get("space", domain))
        space_id = await hosting.publish(space, contents(site))
        with _known_id(site):
            await hosting.metadata.create_site(
                NewSite(
                    space_id=space_id,
                    domain=domain,
                    prefix=str(site.get("prefix", "")),
                    named_index=str(site["index"]) if "index" in site else None,
                    named_not_found=str(site["not_found"]) if "not_found" in site else None,
                    previews="private" if site.get("previews") == "private" else "public",
                    meta={"widget": True} if site.get("tagged") else {},
                )
            )
        if isinstance(widget := site.get("widget"), dict):
            await hosting.widget(**{"domain": domain, **widget})
    compressor = Compressor(hosting.metadata, hosting.blobs, hosting.node)
    await compressor.work()
    for domain, site in sites().items():
        space = str(site.get("space", domain))
        for deployment in _deployments(site):
            await _deploy(hosting, space, deployment)
        for path in cast(list[str], site.get("taken_down", [])):
            await hosting.metadata.delete_tree(hosting.spaces[space], path)
    await compressor.work()


async def _deploy(hosting: Hosting, space: str, deployment: dict[str, object]) -> None:
    mode: Mode = "merge" if deployment.get("mode") == "merge" else "replace"
    with _known_id(deployment):
        made = await hosting.draft(space, contents(deployment), mode=mode)
    if deployment.get("active"):
        await hosting.metadata.activate_deployment(made.id, skew=3_600_000)


def _deployments(site: dict[str, object]) -> list[dict[str, object]]:
    return cast(list[dict[str, object]], site.get("deployments", []))


@contextmanager
def _known_id(told: dict[str, object]) -> Iterator[None]:
    """What is made meanwhile has the id that it is told to have, for cases that name it; or else a new one."""
    with patch("storage.edits.new_id", lambda made: _id(made, str(told["id"])) if "id" in told else new_id(made)):
        yield


def _id(kind: str, digits: str) -> str:
    return f"{kind}_{digits:0<38}"


def headings() -> dict[str, str]:
    """The heading of each file, in order."""
    lines = {path.stem: path.read_text().partition("\n")[0] for path in sorted(CORPUS.glob("*.http"))}
    return {stem: line[2:] if line.startswith("# ") else stem.capitalize() for stem, line in lines.items()}


def load_cases() -> list[Case]:
    """Every case of every file."""
    return [
        _parse(path.stem, block)
        for path in sorted(CORPUS.glob("*.http"))
        for block in re.split(r"^== ", path.read_text(), flags=re.MULTILINE)[1:]
    ]


def _parse(file: str, block: str) -> Case:
    title, _, text = block.partition("\n")
    request, *rest = re.split(r"^--(| hypercorn)\n", text, flags=re.MULTILINE)
    domain = _site_of(request)
    ours: list[Expected] = []
    theirs: list[Expected] = []
    unanswered: Unanswered | None = None
    for mark, answer in zip(rest[::2], rest[1::2], strict=True):
        match mark, answer.strip():
            case " hypercorn", ("waits" | "depends") as word:
                unanswered = word
            case " hypercorn", text:
                theirs.append(_parse_answer(text, domain))
            case _:
                ours.append(_parse_answer(answer, domain))
    shown, _, source = title.removeprefix(HARDENED).rpartition(" — ")
    data = _bytes(request.replace("\n", "\r\n"), domain)
    return Case(file, shown, source, title.startswith(HARDENED), data, ours, theirs or unanswered)


def _site_of(request: str) -> str:
    found = re.search(r"^Host: *(\S+)", request, re.MULTILINE | re.IGNORECASE)
    return found[1] if found else ""


def _parse_answer(text: str, domain: str) -> Expected:
    head, blank, body = text.partition("\n\n")
    first, *lines = head.strip("\n").split("\n")
    expected = Expected(int(first))
    for line in lines:
        if line == "close":
            expected.closes = True
        elif line.startswith("to "):
            expected.method = line[3:]
        elif line.startswith("- "):
            expected.absent.append(line[2:])
        elif line.startswith("= "):
            expected.body = _slice(line[2:], domain)
        elif line.startswith("~ "):
            expected.contains.append(_bytes(line[2:], domain))
        else:
            name, _, value = line.partition(": ")
            expected.headers[name] = _bytes(value, domain).decode()
    if blank and body.strip("\n"):
        expected.body = _bytes(body.strip("\n"), domain)
    return expected


def _bytes(text: str, domain: str) -> bytes:
    text = _MARK.sub(lambda found: _expand(found, domain), text)
    return _ESCAPE.sub(lambda found: chr(int(found[1], 16)) if found[1] else _ESCAPES[found[2]], text).encode("latin-1")


def _slice(text: str, domain: str) -> bytes:
    """What `FILE|CODING` or `FILE|CODING FIRST-LAST` stands for."""
    name, _, span = text.partition(" ")
    content = _content(name, domain)
    if span:
        first, last = map(int, span.split("-"))
        return content[first : last + 1]
    return content


def _content(name: str, domain: str) -> bytes:
    path, _, coding = name.partition("|")
    content = contents(sites()[domain])[path]
    return coded(content, next(known for known in CODINGS if known == coding)) if coding else content


def _expand(found: re.Match[str], domain: str) -> str:
    if found["text"]:
        return found["text"] * int(found["count"])
    if found["fact"] == "pass":
        owner = next(site for site in sites().values() for each in _deployments(site) if each["id"] == found["file"])
        return PREVIEWS.sign(_id("site", str(owner["id"])), _id("deployment", found["file"]), PASSES_END)
    content = _content(found["file"], domain)
    match found["fact"]:
        case "size":
            return str(len(content))
        case "sha-256":
            return f"sha-256=:{b64encode(hashlib.sha256(content).digest()).decode()}:"
        case _:
            return etag_of(Blob(digest=digest_of(content), size=len(content))).decode()

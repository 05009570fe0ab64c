"""Wire cases as files: a request, dashed lines, what has to come back. Adding one needs no Python.

    == what is shown — the section or the peer's bug that asks for it
    GET /a HTTP/1.1
    Host: basic.test

    --
    200
    content-type: text/plain; charset=utf-8
    - vary

    the body

Lines of a request end in CRLF. `\\xNN` and `\\n` and the like stand for odd bytes, `{{a*9}}` for a repetition,
`{{etag a.txt}}` for the entity tag of a file of the site that Host names. In an answer a line `- name` says that a
header is absent, `~ text` that the body has the text, `close` that the connection ends behind it, and further answers
follow further dashed lines. Header values are compared exactly; headers that are not named may be there. A title that
begins with `[hardened]` is for the hardened listener alone: other servers judge such requests their own way.
"""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass, field
from pathlib import Path

from server.edge.response import etag_of
from storage.models import Blob, NewSite
from tests.support.hosting import Hosting, digest_of

CORPUS = Path(__file__).parent.parent / "corpus"
_MARK = re.compile(r"\{\{(?:(?P<text>[^{}*]+)\*(?P<count>\d+)|etag (?P<file>[^{}]+)|size (?P<sized>[^{}]+))\}\}")


@dataclass
class Expected:
    """One answer."""

    status: int
    headers: dict[str, str] = field(default_factory=dict)
    absent: list[str] = field(default_factory=list)
    contains: list[str] = field(default_factory=list)
    body: bytes | None = None
    closes: bool = False


@dataclass
class Case:
    """One exchange."""

    name: str
    request: bytes
    answers: list[Expected]
    hardened: bool


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


async def fill(hosting: Hosting) -> None:
    """Publish all of `sites`."""
    for domain, site in sites().items():
        space = str(site.get("space", domain))
        space_id = await hosting.publish(space, contents(site))
        await hosting.metadata.create_site(
            NewSite(
                space_id=space_id,
                domain=domain,
                prefix=str(site.get("prefix", "")),
                named_index=str(site["index"]) if "index" in site else None,
                named_not_found=str(site["not_found"]) if "not_found" in site else None,
            )
        )


def load_cases() -> list[Case]:
    """Every case of every file."""
    return [
        _parse(path.stem, block)
        for path in sorted(CORPUS.glob("*.http"))
        for block in re.split(r"^== ", path.read_text(), flags=re.MULTILINE)[1:]
    ]


def _parse(stem: str, block: str) -> Case:
    title, _, text = block.partition("\n")
    request, *answers = re.split(r"^--\n", text, flags=re.MULTILINE)
    raw = _bytes(request, _site_of(request)).replace(b"\n", b"\r\n").replace(b"\xff\x00LF", b"\n")
    parsed = [_parse_answer(answer, _site_of(request)) for answer in answers]
    return Case(f"{stem}: {title}", raw, parsed, title.startswith("[hardened]"))


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
        elif line.startswith("- "):
            expected.absent.append(line[2:])
        elif line.startswith("~ "):
            expected.contains.append(line[2:])
        else:
            name, _, value = line.partition(": ")
            expected.headers[name] = _bytes(value, domain).decode()
    if blank and body.strip("\n"):
        expected.body = _bytes(body.strip("\n"), domain)
    return expected


def _bytes(text: str, domain: str) -> bytes:
    text = _MARK.sub(lambda found: _expand(found, domain), text)
    # An escaped line feed must not become CRLF with the others.
    out = re.sub(r"\\n", "\xff\x00LF", text)
    out = re.sub(r"\\r", "\r", out)
    out = re.sub(r"\\t", "\t", out)
    return re.sub(r"\\x([0-9a-f]{2})", lambda found: chr(int(found[1], 16)), out).encode("latin-1")


def _expand(found: re.Match[str], domain: str) -> str:
    if found["text"]:
        return found["text"] * int(found["count"])
    content = contents(sites()[domain])[found["file"] or found["sized"]]
    if found["sized"]:
        return str(len(content))
    return etag_of(Blob(digest=digest_of(content), size=len(content))).decode()

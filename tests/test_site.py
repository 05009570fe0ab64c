"""A whole site, deployed by the command line and fetched back byte for byte, links and all.

By default one that is made here; SPACELANE_TEST_SITE names a real one, such as the HTML of Debian's python3.11-doc.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import time
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import quote, unquote, urldefrag, urljoin, urlsplit

import httpx
import pytest

from tests.support.process import Serve

pytestmark = pytest.mark.slow

HOST = "manual.localhost"


def make_site(root: Path) -> None:
    """Pages that link to each other, in folders, with names that need encoding, and what may not be published."""
    random_ = random.Random(7)
    folders = ["", "library/", "library/deep/er/", "c-api/", "naïve ☃/", "100%/"]
    pages = [f"{folder}{name}" for folder in folders for name in ("index.html", "a b.html", "ünï.html", "q&a=1.html")]
    for page in pages:
        links = "".join(f'<a href="/{quote(other)}">x</a>' for other in random_.sample(pages, 6))
        clean = f'<a href="{quote("a b")}#part">clean</a><a href="./">folder</a><a href="https://example.org/">out</a>'
        write(root / page, f"<!doctype html><title>{page}</title>{links}{clean}".encode())
    write(root / "_static" / "data.bin", random_.randbytes(3_000_000))
    write(root / "_static" / "empty.css", b"")
    write(root / ".well-known" / "x.txt", b"known")
    write(root / ".hidden", b"secret")
    (root / "outside").symlink_to("/etc/hostname")
    (root / "inside.html").symlink_to("index.html")


def write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


class Links(HTMLParser):
    """What a page links to and loads."""

    def __init__(self) -> None:
        super().__init__()
        self.found: set[str] = set()

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.found.update(value for name, value in attributes if name in ("href", "src") and value)


def is_published(root: Path, source: Path) -> bool:
    """Whether `deploy` takes it: no link out of the tree, nothing hidden."""
    return (
        source.is_file()
        and source.resolve().is_relative_to(root.resolve())
        and not any(part.startswith(".") and part != ".well-known" for part in source.relative_to(root).parts)
    )


def leads_somewhere(root: Path, path: str) -> bool:
    """Whether a link is alive when the folder is served as it is: by name, by index or by clean URL."""
    name = unquote(path).lstrip("/")
    return any(is_published(root, root / candidate) for candidate in (name, f"{name}/index.html", f"{name}.html"))


def test_a_site_comes_back_as_it_went_in(tmp_path: Path) -> None:
    root = Path(os.environ.get("SPACELANE_TEST_SITE", tmp_path / "site"))
    if "SPACELANE_TEST_SITE" not in os.environ:
        make_site(root)
    published = {path.relative_to(root).as_posix(): path for path in root.rglob("*") if is_published(root, path)}
    with Serve(tmp_path / "data") as serve:
        started = time.monotonic()
        deployed = subprocess.run(
            [sys.executable, "-m", "server", "deploy", str(root), "--domain", HOST, "--json", "--url", serve.control],
            env={**os.environ, "SPACELANE_KEY": (tmp_path / "data" / "root.key").read_text().strip()},
            capture_output=True,
            text=True,
            check=True,
        )
        seconds = time.monotonic() - started
        facts = json.loads(deployed.stdout)
        assert facts["files"] == len(published)
        if "SPACELANE_TEST_SITE" not in os.environ:
            assert {entry["name"] for entry in facts["skipped"]} == {".hidden", "outside"}
        with httpx.Client(base_url=f"http://127.0.0.1:{serve.edge_port}", headers={"host": HOST}) as client:
            links = check_files(client, published)
            checked = check_links(client, root, links)
        assert serve.get("other.localhost").status == 404
    print("skipped:", facts["skipped"])
    print(f"{len(published)} files in {seconds:.2f} s; {len(links)} internal links, {checked} alive and answered 200")


def check_files(client: httpx.Client, published: dict[str, Path]) -> set[str]:
    """Every file by its URL, equal to its source; the internal links in them all."""
    links: set[str] = set()
    for path, source in published.items():
        answer = client.get("/" + quote(path))
        assert answer.status_code == (404 if path == "404.html" else 200), path
        assert answer.content == source.read_bytes(), path
        if path.endswith(".html"):
            parser = Links()
            parser.feed(answer.text)
            for link in parser.found:
                url = urlsplit(urldefrag(urljoin(f"http://{HOST}/{quote(path)}", link)).url)
                if url.netloc == HOST:
                    links.add(url.path or "/")
    return links


def check_links(client: httpx.Client, root: Path, links: set[str]) -> int:
    """Every link that is alive in the source answers 200; how many."""
    alive = [link for link in links if leads_somewhere(root, link)]
    for link in alive:
        assert client.get(link, follow_redirects=True).status_code == 200, link
    return len(alive)

"""What `deploy` finds in a directory, and what it leaves out and why."""

from __future__ import annotations

import hashlib
import os
import resource
import socket
from pathlib import Path

import pytest

from server.cli import scan as scanning
from server.cli.errors import CliError
from server.cli.scan import Skipped, scan
from storage.paths import MAX_SEGMENTS
from tests.cli.conftest import make_tree


@pytest.fixture
def site(tmp_path: Path) -> Path:
    return make_tree(tmp_path / "site", {"index.html": "home"})


def paths(root: Path) -> list[str]:
    return [file.path for file in scan(root).files]


def reasons(root: Path) -> dict[str, str]:
    return {entry.name: entry.reason for entry in scan(root).skipped}


def test_finds_every_file_by_path(site: Path) -> None:
    make_tree(site, {"b/index.html": "b", "a.txt": "", "b/c/d.css": "d", "B.txt": "big"})
    found = scan(site)
    assert [file.path for file in found.files] == ["B.txt", "a.txt", "b/c/d.css", "b/index.html", "index.html"]
    assert found.skipped == ()
    assert found.size == 9
    file = found.files[-1]
    assert (file.size, file.digest) == (4, hashlib.sha256(b"home").hexdigest())
    assert file.source.read_text() == "home"


def test_leaves_hidden_names_at_home(site: Path) -> None:
    make_tree(site, {".env": "secret", ".git/config": "", "a/.htaccess": "", ".well-known/security.txt": "ours"})
    assert paths(site) == [".well-known/security.txt", "index.html"]
    assert reasons(site) == {".env": scanning.HIDDEN, ".git": scanning.HIDDEN, "a/.htaccess": scanning.HIDDEN}


def test_follows_links_that_stay_inside(site: Path) -> None:
    make_tree(site, {"v2/index.html": "two"})
    (site / "latest").symlink_to("v2")
    (site / "start.html").symlink_to("index.html")
    assert paths(site) == ["index.html", "latest/index.html", "start.html", "v2/index.html"]


def test_leaves_out_links_that_go_astray(site: Path) -> None:
    make_tree(site.parent, {"secret.txt": "x"})
    make_tree(site, {"a/b/page.html": ""})
    (site / "out.txt").symlink_to("../secret.txt")
    (site / "up").symlink_to("..")
    (site / "dead").symlink_to("nowhere")
    (site / "self").symlink_to("self")
    (site / "a" / "b" / "again").symlink_to("..")
    assert reasons(site) == {
        "out.txt": scanning.LEAVES,
        "up": scanning.LEAVES,
        "dead": scanning.DANGLING,
        "self": scanning.DANGLING,
        "a/b/again": scanning.CIRCULAR,
    }
    assert paths(site) == ["a/b/page.html", "index.html"]


def test_a_directory_may_itself_be_a_link(site: Path) -> None:
    link = site.parent / "link"
    link.symlink_to(site)
    assert paths(link) == ["index.html"]


def test_leaves_out_what_is_no_file(site: Path) -> None:
    os.mkfifo(site / "pipe")
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(os.fspath(site / "socket"))
    assert reasons(site) == {"pipe": scanning.SPECIAL, "socket": scanning.SPECIAL}


def test_leaves_out_names_that_cannot_be_kept(site: Path) -> None:
    make_tree(site, {"back\\slash/a.txt": "", "bell\a.txt": ""})
    Path(os.fsdecode(os.fsencode(site) + b"/caf\xe9.txt")).touch()
    found = reasons(site)
    assert set(found) == {"back\\slash", "bell\\x07.txt", "caf\\udce9.txt"}
    assert "has a backslash" in found["back\\slash"]
    assert "has a control character" in found["bell\\x07.txt"]
    assert "UTF-8" in found["caf\\udce9.txt"]
    assert all(reason.startswith("the name has ") for reason in found.values())


def test_a_tree_that_is_too_deep(site: Path) -> None:
    make_tree(site, {"/".join(["d"] * (MAX_SEGMENTS + 1)): "deep", "/".join(["e"] * MAX_SEGMENTS): "not too deep"})
    (entry,) = scan(site).skipped
    assert entry.reason == f"the name has more than {MAX_SEGMENTS} segments"
    assert len(paths(site)) == 2


def test_of_two_names_that_unicode_makes_one_the_first_stays(site: Path) -> None:
    make_tree(site, {"cafe\u0301.html": "decomposed", "caf\u00e9.html": "composed"})
    found = scan(site)
    assert [file.path for file in found.files] == ["caf\u00e9.html", "index.html"]
    assert found.files[0].source.read_text() == "decomposed"
    (entry,) = found.skipped
    assert entry == Skipped("caf\u00e9.html", "the same path as cafe\u0301.html, written in other Unicode code points")


@pytest.mark.parametrize(("name", "problem"), [("nowhere", "does not exist"), ("file", "is not a directory")])
def test_no_directory(tmp_path: Path, name: str, problem: str) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(CliError, match=problem) as caught:
        scan(tmp_path / name)
    assert caught.value.exit_code == 2


def test_nothing_to_publish(tmp_path: Path) -> None:
    (tmp_path / ".hidden").touch()
    with pytest.raises(CliError, match="holds no file") as caught:
        scan(tmp_path)
    assert caught.value.exit_code == 1


def test_what_cannot_be_read(site: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, hard))  # permissions would not keep root out
    try:
        with pytest.raises(CliError, match="site cannot be read: Too many open files"):
            scan(site)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))

"""From a path to a file, without files: rows are passed in."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.edge.paths import Found, Missing, Redirect, candidates, decode_path, encode_path, last_change, resolve
from server.edge.request import Refusal
from storage.models import File
from tests.support.sites import hosted


def rows(*names: str) -> dict[str, File]:
    return {name: File(path=name, digest="0" * 64, size=1, modified_at=1, from_revision=1) for name in names}


def answer(path: str, *names: str, **fields: Any) -> Found | Redirect | Missing:
    return resolve(path, candidates(path, hosted(**fields)), rows(*names))


def outcome(path: str, *names: str, **fields: Any) -> str:
    match answer(path, *names, **fields):
        case Found(file):
            return file.path
        case Redirect(location, status):
            return f"{status} {location}"
        case Missing(page):
            return f"404 {page.path if page else '-'}"


@pytest.mark.parametrize(
    ("raw", "path"),
    [
        ("/", "/"),
        ("/a/b", "/a/b"),
        ("//a///b//", "/a/b/"),
        ("/a%20b", "/a b"),
        ("/%C3%A9", "/é"),
        ("/e%CC%81", "/é"),  # NFD as sent, NFC as kept
        ("/%2561", "/%61"),  # once
        ("/a+b", "/a+b"),
        ("/...", "/..."),
        ("/.a", "/.a"),
        ("/a%3Fb", "/a?b"),
    ],
)
def test_decode(raw: str, path: str) -> None:
    assert decode_path(raw) == path


@pytest.mark.parametrize(
    "raw",
    ["/%", "/%4", "/%zz", "/%00", "/%2F", "/%2f", "/%5C", "/%5c", "/\\", "/%C3", "/%ff", "/%ED%A0%80",
     "/.", "/..", "/a/../b", "/./a", "/a/.", "/%2e%2e/a", "/.%2e", "/%2E/"],
)  # fmt: skip
def test_refused_paths(raw: str) -> None:
    with pytest.raises(Refusal) as refused:
        decode_path(raw)
    assert refused.value.status == 400


ALL = ("index.html", "about.html", "a/index.html", "a/b.txt", "404.html", "a/404.html")


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/", "index.html"),
        ("/index.html", "index.html"),
        ("/about", "about.html"),
        ("/about.html", "about.html"),
        ("/about/", "404 404.html"),
        ("/a", "308 /a/"),
        ("/a/", "a/index.html"),
        ("/a/b.txt", "a/b.txt"),
        ("/a/b.txt/", "404 a/404.html"),
        ("/a/b/c", "404 a/404.html"),
        ("/a/x", "404 a/404.html"),
        ("/x/y", "404 404.html"),
        ("/404.html", "404 404.html"),
        ("/404", "404 404.html"),
        ("/a/404.html", "404 a/404.html"),
    ],
)
def test_resolution(path: str, expected: str) -> None:
    assert outcome(path, *ALL) == expected


def test_a_file_wins_over_a_clean_url_and_that_over_a_folder() -> None:
    assert outcome("/a", "a", "a.html", "a/index.html") == "a"
    assert outcome("/a", "a.html", "a/index.html") == "a.html"


def test_a_prefix_is_the_whole_world() -> None:
    names = ("index.html", "secret.txt", "v2/index.html", "404.html", "v2/x/404.html")
    assert outcome("/", *names, prefix="v2") == "v2/index.html"
    assert outcome("/secret.txt", *names, prefix="v2") == "404 -"
    assert outcome("/x/y", *names, prefix="v2") == "404 v2/x/404.html"
    assert outcome("/", "index.html", prefix="v2") == "404 -"


def test_named_index_and_error_page() -> None:
    names = ("home/start.htm", "x/home/start.htm", "oops.html", "index.html")
    named = {"index": "home/start.htm", "not_found": "oops.html"}
    assert outcome("/", *names, **named) == "home/start.htm"
    assert outcome("/x/", *names, **named) == "x/home/start.htm"
    assert outcome("/x", *names, **named) == "308 /x/"
    assert outcome("/no", *names, **named) == "404 oops.html"


def test_an_index_that_is_the_error_page_too_still_answers_for_its_folder() -> None:
    assert outcome("/", "index.html", not_found="index.html") == "index.html"
    assert outcome("/no", "index.html", not_found="index.html") == "404 index.html"


@pytest.mark.parametrize(
    "path", ["/_redirects", "/_headers", "/.env", "/.git/config", "/a/.secret/b", "/.well-known/.x"]
)
def test_what_is_never_served(path: str) -> None:
    assert outcome(path, path[1:]) == "404 -"


def test_what_hides_behind_a_hidden_folder_hides_too() -> None:
    assert outcome("/.git", ".git.html", ".git/index.html") == "404 -"
    assert outcome("/.git/", ".git/index.html") == "404 -"


@pytest.mark.parametrize("path", ["/.well-known/x", "/a/_redirects", "/a/.well-known/x", "/a.b", "/a/b.."])
def test_what_looks_alike_but_is_served(path: str) -> None:
    assert outcome(path, path[1:]) == path[1:]


def test_rule_files_hide_at_the_root_of_the_site_not_of_the_space() -> None:
    assert outcome("/_headers", "v2/_headers", prefix="v2") == "404 -"
    assert outcome("/v2/_headers", "v2/_headers") == "v2/_headers"


def test_a_redirect_is_encoded() -> None:
    assert outcome("/é b?", "é b?/index.html") == "308 /%C3%A9%20b%3F/"


def test_rows_that_ended_do_not_exist() -> None:
    gone = File(path="a", digest="0" * 64, size=1, modified_at=5, from_revision=1, to_revision=2, removed_at=9)
    files = {**rows("a.html"), "a": gone}
    wanted = candidates("/a", hosted())
    found = resolve("/a", wanted, files)
    assert isinstance(found, Found)
    assert found.file.path == "a.html"
    # … but what they hid changed for the visitor when they went, not when it was written.
    assert last_change(wanted, files, hosted()) == 9


def test_settings_count_as_a_change() -> None:
    wanted = candidates("/a.html", hosted())
    assert last_change(wanted, rows("a.html"), hosted()) == 1
    assert last_change(wanted, rows("a.html"), hosted(settings_at=7)) == 7


def test_names_are_bounded() -> None:
    assert len(candidates("/" + "a/" * 4000 + "b", hosted()).names()) <= 64 + 4
    assert candidates("/" + "a" * 2000, hosted()).names() == {"404.html"}


SEGMENT = st.text(st.characters(exclude_characters="/\\\0", exclude_categories=("Cs", "Cc")), min_size=1, max_size=8)
TREE = st.lists(st.lists(SEGMENT, min_size=1, max_size=4).map("/".join), max_size=12)


@given(path=st.text(max_size=40), tree=TREE, prefix=st.sampled_from(["", "p", "p/q"]))
def test_no_path_leaves_the_prefix(path: str, tree: list[str], prefix: str) -> None:
    try:
        decoded = decode_path("/" + quote(path, safe="/%"))
    except (Refusal, UnicodeEncodeError):
        return
    inside = [f"p/q/{name}" for name in tree] + [f"p/{name}" for name in tree]
    files = rows(*tree, *inside)
    match resolve(decoded, candidates(decoded, hosted(prefix=prefix)), files):
        case Found(file) | Missing(File() as file):
            assert file.path.startswith(prefix and prefix + "/")
            assert file.path in files
        case Redirect(location, _):
            assert location.startswith("/")
            assert not location.startswith("//")
            assert location.isascii()
        case Missing(None):
            assert "404.html" not in files or prefix


@given(st.lists(SEGMENT, min_size=1, max_size=5).map("/".join).map(lambda text: "/" + text))
def test_encoding_round_trips(path: str) -> None:
    try:
        decoded = decode_path(encode_path(path))
    except Refusal:
        assert {".", ".."} & set(path.split("/"))
        return
    assert decode_path(encode_path(decoded)) == decoded

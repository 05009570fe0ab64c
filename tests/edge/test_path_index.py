"""What is missing for certain, against the functions that decide it by looking up."""

from __future__ import annotations

import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.edge.path_index import PathIndex
from server.edge.paths import Missing, candidates, resolve
from storage.models import File
from tests.support.sites import hosted

SEGMENTS = st.sampled_from(
    ["a", "b", "index.html", "404.html", "a.html", "b.html", ".well-known", ".x", "_headers", "é"]
)
NAMES = st.lists(st.lists(SEGMENTS, min_size=1, max_size=4).map("/".join), max_size=12)
PATHS = st.lists(SEGMENTS, max_size=4).flatmap(
    lambda segments: st.sampled_from(["/" + "/".join(segments), "/" + "".join(f"{each}/" for each in segments)])
)


@given(
    names=NAMES,
    path=PATHS,
    prefix=st.sampled_from(["", "a", "a/b"]),
    index=st.sampled_from(["index.html", "a.html", "b/index.html"]),
    not_found=st.sampled_from(["404.html", "b/404.html", "index.html"]),
)
def test_it_says_what_a_look_up_would_find(
    names: list[str], path: str, prefix: str, index: str, not_found: str
) -> None:
    site = hosted(prefix=prefix, index=index, not_found=not_found)
    below = [f"{prefix}/{name}" if prefix else name for name in names]
    files = {name: File(path=name, digest="0" * 64, size=1, modified_at=1, from_revision=1) for name in below}
    wanted = candidates(path, site)
    found = resolve(path, wanted, {name: files[name] for name in wanted.names() if name in files})
    known = PathIndex(site, below)
    if known.may_answer(path):
        return  # it is looked up
    assert isinstance(found, Missing)
    assert known.find_page(path) == (None if found.page is None else found.page.path)


@given(names=NAMES)
def test_nearly_all_that_is_missing_is_known_to_be(names: list[str]) -> None:
    known = PathIndex(hosted(), names)
    assert not known.may_answer("/none")
    assert not known.may_answer("/a/none/")


def test_a_path_that_is_deeper_than_any_file() -> None:
    known = PathIndex(hosted(), ["404.html", "/".join(["a"] * 63) + "/404.html"])
    deep = "/" + "a/" * 3000
    assert known.find_page(deep) == "/".join(["a"] * 63) + "/404.html"
    assert known.find_page("/b" + deep) == "404.html"


@pytest.mark.parametrize(
    "name", ["page-%d.html", "a/b/c/%d/index.html", "n" * 200 + "%d", "\U0001f680" * 100 + "%d.html"]
)
def test_it_tells_its_size(name: str) -> None:
    names = [name % number for number in range(3000)]
    tracemalloc.start()
    try:
        known = PathIndex(hosted(), names)
        taken = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert taken * 0.8 < known.size < taken * 3


def test_the_smallest_has_a_size_too() -> None:
    assert 0 < PathIndex(hosted(), []).size < 2000

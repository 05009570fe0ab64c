"""The pure steps that the stores share."""

from __future__ import annotations

import pytest

from storage import edits
from storage.clock import now_ms, stamp
from storage.models import NewSite, Site

NOW = 1_700_000_000_250


@pytest.mark.parametrize(
    ("earlier", "expected"),
    [
        ([0], NOW),
        ([NOW - 251], NOW),
        ([NOW - 250], 1_700_000_001_000),
        ([NOW], 1_700_000_001_000),
        ([NOW + 749], 1_700_000_001_000),
        ([NOW + 750], 1_700_000_002_000),
        ([0, NOW + 750, NOW], 1_700_000_002_000),
    ],
)
def test_a_stamp_is_in_a_later_second(earlier: list[int], expected: int) -> None:
    assert stamp(NOW, *earlier) == expected


def test_now_is_in_milliseconds() -> None:
    assert 1_600_000_000_000 < now_ms() < 4_000_000_000_000


@pytest.mark.parametrize(
    ("value", "text"),
    [("x", "x"), ("", ""), (1, "1"), (-1.5, "-1.5"), (True, "true"), (False, "false"), (None, None), ([], None)],
)
def test_what_a_filter_compares_with(value: object, text: str | None) -> None:
    assert edits.meta_text(value) == text


@pytest.mark.parametrize(
    ("given", "required"),
    [
        (["prefix"], [("index", "www/i"), ("notFound", "www/n")]),
        (["named_index"], [("index", "www/i")]),
        (["named_not_found", "name"], [("notFound", "www/n")]),
        (["name"], []),
    ],
)
def test_which_named_files_must_exist(given: list[str], required: list[tuple[str, str]]) -> None:
    new = NewSite(space_id="s", domain="d", prefix="www", named_index="i", named_not_found="n")
    site: Site = edits.make_site(new, "w", 1, NOW)
    assert edits.required_files(site, given) == required


def test_a_page_says_where_it_goes_on() -> None:
    items = ["a", "b", "c"]
    assert (edits.cut_page(items, 3, str).items, edits.cut_page(items, 3, str).next) == (("a", "b", "c"), None)
    assert (edits.cut_page(items, 2, str).items, edits.cut_page(items, 2, str).next) == (("a", "b"), "b")

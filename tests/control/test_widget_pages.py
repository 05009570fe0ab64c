"""The patterns that the documentation shows are patterns that the API takes."""

from __future__ import annotations

import pytest
from pydantic import TypeAdapter, ValidationError

from server.control.widget_fields import Pages
from tests.support.widget_pages import rows

PAGES = TypeAdapter[list[str]](Pages)


def test_patterns_of_the_documentation() -> None:
    lists = {patterns for row in rows() for patterns in (row.enabled, row.disabled)}
    assert len(lists) > 15
    for patterns in lists:
        assert PAGES.validate_python(list(patterns)) == list(patterns)


@pytest.mark.parametrize(
    "pattern", ["", "!", "menu", "https://a.test/menu", "!!/menu", "/menu?day=1", "/a b", "\\menu"]
)
def test_what_is_no_pattern(pattern: str) -> None:
    with pytest.raises(ValidationError):
        PAGES.validate_python([pattern])

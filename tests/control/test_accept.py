"""Which form an Accept field asks for."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.control.accept import choose_media_type

JSON, JSONL, CSV = OFFERS = ("application/json", "application/jsonl", "text/csv")


@pytest.mark.parametrize(
    ("field", "chosen"),
    [
        (None, JSON),
        ("", JSON),
        ("*/*", JSON),
        ("text/csv", CSV),
        ("Text/CSV; charset=utf-8", CSV),
        ("text/*", CSV),
        ("application/jsonl", JSONL),
        ("application/jsonl, */*;q=0.1", JSONL),
        ("application/json, text/plain, */*", JSON),
        ("text/csv;q=0.5, application/jsonl;q=0.6", JSONL),
        ("text/csv;q=0.5,application/jsonl ; q=0.500", JSONL),
        ("application/json;q=0, */*", JSONL),
        ("application/*;q=0, */*", CSV),
        ("text/csv;q=0, text/csv", CSV),
        ("text/html", JSON),
        ("text/csv;q=2", JSON),
        ("text/csv;q=", JSON),
        (", ,;,text/csv", CSV),
        ("*/*;q=0", JSON),
    ],
)
def test_the_form_that_is_asked_for(field: str | None, chosen: str) -> None:
    assert choose_media_type(field, OFFERS) == chosen


@given(st.text(alphabet="*/,;= \tq01.textcsvapplicationjson", max_size=60))
def test_any_text_chooses_something(field: str) -> None:
    assert choose_media_type(field, OFFERS) in OFFERS

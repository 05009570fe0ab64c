"""Accept-Encoding, by a second reading of RFC 9110 §12.5.3; single cases are in the corpus."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.edge.codings import CODINGS, IDENTITY, MAX_KEPT_FIELD, acceptable, choose, rank
from tests.support.texts import accept_encodings

SIZES = st.dictionaries(st.sampled_from(CODINGS), st.integers(0, 5)).map(lambda sizes: {IDENTITY: 3, **sizes})


@given(field=accept_encodings(), sizes=SIZES)
def test_the_smallest_of_what_is_allowed(field: tuple[str, frozenset[str]], sizes: dict[str, int]) -> None:
    text, allowed = field
    assert acceptable(text) == allowed
    chosen = choose(text, rank(sizes))
    assert chosen in (sizes.keys() & allowed or {IDENTITY})
    assert all(sizes[chosen] <= sizes[coding] for coding in sizes.keys() & allowed)


@given(text=st.text(alphabet=st.characters(max_codepoint=255)) | st.text(alphabet="gzipbrstd*;q=01., \t"))
def test_any_text_at_all(text: str) -> None:
    allowed = acceptable(text)
    assert allowed <= set(CODINGS)
    for coding in allowed - {IDENTITY}:
        assert coding in text.lower() or "*" in text
    assert choose(text, CODINGS) in (*allowed, IDENTITY)


@pytest.mark.parametrize("length", [1, MAX_KEPT_FIELD, 20_000])
def test_long_fields_are_read_alike(length: int) -> None:
    assert acceptable("gzip".rjust(length, ",")) == {IDENTITY, "gzip"}


def test_no_field() -> None:
    assert acceptable(None) == {IDENTITY}
    assert acceptable("") == {IDENTITY}


def test_of_equal_sizes_the_first() -> None:
    sizes = dict.fromkeys(reversed(CODINGS), 7)
    assert rank(sizes) == CODINGS
    assert choose("*", rank(sizes)) == IDENTITY
    assert choose("gzip, br, identity;q=0", rank(sizes)) == "br"
    assert choose("identity;q=0", rank({IDENTITY: 1})) == IDENTITY

"""Want-Repr-Digest, by the grammar of RFC 9651, and Repr-Digest on what one request gets; whole exchanges are in the
corpus."""

from __future__ import annotations

import hashlib
from base64 import b64encode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.edge.conditions import finish
from server.edge.digests import MAX_WEIGHT, repr_digest, wants_sha256
from server.edge.request import Request
from server.edge.response import Content, error_representation, file_representation, page, redirect
from storage.models import Blob
from tests.support.hosting import digest_of

BODY = b'{"hello": "world"}\n'
CONTENT = Content("application/json", Blob(digest=digest_of(BODY), size=len(BODY)), BODY)
STORED = file_representation(CONTENT, 784_111_777_000, b"Sun, 06 Nov 1994 08:49:37 GMT")
FIELD = (b"repr-digest", b"sha-256=:RK/0qy18MlBSVnWgjwz6lZEWjP/lF5HF9bvEF8FabDg=:")  # RFC 9530, appendix B.1

keys = st.sampled_from(["sha-256", "sha-512", "unixsum", "*a", "x.y_z*"])
weights = st.integers(-2, MAX_WEIGHT + 2)
values = st.sampled_from(
    ["1", "-7", "1.5", '"a, b=2"', '"\\"\\\\"', "token", "*/a:b", ":aGk=:", "::", "?0", "@-5", '%"%c3%a9"', '""']
)
parameters = st.lists(
    st.tuples(st.sampled_from([";", "; ", ";  "]), keys, st.just("") | values.map("={}".format)).map("".join),
    max_size=3,
).map("".join)


def test_the_rfcs_own_example() -> None:
    assert repr_digest(digest_of(BODY)) == FIELD


@given(members=st.lists(st.tuples(keys, weights, parameters), min_size=1, max_size=5), comma=st.sampled_from(",\t "))
def test_a_dictionary_of_weights(members: list[tuple[str, int, str]], comma: str) -> None:
    separator = "," if comma == "," else f"{comma},{comma}"
    field = separator.join(f"{key}={weight}{extra}" for key, weight, extra in members)
    said = {key: weight for key, weight, _ in members}
    in_range = all(0 <= weight <= MAX_WEIGHT for weight in said.values())
    assert wants_sha256(field) is (in_range and said.get("sha-256", 0) > 0)


@pytest.mark.parametrize(
    "field", ["sha-256=1", "sha-256=10", "sha-256=01", "sha-512=10,sha-256=1", "a=0;b=@1, sha-256=2"]
)
def test_wanted(field: str) -> None:
    assert wants_sha256(field)


@pytest.mark.parametrize(
    "field",
    ["", "sha-256", "sha-256=", "sha-256=0", "sha-256=-0", "sha-256=-1", "sha-256=11", "sha-256=1.0", "sha-256=1.",
     "sha-256=?1", "sha-256=(1)", "sha-256=\"1\"", "SHA-256=1", "sha-256 =1", "sha-256= 1", "sha-256=1,", ",sha-256=1",
     "sha-256=1,,a=1", "sha-256=1 a=1", "sha-256=1;", "sha-256=1;A", "sha-256=1 ;a", "sha-256=1;a=", "sha-256=1;a=é",
     "sha-256=1;a=\"", "sha-256=1;a=1234567890123456", "sha-256=1;a=1.2345", "sha-256=1;a=%\"%C3\"", "sha-256=1, x",
     "sha-256=1, x=11", "sha-256=1, sha-256=0", "sha-512=1", "256=1", "sha-256=1;a=\"sha-256=1",
     "sha-256=0;a=\", sha-256=1\"", "sha-256=\u0661", "sha-256=1234567890123456"],
)  # fmt: skip
def test_not_wanted(field: str) -> None:
    assert not wants_sha256(field)


@given(st.text() | st.text(alphabet='sha-256=10;, "\\:?@%'))
def test_no_field_breaks_it(field: str) -> None:
    assert wants_sha256(field) in (True, False)


@pytest.mark.parametrize("piece", ["a=1,", 'a=1;b="', "a=1;a", "sha-256=1;", "a", '\\"', "1", 'a=1;b="\\"", '])
def test_long_fields_take_no_long_time(piece: str) -> None:
    """A head has 32 KiB; were the grammar ambiguous, this would not end."""
    assert not wants_sha256(piece * (32 * 1024 // len(piece)) + "!")


def digest_for(stored: object = STORED, **fields: str) -> tuple[int, list[bytes]]:
    request = Request(
        **{"method": "GET", "authority": "a.test", "path": "/", "want_repr_digest": "sha-256=1", **fields}
    )
    response = finish(stored, request)  # type: ignore[arg-type]
    return response.status, [value for name, value in response.headers if name == b"repr-digest"]


def test_it_is_of_the_whole_whatever_is_sent_of_it() -> None:
    whole = [FIELD[1]]
    assert digest_for() == (200, whole)
    assert digest_for(method="HEAD") == (200, whole)
    assert digest_for(range="bytes=1-2") == (206, whole)
    assert digest_for(range="bytes=1-2,5-6") == (206, whole)
    assert digest_for(want_repr_digest="sha-512=1") == (200, [])


def test_it_is_of_nothing_else() -> None:
    assert digest_for(if_none_match="*") == (304, [])
    assert digest_for(if_match='"x"') == (412, [])
    assert digest_for(range="bytes=99-") == (416, [])
    assert digest_for(page(404, "not here")) == (404, [])
    assert digest_for(redirect(308, "/a/")) == (308, [])


def test_an_error_has_its_own_page_s() -> None:
    assert digest_for(error_representation(CONTENT)) == (404, [FIELD[1]])


def test_it_is_computed_as_it_says() -> None:
    assert repr_digest(digest_of(b"x"))[1] == b"sha-256=:" + b64encode(hashlib.sha256(b"x").digest()) + b":"

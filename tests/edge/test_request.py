"""What a door makes of a head."""

from __future__ import annotations

import pytest

from server.edge.request import MAX_TARGET_BYTES, Refusal, read_request, split_target

HOST = (b"host", b"a.test")


@pytest.mark.parametrize(
    ("target", "parts"),
    [
        (b"/", (None, b"/", b"")),
        (b"/a/b?c=d?e", (None, b"/a/b", b"c=d?e")),
        (b"/a?", (None, b"/a", b"")),
        (b"*", (None, b"*", b"")),
        (b"http://b.test", (b"b.test", b"/", b"")),
        (b"HTTP://b.test:80/x?y", (b"b.test:80", b"/x", b"y")),
        (b"https://b.test?y", (b"b.test", b"/", b"y")),
        (b"http:///x", (b"", b"/x", b"")),
        (b"http://me:pw@b.test/x", (b"b.test", b"/x", b"")),
        (b"/\xc3\xa9?\xc3\xa9", (None, b"/%C3%A9", b"%C3%A9")),
        (b"/\xe9", (None, b"/%C3%A9", b"")),
        (b"//b.test/x", (None, b"//b.test/x", b"")),
    ],
)
def test_forms_of_a_target(target: bytes, parts: tuple[bytes | None, bytes, bytes]) -> None:
    assert split_target(target) == parts


@pytest.mark.parametrize("target", [b"", b"a.test:443", b"a", b"?q", b"/a b", b"/a#b", b"/\x7f", b"/\x00"])
def test_what_is_no_target(target: bytes) -> None:
    with pytest.raises(Refusal) as refused:
        split_target(target)
    assert refused.value.status == 400


def test_a_long_target() -> None:
    with pytest.raises(Refusal) as refused:
        split_target(b"/" * (MAX_TARGET_BYTES + 1))
    assert refused.value.status == 414


def test_fields_are_read_and_repeated_ones_joined() -> None:
    request = read_request(
        "GET",
        b"/x?y",
        "1.1",
        [HOST, (b"if-none-match", b' "a" '), (b"if-none-match", b'"b"'), (b"range", b"bytes=0-1"), (b"cookie", b"c")],
    )
    assert request.authority == "a.test"
    assert request.path == "/x"
    assert request.query == "y"
    assert request.if_none_match == '"a", "b"'
    assert request.range == "bytes=0-1"
    assert request.if_match is None


def test_the_authority_of_an_absolute_target_replaces_host() -> None:
    assert read_request("GET", b"http://b.test/", "1.1", [HOST]).authority == "b.test"


def test_http_1_0_may_leave_host_out() -> None:
    assert read_request("GET", b"/", "1.0", []).authority is None


def test_the_asterisk_is_for_methods_that_ask_for_no_page() -> None:
    assert read_request("OPTIONS", b"*", "1.1", [HOST]).path == "*"
    assert read_request("M-SEARCH", b"*", "1.1", [HOST]).path == "*"


def test_other_versions_need_no_host_header_beside_the_authority() -> None:
    assert read_request("GET", b"/", "2", [HOST]).authority == "a.test"


@pytest.mark.parametrize(
    ("target", "version", "headers"),
    [
        (b"/", "1.1", []),
        (b"http://b.test/", "1.1", []),
        (b"/", "1.1", [HOST, HOST]),
        (b"/", "1.0", [HOST, HOST]),
        (b"*", "1.1", [HOST]),
    ],
)
def test_heads_that_are_refused(target: bytes, version: str, headers: list[tuple[bytes, bytes]]) -> None:
    with pytest.raises(Refusal) as refused:
        read_request("GET", target, version, headers)
    assert refused.value.status == 400

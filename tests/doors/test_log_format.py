"""Lines of the access log: whatever visitors send, one line an answer, and read back as it was sent."""

from __future__ import annotations

import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.doors.log_format import FORMATS, MAX_FIELD_BYTES

COMBINED = re.compile(
    rb'(?P<peer>\S+) - - \[(?P<time>[^]"]+)\] "(?P<request>(?:[^"\\]|\\x[0-9A-F]{2})*)" '
    rb"(?P<status>\d{3}) (?P<size>\d+) "
    rb'"(?P<referer>(?:[^"\\]|\\x[0-9A-F]{2})*)" "(?P<agent>(?:[^"\\]|\\x[0-9A-F]{2})*)"\n'
)
ANY = st.binary(max_size=60) | st.text(max_size=30).map(str.encode)
NOON = 1_790_000_000  # Mon, 21 Sep 2026 14:13:20 GMT


def line(name: str, method: bytes, target: bytes, host: bytes, referer: bytes, agent: bytes) -> bytes:
    form = FORMATS[name]
    return b"".join(
        (
            form.peer("127.0.0.1"),
            form.second(NOON),
            form.millis[7],
            form.request(method, target, b"HTTP/1.1", 200, 5, b"site_1"),
            form.sender(host, referer, agent),
        )
    )


@pytest.mark.parametrize("name", FORMATS)
def test_a_path_of_the_usual_characters_is_written_as_it_is(name: str) -> None:
    """As the fast door takes for granted."""
    path = bytes(octet for octet in range(0x21, 0x7F) if octet not in b'"\\')
    assert FORMATS[name].target(path) == path


@given(ANY, ANY, ANY, ANY, ANY)
def test_no_visitor_breaks_an_object(method: bytes, target: bytes, host: bytes, referer: bytes, agent: bytes) -> None:
    written = line("json", method, target, host, referer, agent)
    assert written.count(b"\n") == 1
    assert written.isascii()
    read = json.loads(written)
    sent = {"method": method, "target": target, "host": host, "referer": referer, "user_agent": agent}
    assert {name: read[name] for name in sent} == {
        name: value.decode("utf-8", "replace") for name, value in sent.items()
    }
    assert len(read) == 11


@given(ANY, ANY, ANY, ANY, ANY)
def test_no_visitor_breaks_a_line(method: bytes, target: bytes, host: bytes, referer: bytes, agent: bytes) -> None:
    written = line("combined", method, target, host, referer, agent)
    found = COMBINED.fullmatch(written)
    assert found
    assert unescape(found["request"]) == b"%b %b HTTP/1.1" % (method, target)
    assert unescape(found["referer"]) == (referer or b"-")
    assert unescape(found["agent"]) == (agent or b"-")


def unescape(value: bytes) -> bytes:
    return re.sub(rb"\\x(..)", lambda found: bytes([int(found[1], 16)]), value)


def test_an_object() -> None:
    assert line("json", b"GET", b"/", b"a.test", b"", b"curl") == (
        b'{"remote":"127.0.0.1","time":"2026-09-21T14:13:20.007Z","method":"GET","target":"/","protocol":"HTTP/1.1",'
        b'"status":200,"bytes":5,"site":"site_1","host":"a.test","referer":"","user_agent":"curl"}\n'
    )


def test_a_line() -> None:
    assert line("combined", b"GET", b"/", b"a.test", b"", b'cu"rl') == (
        b'127.0.0.1 - - [21/Sep/2026:14:13:20 +0000] "GET / HTTP/1.1" 200 5 "-" "cu\\x22rl"\n'
    )


@pytest.mark.parametrize("name", FORMATS)
def test_long_fields_are_cut(name: str) -> None:
    written = line(name, b"GET", b"/", b"\xff" * 9000, b"\xff" * 9000, b"\xff" * 9000)
    assert len(written) < 300 + 3 * 6 * MAX_FIELD_BYTES


def test_a_peer_without_an_address() -> None:
    assert FORMATS["combined"].peer("") == b"- - - ["
    assert FORMATS["json"].peer("") == b'{"remote":"","time":"'

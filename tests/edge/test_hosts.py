"""Hosts as requests name them, and domains as operators register them."""

from __future__ import annotations

import string
import time

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from server.edge.hosts import RESERVED_LABELS, HostError, lookup_names, parse_authority, parse_domain
from storage.errors import Invalid

PLATFORM = ("localhost", "pages.example.net", "eu.pages.example.net")
LABEL_63 = "a" * 63
NAME_253 = ".".join((LABEL_63, LABEL_63, LABEL_63, "b" * 57, "com"))

assert len(NAME_253) == 253


@pytest.mark.parametrize(
    ("raw", "host"),
    [
        ("example.com", "example.com"),
        ("EXAMPLE.Com", "example.com"),
        ("example.com:80", "example.com"),
        ("example.com:", "example.com"),
        ("example.com:65535", "example.com"),
        ("example.com.", "example.com"),
        ("example.com.:8080", "example.com"),
        ("localhost", "localhost"),
        ("127.0.0.1:8080", "127.0.0.1"),
        ("[::1]", "[::1]"),
        ("[2001:DB8::1]:443", "[2001:db8::1]"),
        ("[::ffff:192.0.2.1]", "[::ffff:192.0.2.1]"),
        ("xn--mnchen-3ya.de", "xn--mnchen-3ya.de"),
        ("a_b~c!d.example", "a_b~c!d.example"),
        (NAME_253, NAME_253),
        (NAME_253 + ".:80", NAME_253),
    ],
)
def test_authority(raw: str, host: str) -> None:
    assert parse_authority(raw) == host


@pytest.mark.parametrize(
    "raw",
    [
        "",
        ".",
        "..",
        ":80",
        ".:80",
        ".example.com",
        "a..b",
        "example.com..",
        "user@example.com",
        "user:password@example.com",
        "example.com:http",
        "example.com:-1",
        "example.com:65536",
        "example.com:000080",
        "example.com:80:80",
        "example.com:٣",
        "example.com:" + "9" * 10_000,
        "example .com",
        " example.com",
        "example.com ",
        "example.com\n",
        "exa\x00mple.com",
        "exa\x7fmple.com",
        "exa\tmple.com",
        "münchen.de",
        "m\xc3\xbcnchen.de",
        "exam%70le.com",
        "example.com/",
        "example.com?a",
        "example.com#a",
        "a\\b",
        "a,b\r",
        "http://example.com",
        "::1",
        "[::1",
        "::1]",
        "[]",
        "[:]",
        "[::1]x",
        "[::1].",
        "[:::::]",
        "[1.2.3.4]",
        "[fe80::1%eth0]",
        "[v1.a:b]",
        "[::g]",
        "a" + NAME_253,
    ],
)
def test_malformed_authority(raw: str) -> None:
    with pytest.raises(HostError):
        parse_authority(raw)


@settings(deadline=None, max_examples=150)
@given(st.text())
@example("a" * 254)
def test_authority_of_any_text_is_settled(raw: str) -> None:
    try:
        host = parse_authority(raw)
    except HostError:
        return
    assert host.isascii()
    assert host == host.lower()
    assert parse_authority(host) == host
    assert lookup_names(host)[0] == host


@pytest.mark.parametrize("piece", ["a", "a.", ".", "[", "[:", ":", "1", "a:", "%", "a-"])
def test_authority_takes_linear_time(piece: str) -> None:
    raw = piece * (1_000_000 // len(piece))
    started = time.process_time()
    with pytest.raises(HostError):
        parse_authority(raw + "\n")
    assert time.process_time() - started < 0.2  # it takes 0.01; quadratic time would take minutes


@pytest.mark.parametrize(
    ("host", "names"),
    [
        ("www.example.com", ("www.example.com", "*.example.com")),
        ("a.b.example.com", ("a.b.example.com", "*.b.example.com")),
        ("example.com", ("example.com",)),
        ("demo.localhost", ("demo.localhost",)),
        ("localhost", ("localhost",)),
        ("192.0.2.1", ("192.0.2.1",)),
        ("[::1]", ("[::1]",)),
        ("[::ffff:192.0.2.1]", ("[::ffff:192.0.2.1]",)),
    ],
)
def test_lookup_names(host: str, names: tuple[str, ...]) -> None:
    assert lookup_names(host) == names


@pytest.mark.parametrize(
    ("text", "domain"),
    [
        ("example.com", "example.com"),
        (" Example.COM. ", "example.com"),
        ("example.com。", "example.com"),
        ("ｅｘａｍｐｌｅ．ｃｏｍ", "example.com"),
        ("München.de", "xn--mnchen-3ya.de"),
        ("XN--MNCHEN-3YA.de", "xn--mnchen-3ya.de"),
        ("straße.de", "xn--strae-oqa.de"),
        ("пример.рф", "xn--e1afmkfd.xn--p1ai"),
        ("*.example.com", "*.example.com"),
        ("*.Bücher.example", "*.xn--bcher-kva.example"),
        ("*.eu.example.com", "*.eu.example.com"),
        ("mysite.github.io", "mysite.github.io"),
        ("www.ck", "www.ck"),
        ("3com.com", "3com.com"),
        ("www.example.com", "www.example.com"),
        ("demo.localhost", "demo.localhost"),
        ("42.localhost", "42.localhost"),
        ("bücher.localhost", "xn--bcher-kva.localhost"),
        ("a.pages.example.net", "a.pages.example.net"),
        ("a.eu.pages.example.net", "a.eu.pages.example.net"),
        ("example.net", "example.net"),
        (NAME_253, NAME_253),
    ],
)
def test_domain(text: str, domain: str) -> None:
    assert parse_domain(text, PLATFORM) == domain


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "is empty"),
        ("  ", "is empty"),
        ("*.", "is empty"),
        (".", "empty label"),
        ("a..com", "empty label"),
        (".example.com", "empty label"),
        ("example.com..", "empty label"),
        ("\u00ad.example.com", "empty label"),
        ("192.0.2.1", "IP address"),
        ("192.0.2.1.", "IP address"),
        ("１９２.０.２.１", "IP address"),
        ("::1", "IP address"),
        ("[2001:db8::1]", "IP address"),
        ("example.1", "IP address"),
        ("example.0x7F", "IP address"),
        ("*.2.3.4", "IP address"),
        ("https://example.com", "scheme"),
        ("https://example.com/x", "scheme"),
        ("me@example.com", "user name"),
        ("example.com/", "path"),
        ("example.com?a=b", "query"),
        ("example.com#top", "fragment"),
        ("example.com:443", "port"),
        ("[::1]:443", "port"),
        ("m%C3%BCnchen.de", "percent sign"),
        ("_dmarc.example.com", "underscore"),
        ("a_b.localhost", "underscore"),
        ("*", "*.example.com"),
        ("*.*.example.com", "*.example.com"),
        ("a.*.example.com", "*.example.com"),
        ("a*.example.com", "*.example.com"),
        ("exam ple.com", "space"),
        ("*. example.com", "space"),
        ("-a.example.com", "hyphen"),
        ("a-.example.com", "hyphen"),
        ("-a.localhost", "hyphen"),
        ("ab--cd.example.com", "--"),
        ("xn--.example.com", "xn-- label"),
        ("xn---bbk.example.com", "xn-- label"),
        ("xn--a.example.com", "character"),
        ("xn--n3h.net", "character"),
        ("☃.net", "character"),
        ("a!b.example.com", "character"),
        ("＿a.example.com", "character"),
        ("\ud800.example.com", "character"),
        ("a\x00.example.com", "character"),
        (f"{LABEL_63}a.example.com", "63"),
        ("ü" * 60 + ".example.com", "63"),
        (f"a{NAME_253}", "63"),
        (f"a.{NAME_253}", "253"),
        (f"*.{NAME_253}", "253"),
        (f"*.{NAME_253[1:]}", "253"),
        ("a." * 1_000_000, "253"),
        ("ü." * 100 + "com", "253"),
        ("example", "one label"),
        ("com", "one label"),
        ("*.com", "one label"),
        ("co.uk", "is the public suffix co.uk"),
        ("github.io", "is the public suffix"),
        ("*.co.uk", "covers the public suffix co.uk"),
        ("*.github.io", "covers the public suffix"),
        ("anything.ck", "is the public suffix"),
        ("localhost", "my-site.localhost"),
        ("Pages.Example.NET.", "my-site.pages.example.net"),
        ("eu.pages.example.net", "my-site.eu.pages.example.net"),
        ("a.b.localhost", "more than one label"),
        ("a.b.pages.example.net", "more than one label"),
        ("*.localhost", "wildcard under localhost"),
        ("*.a.localhost", "wildcard under localhost"),
        ("*.pages.example.net", "wildcard under pages.example.net"),
        ("*.example.net", "covers the platform's own domain pages.example.net"),
        ("www.localhost", "reserved"),
        ("WIDGET.pages.example.net", "reserved"),
        ("a--b.localhost", "previews"),
        ("abc--d.pages.example.net", "previews"),
        ("ab--c.localhost", "--"),
        ("xn--a.localhost", "character"),
    ],
)
def test_refused_domain(text: str, reason: str) -> None:
    with pytest.raises(Invalid) as caught:
        parse_domain(text, PLATFORM)
    assert caught.value.field == "domain"
    assert reason in str(caught.value)
    str(caught.value).encode()


@pytest.mark.parametrize("label", sorted(RESERVED_LABELS))
def test_reserved_labels_are_free_elsewhere(label: str) -> None:
    with pytest.raises(Invalid, match="reserved"):
        parse_domain(f"{label}.localhost", PLATFORM)
    assert parse_domain(f"{label}.example.com", PLATFORM) == f"{label}.example.com"


def test_reserved_labels_the_design_names() -> None:
    assert {"www", "api", "admin", "console", "widget", "mail", "ftp"} <= RESERVED_LABELS


NAME_LIKE = st.text(alphabet=string.ascii_letters + string.digits + "-.*xn。ü ßσ٣़\u200d", max_size=40)


@settings(deadline=None, max_examples=150)
@given(st.one_of(st.text(), NAME_LIKE, NAME_LIKE.map(lambda name: name + ".localhost"), st.from_regex(r"xn--.{0,20}")))
def test_domain_of_any_text_is_settled_or_refused(text: str) -> None:
    try:
        domain = parse_domain(text, PLATFORM)
    except Invalid:
        return
    assert domain.isascii()
    assert domain == domain.lower()
    assert parse_domain(domain, PLATFORM) == domain
    assert parse_authority(domain) == domain

"""The names of previews: valid, no two alike, and found again."""

from __future__ import annotations

import re
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.edge.hosts import parse_authority, parse_domain
from server.edge.preview_hosts import MAX_LABEL, PreviewName, guess_preview, parse_preview, preview_host, site_label
from storage.errors import Invalid

PLATFORMS = ("pages.test", "localhost", "eu.pages.test")
DIGITS = "0123456789abcdefghjkmnpqrstvwxyz"
LABEL = re.compile(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?")  # RFC 1123 §2.1

IDS = st.text(DIGITS, min_size=38, max_size=38)
LABELS = st.one_of(
    st.from_regex(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?", fullmatch=True),
    st.sampled_from(["xn--bcher-kva", "xn--80ak6aa92e", "a" * 41, "a" * 42, "a" * 63, "é", "日本語"]),
)


def registered(text: str) -> str | None:
    """The domain as it would be kept, if it could be registered."""
    try:
        return parse_domain(text, PLATFORMS)
    except Invalid:
        return None


CUSTOM = st.builds(
    lambda star, labels: star + ".".join(labels), st.sampled_from(["", "*."]), st.lists(LABELS, min_size=2, max_size=4)
)
OWN = st.builds(lambda label, platform: f"{label}.{platform}", LABELS, st.sampled_from(PLATFORMS))
DOMAINS = st.one_of(CUSTOM, OWN).map(registered).filter(bool)

DEPLOYMENT = "deployment_01kq3v7d5jq9w2e4t6y8m0n1b3xc5zahs7fk"
SITE = "site_01kq3v6b2hm4s8d0r1x5y7w9c3kf6ta2ne8z"


@given(domain=DOMAINS, site=IDS, deployment=IDS)
def test_any_site_has_a_name_for_any_deployment(domain: str, site: str, deployment: str) -> None:
    host = preview_host(f"deployment_{deployment}", f"site_{site}", domain, PLATFORMS)
    label, _, platform = host.partition(".")
    assert platform in PLATFORMS
    assert len(label) <= MAX_LABEL
    assert LABEL.fullmatch(label)
    assert label[2:4] != "--"  # which browsers take for an A-label
    assert parse_authority(host) == host
    assert registered(host) is None, "a site could have it"
    found = parse_preview(host, PLATFORMS)
    assert found is not None
    assert found.deployment == deployment[:20]
    assert (found.domain, found.site) in ((domain, None), (None, site[:16]))


@given(
    sites=st.lists(
        st.tuples(DOMAINS, IDS), min_size=2, max_size=6, unique_by=(lambda one: one[0], lambda one: one[1][:16])
    )
)
def test_no_two_sites_have_one_name(sites: list[tuple[str, str]]) -> None:
    names = {preview_host(DEPLOYMENT, f"site_{id}", domain, PLATFORMS) for domain, id in sites}
    assert len(names) == len(sites)


@pytest.mark.parametrize(
    ("domain", "host"),
    [
        ("shop.pages.test", "01kq3v7d5jq9w2e4t6y8--shop.pages.test"),
        ("xn--bcher-kva.localhost", "01kq3v7d5jq9w2e4t6y8--xn--bcher-kva.localhost"),
        ("my-shop.eu.pages.test", "01kq3v7d5jq9w2e4t6y8--my-shop.eu.pages.test"),
        ("shop.example.com", "01kq3v7d5jq9w2e4t6y8--shop-example-com--01kq3v6b2hm4s8d0.pages.test"),
        ("*.example.com", "01kq3v7d5jq9w2e4t6y8--example-com--01kq3v6b2hm4s8d0.pages.test"),
        ("xn--bcher-kva.example", "01kq3v7d5jq9w2e4t6y8--xn-bcher-kva-example--01kq3v6b2hm4s8d0.pages.test"),
        ("a" * 41 + ".localhost", f"01kq3v7d5jq9w2e4t6y8--{'a' * 41}.localhost"),
        ("a" * 42 + ".localhost", f"01kq3v7d5jq9w2e4t6y8--{'a' * 23}--01kq3v6b2hm4s8d0.localhost"),
        (f"{'a' * 22}.example", f"01kq3v7d5jq9w2e4t6y8--{'a' * 22}--01kq3v6b2hm4s8d0.pages.test"),
    ],
)
def test_names(domain: str, host: str) -> None:
    assert preview_host(DEPLOYMENT, SITE, domain, PLATFORMS) == host
    label, platform = site_label(SITE, domain, PLATFORMS)
    assert host == f"01kq3v7d5jq9w2e4t6y8--{label}.{platform}"


@pytest.mark.parametrize(
    "host",
    [
        "shop.pages.test",
        "pages.test",
        "01kq3v7d5jq9w2e4t6y8--shop.example.com",
        "01kq3v7d5jq9w2e4t6y8--shop.sub.pages.test",
        "01kq3v7d5jq9w2e4t6y--shop.pages.test",
        "01kq3v7d5jq9w2e4t6yi--shop.pages.test",
        "01kq3v7d5jq9w2e4t6y8-shop.pages.test",
        "01kq3v7d5jq9w2e4t6y8--.pages.test",
        "01kq3v7d5jq9w2e4t6y8--sh_op.pages.test",
        "xn--01kq3v7d5jq9w2e4t6y8--shop.pages.test",
        "[::1]",
    ],
)
def test_other_hosts(host: str) -> None:
    assert parse_preview(host, PLATFORMS) is None


def test_whatever_the_platform_domain() -> None:
    start = "01kq3v7d5jq9w2e4t6y8"
    assert guess_preview(f"{start}--shop.example.com:8080") == PreviewName(start, "shop.example.com:8080", None)
    assert guess_preview("shop.example.com") is None
    assert guess_preview(start) is None


def test_labels_that_look_alike() -> None:
    start = "01kq3v7d5jq9w2e4t6y8"
    for label, platform in product(["xn--a--01kq3v6b2hm4s8d0", "a-01kq3v6b2hm4s8d0", "a"], PLATFORMS):
        domain = f"{label}.{platform}"
        assert parse_preview(f"{start}--{domain}", PLATFORMS) == PreviewName(start, domain, None)
    found = parse_preview(f"{start}--a--01kq3v6b2hm4s8d0.localhost", PLATFORMS)
    assert found == PreviewName(start, None, "01kq3v6b2hm4s8d0")

"""Domain names, from both sides: the host that a visitor's request names and the domain that an operator registers.

`parse_authority` normalises the first cheaply, for each request; `parse_domain` judges the second carefully, once. What
`parse_domain` accepts, `parse_authority` leaves as it is, so that the two meet in one look-up (`lookup_names`).
"""

from __future__ import annotations

import re
from collections.abc import Collection
from functools import cache
from ipaddress import AddressValueError, IPv6Address, ip_address

import idna
from publicsuffixlist import PublicSuffixList

from storage.errors import Invalid

MAX_NAME = 253  # characters of a whole name without the trailing dot, RFC 1035 §2.3.4

# RFC 3986 §3.2.2 and §3.2.3, without the percent-encoding that no DNS name has. No two parts of it can match the same
# character, so that it takes linear time.
_AUTHORITY = re.compile(r"(?:(\[[0-9A-Fa-f:.]{2,45}\])|([A-Za-z0-9\-._~!$&'()*+,;=]+))(?::([0-9]*))?")

# First that is found in what an operator typed → why not, and how to mend it.
_PASTED = (
    ("://", "has a scheme: leave off what ends in ://"),
    ("@", "has a user name: leave off what ends in @"),
    ("/", "has a path: leave off the slash and what follows it"),
    ("?", "has a query: leave off the question mark and what follows it"),
    ("#", "has a fragment: leave off the # and what follows it"),
    (":", "has a port: leave off the colon and the number"),
    ("%", "has a percent sign: write it in Unicode or as xn-- labels"),
    ("_", "has an underscore, which no host name may have: use a hyphen"),
    ("*", "has a * that is not the whole first label: write *.example.com or no * at all"),
)

# What the IDNA library finds → why not, and how to mend it; anything else is a character that cannot be there.
_IDNA_REASONS = {
    "empty_domain": "is empty: give a name such as example.com",
    "empty_label": "has an empty label: write exactly one dot between labels",
    "label_too_long": "has a label longer than 63 characters (counted in its xn-- form, if it has one): shorten it",
    "domain_too_long": f"is longer than {MAX_NAME} characters: shorten it",
    "hyphen_start_end": "has a label with a hyphen at an end: leave it off",
    "hyphen_3_4": "has a label with -- in third and fourth place that is not an xn-- label: use a single hyphen",
    "invalid_alabel": "has an xn-- label that decodes to nothing: write the label in Unicode",
    "non_canonical_alabel": "has an xn-- label that is not spelt as IDNA 2008 spells it: write the label in Unicode",
}

# Labels that no tenant gets under a platform domain: the platform's own, and those by which mail programs, browsers and
# certificate authorities find whoever runs a domain. Words that a tenant may want for a site (app, status) are free.
_RESERVED = """
    abuse admin administrator api autoconfig autodiscover console control ftp hostmaster imap isatap localhost mail
    mta-sts mx ns ns1 ns2 pop pop3 postmaster root smtp ssladmin webmail webmaster widget wpad www
"""
RESERVED_LABELS = frozenset(_RESERVED.split())

_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")  # as a last label it makes the name an IPv4 address (WHATWG URL §3.5)


class HostError(ValueError):
    """A request's authority is malformed."""


def parse_authority(raw: str) -> str:
    """The host of a `Host` field or an absolute-form target, for look-up: lower-case, no port, no trailing dot.

    An IPv6 literal keeps its brackets. Raises `HostError` (RFC 9110 §7.2).
    """
    match = _AUTHORITY.fullmatch(raw)
    if match is None:
        raise HostError("not a host with an optional port")
    literal, name, port = match.groups()
    if port and (len(port) > 5 or int(port) > 65535):
        raise HostError("the port is out of range")
    if literal:
        return _check_literal(literal.lower())
    host = name.lower().removesuffix(".")
    if not host or len(host) > MAX_NAME or host[0] == "." or host[-1] == "." or ".." in host:
        raise HostError("an empty label, or a name that is too long")
    return host


def _check_literal(literal: str) -> str:
    try:
        IPv6Address(literal[1:-1])
    except AddressValueError as exc:
        raise HostError("not an IPv6 address in brackets") from exc
    return literal


def lookup_names(host: str) -> tuple[str, ...]:
    """The domains that may answer for `host` (from `parse_authority`): itself, then the wildcard that covers it."""
    rest = host.partition(".")[2]
    if "." not in rest or host[0] == "[" or rest.rpartition(".")[2].isdigit():
        return (host,)
    return (host, f"*.{rest}")


def parse_domain(text: str, platform_domains: Collection[str]) -> str:
    """The domain in the form it is kept: lower-case A-labels, possibly after `*.`.

    `platform_domains` are in that form too. Raises `Invalid` ("domain") that says what is wrong and how to mend it:

    1. what is no name: an address, or something pasted along with the name
    2. what IDNA 2008 does not allow, after the mapping of UTS #46 (upper case, full-width forms)
    3. what nobody may register: under a platform domain, or elsewhere
    """
    typed = text.strip()
    _check_typed(typed)
    name = _to_ascii(typed.removeprefix("*."))
    wildcard = typed.startswith("*.")
    domain = f"*.{name}" if wildcard else name
    if len(domain) > MAX_NAME:
        raise Invalid("domain", _IDNA_REASONS["domain_too_long"])
    platform = find_platform(name, platform_domains)
    if wildcard:
        _check_wildcard(name, platform, platform_domains)
    if platform is None:
        _check_custom(name, wildcard=wildcard)
    else:
        _check_label(name.removesuffix(platform).removesuffix("."), platform)
    return domain


def _check_typed(typed: str) -> None:
    if len(typed) > MAX_NAME + 1:  # with a trailing dot
        raise Invalid("domain", _IDNA_REASONS["domain_too_long"])
    try:
        ip_address(typed.removeprefix("[").removesuffix("]"))
    except ValueError:
        pass
    else:
        raise _address()
    rest = typed.removeprefix("*.")
    for mark, reason in _PASTED:
        if mark in rest:
            raise Invalid("domain", reason)
    if any(character.isspace() for character in rest):
        raise Invalid("domain", "has a space: leave it out")


def _to_ascii(name: str) -> str:
    try:
        return idna.encode(name, uts46=True, std3_rules=True).decode("ascii").removesuffix(".")
    except idna.IDNAError as exc:
        reason = _IDNA_REASONS.get(exc.code or "", f"has a character that a domain cannot have there: {exc}")
        raise Invalid("domain", reason) from exc


def find_platform(name: str, platform_domains: Collection[str]) -> str | None:
    """The closest platform domain that `name` is, or is below."""
    above = [domain for domain in platform_domains if name == domain or name.endswith(f".{domain}")]
    return max(above, key=len, default=None)


def _check_wildcard(name: str, platform: str | None, platform_domains: Collection[str]) -> None:
    if platform is not None:
        raise Invalid("domain", f"is a wildcard under {platform}: register each name there by itself")
    for covered in platform_domains:
        if covered.partition(".")[2] == name:
            raise Invalid("domain", f"covers the platform's own domain {covered}: register each name by itself")


def _check_label(label: str, platform: str) -> None:
    """Whether a tenant may have `label` under `platform`; `""` is the platform domain itself."""
    if not label:
        raise Invalid("domain", f"is the platform's own: put a label before it, such as my-site.{platform}")
    if "." in label:
        raise Invalid("domain", f"has more than one label under {platform}: use hyphens in place of the inner dots")
    if label in RESERVED_LABELS:
        raise Invalid("domain", f"has the label {label}, which is reserved under {platform}: choose another")
    if "--" in label and not label.startswith("xn--"):
        raise Invalid("domain", f"has -- in its label, which under {platform} is for previews: use a single hyphen")


def _check_custom(name: str, *, wildcard: bool) -> None:
    if _NUMBER.fullmatch(name.rpartition(".")[2]):
        raise _address()
    if "." not in name:
        raise Invalid("domain", f"has one label only: give the whole name, such as {name}.example.com")
    if _public_suffixes().is_public(name):
        what = "covers" if wildcard else "is"
        raise Invalid(
            "domain", f"{what} the public suffix {name}, where anyone registers: put a name of yours before it"
        )


def _address() -> Invalid:
    return Invalid("domain", "is an IP address: register a name that points to it")


@cache
def _public_suffixes() -> PublicSuffixList:
    """The list that the package carries, private rules included; read on first use, in about 50 ms."""
    return PublicSuffixList()

"""The names of previews: `<deployment>--<site>.<platform domain>`, in one label of at most 63 octets (RFC 1035). Pure.

The deployment is the first 20 digits of its id. The site, under its own platform domain or else under the first, is

* its own label, if it is registered under a platform domain and that is short enough;
* otherwise its domain in short, `--`, and the first 16 digits of its id.

No two that are different have one name: no label that a site can have contains `--`, save behind `xn`, which the second
form never begins with; digits of ids are a time in microseconds, and then chance. Names are found again by seeks in the
order of ids, and a name that is not spelt as `preview_host` spells it leads nowhere.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from server.edge.hosts import find_platform

MAX_LABEL = 63  # octets
DEPLOYMENT_DIGITS = 20  # 12 of them a time: 40 bits are left to chance, beside the microsecond
SITE_DIGITS = 16
MARK = "--"
MAX_SITE_LABEL = MAX_LABEL - DEPLOYMENT_DIGITS - len(MARK)
_MAX_SHORT = MAX_SITE_LABEL - SITE_DIGITS - len(MARK)

_DIGIT = "[0-9a-hjkmnp-tv-z]"  # of `storage.ids`
_PREVIEW = re.compile(rf"({_DIGIT}{{{DEPLOYMENT_DIGITS}}}){MARK}([a-z0-9-]+)\.(.+)")
_GENERATED = re.compile(rf"(?!xn--)[a-z0-9-]+{MARK}({_DIGIT}{{{SITE_DIGITS}}})")
_NOT_PLAIN = re.compile(r"[^a-z0-9]+")


@dataclass(frozen=True, slots=True)
class PreviewName:
    """What a preview's host names: the first digits of a deployment's id, and a site by its domain or its id's first
    digits."""

    deployment: str
    domain: str | None
    site: str | None


def site_label(site_id: str, domain: str, platform_domains: Sequence[str]) -> tuple[str, str]:
    """What stands for a site in the names of its previews, and the platform domain that they are under."""
    platform = find_platform(domain, platform_domains)
    if platform is not None and len(own := domain.removesuffix(f".{platform}")) <= MAX_SITE_LABEL:
        return own, platform
    short = _NOT_PLAIN.sub("-", domain).strip("-")[:_MAX_SHORT].rstrip("-")
    return f"{short}{MARK}{_digits(site_id, SITE_DIGITS)}", platform or platform_domains[0]


def preview_host(deployment_id: str, site_id: str, domain: str, platform_domains: Sequence[str]) -> str:
    """Where a deployment is seen as the site at `domain` shows it."""
    label, platform = site_label(site_id, domain, platform_domains)
    return f"{_digits(deployment_id, DEPLOYMENT_DIGITS)}{MARK}{label}.{platform}"


def parse_preview(host: str, platform_domains: Sequence[str]) -> PreviewName | None:
    """What `host` (from `parse_authority`) names, if it has the form of a preview's."""
    found = _PREVIEW.fullmatch(host)
    if found is None or found[3] not in platform_domains:
        return None
    deployment, label, platform = found.groups()
    generated = _GENERATED.fullmatch(label)
    if generated is not None:
        return PreviewName(deployment, None, generated[1])
    return PreviewName(deployment, f"{label}.{platform}", None)


def guess_preview(host: str) -> PreviewName | None:
    """What `host` names, for who does not know which platform domains there are; it may have a port."""
    return parse_preview(host, (host.partition(".")[2],))


def _digits(id: str, count: int) -> str:
    return id.partition("_")[2][:count]

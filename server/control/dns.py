"""Where the DNS says that a domain is, as far as its owner may know from us.

Tenants choose the names that are asked for, so addresses of private networks are not told.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import Literal, TypeAlias

import dns.asyncresolver
import dns.exception
import dns.name
import dns.resolver
from dns.asyncresolver import Resolver

State: TypeAlias = Literal["found", "missing", "private", "unknown"]

PATIENCE = 3.0  # seconds for all questions about one domain
WILDCARD_LABEL = "spacelane-check"  # stands for the label that a wildcard leaves open
LOOPBACK = "localhost"


@dataclass(frozen=True, slots=True)
class Addresses:
    """`unknown`: nobody could be asked. `private`: there are addresses, but none that the internet could reach."""

    state: State
    addresses: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Directory:
    """Asks the resolver that this machine is configured with, unless given another."""

    resolver: Resolver | None = field(default=None)

    async def find(self, domain: str) -> Addresses:
        """The IPv4 and IPv6 addresses of `domain` (A-labels, possibly a wildcard), sorted."""
        if domain.rpartition(".")[2] == LOOPBACK:
            return Addresses("found", ("127.0.0.1", "::1"))  # RFC 6761 §6.3: no question for the DNS
        try:
            name = dns.name.from_text(domain.replace("*", WILDCARD_LABEL))
            resolver = self.resolver or Resolver()
            answers = await resolver.resolve_name(name, lifetime=PATIENCE)
        except (dns.resolver.NXDOMAIN, dns.resolver.NoAnswer):
            return Addresses("missing")
        except (dns.exception.DNSException, OSError):
            return Addresses("unknown")
        found = sorted(answers.addresses())
        public = tuple(address for address in found if ip_address(address).is_global)
        return Addresses("found", public) if public else Addresses("private")

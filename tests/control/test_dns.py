"""Where the DNS says that a domain is, asked of a name server on loopback."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import cast

import dns.flags
import dns.message
import dns.rcode
import dns.rdatatype
import dns.rrset
import pytest
from dns.asyncresolver import Resolver

from server.control import dns as directory_module
from server.control.dns import Addresses, Directory

RECORDS = {
    ("a.example.", "A"): ["93.184.215.14", "1.1.1.1"],
    ("a.example.", "AAAA"): ["2606:2800:21f:cb07:6820:80da:af6b:8b2c"],
    ("inside.example.", "A"): ["10.1.2.3", "127.0.0.1", "169.254.169.254"],
    ("mixed.example.", "A"): ["10.1.2.3", "1.1.1.1"],
    ("spacelane-check.wild.example.", "A"): ["1.1.1.1"],
    ("empty.example.", "TXT"): ["something"],
}


class NameServer(asyncio.DatagramProtocol):
    """Answers from `RECORDS`; names under `silent.` get no answer, those under `broken.` a failure."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.DatagramTransport, transport)  # asyncio's own does not say that it is one

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        query = dns.message.from_wire(data)
        (question,) = query.question
        name = question.name.to_text()
        if name.endswith("silent."):
            return
        answer = dns.message.make_response(query)
        answer.flags |= dns.flags.RA
        kind = dns.rdatatype.to_text(question.rdtype)
        if found := RECORDS.get((name, kind)):
            answer.answer.append(dns.rrset.from_text(question.name, 60, "IN", kind, *found))
        elif name.endswith("broken."):
            answer.set_rcode(dns.rcode.SERVFAIL)
        elif name not in {known for known, _ in RECORDS}:
            answer.set_rcode(dns.rcode.NXDOMAIN)
        self._transport.sendto(answer.to_wire(), addr)


@pytest.fixture
async def directory() -> AsyncIterator[Directory]:
    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_datagram_endpoint(NameServer, local_addr=("127.0.0.1", 0))
    resolver = Resolver(configure=False)
    resolver.nameservers = ["127.0.0.1"]
    resolver.port = transport.get_extra_info("sockname")[1]
    yield Directory(resolver)
    transport.close()


@pytest.mark.parametrize(
    ("domain", "found"),
    [
        ("a.example", Addresses("found", ("1.1.1.1", "2606:2800:21f:cb07:6820:80da:af6b:8b2c", "93.184.215.14"))),
        ("mixed.example", Addresses("found", ("1.1.1.1",))),
        ("inside.example", Addresses("private")),
        ("*.wild.example", Addresses("found", ("1.1.1.1",))),
        ("empty.example", Addresses("missing")),
        ("nothing.example", Addresses("missing")),
        ("a.broken", Addresses("unknown")),
        (f"*.{'x' * 60}.{'x' * 60}.{'x' * 60}.{'x' * 60}.example", Addresses("unknown")),
        ("demo.localhost", Addresses("found", ("127.0.0.1", "::1"))),
    ],
)
async def test_what_is_told_of_a_domain(directory: Directory, domain: str, found: Addresses) -> None:
    assert await directory.find(domain) == found


async def test_nobody_waits_long_for_an_answer(directory: Directory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(directory_module, "PATIENCE", 0.05)
    assert await directory.find("a.silent") == Addresses("unknown")


async def test_a_machine_without_a_resolver(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Resolver, "read_resolv_conf", lambda self, file: self.nameservers.clear())
    monkeypatch.setattr(directory_module, "PATIENCE", 0.05)
    assert (await Directory().find("a.example")).state == "unknown"

"""Whether a database can be connected to: a program of its own, as what it connects to is a stranger's choice.

A process can be ended whatever it is at, has a bound on its memory, and none of the server's secrets. Its task comes as
JSON on standard input, `{"host", "port", "database", "user", "password", "sslmode", "networks"}`, and the outcome goes
to standard output, `{"ok", "latency_ms"}` or `{"ok", "error"}`. Whoever starts it gives it its time.

1. the host's addresses, looked up once; those are connected to, whatever a second look-up would say
2. refused, unless each is public or in one of the `networks` that the operator allows
3. connected to and left, with the server's own words if it refuses
"""

from __future__ import annotations

import asyncio
import json
import resource
import socket
import ssl
import sys
import time
from collections.abc import Mapping, Sequence
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Any, TypeAlias

import asyncpg

MAX_ADDRESSES = 4  # of one host that are tried
MAX_ERROR = 500  # characters
MAX_MEMORY = 2**30  # bytes of address space: a server may send without end

Address: TypeAlias = IPv4Address | IPv6Address

_SITE_LOCAL = IPv6Network("fec0::/10")  # RFC 3879: deprecated, and nobody's on the internet
_NAT64 = IPv6Network("64:ff9b::/96")  # RFC 6052 §2.1: the last 32 bits are an IPv4 address


class Failed(Exception):
    """It cannot be connected to; the text says why."""


def is_allowed(address: Address, networks: Sequence[str]) -> bool:
    """Whether it is an address of the public internet, or in one of `networks`; so too what it stands for."""
    if any(address in ip_network(network) for network in networks):
        return True
    inner = _embedded(address)
    if inner is not None:
        return is_allowed(inner, networks)
    special = address.is_multicast or address.is_reserved or address.is_unspecified
    return address.is_global and not special and address not in _SITE_LOCAL


def _embedded(address: Address) -> IPv4Address | None:
    """The IPv4 address that an IPv6 one leads to: mapped, 6to4, NAT64."""
    if isinstance(address, IPv4Address):
        return None
    if address in _NAT64:
        return IPv4Address(int(address) & 0xFFFF_FFFF)
    return address.ipv4_mapped or address.sixtofour


def resolve(host: str, port: int, networks: Sequence[str]) -> list[str]:
    """The addresses to connect to. Raises `Failed` if there is none, or one that is not allowed."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        raise Failed(f"the host {host} cannot be found") from None
    addresses = list(dict.fromkeys(str(entry[4][0]) for entry in found))
    for address in addresses:
        if not is_allowed(ip_address(address), networks):
            # Not which: names of a network that is not the caller's are not for the caller to look up.
            raise Failed(f"the address of {host} is private: whoever runs this server has to allow it")
    return addresses[:MAX_ADDRESSES]


class _NamedContext(ssl.SSLContext):
    """Expects a certificate for the host that was named, where an address is connected to."""

    name = ""

    def wrap_bio(
        self,
        incoming: ssl.MemoryBIO,
        outgoing: ssl.MemoryBIO,
        server_side: bool = False,
        server_hostname: str | bytes | None = None,
        session: ssl.SSLSession | None = None,
    ) -> ssl.SSLObject:
        return super().wrap_bio(incoming, outgoing, server_side, self.name, session)


def create_context(mode: str, name: str) -> ssl.SSLContext | None:
    """For an `sslmode` as PostgreSQL's own tools have them; None: no TLS. Certificates of this machine's user count for
    nothing."""
    if mode == "disable":
        return None
    context = _NamedContext(ssl.PROTOCOL_TLS_CLIENT)
    context.name = name
    context.check_hostname = mode == "verify-full"
    if mode.startswith("verify"):
        context.load_default_certs()
    else:
        context.verify_mode = ssl.CERT_NONE
    return context


async def connect(address: str, task: Mapping[str, Any], context: ssl.SSLContext | None) -> None:
    """Connect, and leave. Raises what asyncpg does."""
    connection = await asyncpg.connect(
        host=address,
        port=task["port"],
        database=task["database"],
        user=task["user"],
        password=task["password"],
        ssl=context or False,
        target_session_attrs="any",
        server_settings={"application_name": "spacelane"},
    )
    connection.terminate()


async def try_address(address: str, task: Mapping[str, Any]) -> None:
    """As the `sslmode` says; prefer: without TLS, if the server does not offer it. Raises `Failed`."""
    context = create_context(task["sslmode"], task["host"])
    try:
        try:
            await connect(address, task, context)
        except ConnectionError as exc:
            if "SSL" not in str(exc):
                raise
            if task["sslmode"] != "prefer":
                raise Failed("the server does not offer TLS") from None
            await connect(address, task, None)
    except Failed:
        raise
    except asyncpg.PostgresError as exc:
        raise Failed(str(exc).replace(task["password"] or "\0", "…")) from None
    except ssl.SSLCertVerificationError as exc:
        raise Failed(f"the server's certificate: {exc.verify_message}") from None
    except OSError as exc:
        reason = "connection refused" if isinstance(exc, ConnectionRefusedError) else exc.strerror or str(exc)
        raise Failed(f"{task['host']}, port {task['port']}: {reason}") from None
    except Exception as exc:  # whatever a stranger's bytes may lead a driver to
        raise Failed(f"the server does not answer as PostgreSQL does ({type(exc).__name__})") from None


async def probe(task: Mapping[str, Any]) -> dict[str, Any]:
    """The outcome."""
    started = time.monotonic()
    failure = ""
    try:
        for address in resolve(task["host"], task["port"], task["networks"]):
            try:
                await try_address(address, task)
            except Failed as exc:
                failure = str(exc)
            else:
                return {"ok": True, "latency_ms": round((time.monotonic() - started) * 1000)}
    except Failed as exc:
        failure = str(exc)
    return {"ok": False, "error": cleaned(failure)}


def cleaned(text: str) -> str:
    """One line of it, of bounded length."""
    return " ".join(text.split())[:MAX_ERROR]


def main() -> None:
    """Do what standard input says."""
    resource.setrlimit(resource.RLIMIT_AS, (MAX_MEMORY, MAX_MEMORY))
    print(json.dumps(asyncio.run(probe(json.load(sys.stdin)))))


if __name__ == "__main__":
    main()

"""Testing a site's data connection, against a real PostgreSQL and what is none."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest

from server.control import probe
from server.control.data_connections import SECONDS, Connections
from tests.control.api import Api, one_store, refused
from tests.control.conftest import Setup
from tests.control.test_widgets import EMBER, data_of
from tests.support.postgres import PostgresServer

pytestmark = pytest.mark.slow  # each test is a process of its own

LOOPBACK = ("127.0.0.0/8", "::1/128")


def connection(port: int, **more: Any) -> dict[str, Any]:
    facts = {"type": "postgres", "host": "localhost", "port": port, "database": "postgres", "user": "reader"}
    return {**facts, "password": "right", "sslmode": "prefer", **more}


@asynccontextmanager
async def listening(answer: bytes | None) -> AsyncIterator[int]:
    """The port of a server that says this, or nothing, to whoever connects."""

    async def meet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if answer is None:
            await reader.read()
        else:
            writer.write(answer)
            await writer.drain()
        writer.close()

    server = await asyncio.start_server(meet, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


@pytest.fixture
def allowed(setup: Setup) -> None:
    """The operator allows loopback."""
    setup.config = replace(setup.config, connections=Connections(LOOPBACK, seconds=30))


async def ask(api: Api, settings: dict[str, Any] | None) -> Any:
    """What the API says of a new site with this connection."""
    fields = {**EMBER, **({"data_connection": settings} if settings else {})}
    made = data_of(await api.post("/v1/sites", fields), 201)
    return data_of(await api.post(f"/v1/sites/{made['site_id']}/test-connection"))


@one_store
@pytest.mark.usefixtures("allowed")
async def test_a_connection_that_works(api: Api, tcp_postgres: PostgresServer) -> None:
    outcome = await ask(api, connection(tcp_postgres.port))
    assert outcome == {"ok": True, "latency_ms": outcome["latency_ms"]}
    assert 0 < outcome["latency_ms"] < 30_000


@one_store
@pytest.mark.usefixtures("allowed")
async def test_a_wrong_password_in_the_servers_words(api: Api, tcp_postgres: PostgresServer) -> None:
    outcome = await ask(api, connection(tcp_postgres.port, password="wrong-secret"))
    assert outcome == {"ok": False, "error": 'password authentication failed for user "reader"'}


@one_store
async def test_no_connection_is_configured(api: Api) -> None:
    outcome = await ask(api, None)
    assert outcome == {"ok": False, "error": "no data connection is configured: set data_connection first"}


@one_store
@pytest.mark.parametrize("host", ["localhost", "10.1.2.3", "169.254.169.254", "::1"])
async def test_a_private_address_is_refused(api: Api, host: str) -> None:
    """Whatever listens there; and what a name stands for is not told."""
    outcome = await ask(api, connection(5432, host=host))
    reason = f"the address of {host} is private: whoever runs this server has to allow it"
    assert outcome == {"ok": False, "error": reason}


@one_store
@pytest.mark.usefixtures("allowed")
async def test_a_closed_port(api: Api) -> None:
    async with listening(b"") as port:
        pass
    outcome = await ask(api, connection(port))
    assert outcome == {"ok": False, "error": f"localhost, port {port}: connection refused"}


async def test_what_a_server_may_say() -> None:
    """A host that is none, a database that is none, a server that is no PostgreSQL, and one without TLS."""
    test = Connections(LOOPBACK, seconds=30).test
    missing = await test(connection(1, host="nothing.invalid"))
    assert missing == {"ok": False, "error": "the host nothing.invalid cannot be found"}
    async with listening(b"HTTP/1.1 400 Bad Request\r\n\r\n") as port:
        outcome = await test(connection(port, sslmode="disable"))
        assert outcome["ok"] is False
        assert outcome["error"]
    async with listening(b"N") as port:  # declines TLS (PostgreSQL's protocol, SSLRequest)
        outcome = await test(connection(port, sslmode="require"))
        assert outcome == {"ok": False, "error": "the server does not offer TLS"}


async def test_a_test_that_comes_to_no_end_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("server.control.data_connections.PROBE", "keyword")  # says nothing, as one without memory
    outcome = await Connections(LOOPBACK, seconds=30).test(connection(1))
    assert outcome == {"ok": False, "error": "the server sends more than a test takes"}


async def test_a_server_that_says_nothing() -> None:
    assert SECONDS == 5
    async with listening(None) as port:
        outcome = await Connections(LOOPBACK, seconds=1.5).test(connection(port))
    assert outcome == {"ok": False, "error": "no answer within 1.5 seconds"}


async def test_tls_is_as_it_was_asked_for(tcp_postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch) -> None:
    test = Connections(LOOPBACK, seconds=30).test
    port = tcp_postgres.port
    assert (await test(connection(port, sslmode="disable")))["ok"]
    assert (await test(connection(port, sslmode="require")))["ok"]
    outcome = await test(connection(port, sslmode="verify-full"))
    assert outcome["ok"] is False
    assert outcome["error"].startswith("the server's certificate: ")
    monkeypatch.setenv("SSL_CERT_FILE", str(tcp_postgres.directory / "ca.pem"))
    assert (await test(connection(port, sslmode="verify-full")))["ok"]
    # The address is connected to, and the name is what the certificate has to have.
    outcome = await test(connection(port, sslmode="verify-full", host="127.0.0.1"))
    assert "127.0.0.1" in outcome["error"]
    assert (await test(connection(port, sslmode="verify-ca", host="127.0.0.1")))["ok"]


async def test_what_the_operators_environment_says_counts_for_nothing(
    tcp_postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {"PGPASSWORD": "right", "PGUSER": "postgres", "PGSSLMODE": "verify-full"}.items():
        monkeypatch.setenv(name, value)
    outcome = await Connections(LOOPBACK, seconds=30).test(connection(tcp_postgres.port, password=""))
    assert outcome["ok"] is False


@one_store
@pytest.mark.usefixtures("allowed")
async def test_a_workspace_tests_so_many_connections_a_minute(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("server.control.widgets.TESTS_PER_MINUTE", 1)
    made = data_of(await api.post("/v1/sites", EMBER), 201)
    path = f"/v1/sites/{made['id']}/test-connection"
    data_of(await api.post(path))
    answer = await api.post(path)
    refused(answer, 429, "TOO_MANY_REQUESTS")
    assert answer.headers["retry-after"] == "60"


PUBLIC = ["93.184.215.14", "2606:4700::1111", "::ffff:93.184.215.14", "64:ff9b::5db8:d70e", "2002:5db8:d70e::1"]
PRIVATE = """
    127.0.0.1 127.8.8.8 10.0.0.1 172.16.0.1 192.168.1.1 169.254.169.254 100.64.0.1 0.0.0.0 255.255.255.255 224.0.0.1
    192.0.2.1 240.0.0.1 198.18.0.1 :: ::1 fe80::1 fe80::1%eth0 fc00::1 fd12::1 ff02::1 fec0::1 2001:db8::1
    ::ffff:127.0.0.1 ::ffff:10.0.0.1 ::127.0.0.1 64:ff9b::7f00:1 64:ff9b::a00:1 64:ff9b:1::1 2002:7f00:1::1
    2002:a00:1::1 2001:0:7f00:1::1
"""


@pytest.mark.parametrize("address", PUBLIC)
def test_public_addresses(address: str) -> None:
    assert probe.is_allowed(ip_address(address), [])


@pytest.mark.parametrize("address", PRIVATE.split())
def test_private_addresses(address: str) -> None:
    assert not probe.is_allowed(ip_address(address), [])


def test_networks_that_the_operator_allows() -> None:
    networks = ["10.0.0.0/8", "fd00::/8"]
    for address in ("10.1.1.1", "::ffff:10.1.1.1", "64:ff9b::a01:101", "fd12::1", "1.1.1.1"):
        assert probe.is_allowed(ip_address(address), networks)
    for address in ("127.0.0.1", "192.168.1.1", "fc00::1"):
        assert not probe.is_allowed(ip_address(address), networks)


Addresses = Callable[..., list[tuple[Any, ...]]]


def answering(*addresses: str) -> Addresses:
    return lambda *args, **more: [(None, None, None, "", (address, 5432)) for address in addresses]


async def test_a_name_is_looked_up_once_and_all_of_it_is_judged(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "getaddrinfo", answering("1.1.1.1", "1.1.1.1", "2606:4700::1111"))
    assert probe.resolve("x.example", 5432, []) == ["1.1.1.1", "2606:4700::1111"]
    monkeypatch.setattr(socket, "getaddrinfo", answering(*(f"1.1.1.{number}" for number in range(9))))
    assert len(probe.resolve("x.example", 5432, [])) == probe.MAX_ADDRESSES
    monkeypatch.setattr(socket, "getaddrinfo", answering("1.1.1.1", "10.0.0.1"))
    outcome = await probe.probe({**connection(5432, host="x.example"), "networks": []})
    assert "the address of x.example is private" in outcome["error"]


async def test_the_next_address_is_tried(tcp_postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "getaddrinfo", answering("127.0.0.2", "127.0.0.1"))
    task = {**connection(tcp_postgres.port), "networks": LOOPBACK}
    assert (await probe.probe(task))["ok"]
    assert (await probe.probe({**task, "sslmode": "disable"}))["ok"]
    wrong = await probe.probe({**task, "user": "right", "password": "right"})
    assert wrong["error"] == 'password authentication failed for user "…"'


async def test_what_goes_wrong_is_told_in_one_line(tcp_postgres: PostgresServer, tmp_path: Path) -> None:
    task = connection(tcp_postgres.port)
    with pytest.raises(probe.Failed, match="certificate"):
        await probe.try_address("127.0.0.1", {**task, "sslmode": "verify-full"})
    context = probe.create_context("verify-full", "localhost")
    assert context is not None
    context.load_verify_locations(tcp_postgres.directory / "ca.pem")
    await probe.connect("127.0.0.1", task, context)
    context.name = "other.example"  # type: ignore[attr-defined]
    with pytest.raises(ssl.SSLCertVerificationError):
        await probe.connect("127.0.0.1", task, context)
    async with listening(b"N") as port:
        with pytest.raises(probe.Failed, match="TLS"):
            await probe.try_address("127.0.0.1", {**task, "port": port, "sslmode": "require"})
        with pytest.raises(probe.Failed):
            await probe.try_address("127.0.0.1", {**task, "port": port})
    async with listening(b"Z" * 100) as port:
        with pytest.raises(probe.Failed):
            await probe.try_address("127.0.0.1", {**task, "port": port, "sslmode": "disable"})
    assert probe.cleaned("a\n b" + "x" * 1000) == ("a b" + "x" * 1000)[: probe.MAX_ERROR]

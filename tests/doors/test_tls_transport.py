"""Our layer of TLS under real connections: versions, ends of all kinds, clients that are slow, hostile or many."""

from __future__ import annotations

import asyncio
import random
import shutil
import socket
import ssl
import subprocess
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest
import trustme
import uvloop

from server.doors.tls import create_context
from server.edge.edge import Edge
from tests.support.hosting import Hosting, in_thread, memory_hosting, served
from tests.support.tls import TlsWire, trusting

BIG = bytes(range(256)) * 40 * 1024  # 10 MB, streamed
CACHED = bytes(range(255, -1, -1)) * 8 * 1024  # 2 MB, in one write
VERSIONS = (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3)
LOOPS: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {
    "asyncio": asyncio.new_event_loop,
    "uvloop": uvloop.new_event_loop,
}


async def fill(hosting: Hosting) -> None:
    hosting.edge.cache.max_body = len(CACHED)
    await hosting.site("a.test", {"a.txt": b"0123456789", "cached.bin": CACHED, "big.bin": BIG})
    await hosting.site("b.test", {"a.txt": b"of another"})


@pytest.fixture(scope="module", params=sorted(LOOPS))
def port(request: pytest.FixtureRequest, pem: tuple[Path, Path]) -> Iterator[int]:
    """The edge over TLS, on either event loop."""

    @asynccontextmanager
    async def serve(edge: Edge) -> AsyncIterator[int]:
        async with served(edge, tls=create_context(*pem, ("http/1.1",))) as port:
            yield port

    with in_thread(memory_hosting, fill, serve, LOOPS[request.param]) as port:
        yield port


@pytest.fixture
def connect(port: int, authority: trustme.CA) -> Callable[..., TlsWire]:
    """Open a connection, its handshake done."""

    def connect(version: ssl.TLSVersion = VERSIONS[-1]) -> TlsWire:
        return TlsWire(port, trusting(authority, version)).shake_hands()

    return connect


def is_well(connect: Callable[..., TlsWire]) -> bool:
    with connect() as wire:
        wire.get("/a.txt")
        return wire.receive().body == b"0123456789"


@pytest.mark.slow
@pytest.mark.parametrize("version", VERSIONS)
def test_versions(connect: Callable[..., TlsWire], version: ssl.TLSVersion) -> None:
    with connect(version) as wire:
        assert wire.tls.version() == version.name.replace("_", ".")
        for _ in range(3):
            wire.get("/a.txt")
            assert wire.receive().body == b"0123456789"
        wire.get("/cached.bin")
        assert wire.receive().body == CACHED
        wire.get("/big.bin", "Connection: close")
        assert wire.receive().body == BIG
        assert wire.at_end()


@pytest.mark.parametrize("version", VERSIONS)
def test_a_session_is_resumed(port: int, authority: trustme.CA, version: ssl.TLSVersion) -> None:
    context = trusting(authority, version)
    session = None
    for _ in range(2):
        with (
            socket.create_connection(("127.0.0.1", port), timeout=10) as plain,
            context.wrap_socket(plain, server_hostname="a.test", session=session) as client,
        ):
            assert client.session_reused == (session is not None)
            client.sendall(b"GET /a.txt HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n")
            assert b"".join(iter(lambda: client.recv(1000), b"")).endswith(b"0123456789")
            session = client.session


def test_the_name_of_the_handshake_counts(connect: Callable[..., TlsWire]) -> None:
    with connect() as wire:
        wire.send(b"GET /a.txt HTTP/1.1\r\nHost: b.test\r\n\r\n")
        assert wire.receive().status == 421


def test_a_protocol_that_nobody_speaks(port: int, authority: trustme.CA) -> None:
    context = trusting(authority)
    context.set_alpn_protocols(["gopher"])
    with TlsWire(port, context).shake_hands() as wire:
        assert wire.tls.selected_alpn_protocol() is None
        wire.get("/a.txt")
        assert wire.receive().status == 200


def test_requests_that_share_a_record_and_requests_that_share_a_segment(connect: Callable[..., TlsWire]) -> None:
    request = b"GET /a.txt HTTP/1.1\r\nHost: a.test\r\n\r\n"
    with connect() as wire:
        wire.send(request * 3)
        wire.socket.sendall(wire.encrypt(request) + wire.encrypt(request[:20]) + wire.encrypt(request[20:]))
        assert [wire.receive().body for _ in range(5)] == [b"0123456789"] * 5


def test_a_body_of_several_records(connect: Callable[..., TlsWire]) -> None:
    with connect() as wire:
        wire.send(b"POST /a.txt HTTP/1.1\r\nHost: a.test\r\nContent-Length: 50000\r\n\r\n" + b"x" * 50_000)
        assert wire.receive().status == 405
        wire.get("/a.txt")
        assert wire.receive().status == 200


# Ends


@pytest.mark.slow
@pytest.mark.parametrize("path", ["/a.txt", "/cached.bin", "/big.bin"])
@pytest.mark.parametrize("by", ["close_notify", "FIN", "both"])
def test_a_client_that_has_no_more_to_say_gets_its_answer(connect: Callable[..., TlsWire], path: str, by: str) -> None:
    with connect() as wire:
        wire.get(path, "Connection: close")
        if by != "FIN":
            wire.say_goodbye()
        if by != "close_notify":
            wire.socket.shutdown(socket.SHUT_WR)
        expected = {"/a.txt": b"0123456789", "/cached.bin": CACHED, "/big.bin": BIG}[path]
        assert wire.rest().partition(b"\r\n\r\n")[2] == expected


@pytest.mark.parametrize("version", VERSIONS)
def test_goodbye_is_answered(connect: Callable[..., TlsWire], version: ssl.TLSVersion) -> None:
    with connect(version) as wire:
        wire.get("/a.txt")
        wire.receive()
        wire.say_goodbye()
        assert wire.at_end()
        assert wire.socket.recv(1) == b""


def test_what_follows_the_last_answer_does_not_destroy_it(connect: Callable[..., TlsWire]) -> None:
    with connect() as wire:
        wire.get("/cached.bin", "Connection: close")
        for _ in range(20):
            wire.get("/a.txt")
        assert wire.receive().body == CACHED
        assert wire.at_end()


def test_a_client_that_leaves_in_the_middle(connect: Callable[..., TlsWire]) -> None:
    for path in ("/cached.bin", "/big.bin"):
        with connect() as wire:
            wire.get(path)
    assert is_well(connect)


# Clients that break the rules


def until_ended(wire: TlsWire) -> bytes:
    """The bytes that come until the server ends the connection, whichever way."""
    data = b""
    with suppress(ConnectionError):
        while chunk := wire.socket.recv(65536):
            data += chunk
    return data


@pytest.mark.parametrize(
    "garbage",
    [
        b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n",
        b"\x16\x03\x01\x40\x01" + b"\xff" * 16_385,
        b"\x80\x2e\x01\x00\x02",
        b"\0" * 64,
    ],
)
def test_what_is_no_tls(port: int, authority: trustme.CA, connect: Callable[..., TlsWire], garbage: bytes,
                        caplog: pytest.LogCaptureFixture) -> None:  # fmt: skip
    with TlsWire(port, trusting(authority)) as wire:
        wire.socket.sendall(garbage)
        wire.socket.shutdown(socket.SHUT_WR)
        assert b"HTTP" not in until_ended(wire)
    assert is_well(connect)
    assert [record for record in caplog.records if record.exc_info] == []


def test_a_client_with_whom_nothing_can_be_agreed_is_told(port: int, authority: trustme.CA) -> None:
    context = trusting(authority, ssl.TLSVersion.TLSv1_2)
    context.set_ciphers("ECDHE-RSA-AES128-GCM-SHA256")  # the certificate's key is for ECDSA
    with TlsWire(port, context) as wire, pytest.raises(ssl.SSLError, match="HANDSHAKE_FAILURE"):
        wire.shake_hands()


@pytest.mark.parametrize("before", [0, 1])
def test_a_record_that_was_changed_on_its_way(
    connect: Callable[..., TlsWire], before: int, caplog: pytest.LogCaptureFixture
) -> None:
    with connect() as wire:
        request = b"GET /a.txt HTTP/1.1\r\nHost: a.test\r\n\r\n"
        good = wire.encrypt(request) * before
        record = bytearray(wire.encrypt(request))
        record[-1] ^= 1
        wire.socket.sendall(good + record)
        with pytest.raises(ssl.SSLError, match="BAD_RECORD_MAC"):
            wire.receive()
    assert is_well(connect)
    assert [record for record in caplog.records if record.exc_info] == []


@pytest.mark.slow
def test_streams_cut_at_random(connect: Callable[..., TlsWire]) -> None:
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    for _ in range(20):
        with connect(chance.choice(VERSIONS)) as wire:
            number = chance.randrange(1, 8)
            requests = b"GET /a.txt HTTP/1.1\r\nHost: a.test\r\n\r\n" * number
            cuts = sorted(chance.randrange(len(requests)) for _ in range(chance.randrange(6)))
            records = [requests[a:b] for a, b in zip([0, *cuts], [*cuts, None], strict=True)]
            sent = b"".join(wire.encrypt(record) for record in records if record)
            cuts = sorted(chance.randrange(len(sent)) for _ in range(chance.randrange(12)))
            leaves = chance.random() < 0.3
            wire.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for a, b in zip([0, *cuts], [*cuts, len(sent) // 2 if leaves else None], strict=True):
                wire.socket.sendall(sent[a:b])
            if not leaves:
                assert [wire.receive().body for _ in range(number)] == [b"0123456789"] * number
    assert is_well(connect)


@pytest.mark.slow
def test_many_at_once(connect: Callable[..., TlsWire]) -> None:
    def visit(_: int) -> tuple[bytes, bytes]:
        with connect() as wire:
            wire.get("/a.txt")
            first = wire.receive().body
            wire.get("/cached.bin", "Connection: close")
            return first, wire.receive().body

    with ThreadPoolExecutor(16) as pool:
        assert set(pool.map(visit, range(48))) == {(b"0123456789", CACHED)}


# Other people's clients

needs_openssl = pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not installed")
needs_curl = pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")


@needs_openssl
@pytest.mark.parametrize("option", ["-tls1_2", "-tls1_3"])
def test_openssl(port: int, option: str) -> None:
    asked = b"GET /a.txt HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n"
    command = ["openssl", "s_client", "-quiet", option, "-servername", "a.test", "-connect", f"127.0.0.1:{port}"]
    done = subprocess.run(command, input=asked, capture_output=True, timeout=20, check=True)
    assert done.stdout.endswith(b"\r\n\r\n0123456789")


@needs_openssl
@pytest.mark.parametrize(
    ("option", "order", "said"), [("-tls1_3", b"K\n", b"KEYUPDATE"), ("-tls1_2", b"R\n", b"RENEGOTIATING")]
)
def test_new_keys_in_the_middle(port: int, option: str, order: bytes, said: bytes) -> None:
    """In TLS 1.3 they are exchanged; renegotiation, which was their way before, is refused."""
    command = ["openssl", "s_client", option, "-servername", "a.test", "-connect", f"127.0.0.1:{port}"]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, bufsize=0
    ) as client:
        assert client.stdin is not None
        assert client.stdout is not None
        output = b""
        client.stdin.write(order)
        while said not in output:
            output += (chunk := client.stdout.read(65536))
            assert chunk, output
        with suppress(BrokenPipeError):
            client.stdin.write(b"GET /a.txt HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n")
        while chunk := client.stdout.read(65536):
            output += chunk
    assert (b"\r\n\r\n0123456789" in output) == (option == "-tls1_3")
    assert (b"no renegotiation" in output) == (option == "-tls1_2")


@pytest.mark.slow
@needs_curl
@pytest.mark.parametrize("version", ["1.2", "1.3"])
def test_curl(port: int, authority: trustme.CA, tmp_path: Path, version: str) -> None:
    authority.cert_pem.write_to_path(tmp_path / "authority.pem")
    command = ["curl", "-sS", f"--tlsv{version}", "--tls-max", version, "--cacert", str(tmp_path / "authority.pem")]
    command += ["--resolve", f"a.test:{port}:127.0.0.1", f"https://a.test:{port}/big.bin"]
    done = subprocess.run([*command, f"https://a.test:{port}/a.txt"], capture_output=True, timeout=20, check=True)
    assert done.stdout == BIG + b"0123456789"

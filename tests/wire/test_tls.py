"""TLS and HTTP/2: the same answers, and 421 where the handshake was for another host."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import httpx
import pytest
import trustme

from server.doors.h2 import frames
from server.doors.h2.frames import Code
from server.doors.tls import TlsError, create_context
from server.edge.edge import Edge
from tests.support.hosting import memory_hosting, served, served_by_hypercorn
from tests.support.http2 import WIDE, H2Peer, request
from tests.support.process import Serve

BIG = b"0123456789abcdef" * 131_072
FILES = {"index.html": b"home", "big.bin": BIG, "docs/index.html": b"docs"}
HTTP1 = "uvicorn, HTTP/1.1"
SERVERS: dict[str, Callable[..., AbstractAsyncContextManager[int]]] = {
    HTTP1: served,
    "uvicorn, HTTP/2": served,
    "hypercorn": served_by_hypercorn,
}


@pytest.fixture(params=sorted(SERVERS))
def server(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@asynccontextmanager
async def connected(
    server: str, pem: tuple[Path, Path], ca: trustme.CA
) -> AsyncIterator[tuple[Edge, httpx.AsyncClient]]:
    """An edge with two sites, and a client that trusts its certificate."""
    trust = ssl.create_default_context()
    ca.configure_trust(trust)
    async with memory_hosting() as hosting:
        for domain in ("a.test", "b.test"):
            await hosting.site(domain, FILES)
        async with (
            SERVERS[server](hosting.edge, tls=create_context(*pem, ("h2", "http/1.1"))) as port,
            httpx.AsyncClient(base_url=f"https://127.0.0.1:{port}", http2=server != HTTP1, verify=trust) as client,
        ):
            yield hosting.edge, client


async def get(client: httpx.AsyncClient, path: str, host: str, name: str = "a.test", **headers: str) -> httpx.Response:
    return await client.get(path, headers={"host": host, **headers}, extensions={"sni_hostname": name})


async def test_the_same_answers(server: str, pem: tuple[Path, Path], authority: trustme.CA) -> None:
    async with connected(server, pem, authority) as (edge, client):
        page = await get(client, "/", "a.test")
        assert page.http_version == ("HTTP/1.1" if server == HTTP1 else "HTTP/2")
        assert (page.status_code, page.content) == (200, b"home")
        assert page.headers["date"] == "Mon, 21 Sep 2026 14:13:20 GMT"
        assert "server" not in page.headers
        again = await get(client, "/", "a.test", **{"if-none-match": page.headers["etag"]})
        assert (again.status_code, again.content) == (304, b"")
        assert (await get(client, "/big.bin", "a.test")).content == BIG
        part = await get(client, "/big.bin", "a.test", range="bytes=16-31")
        assert (part.status_code, part.content) == (206, BIG[:16])
        for _ in range(3):  # from the store, from memory, and known again
            assert (await get(client, "/index.html", "a.test")).content == b"home"
        moved = await get(client, "/docs?q", "a.test")
        assert (moved.status_code, moved.headers["location"]) == (308, "/docs/?q")
        assert (await get(client, "/none", "a.test")).status_code == 404
        posted = await client.post(
            "/", headers={"host": "a.test"}, content=b"x" * 100_000, extensions={"sni_hostname": "a.test"}
        )
        assert posted.status_code == 405
        assert edge.cache.size > 0


async def test_a_host_that_the_handshake_was_not_for(
    server: str, pem: tuple[Path, Path], authority: trustme.CA
) -> None:
    async with connected(server, pem, authority) as (_, client):
        assert (await get(client, "/", "a.test")).status_code == 200
        wrong = await get(client, "/", "b.test")
        assert wrong.status_code == 421
        assert wrong.headers["cache-control"] == "no-store"
        assert (await get(client, "/", "A.test:443")).status_code == 200


async def test_clients_without_a_server_name(server: str, pem: tuple[Path, Path], authority: trustme.CA) -> None:
    async with connected(server, pem, authority) as (_, client):
        trust = ssl.create_default_context()
        trust.check_hostname = False
        trust.verify_mode = ssl.CERT_NONE
        async with httpx.AsyncClient(
            base_url=client.base_url, verify=trust
        ) as nameless:  # 127.0.0.1 is not sent as one
            assert (await nameless.get("/", headers={"host": "b.test"})).content == b"home"


async def test_http2_by_frames(pem: tuple[Path, Path], authority: trustme.CA) -> None:
    trust = ssl.create_default_context()
    authority.configure_trust(trust)
    trust.set_alpn_protocols(["h2"])
    async with memory_hosting() as hosting:
        await hosting.site("a.test", FILES)
        async with served(hosting.edge, tls=create_context(*pem, ("h2", "http/1.1"))) as port:
            peers = []
            for _ in range(3):
                streams = await asyncio.open_connection("127.0.0.1", port, ssl=trust, server_hostname="a.test")
                peers.append(H2Peer(*streams))
            whole, broken, wrong = peers
            whole.send(frames.PREFACE[:14])
            assert (await whole.next()).kind == frames.SETTINGS  # which the server need not wait with
            whole.send(frames.PREFACE[14:] + frames.render_settings({}) + WIDE)
            for stream in range(1, 17, 4):
                assert (await whole.get(stream, request("/"))).body == b"home"
                assert (await whole.get(stream + 2, request("/", host="b.test"))).status == 421
            broken.send(b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n")
            assert await broken.ended() == Code.PROTOCOL_ERROR
            wrong.send(frames.PREFACE[:-1] + b"\r")
            assert await wrong.ended() == Code.PROTOCOL_ERROR
            for peer in peers:
                await peer.close()


@pytest.mark.parametrize("content", ["", "-----BEGIN CERTIFICATE-----\nnonsense\n-----END CERTIFICATE-----\n"])
def test_a_bad_certificate(tmp_path: Path, pem: tuple[Path, Path], content: str) -> None:
    (tmp_path / "bad.pem").write_text(content)
    with pytest.raises(TlsError, match=r"bad\.pem"):
        create_context(tmp_path / "bad.pem", pem[1], ("http/1.1",))
    with pytest.raises(TlsError, match="No such file"):
        create_context(tmp_path / "absent.pem", pem[1], ("http/1.1",))


@pytest.mark.slow
@pytest.mark.parametrize("options", [("--http-server", "hypercorn"), ("--workers", "2")])
def test_served_by_the_command(
    tmp_path: Path, pem: tuple[Path, Path], authority: trustme.CA, options: tuple[str, ...]
) -> None:
    trust = ssl.create_default_context()
    authority.configure_trust(trust)
    certificate, key = map(str, pem)
    with Serve(tmp_path, "--tls-cert", certificate, "--tls-key", key, *options) as serve:
        serve.site("a.localhost", {"index.html": b"home"})
        with httpx.Client(http2=True, verify=trust) as client:
            answer = client.get(
                f"https://127.0.0.1:{serve.edge_port}/",
                headers={"host": "a.localhost"},
                extensions={"sni_hostname": "a.localhost"},
            )
        assert (answer.content, answer.http_version) == (b"home", "HTTP/2")
        assert serve.stop() == 0

"""Visitors who leave in the middle of a download: the rest is not read, and nothing stays open, whatever the server."""

from __future__ import annotations

import asyncio
import ssl
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest
import trustme

from server.doors.tls import create_context
from server.edge.edge import Edge
from storage.memory import MemoryBlobs
from storage.memory.blobs import MemoryReader
from storage.models import Digest
from tests.support.hosting import CACHE_BYTES, memory_hosting, served, served_by_hypercorn

HTTP2 = ("uvicorn, HTTP/2", "hypercorn, HTTP/2")
SIZE = 64 * 1024 * 1024


class Watched(MemoryReader):
    """A reader that tells what becomes of it."""

    def __init__(self, digest: Digest, content: bytes) -> None:
        super().__init__(digest, content)
        self.taken = 0
        self.closed = asyncio.Event()

    async def read(self, start: int, stop: int) -> AsyncIterator[bytes]:
        async for chunk in super().read(start, stop):
            self.taken += len(chunk)
            yield chunk

    async def close(self) -> None:
        await super().close()
        self.closed.set()


class WatchedBlobs(MemoryBlobs):
    """The shipped fake, whose readers are watched."""

    def __init__(self) -> None:
        super().__init__()
        self.readers: list[Watched] = []

    async def open(self, digest: Digest) -> MemoryReader:
        reader = Watched(digest, self.contents[digest])
        self.readers.append(reader)
        return reader


@asynccontextmanager
async def downloading(kind: str) -> AsyncIterator[tuple[WatchedBlobs, Callable[[], httpx.AsyncClient]]]:
    """A site with a file that no socket buffers whole, behind one kind of server."""
    authority = trustme.CA()
    trust = ssl.create_default_context()
    authority.configure_trust(trust)
    tls = None
    if kind in HTTP2:
        tls = create_context_for(authority)
    async with memory_hosting() as hosting:
        blobs = WatchedBlobs()
        hosting.blobs = blobs
        await hosting.site("a.test", {"big.bin": b"x" * SIZE})
        edge = Edge(hosting.metadata, blobs, hosting.node, cache_bytes=CACHE_BYTES, clock=hosting.clock)
        serve = (served_by_hypercorn if "hypercorn" in kind else served)(edge, tls=tls)
        async with serve as port:
            url = f"{'https' if tls else 'http'}://127.0.0.1:{port}"
            yield blobs, lambda: httpx.AsyncClient(base_url=url, http2=True, verify=trust, timeout=10)


def create_context_for(authority: trustme.CA) -> ssl.SSLContext:
    """The server's side of TLS with HTTP/2."""
    issued = authority.issue_cert("a.test")
    with tempfile.TemporaryDirectory() as directory:
        certificate, key = Path(directory, "cert.pem"), Path(directory, "key.pem")
        issued.cert_chain_pems[0].write_to_path(certificate)
        issued.private_key_pem.write_to_path(key)
        return create_context(certificate, key, ("h2",))


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["uvicorn", "hypercorn", *HTTP2])
async def test_a_visitor_who_leaves_ends_the_reading(kind: str) -> None:
    async with downloading(kind) as (blobs, open_client):
        for _ in range(3):
            async with open_client() as client:
                request = client.build_request(
                    "GET", "/big.bin", headers={"host": "a.test"}, extensions={"sni_hostname": "a.test"}
                )
                answer = await client.send(request, stream=True)
                assert answer.status_code == 200
                assert answer.http_version == ("HTTP/2" if kind in HTTP2 else "HTTP/1.1")
                assert await anext(answer.aiter_raw())
        assert len(blobs.readers) == 3
        for reader in blobs.readers:
            await asyncio.wait_for(reader.closed.wait(), 10)
            assert reader.taken < SIZE

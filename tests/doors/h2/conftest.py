"""A site behind the HTTP/2 door, for tests that leave the server as it is."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest

from tests.support.hosting import in_thread, memory_hosting
from tests.support.http2 import H2Peer, fill


@pytest.fixture(scope="session")
def h2_port() -> Iterator[int]:
    """The port."""
    with in_thread(memory_hosting, fill) as port:
        yield port


@pytest.fixture
async def peer(h2_port: int) -> AsyncIterator[H2Peer]:
    """A connection that has begun."""
    peer = await H2Peer.connect(h2_port)
    peer.begin()
    yield peer
    await peer.close()

"""Whether a body comes from memory or from its file."""

from __future__ import annotations

import os
from pathlib import Path

from tests.support.connections import Peer
from tests.support.hosting import digest_of, file_hosting, served

GET = b"GET /file.bin HTTP/1.1\r\nHost: a.test\r\n\r\n"


async def test_small_files_that_memory_has_no_room_for(tmp_path: Path) -> None:
    content = os.urandom(5000)
    async with file_hosting(tmp_path, cache_bytes=16 * len(content) - 16) as hosting:
        await hosting.site("a.test", {"file.bin": content})
        hosting.clock.now += 60
        async with served(hosting.edge) as port:
            peer = await Peer.connect(port)
            peer.send(GET.replace(b"GET", b"HEAD"))
            await peer.head()
            for _ in range(4):
                peer.send(GET)
                assert await peer.answer() == (200, content)
                peer.send(GET[:-2] + b"Range: bytes=7-4000\r\n\r\n")
                assert await peer.answer() == (206, content[7:4001])
            peer.send(GET[:-2] + b"Connection: close\r\n\r\n")
            assert await peer.answer() == (200, content)
            assert await peer.rest() == b""
            await peer.close()


async def test_what_memory_has_whole_is_not_sent_from_a_file_that_is_cut(tmp_path: Path) -> None:
    content = os.urandom(100_000)
    async with file_hosting(tmp_path) as hosting:
        await hosting.site("a.test", {"file.bin": content})
        hosting.clock.now += 60
        async with served(hosting.edge) as port:
            peer = await Peer.connect(port)
            for _ in range(4):
                peer.send(GET)
                assert await peer.answer() == (200, content)
                os.truncate(tmp_path / digest_of(content)[:2] / digest_of(content)[2:], 50_000)
            await peer.close()

"""Connections end with the site that they have served."""

from __future__ import annotations

import asyncio
import os
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from server.doors import phases
from storage.models import SitePatch
from tests.support.connections import Peer, protocols, until, until_all_are_closed, until_unconnected
from tests.support.hosting import Hosting, file_hosting, memory_hosting, served

BIG = os.urandom(1024) * (24 * 1024)  # more than sockets buffer, and than the edge keeps
KEPT = b"k" * 8_000_000  # which it keeps
SMALL = 64 * 1024  # a client's receive buffer
CUT_SECONDS = 0.2


def get(path: str, host: str = "a.test", *lines: str) -> bytes:
    return "\r\n".join([f"GET /{path} HTTP/1.1", f"Host: {host}", *lines, "", ""]).encode()


@asynccontextmanager
async def two_sites(directory: Path, kind: str = "file") -> AsyncIterator[tuple[Hosting, dict[str, str], int]]:
    """a.test and b.test, the ids of the sites, the port."""
    async with file_hosting(directory) if kind == "file" else memory_hosting() as hosting:
        hosting.edge.cache.max_body = len(KEPT)
        ids = {}
        for domain in ("a.test", "b.test"):
            site = await hosting.site(domain, {"a.txt": b"0123456789", "big.bin": BIG, "kept.bin": KEPT})
            ids[domain] = site.id
        async with served(hosting.edge) as port:
            yield hosting, ids, port


@pytest.fixture(autouse=True)
def _short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(phases, "GONE_SECONDS", CUT_SECONDS)


@asynccontextmanager
async def peers(port: int, *hosts: str, buffer: int = 0) -> AsyncIterator[list[Peer]]:
    """A connection for each host, which has served it; from the second request on the door knows the client's lines."""
    found = []
    for host in hosts:
        peer = await Peer.connect(port, buffer)
        found.append(peer)
        for _ in range(3):
            peer.send(get("a.txt", host))
            assert await peer.answer() == (200, b"0123456789")
    try:
        yield found
    finally:
        for peer in found:
            await peer.close()


async def test_idle_connections_end_at_once(tmp_path: Path) -> None:
    async with two_sites(tmp_path) as (hosting, ids, port), peers(port, "a.test", "a.test", "b.test") as (one, two, b):
        b.send(get("a.txt", "a.test") + get("a.txt", "b.test"))  # it has been at both
        assert await b.answer() == (200, b"0123456789")
        assert await b.answer() == (200, b"0123456789")
        async with peers(port, "b.test") as [other]:
            await hosting.metadata.delete_site(ids["a.test"])
            await hosting.edge.follower.poll()
            for peer in (one, two, b):
                assert await peer.rest() == b""
            other.send(get("a.txt", "b.test"))
            assert await other.answer() == (200, b"0123456789")


@pytest.mark.parametrize("how", ["space", "domain", "prefix"])
async def test_what_else_may_end_a_site(tmp_path: Path, how: str) -> None:
    async with two_sites(tmp_path) as (hosting, ids, port), peers(port, "a.test", "b.test") as (a, b):
        if how == "space":
            await hosting.metadata.delete_space(hosting.spaces["a.test"])
        elif how == "domain":
            await hosting.metadata.update_site(ids["a.test"], SitePatch(domain="new.test"))
        else:
            await hosting.metadata.update_site(ids["b.test"], SitePatch(prefix="docs"))
        await hosting.edge.follower.poll()
        b.send(get("a.txt", "b.test"))
        assert (await b.answer())[0] == (404 if how == "prefix" else 200)
        if how == "space":
            assert await a.rest() == b""
        else:
            a.send(get("a.txt", "a.test"))
            assert (await a.answer())[0] == (404 if how == "domain" else 200)


@pytest.mark.parametrize("kind", ["file", "memory"])
@pytest.mark.parametrize("path", ["big.bin", "kept.bin"])
async def test_a_download_is_cut(tmp_path: Path, kind: str, path: str) -> None:
    async with two_sites(tmp_path, kind) as (hosting, ids, port):
        for _ in range(2):  # the second time without a task
            async with peers(port, "a.test", buffer=SMALL) as [peer]:
                peer.send(get(path))
                assert b"200 OK" in await peer.head()
                await hosting.metadata.delete_site(ids["a.test"])
                before = peer.loop.time()
                await hosting.edge.follower.poll()
                await until_unconnected(peer)
                assert CUT_SECONDS - 0.05 <= peer.loop.time() - before < 10
                assert len(await peer.rest()) < len(BIG if path == "big.bin" else KEPT)
            site = await hosting.site("a.test", {})
            ids["a.test"] = site.id


@pytest.mark.parametrize("kind", ["file", "memory"])
async def test_one_that_ends_in_time_is_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    monkeypatch.setattr(phases, "GONE_SECONDS", 20.0)
    async with two_sites(tmp_path, kind) as (hosting, ids, port), peers(port, "a.test", buffer=SMALL) as [peer]:
        peer.send(get("big.bin"))
        assert b"200 OK" in await peer.head()
        await hosting.metadata.delete_site(ids["a.test"])
        await hosting.edge.follower.poll()
        assert await peer.rest() == BIG


@pytest.mark.parametrize("kind", ["file", "memory"])
async def test_anothers_download_has_all_its_time(tmp_path: Path, kind: str) -> None:
    async with two_sites(tmp_path, kind) as (hosting, ids, port), peers(port, "a.test", buffer=SMALL) as [peer]:
        peer.send(get("big.bin", "b.test"))
        assert b"200 OK" in await peer.head()
        await hosting.metadata.delete_site(ids["a.test"])
        await hosting.edge.follower.poll()
        await peer.until(peer.loop.time() + 2 * CUT_SECONDS)
        assert await peer.rest() == BIG


async def test_a_site_that_goes_while_its_answer_is_looked_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with two_sites(tmp_path, "memory") as (hosting, ids, port):
        opening, opened = asyncio.Event(), asyncio.Event()
        original = hosting.blobs.open

        async def slow(digest: str) -> object:
            opening.set()
            await opened.wait()
            return await original(digest)

        monkeypatch.setattr(hosting.blobs, "open", slow)
        async with peers(port, "b.test", buffer=SMALL) as [peer]:
            peer.send(get("big.bin", "a.test"))
            await opening.wait()
            await hosting.metadata.delete_site(ids["a.test"])
            await hosting.edge.follower.poll()
            opened.set()
            await until_unconnected(peer)
            assert len(await peer.rest()) < len(BIG)


async def test_a_client_whose_host_comes_to_another_domain(tmp_path: Path) -> None:
    """The lines of a client that many connections send are known once; each connection is noted all the same."""
    async with two_sites(tmp_path) as (hosting, _, port):
        await hosting.site("*.wild.test", {"a.txt": b"0123456789"})
        async with peers(port, "x.wild.test", "x.wild.test") as (one, two):
            exact = await hosting.site("x.wild.test", {"a.txt": b"exact"})
            for peer in (one, one, two):
                peer.send(get("a.txt", "x.wild.test"))
                assert await peer.answer() == (200, b"exact")
            await hosting.metadata.delete_site(exact.id)
            await hosting.edge.follower.poll()
            assert await one.rest() == await two.rest() == b""


async def test_who_has_left_before_the_site_is_known_is_not_noted(tmp_path: Path) -> None:
    async with two_sites(tmp_path) as (hosting, _, port):
        peer = await Peer.connect(port)
        async with hosting.edge.follower._lock:  # a store that takes its time
            hosting.node.revision_cell[0] += 1
            peer.send(get("a.txt"))
            await until(lambda: any(protocol.cycle is not None for protocol in protocols()))
            sock = peer.writer.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # a reset
            await peer.close()
            await until_all_are_closed()
            hosting.node.revision_cell[0] -= 1
        await until(lambda: len(asyncio.all_tasks()) == 2)  # this test's, and the server's
        assert not hosting.edge.visits

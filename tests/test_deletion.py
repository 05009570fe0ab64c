"""A site is deleted while visitors are connected to it, on every worker of a real server."""

from __future__ import annotations

import socket
import time
from pathlib import Path

import pytest

from tests.support.process import Serve
from tests.support.wire import Wire

BIG = bytes(range(256)) * (48 * 1024)  # 12 MB: streamed
GET = b"GET /%b HTTP/1.1\r\nHost: %b\r\n\r\n"
STEP = 100_000  # bytes each 0.1 s: 1 MB/s


def has_connections(pid: int, port: int) -> bool:
    """Whether a process has accepted a connection to `port`."""
    inodes = set()
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        fields = line.split()
        if fields[3] == "01" and int(fields[1].partition(":")[2], 16) == port:
            inodes.add(f"socket:[{fields[9]}]")
    links = (path.readlink() for path in Path(f"/proc/{pid}/fd").iterdir())
    return any(str(link) in inodes for link in links)


def connect(serve: Serve, host: bytes) -> Wire:
    """A connection that has served `host`."""
    wire = Wire(serve.edge_port)
    wire.send(GET % (b"a.txt", host))
    assert wire.receive().body == b"0123456789"
    return wire


def connect_to_each_worker(serve: Serve, host: bytes) -> list[Wire]:
    """Connections that have served `host`, at least one to each worker."""
    wires: list[Wire] = []
    while not all(has_connections(pid, serve.edge_port) for pid in serve.edge_workers()):
        assert len(wires) < 200
        wires.append(connect(serve, host))
    return wires


def download(serve: Serve, host: bytes) -> Wire:
    """A connection on which the large file has begun to come."""
    wire = connect(serve, host)
    wire.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2 * STEP)
    wire.send(GET % (b"big.bin", host))
    assert wire.socket.recv(12) == b"HTTP/1.1 200"
    return wire


def read_slowly(wire: Wire) -> int:
    """Bytes that come until the end, at 1 MB/s."""
    size = 0
    try:
        while data := wire.socket.recv(STEP):
            size += len(data)
            time.sleep(len(data) / STEP / 10)  # not a wait for something: the pace
    except ConnectionResetError:
        pass
    return size


def read_all(wire: Wire) -> int:
    """Bytes that come until the end."""
    size = 0
    while data := wire.socket.recv(1_000_000):
        size += len(data)
    return size


@pytest.mark.slow
def test_connections_end_with_their_site(tmp_path: Path) -> None:
    with Serve(tmp_path, "--workers", "2") as serve:
        files = {"a.txt": b"0123456789", "big.bin": BIG}
        space, site = serve.site("a.localhost", files)
        serve.site("b.localhost", files)
        wires = connect_to_each_worker(serve, b"a.localhost")
        others = [connect(serve, b"b.localhost") for _ in range(4)]
        cut, whole, others_download = (
            download(serve, host) for host in (b"a.localhost", b"a.localhost", b"b.localhost")
        )
        serve.post(f"space/{space}/site/{site}/delete")
        start = time.monotonic()
        for wire in wires:
            assert wire.at_end()
        assert time.monotonic() - start < 1
        assert read_all(whole) > len(BIG)  # the head, too
        assert read_slowly(cut) < len(BIG)
        assert time.monotonic() - start < 3.5
        for wire in others:
            wire.send(GET % (b"a.txt", b"b.localhost"))
            assert wire.receive().body == b"0123456789"
        others_download.send(GET % (b"a.txt", b"b.localhost"))
        others_download.socket.shutdown(socket.SHUT_WR)
        assert read_all(others_download) > len(BIG)
        for wire in (*wires, *others, cut, whole, others_download):
            wire.socket.close()
        assert serve.stop() == 0

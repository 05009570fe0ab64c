"""Memory stays flat however large a file is."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.support.process import Serve

pytestmark = pytest.mark.slow

MIB = 1024 * 1024
FILE_MIB = int(os.environ.get("SPACELANE_TEST_FILE_MIB", "300"))
MOST_MIB = 200
BLOCK = bytes(range(256)) * 4096  # 1 MiB


def peak_mib(pid: int) -> float:
    """The most memory that the process has ever had resident."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


def blocks() -> Iterator[bytes]:
    for number in range(FILE_MIB):
        yield number.to_bytes(8, "big") + BLOCK[8:]


def multipart() -> Iterator[bytes]:
    yield b'--edge\r\ncontent-disposition: form-data; name="file"; filename="big.bin"\r\n\r\n'
    yield from blocks()
    yield b"\r\n--edge--\r\n"


@pytest.mark.timeout(600)
def test_a_large_file_through_everything(tmp_path: Path) -> None:
    with Serve(tmp_path) as serve:
        space, _ = serve.site("a.localhost", {"index.html": b"home"})
        upload = f"/api/v1/space/{space}/storage/upload/big.bin"
        for content, kind in [
            (blocks(), "application/octet-stream"),
            (multipart(), "multipart/form-data; boundary=edge"),
        ]:
            response = serve.api.post(upload, content=content, headers={"content-type": kind}, timeout=300)
            assert response.status_code == 200, response.text
        for url, headers in [
            (f"http://127.0.0.1:{serve.edge_port}/big.bin", {"host": "a.localhost"}),
            (f"{serve.control}/api/v1/space/{space}/storage/download/big.bin", dict(serve.api.headers)),
        ]:
            with httpx.stream("GET", url, headers=headers, timeout=300) as answer:
                assert answer.status_code == 200
                received = 0
                expected = blocks()
                rest = b""
                for chunk in answer.iter_raw():
                    rest += chunk
                    received += len(chunk)
                    while len(rest) >= MIB:
                        assert rest[:MIB] == next(expected)
                        rest = rest[MIB:]
                assert (received, rest) == (FILE_MIB * MIB, b"")
        peak = peak_mib(serve.process.pid)
        print(f"{FILE_MIB} MiB up twice and down twice: {peak:.0f} MiB at most")
        assert peak < MOST_MIB

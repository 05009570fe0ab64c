"""Sending contents to a control API, many in a call, over a connection that breaks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from server.cli import upload as sending
from server.cli.client import Client
from server.cli.scan import scan
from server.cli.transport import Endpoint
from server.cli.upload import BATCH, BATCH_BYTES, CHUNK, upload
from server.control.app import create_app
from server.control.auth import hash_secret
from server.control.config import ControlConfig
from storage.memory import MemoryBlobs, MemoryMetadata
from tests.cli.conftest import Control, make_tree
from tests.control.api import ROOT_SECRET, WORKSPACE, port_of, served


class Told:
    """What the progress display was told: all of it, and the sum."""

    def __init__(self) -> None:
        self.steps: list[int] = []

    @contextmanager
    def __call__(self, files: int, size: int) -> Iterator[Callable[[int], None]]:
        yield self.steps.append
        assert sum(self.steps) == size


class Breaking:
    """A control API whose first call with contents breaks off in the midst."""

    def __init__(self, app: ASGIApp, after: int, metadata: MemoryMetadata) -> None:
        self.app = app
        self.after = after  # so many bytes
        self.metadata = metadata
        self.kept = 0  # contents of that call
        self.sizes: list[int] = []  # of the calls with contents

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if not scope.get("path", "").endswith("/blobs"):
            await self.app(scope, receive, send)
            return
        breaks = not self.sizes
        self.sizes.append(0)
        call = len(self.sizes) - 1

        async def watch() -> Message:
            message = await receive()
            self.sizes[call] += len(message.get("body", b""))
            return {"type": "http.disconnect"} if breaks and self.sizes[call] > self.after else message

        await self.app(scope, watch, send)
        if breaks:  # so nobody has answered
            self.kept = len(self.metadata._possessions[WORKSPACE])
            await JSONResponse({"error": {"message": "broke", "code": "UNAVAILABLE"}}, 503)(scope, receive, send)


async def begin(client: Client, directory: Path) -> tuple[str, str]:
    space = await client.create_space("a", "a")
    files = {file.path: (file.digest, file.size) for file in scan(directory).files}
    deployment, _ = await client.create_deployment(space, files, prefix="", message="")
    return space, deployment


async def test_batches_of_bytes_and_of_contents(control: Control, tmp_path: Path) -> None:
    site = make_tree(tmp_path / "site", {f"{number}": f"{number}" for number in range(BATCH + 1)})
    found = scan(site)
    assert [len(batch) for batch in sending._batches(found.files)] == [BATCH, 1]
    large = make_tree(tmp_path / "large", {"a": "a" * BATCH_BYTES, "b": "b" * (BATCH_BYTES + 1), "c": "c", "d": "d"})
    batches = [[file.path for file in batch] for batch in sending._batches(scan(large).files)]
    assert batches == [["a"], ["b"], ["c", "d"]]
    told = Told()
    async with Client(control.endpoint) as client:
        where = await begin(client, site)
        await upload(client, where, found.files, told)
        assert await client.list_missing(*where) == []
        await upload(client, where, [], told)
    assert len(told.steps) == BATCH + 1


@pytest.mark.parametrize("after", [0, 9 * CHUNK // 2])
async def test_what_was_kept_of_a_call_that_broke_is_not_sent_again(tmp_path: Path, after: int) -> None:
    site = make_tree(tmp_path / "site", {f"{number}.bin": chr(65 + number) * CHUNK for number in range(5)})
    metadata, blobs = MemoryMetadata(), MemoryBlobs()
    await metadata.put_workspace(WORKSPACE, "default")
    app = create_app(metadata, blobs, ControlConfig(root_key_hash=hash_secret(ROOT_SECRET.encode())))
    breaking = Breaking(app, after, metadata)
    told = Told()
    async with served(breaking) as server:
        endpoint = Endpoint(f"http://127.0.0.1:{port_of(server)}", ROOT_SECRET, "the test")
        async with Client(endpoint) as client:
            where = await begin(client, site)
            await upload(client, where, scan(site).files, told)
            assert await client.list_missing(*where) == []
    _, second = breaking.sizes
    assert breaking.kept == 0 if not after else 0 < breaking.kept < 5
    assert second // CHUNK == 5 - breaking.kept
    assert any(step < 0 for step in told.steps)

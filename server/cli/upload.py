"""Sending the contents that a deployment misses: many in a call, some calls at a time.

A call is a form with a part for each content, named by its digest. What the server has of a call that broke off it
keeps, so before a call is made again it is asked what is still missing.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, TypeAlias

from server.cli.errors import ApiError, CliError
from server.cli.scan import LocalFile

if TYPE_CHECKING:
    from server.cli.client import Client
    from server.cli.transport import Body

PARALLEL = 4  # calls at a time: enough to hide latency, few enough not to crowd out other people
BATCH_BYTES = 4 * 1024 * 1024  # of a call's contents, if it has more than one
BATCH = 256  # contents of a call
CHUNK = 256 * 1024  # bytes read and sent at a time

# `uploading(files, bytes)` is entered around the uploads and gives a function that is told of bytes sent, or, as a
# negative number, of bytes that have to be sent again.
Uploading: TypeAlias = Callable[[int, int], AbstractContextManager[Callable[[int], None]]]


async def upload(client: Client, where: tuple[str, str], files: Sequence[LocalFile], uploading: Uploading) -> None:
    """Send `files`, each of another content, to the deployment that `where` names by its space's id and its own."""
    if not files:
        return
    queue = _batches(files)
    with uploading(len(files), sum(file.size for file in files)) as sent:

        async def work() -> None:
            for batch in queue:
                await _Call(client, where, batch, sent).make()

        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(PARALLEL):
                    group.create_task(work())
        except ExceptionGroup as exc:
            raise exc.exceptions[0] from None


def _batches(files: Sequence[LocalFile]) -> Iterator[list[LocalFile]]:
    batch: list[LocalFile] = []
    size = 0
    for file in files:
        if batch and (len(batch) == BATCH or size + file.size > BATCH_BYTES):
            yield batch
            batch, size = [], 0
        batch.append(file)
        size += file.size
    yield batch


class _Call:
    """One call, which may have to be made several times."""

    def __init__(
        self, client: Client, where: tuple[str, str], files: Sequence[LocalFile], sent: Callable[[int], None]
    ) -> None:
        self._client = client
        self._where = where
        self._files = files  # that are yet to be sent
        self._sent = sent
        self._told: dict[str, int] = {}  # bytes that `sent` was told of, by digest
        self._boundary = secrets.token_hex(16)

    async def make(self) -> None:
        try:
            await self._client.upload_blobs(*self._where, self._prepare)
        except ApiError as exc:
            changed = [file for file in self._files if exc.status == 400 and file.digest in exc.message]
            raise _changed(changed[0]) if changed else exc from exc

    async def _prepare(self) -> Body:
        if self._told:
            missing = set(await self._client.list_missing(*self._where))
            self._files = [file for file in self._files if file.digest in missing]
            self._sent(-sum(self._told.get(file.digest, 0) for file in self._files))
        self._told = dict.fromkeys((file.digest for file in self._files), 0)
        size = sum(len(self._head(file)) + file.size + 2 for file in self._files) + len(self._end)
        return f"multipart/form-data; boundary={self._boundary}", size, self._read()

    def _head(self, file: LocalFile) -> bytes:
        disposition = f'form-data; name="{file.digest}"; filename="content"'
        return f"--{self._boundary}\r\nContent-Disposition: {disposition}\r\n\r\n".encode()

    @property
    def _end(self) -> bytes:
        return f"--{self._boundary}--\r\n".encode()

    async def _read(self) -> AsyncIterator[bytes]:
        """The form. What has been read is told when it is sent, which is when more is asked for."""
        pieces = self._pieces()
        while (piece := await asyncio.to_thread(next, pieces, None)) is not None:
            chunk, told = piece
            yield chunk
            for digest, size in told.items():
                self._told[digest] += size
                self._sent(size)

    def _pieces(self) -> Iterator[tuple[bytes, dict[str, int]]]:
        """The form in pieces of about `CHUNK` bytes, each with how much of which contents is in it."""
        piece = bytearray()
        told: dict[str, int] = {}
        for file in self._files:
            piece += self._head(file)
            for chunk in _read_file(file):
                piece += chunk
                told[file.digest] = told.get(file.digest, 0) + len(chunk)
                if len(piece) >= CHUNK:
                    yield bytes(piece), told
                    piece, told = bytearray(), {}
            piece += b"\r\n"
        yield bytes(piece + self._end), told


def _read_file(file: LocalFile) -> Iterator[bytes]:
    """Its content, as long as it was when it was hashed. Raises `CliError`."""
    size = 0
    try:
        with file.source.open("rb") as handle:
            while chunk := handle.read(CHUNK):
                size += len(chunk)
                if size > file.size:
                    raise _changed(file)
                yield chunk
    except OSError as exc:
        raise CliError(f"{file.path} cannot be read any more: {exc.strerror}.", "Run the command again.") from exc
    if size < file.size:
        raise _changed(file)


def _changed(file: LocalFile) -> CliError:
    return CliError(
        f"{file.path} changed while it was being published. Visitors still get what was there before.",
        "Wait until nothing writes to the directory any more, then run the command again.",
    )

"""A place where nothing is configured, a control API to publish to, and a running server."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import pytest

from server.cli import main
from server.cli.transport import Endpoint
from server.control.app import create_app
from server.control.auth import hash_secret
from server.control.config import ControlConfig
from storage.memory import MemoryBlobs, MemoryMetadata
from storage.models import PageQuery
from tests.control.api import ROOT_SECRET, WORKSPACE, port_of, served
from tests.support.process import Serve

Run: TypeAlias = Callable[..., tuple[int, str, str]]


@pytest.fixture(autouse=True)
def nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory, and an environment that says nothing of Spacelane."""
    for name in [name for name in os.environ if name.startswith("SPACELANE_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@dataclass
class Control:
    """The control API in the test's own loop, and its stores to look into."""

    endpoint: Endpoint
    metadata: MemoryMetadata
    blobs: MemoryBlobs

    async def paths(self, alias: str) -> list[str]:
        """Every live file of the space."""
        space = await self.metadata.find_space_by_alias(WORKSPACE, alias)
        assert space is not None
        page = await self.metadata.list_files(
            space.id, "", recursive=True, query=PageQuery(take=1000, descending=False)
        )
        return [entry.path for entry in page.items]

    async def revision(self) -> int:
        return await self.metadata.get_revision()


@pytest.fixture
async def control() -> AsyncIterator[Control]:
    metadata, blobs = MemoryMetadata(), MemoryBlobs()
    await metadata.put_workspace(WORKSPACE, "default")
    config = ControlConfig(root_key_hash=hash_secret(ROOT_SECRET.encode()), max_file_bytes=1_000_000)
    async with served(create_app(metadata, blobs, config)) as server:
        yield Control(Endpoint(f"http://127.0.0.1:{port_of(server)}", ROOT_SECRET, "the test"), metadata, blobs)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serve]:
    """A server as a process of its own, for all tests of a module."""
    with Serve(tmp_path_factory.mktemp("server")) as running:
        yield running


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """Run a command line in this process: exit code, standard output, standard error."""

    def run(*arguments: object) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as caught:
            main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        code = caught.value.code
        return (code if isinstance(code, int) else 0), captured.out, captured.err

    return run


@pytest.fixture
def at(server: Serve) -> list[str]:
    """The options by which a command finds the running server."""
    return ["--url", server.control, "--data-dir", str(server.data_dir)]


def make_tree(root: Path, files: dict[str, str]) -> Path:
    """A directory with these files."""
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    return root

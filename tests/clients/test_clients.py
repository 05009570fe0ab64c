"""The published clients of this family of APIs work unchanged, with a key of the `sdk` dialect.

They are no part of the development environment. `.ci/run` installs the Node client where it can. The Python client is
not free software: who has agreed to its licence may install it. A test whose client is absent is skipped, and says how
to get it.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from server.control.auth import SCOPES
from tests.support.process import Serve

pytestmark = pytest.mark.slow

HERE = Path(__file__).parent
PYTHON = HERE / ".venv" / "bin" / "python"
INSTALL_PYTHON = (
    "python3 -m venv tests/clients/.venv && tests/clients/.venv/bin/pip install -r tests/clients/requirements.txt"
)
INSTALL_NODE = "npm ci --prefix tests/clients"


@pytest.fixture
def environment(tmp_path: Path) -> Iterator[dict[str, str]]:
    """A server's bare origin, and a key."""
    with Serve(tmp_path) as serve:
        key = serve.post("key/create", {"name": "client", "dialect": "sdk", "scopes": sorted(SCOPES)})
        yield {**os.environ, "BASE_URL": serve.control, "SECRET": key["secret"], "NO_PROXY": "*"}


def run(*command: str | Path, environment: dict[str, str]) -> str:
    done = subprocess.run(command, cwd=HERE, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.skipif(not PYTHON.exists(), reason=f"not installed: {INSTALL_PYTHON}")
def test_the_python_client(environment: dict[str, str]) -> None:
    assert run(PYTHON, "spaces.py", environment=environment) == "ok\n"


@pytest.mark.skipif(shutil.which("node") is None, reason="there is no Node")
@pytest.mark.skipif(not (HERE / "node_modules").exists(), reason=f"not installed: {INSTALL_NODE}")
def test_the_node_client(environment: dict[str, str]) -> None:
    assert run("node", "storage.mjs", environment=environment) == '{"ok":true}\n'

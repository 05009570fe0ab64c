"""`spacelane serve` as its operators run it: real processes, real signals."""

from __future__ import annotations

import gzip
import os
import re
import select
import shutil
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import brotli
import httpx
import pytest
from backports import zstd

from server.config import Settings
from server.tasks import Task, compressor
from tests.support.process import Serve
from tests.support.wire import Wire

pytestmark = pytest.mark.slow

GET = b"GET / HTTP/1.1\r\nHost: a.localhost\r\n\r\n"


@pytest.fixture(params=[1, 4])
def serve(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Serve]:
    """A new server, with one worker and with four."""
    with Serve(tmp_path / "data", "--workers", str(request.param)) as running:
        yield running


def test_starts_from_nothing(serve: Serve) -> None:
    key = serve.data_dir / "root.key"
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    assert stat.S_IMODE(serve.data_dir.stat().st_mode) == 0o700
    assert all(not stat.S_IMODE(path.stat().st_mode) & 0o077 for path in serve.data_dir.iterdir())
    assert httpx.get(f"{serve.control}/healthz").status_code == 200
    assert httpx.get(f"{serve.control}/readyz").status_code == 200
    assert serve.get("a.localhost").status == 404


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_stops_cleanly(serve: Serve, number: int) -> None:
    serve.site("a.localhost", {"index.html": b"home"})
    workers = serve.workers()
    with Wire(serve.edge_port) as idle:
        idle.send(GET)
        assert idle.receive().status == 200
        assert serve.stop(number) == 0
        assert idle.at_end()
    assert not any("error" in line or "Traceback" in line for line in serve.log)
    assert not any(Path(f"/proc/{pid}").exists() for pid in workers)


def test_changes_are_live_when_the_call_returns(serve: Serve) -> None:
    space, site = serve.site("a.localhost", {"index.html": b"0"})
    connections = [Wire(serve.edge_port) for _ in range(12)]
    try:
        for step in range(1, 15):
            serve.upload(space, "index.html", str(step).encode())
            for connection in connections:
                connection.send(GET)
                assert connection.receive().body == str(step).encode()
        serve.post(f"space/{space}/site/{site}/update", {"domain": "b.localhost"})
        for connection in connections:
            connection.send(GET)
            assert connection.receive().status == 404
        serve.post(f"space/{space}/site/{site}/update", {"domain": "a.localhost"})
        for connection in connections:
            connection.send(GET)
            assert connection.receive().body == b"14"
        serve.post(f"space/{space}/delete")
        for _ in connections:
            assert serve.get("a.localhost").status == 404
    finally:
        for connection in connections:
            connection.socket.close()


def test_everything_is_there_after_a_restart(tmp_path: Path) -> None:
    with Serve(tmp_path) as first:
        first.site("a.localhost", {"index.html": b"kept"})
        key = (tmp_path / "root.key").read_text()
        first.stop()
    with Serve(tmp_path) as second:
        assert second.get("a.localhost").body == b"kept"
        assert (tmp_path / "root.key").read_text() == key


def test_a_stopped_worker_does_not_serve_a_deleted_site(tmp_path: Path) -> None:
    with Serve(tmp_path, "--workers", "2") as serve:
        space, site = serve.site("a.localhost", {"index.html": b"home"})
        connections = [Wire(serve.edge_port) for _ in range(8)]
        for connection in connections:
            connection.send(GET)
            assert connection.receive().body == b"home"
        edges = serve.edge_workers()
        assert len(edges) == 2
        for pid in edges:
            os.kill(pid, signal.SIGSTOP)
        try:
            for connection in connections:
                connection.send(GET)  # they wait in the sockets of stopped processes
            serve.post(f"space/{space}/site/{site}/delete")
        finally:
            for pid in edges:
                os.kill(pid, signal.SIGCONT)
        told = []
        for connection in connections:
            # A worker that hears of the deletion before it reads what waits ends the connection (EDGE §6).
            with connection, suppress(ConnectionError, EOFError):
                told.append(connection.receive().status)
        assert set(told) <= {404}
        assert serve.get("a.localhost").status == 404


def test_a_worker_that_dies_is_replaced(tmp_path: Path) -> None:
    with Serve(tmp_path, "--workers", "2") as serve:
        serve.site("a.localhost", {"index.html": b"home"})
        before = serve.edge_workers()
        os.kill(before[0], signal.SIGKILL)
        # Until it has been waited for, a killed process still counts as running; its successor comes after that.
        serve.wait_until(lambda: len(serve.edge_workers()) == 2 and before[0] not in serve.edge_workers())
        serve.wait_until(lambda: httpx.get(f"{serve.control}/readyz").status_code == 200)
        assert before[1] in serve.edge_workers()
        assert serve.get("a.localhost").body == b"home"


PAGE = b"<p>The same again.</p>\n" * 1000
PATIENCE = 100  # seconds: what takes only time that is left over gets little of it while other tests run
DECODERS = {"gzip": gzip.decompress, "br": brotli.decompress, "zstd": zstd.decompress}


def coding_of(serve: Serve, accepted: str, path: str = "/") -> str | None:
    answer = serve.get("a.localhost", path, f"Accept-Encoding: {accepted}")
    assert answer.status == 200
    return answer.header("content-encoding")


@pytest.mark.timeout(300)
def test_variants_come_as_they_are_made(serve: Serve) -> None:
    """gzip with the publish, the others when there is time; then from every worker."""
    space, _ = serve.site("a.localhost", {"index.html": PAGE})
    assert coding_of(serve, "gzip") == "gzip"
    serve.wait_until(lambda: coding_of(serve, "zstd") == "zstd" and coding_of(serve, "br") == "br", PATIENCE)
    connections = [Wire(serve.edge_port) for _ in range(12)]
    try:
        for connection in connections:
            for coding, decode in DECODERS.items():
                connection.send(GET.replace(b"\r\n\r\n", f"\r\nAccept-Encoding: {coding}\r\n\r\n".encode()))
                answer = connection.receive()
                assert answer.header("content-encoding") == coding
                assert answer.header("vary") == "accept-encoding"
                assert decode(answer.body) == PAGE
            connection.send(GET)
            assert connection.receive().body == PAGE
    finally:
        for connection in connections:
            connection.socket.close()
    pid = serve.compressor()
    assert os.getpriority(os.PRIO_PROCESS, pid) == 19
    autogroup = Path(f"/proc/{pid}/autogroup")
    assert not autogroup.exists() or autogroup.read_text().rstrip().endswith("nice 19")
    os.kill(pid, signal.SIGKILL)
    serve.upload(space, "later.html", PAGE + b"later")
    serve.wait_until(lambda: coding_of(serve, "br", "/later.html") == "br", PATIENCE)
    assert serve.compressor() != pid
    assert serve.stop() == 0


def test_processes_do_not_outlive_their_supervisor(tmp_path: Path) -> None:
    with Serve(tmp_path, "--workers", "2") as serve:
        workers = serve.workers()
        assert len(workers) == 4
        descriptors = [os.pidfd_open(pid) for pid in workers]
        serve.process.kill()
        for descriptor in descriptors:
            assert select.select([descriptor], [], [], 30)[0]  # readable once the process has ended
            os.close(descriptor)


def test_a_process_ends_though_its_parent_did_not_listen(tmp_path: Path) -> None:
    """A connection that ends with something unread in it ends otherwise than one whose parent has heard all."""
    with Serve(tmp_path):
        ours, theirs = socket.socketpair()
        with theirs:
            child = subprocess.Popen([sys.executable, "-m", "server.worker", "compressor"], stdin=theirs.fileno())
        with child:
            try:
                with ours:
                    ours.sendall(compressor(Task(settings=Settings(data_dir=tmp_path))).dump().encode() + b"\n")
                    assert ours.recv(1, socket.MSG_PEEK)
                assert child.wait(30) == 0
            finally:
                child.kill()


def test_backup_and_restore(tmp_path: Path) -> None:
    """By the commands of the documentation, with a server that was killed in between."""
    page = (Path(__file__).resolve().parent.parent / "docs" / "operations.md").read_text()
    passage = page.partition("## Backup and restore")[2].partition("\n## ")[0]
    backup, restore = re.findall(r"```console\n(.*?)```", passage, re.DOTALL)
    with Serve(tmp_path / ".spacelane") as serve:
        space, site = serve.site("a.localhost", {"index.html": b"old", "gone.html": b"gone"})
        follow(backup, tmp_path)
        serve.upload(space, "index.html", b"new")
        serve.post(f"space/{space}/storage/delete/gone.html")
        serve.site("b.localhost", {"index.html": b"later"})
        serve.kill()
    assert (tmp_path / ".spacelane" / "spacelane.db-wal").stat().st_size > 0
    follow(restore, tmp_path)
    with Serve(tmp_path / ".spacelane") as serve:
        assert serve.get("a.localhost").body == b"old"
        assert serve.get("a.localhost", "/gone").body == b"gone"
        assert serve.get("b.localhost").status == 404
        assert serve.api.get(f"/api/v1/space/{space}/site/{site}/fetch").status_code == 200


def follow(commands: str, directory: Path) -> None:
    """Type what a block of the documentation shows; where rsync is not installed, cp does its part."""
    script = ["set -eu", *([] if shutil.which("rsync") else ['rsync() { mkdir -p "$3"; cp -a "$2." "$3"; }'])]
    script += [line.removeprefix("$ ") for line in commands.splitlines()]
    subprocess.run(["bash", "-c", "\n".join(script)], cwd=directory, check=True, timeout=60)


def refused(*arguments: str, status: int = 1, **environment: str) -> str:
    """What a server that cannot start says."""
    done = subprocess.run(
        [sys.executable, "-m", "server", "serve", *arguments],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == status
    assert "Traceback" not in done.stderr
    assert done.stderr.startswith("spacelane cannot start: " if status == 1 else "Error: ")
    return done.stderr


def test_a_taken_port(tmp_path: Path) -> None:
    with Serve(tmp_path / "a") as serve:
        edge = f"127.0.0.1:{serve.edge_port}"
        assert edge in refused("--data-dir", str(tmp_path / "b"), "--edge", edge)


def test_a_data_directory_in_use(tmp_path: Path) -> None:
    with Serve(tmp_path):
        assert "another server uses" in refused("--data-dir", str(tmp_path), "--edge", ":0", "--control", ":0")


def test_a_data_directory_that_cannot_be(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert "--data-dir" in refused("--data-dir", str(tmp_path / "file" / "x"))


@pytest.mark.parametrize("content", [b"", b"\xff\xfe"])
def test_a_root_key_that_is_none(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "root.key").write_bytes(content)
    said = refused("--data-dir", str(tmp_path), "--edge", ":0", "--control", ":0")
    assert "root.key" in said
    assert "delete it, so that a new one is made" in said


def test_a_root_key_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "root.key").mkdir()
    said = refused("--data-dir", str(tmp_path), "--edge", ":0", "--control", ":0")
    assert "root.key: Is a directory" in said


@pytest.mark.parametrize(
    ("option", "value"),
    [("--edge", "a..b:80"), ("--database-url", "mysql://x/y"), ("--database-url", "postgresql://h:abc/x")],
)
def test_a_setting_that_cannot_be(tmp_path: Path, option: str, value: str) -> None:
    assert f"(from {option})" in refused("--data-dir", str(tmp_path), option, value, status=2)


@pytest.mark.parametrize(
    ("option", "said"),
    [
        ("sslmode=require", "the database is not available"),
        ("sslmode=some", "give another with --database-url"),
        ("options=x", "database_url: has the option 'options'"),
    ],
)
def test_a_database_that_cannot_be_used(tmp_path: Path, option: str, said: str) -> None:
    url = f"postgresql://127.0.0.1:1/x?{option}"
    where = ("--data-dir", str(tmp_path), "--edge", ":0", "--control", ":0")
    assert said in refused(*where, "--database-url", url)


def test_a_database_that_is_none(tmp_path: Path) -> None:
    (tmp_path / "spacelane.db").write_text("something else, and long enough to be told apart from an empty file")
    said = refused("--data-dir", str(tmp_path), "--edge", ":0", "--control", ":0")
    assert "not a database" in said


def test_the_root_key_of_the_environment(tmp_path: Path) -> None:
    with Serve(tmp_path, SPACELANE_ROOT_KEY="a-key-of-the-operators-own") as serve:
        assert serve.post("space/create", {"name": "mine"})["id"].startswith("space_")
        assert not (tmp_path / "root.key").exists()
        assert not any("a-key-of-the-operators-own" in line for line in serve.log)


@pytest.mark.parametrize("workers", [1, 2])
def test_a_token_outlives_a_restart_and_one_rotation(tmp_path: Path, workers: int) -> None:
    options = ("--workers", str(workers))
    secrets = tmp_path / "token.secrets"
    with Serve(tmp_path, *options) as serve:
        token = serve.post("key/token", {"scopes": ["spaces:read"]})["token"]
        assert stat.S_IMODE(secrets.stat().st_mode) == 0o600
        assert not any(secrets.read_text().strip() in line for line in serve.log)

    def status(serve: Serve) -> int:
        headers = {"Authorization": f"Bearer {token}"}
        return httpx.get(f"{serve.control}/api/v1/space/list", headers=headers).status_code

    with Serve(tmp_path, *options) as serve:
        assert status(serve) == 200
    secrets.write_text("n" * 32 + "\n" + secrets.read_text())
    with Serve(tmp_path, *options) as serve:
        assert status(serve) == 200
        assert serve.post("key/token", {"scopes": ["spaces:read"]})["token"] != token
    with Serve(tmp_path, *options, SPACELANE_TOKEN_SECRETS="n" * 32) as serve:
        assert status(serve) == 401


def test_token_secrets_that_are_none(tmp_path: Path) -> None:
    (tmp_path / "token.secrets").write_text("short")
    said = refused("--data-dir", str(tmp_path), "--edge", ":0", "--control", ":0")
    assert "token.secrets has a secret of fewer than 32 characters" in said


def test_keys_of_credentials_that_are_none(tmp_path: Path) -> None:
    (tmp_path / "credentials.keys").write_text("short")
    said = refused("--data-dir", str(tmp_path), "--edge", ":0", "--control", ":0")
    assert "credentials.keys has a line that is no key of credentials; put back what it was" in said


@pytest.mark.parametrize("workers", ["1", "2"])
def test_limits_are_settings(tmp_path: Path, workers: str) -> None:
    limits = {"SPACELANE_REQUESTS_PER_MINUTE": "2", "SPACELANE_BAD_CREDENTIALS_PER_MINUTE": "1"}
    with Serve(tmp_path, "--workers", workers, **limits) as serve:
        assert [serve.api.get("/api/v1/space/list").status_code for _ in range(3)] == [200, 200, 429]
        wrong = {"Authorization": "Bearer sk-wrong"}
        assert [httpx.get(f"{serve.control}/api/v1/space/list", headers=wrong).status_code for _ in range(2)] == [
            401,
            429,
        ]


def test_postgres_serves_the_same(tmp_path: Path, empty_postgres_url: str) -> None:
    with Serve(tmp_path, "--workers", "2", "--database-url", empty_postgres_url) as serve:
        space, site = serve.site("a.localhost", {"index.html": b"home"})
        with Wire(serve.edge_port) as wire:
            for step in range(5):
                serve.upload(space, "index.html", str(step).encode())
                wire.send(GET)
                assert wire.receive().body == str(step).encode()
            serve.post(f"space/{space}/site/{site}/delete")
            wire.send(GET)
            assert wire.receive().status == 404
        assert serve.stop() == 0

"""A real PostgreSQL for tests: one server a pytest process, a fresh database a test.

It listens on a Unix socket in a temporary directory only, would not survive a crash of the machine, and is stopped at
the end.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from pathlib import Path

import pytest
import trustme

from storage.sql import migrate
from tests.support.missing import missing

# A collation of human language, so that a query that relies on the order of code points has to say so.
_INITDB = (
    "--encoding=UTF8 --locale=C --locale-provider=icu --icu-locale=en-US --auth=trust --username=postgres --no-sync"
)
_SETTINGS = "-c listen_addresses= -c fsync=off -c full_page_writes=off"


class PostgresServer:
    """`port`: of TCP on loopback, where passwords are wanted and `settings` are more of the server's; 0: none."""

    def __init__(self, binaries: Path, directory: Path, port: int = 0, settings: str = "") -> None:
        self.port = port
        self.directory = directory
        self._more = f"-c listen_addresses=127.0.0.1 -c port={port} {settings}" if port else ""
        self._binaries = binaries
        self._numbers = count()
        # PostgreSQL refuses to run as root.
        self._user = "postgres" if os.geteuid() == 0 else None
        if self._user:
            shutil.chown(directory, self._user)
        auth = ["--auth-host=scram-sha-256"] if port else []
        self._run("initdb", "-D", f"{directory}/data", *_INITDB.split(), *auth)

    def start(self) -> None:
        """Returns once it answers."""
        settings = f"{_SETTINGS} -k {self.directory} {self._more}"
        log = self.directory / "log"
        try:
            self._run("pg_ctl", "start", "-w", "-D", f"{self.directory}/data", "-l", str(log), "-o", settings)
        except RuntimeError as exc:
            raise RuntimeError(f"{exc}\n{log.read_text()}") from None

    def stop(self) -> None:
        """At once, as a crash would."""
        self._run("pg_ctl", "stop", "-w", "-m", "immediate", "-D", f"{self.directory}/data")

    def create_database(self, template: str = "template1") -> str:
        """Its name."""
        name = f"test{next(self._numbers)}"
        self.execute(f"CREATE DATABASE {name} TEMPLATE {template}")
        return name

    def drop_database(self, name: str) -> None:
        """Whoever is still connected."""
        self.execute(f"DROP DATABASE {name} WITH (FORCE)")

    def execute(self, statement: str) -> None:
        """As its administrator."""
        port = ["-p", str(self.port)] if self.port else []
        self._run("psql", "-q", "-h", str(self.directory), *port, "-U", "postgres", "-c", statement)

    def url(self, database: str) -> str:
        return f"postgresql://postgres@/{database}?host={self.directory}"

    def _run(self, *command: str) -> None:
        # Not into pipes: the server inherits them, and they would not end before it does.
        with tempfile.TemporaryFile("w+") as output:
            done = subprocess.run(
                [self._binaries / command[0], *command[1:]],
                cwd=self.directory,
                user=self._user,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                check=False,
            )
            output.seek(0)
            if done.returncode:
                raise RuntimeError(f"{command} failed: {output.read()}")


def _find_binaries() -> Path | None:
    if found := shutil.which("initdb"):
        return Path(found).resolve().parent
    return max(Path("/usr/lib/postgresql").glob("*/bin"), default=None)


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """A running server, this process's own."""
    binaries = _find_binaries() or missing("PostgreSQL", "postgresql")
    with tempfile.TemporaryDirectory(prefix="pg", dir="/tmp") as directory:  # the path of a socket has 107 bytes
        server = PostgresServer(binaries, Path(directory))
        server.start()
        try:
            yield server
        finally:
            server.stop()


@pytest.fixture(scope="session")
def tcp_postgres() -> Iterator[PostgresServer]:
    """A running server that strangers connect to, with TLS if they like: as `reader`, by the password `right`."""
    binaries = _find_binaries() or missing("PostgreSQL", "postgresql")
    with tempfile.TemporaryDirectory(prefix="pg", dir="/tmp") as directory, socket.socket() as reserved:
        # Bound until the end, so that nobody gets the port meanwhile; who listens may share it with who does not.
        reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        reserved.bind(("127.0.0.1", 0))
        port = reserved.getsockname()[1]
        folder = Path(directory)
        _write_certificate(folder)
        tls = f"-c ssl=on -c ssl_cert_file={folder}/server.pem -c ssl_key_file={folder}/server.key"
        server = PostgresServer(binaries, folder, port, tls)
        server.start()
        try:
            server.execute("CREATE ROLE reader LOGIN PASSWORD 'right'")
            yield server
        finally:
            server.stop()


def _write_certificate(folder: Path) -> None:
    """Of `localhost`, and of the authority that issued it."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(folder / "ca.pem"))
    certificate = authority.issue_cert("localhost")
    for blob in certificate.cert_chain_pems:
        blob.write_to_path(str(folder / "server.pem"), append=True)
    certificate.private_key_pem.write_to_path(str(folder / "server.key"))
    (folder / "server.key").chmod(0o600)
    if os.geteuid() == 0:
        for name in ("server.key", "server.pem"):  # whatever mode new files have in this process
            shutil.chown(folder / name, "postgres")


@pytest.fixture(scope="session")
def _migrated(postgres: PostgresServer) -> str:
    """The database that the tests' are copies of."""
    name = postgres.create_database()
    with ThreadPoolExecutor(1) as thread:  # where no other event loop is
        thread.submit(asyncio.run, migrate(postgres.url(name))).result()
    return name


@pytest.fixture
def postgres_url(postgres: PostgresServer, _migrated: str) -> Iterator[str]:
    """A fresh database, migrated."""
    name = postgres.create_database(template=_migrated)
    yield postgres.url(name)
    postgres.drop_database(name)


@pytest.fixture
def empty_postgres_url(postgres: PostgresServer) -> Iterator[str]:
    """A fresh database without any table."""
    name = postgres.create_database()
    yield postgres.url(name)
    postgres.drop_database(name)

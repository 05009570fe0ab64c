"""A real PostgreSQL for tests: one server a pytest process, a fresh database a test.

It listens on a Unix socket in a temporary directory only, would not survive a crash of the machine, and is stopped at
the end.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from pathlib import Path

import pytest

from storage.sql import migrate
from tests.support.missing import missing

# A collation of human language, so that a query that relies on the order of code points has to say so.
_INITDB = (
    "--encoding=UTF8 --locale=C --locale-provider=icu --icu-locale=en-US --auth=trust --username=postgres --no-sync"
)
_SETTINGS = "-c listen_addresses= -c fsync=off -c full_page_writes=off"


class PostgresServer:
    def __init__(self, binaries: Path, directory: Path) -> None:
        self._binaries = binaries
        self._directory = directory
        self._numbers = count()
        # PostgreSQL refuses to run as root.
        self._user = "postgres" if os.geteuid() == 0 else None
        if self._user:
            shutil.chown(directory, self._user)
        self._run("initdb", "-D", f"{directory}/data", *_INITDB.split())

    def start(self) -> None:
        """Returns once it answers."""
        settings = f"{_SETTINGS} -k {self._directory}"
        self._run(
            "pg_ctl", "start", "-w", "-D", f"{self._directory}/data", "-l", f"{self._directory}/log", "-o", settings
        )

    def stop(self) -> None:
        """At once, as a crash would."""
        self._run("pg_ctl", "stop", "-w", "-m", "immediate", "-D", f"{self._directory}/data")

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
        self._run("psql", "-q", "-h", str(self._directory), "-U", "postgres", "-c", statement)

    def url(self, database: str) -> str:
        return f"postgresql://postgres@/{database}?host={self._directory}"

    def _run(self, *command: str) -> None:
        # Not into pipes: the server inherits them, and they would not end before it does.
        with tempfile.TemporaryFile("w+") as output:
            done = subprocess.run(
                [self._binaries / command[0], *command[1:]],
                cwd=self._directory,
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

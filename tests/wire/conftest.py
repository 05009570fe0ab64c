"""Ports behind which the corpus' sites are served."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager
from functools import partial

import pytest

from server.edge.edge import Edge
from tests.support import corpus
from tests.support.hosting import Hosting, in_thread, memory_hosting, served, served_by_hypercorn, sql_hosting
from tests.support.postgres import PostgresServer


@pytest.fixture(scope="session")
def bare_port() -> Iterator[int]:
    """The corpus' sites behind the hardened listener without its fast door."""

    def serve(edge: Edge) -> AbstractAsyncContextManager[int]:
        return served(edge, fast=False)

    with in_thread(memory_hosting, corpus.fill, serve) as port:
        yield port


@pytest.fixture(scope="session", params=["memory", "sqlite", "postgres"])
def corpus_port(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """The corpus' sites over each pair of stores, behind the hardened listener."""
    directory = tmp_path_factory.mktemp("corpus")
    open_hosting: Callable[[], AbstractAsyncContextManager[Hosting]]
    match request.param:
        case "memory":
            open_hosting = memory_hosting
        case "sqlite":
            open_hosting = partial(sql_hosting, f"sqlite:///{directory}/test.db", directory)
        case _:
            postgres: PostgresServer = request.getfixturevalue("postgres")
            open_hosting = partial(sql_hosting, postgres.url(postgres.create_database()), directory)
    with in_thread(open_hosting, corpus.fill) as port:
        yield port


@pytest.fixture(scope="session")
def hypercorn_port() -> Iterator[int]:
    """The corpus' sites behind hypercorn."""
    with in_thread(memory_hosting, corpus.fill, served_by_hypercorn) as port:
        yield port

"""What only a database can get wrong: migrations, failures, transactions, connections."""

from __future__ import annotations

import asyncio
import sqlite3
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from sqlalchemy import func, insert, select, text
from sqlalchemy.dialects import sqlite
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine

from storage.errors import Conflict, Corrupt, Invalid, OutOfSpace, QuotaExceeded, StorageError, Unavailable
from storage.models import NewDeployment, NewSite, NewSpace, PageQuery
from storage.sql import SqlMetadata, edge, engines, migrate, open_sql, previews, publish, skew, variants
from storage.sql import files as file_verbs
from storage.sql.engines import parse_url
from storage.sql.sources import FILES
from storage.sql.tables import HEAD, files, metadata, workspace_blobs
from storage.widgets import NewWidget, SecretKind
from tests.storage.conftest import make_blob
from tests.support.postgres import PostgresServer


@asynccontextmanager
async def connect(url: str) -> AsyncIterator[AsyncConnection]:
    """Past the store; what is written is committed."""
    engine = create_async_engine(parse_url(url))
    async with engine.begin() as connection:
        yield connection
    await engine.dispose()


async def count_rows(url: str) -> dict[str, int]:
    async with connect(url) as connection:
        return {
            table.name: (await connection.execute(select(func.count()).select_from(table))).scalar_one()
            for table in metadata.sorted_tables
        }


async def make_everything(store: SqlMetadata) -> str:
    """A space with something of each kind; its id."""
    space = await store.create_space(NewSpace(workspace_id="acme", alias="docs"))
    await store.put_files(space.id, {"a": make_blob(1), "b": make_blob(2)})
    await store.put_files(space.id, {"a": make_blob(3)}, delete=["b"])
    await store.create_site(NewSite(space_id=space.id, domain="a.example"))
    deployment = await store.create_deployment(NewDeployment(space_id=space.id, files={"a": make_blob(1)}))
    await store.activate_deployment(deployment.id)
    await store.put_variants("acme", {make_blob(1).digest: {"gzip": make_blob(0), "br": None}})
    return space.id


async def test_deleting_a_space_leaves_no_row(sql: SqlMetadata, sql_url: str) -> None:
    await sql.put_workspace("acme", "Acme")
    space_id = await make_everything(sql)
    empty = {table for table, count in (await count_rows(sql_url)).items() if not count}
    assert {table for table in empty if not table.startswith("widget")} == {"attempts", "keys"}
    await sql.delete_space(space_id)
    left = {table: count for table, count in (await count_rows(sql_url)).items() if count}
    rest = {"changes": 8, "workspace_blobs": 3, "variants": 2, "audit": 8}
    assert left == {"workspaces": 1, "store_state": 1, **rest}


async def test_what_was_secret_is_not_left_in_the_file(sqlite_url: str) -> None:
    store = await open_sql(sqlite_url)
    await store.put_workspace("acme", "Acme")
    secrets: dict[SecretKind, str] = {"data_connection": "sealed-connection", "oauth_connections": "sealed-tokens"}
    made = await store.create_widget(
        NewWidget(
            workspace_id="acme", site_id="siteid01", domain="a.example", business_name="A", settings={}, secrets=secrets
        )
    )
    path = Path(sqlite_url.removeprefix("sqlite:///"))
    await store.close()
    assert {secret in read_all(path) for secret in (b"sealed-connection", b"sealed-tokens")} == {True}
    store = await open_sql(sqlite_url)
    await store.delete_widget(made.id)
    for purge in await store.list_purges(2**53, 1):
        await store.finish_purge(purge)
    await store.close()
    assert b"siteid01" in read_all(path)
    assert {secret in read_all(path) for secret in (b"sealed-connection", b"sealed-tokens")} == {False}


def read_all(path: Path) -> bytes:
    """The database, with what is not in its main file yet."""
    return b"".join(each.read_bytes() for each in path.parent.glob(f"{path.name}*"))


# A statement that fails after others of its transaction have been carried out.
FAIL = {
    "sqlite": ["CREATE TRIGGER fail BEFORE INSERT ON {table} BEGIN SELECT RAISE(ABORT, 'on purpose'); END"],
    "postgresql": [
        "CREATE FUNCTION fail() RETURNS trigger AS $$BEGIN RAISE check_violation USING MESSAGE = 'on purpose'; END$$ "
        "LANGUAGE plpgsql",
        "CREATE TRIGGER fail BEFORE INSERT ON {table} FOR EACH ROW EXECUTE FUNCTION fail()",
    ],
}


TABLES = ["changes", "files", "workspace_blobs", "sites", "deployment_files", "variants", "audit"]


@pytest.mark.parametrize("table", TABLES)
async def test_a_write_that_fails_half_way_changes_nothing(
    sql: SqlMetadata, sql_url: str, table: str, announced: list[int]
) -> None:
    await sql.put_workspace("acme", "Acme")
    space_id = await make_everything(sql)
    before, revision = await count_rows(sql_url), await sql.get_revision()
    live = await sql.find_file(space_id, "a")
    async with connect(sql_url) as connection:
        for statement in FAIL[connection.dialect.name]:
            await connection.execute(text(statement.format(table=table)))
    verb: Coroutine[Any, Any, object]
    if table == "sites":
        verb = sql.create_site(NewSite(space_id=space_id, domain="b.example"))
    elif table == "variants":
        verb = sql.put_variants("acme", {make_blob(2).digest: {"gzip": make_blob(9)}})
    elif table == "deployment_files":
        verb = sql.create_deployment(NewDeployment(space_id=space_id, files={"x": make_blob(9)}))
    else:
        verb = sql.put_files(space_id, {"a": make_blob(9), "x": make_blob(9)})
    with pytest.raises(DBAPIError, match="on purpose"):
        await verb
    assert await count_rows(sql_url) == before
    assert await sql.get_revision() == revision == announced[-1]
    assert await sql.find_file(space_id, "a") == live
    assert await sql.delete_tree(space_id, "none") == 0


@pytest.mark.slow
async def test_a_write_cut_short_is_whole_or_absent(sql: SqlMetadata, announced: list[int]) -> None:
    """Whenever its caller gives up; and what was committed has been announced."""
    await sql.put_workspace("acme", "Acme")
    space = await sql.create_space(NewSpace(workspace_id="acme"))
    for number in range(1, 60):
        contents = {f"{name}": make_blob(number) for name in "abc"}
        try:
            async with asyncio.timeout(number / 4000):
                await sql.put_files(space.id, contents)
        except TimeoutError:
            pass
        revision = await sql.get_revision()
        assert sorted(announced) == list(range(1, revision + 1))
        found = await sql.find_files(space.id, list("abc"), revision)
        assert len({file.digest for file in found.values()}) <= 1
        assert len(found) in (0, 3)
    assert await sql.put_files(space.id, {"last": make_blob(1)}) == await sql.get_revision()


async def test_two_stores_share_a_database(sql: SqlMetadata, sql_url: str) -> None:
    other = await open_sql(sql_url)
    await sql.put_workspace("acme", "Acme")
    space = await other.create_space(NewSpace(workspace_id="acme"))
    assert await sql.find_space(space.id) == space
    writes = [store.put_files(space.id, {str(n): make_blob(n)}) for n in range(10) for store in (sql, other)]
    revisions = await asyncio.gather(*writes)
    assert set(revisions) == set(range(2, 12))
    assert await sql.list_changes(0) == await other.list_changes(0)
    await other.create_site(NewSite(space_id=space.id, domain="a.example"))
    with pytest.raises(Conflict):
        await sql.create_site(NewSite(space_id=space.id, domain="a.example"))
    await other.close()
    await other.close()


_LOCKS_ROW = "SELECT id FROM workspaces WHERE id = 'acme' FOR NO KEY UPDATE"
_WAITING = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"


async def test_a_quota_counts_what_a_writer_before_has_not_committed_yet(postgres_url: str) -> None:
    """Writes of contents draw no revision, and so do not wait for each other but for this."""
    store = await open_sql(postgres_url)
    await store.put_workspace("acme", "Acme")
    await store.update_workspace("acme", {"max_bytes": 100})
    async with connect(postgres_url) as watcher, connect(postgres_url) as first:
        await first.execute(text(_LOCKS_ROW))
        await first.execute(insert(workspace_blobs).values(workspace_id="acme", digest="d", size=60, uploaded_at=0))
        second = asyncio.create_task(store.put_blob("acme", make_blob(60)))
        while not (await watcher.execute(text(_WAITING))).scalar_one():
            assert not second.done()
        await first.commit()
        with pytest.raises(QuotaExceeded):
            await second
    assert (await store.measure_workspace("acme")).bytes == 60
    await store.close()


async def test_text_that_no_database_can_keep(sql: SqlMetadata) -> None:
    with pytest.raises(Invalid):
        await sql.find_space_by_alias("acme", "\ud800")
    with pytest.raises(Invalid):
        await sql.find_site(["\ud800.example"])
    assert await sql.find_site(["a.example"]) is None


async def test_postgres_cannot_keep_nul(postgres_url: str) -> None:
    store = await open_sql(postgres_url)
    with pytest.raises(Invalid):
        await store.put_workspace("acme", "a\0b")
    await store.close()


@pytest.mark.slow
async def test_postgres_may_go_and_come_back(postgres: PostgresServer, postgres_url: str) -> None:
    store = await open_sql(postgres_url)
    await store.put_workspace("acme", "Acme")
    space = await store.create_space(NewSpace(workspace_id="acme"))
    postgres.stop()
    try:
        for _ in range(2):
            with pytest.raises(Unavailable):
                await store.find_site(["a.example"])
            with pytest.raises(Unavailable):
                await store.put_files(space.id, {"a": make_blob(1)})
        with pytest.raises(Unavailable):
            await open_sql(postgres_url)
        with pytest.raises(Unavailable):
            await migrate(postgres_url)
    finally:
        postgres.start()
    assert await store.find_site(["a.example"]) is None
    assert await store.put_files(space.id, {"a": make_blob(1)}) == 2
    await store.close()


async def test_a_database_that_cannot_be_opened(tmp_path: Path) -> None:
    with pytest.raises(Unavailable):
        await migrate(f"sqlite:///{tmp_path}")
    with pytest.raises(Unavailable):
        await open_sql(f"sqlite:///{tmp_path}")


async def test_an_edge_read_that_fails_recovers(sqlite_url: str) -> None:
    store = await open_sql(sqlite_url)
    async with connect(sqlite_url) as connection:
        await connection.execute(text("ALTER TABLE store_state RENAME TO away"))
    with pytest.raises(StorageError):
        await store.get_revision()
    async with connect(sqlite_url) as connection:
        await connection.execute(text("ALTER TABLE away RENAME TO store_state"))
    assert await store.get_revision() == 0
    await store.close()


async def test_the_edge_reads_sqlite_without_suspending(sqlite_url: str) -> None:
    store = await open_sql(sqlite_url)
    for verb in (
        store.get_revision(),
        store.list_changes(0),
        store.find_site(["a.example"]),
        store.find_files("space", ["a"], 1),
    ):
        with pytest.raises(StopIteration):
            verb.send(None)
    await store.close()


async def test_sqlite_keeps_what_it_has_acknowledged(sqlite_url: str) -> None:
    store = await open_sql(sqlite_url)
    async with store._database.transaction() as transaction:
        settings = {
            pragma: (await transaction.rows(text(f"PRAGMA {pragma}")))[0][0]
            for pragma in ("journal_mode", "synchronous", "foreign_keys", "busy_timeout")
        }
    assert settings == {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1, "busy_timeout": 10_000}
    await store.close()


async def test_what_is_asked_often_scans_no_table(sqlite_url: str) -> None:
    connection = sqlite3.connect(sqlite_url.removeprefix("sqlite:///"))
    background = (variants._UNCODED, variants._SPACES, skew._OVER)
    shown = (previews._BY_DOMAIN, previews._BY_ID, previews._FILES)
    sites = edge._SITES.params(domains=["a", "b"])
    written = (publish._keep_replaced(FILES), publish._begin(FILES, "sqlite"), file_verbs._END_NAMED)
    for statement in (sites, edge._FILES, edge._CHANGES, *shown, *background, *written):
        query = str(statement.compile(dialect=sqlite.dialect(), compile_kwargs={"render_postcompile": True}))
        plan = connection.execute(f"EXPLAIN QUERY PLAN {query}", ["[]"] * query.count("?")).fetchall()
        steps = [str(row[3]) for row in plan]
        assert any(step.startswith("SEARCH") for step in steps), steps
        assert not [step for step in steps if step.startswith("SCAN") and "s_rows" not in step], steps
        assert not [step for step in steps if "files_live (space_id=?)" in step], steps
    connection.close()


@pytest.mark.parametrize(
    ("url", "driver", "query"),
    [
        ("sqlite:///a.db", "sqlite+aiosqlite", {}),
        ("postgresql://u@h/d", "postgresql+asyncpg", {}),
        ("postgresql+psycopg://u@h/d?host=/run&port=1", "postgresql+asyncpg", {"host": "/run", "port": "1"}),
        ("postgresql://u@h/d?sslmode=verify-full", "postgresql+asyncpg", {"ssl": "verify-full"}),
    ],
)
def test_a_url_is_put_as_the_driver_has_it(url: str, driver: str, query: dict[str, str]) -> None:
    parsed = parse_url(url)
    assert (parsed.drivername, dict(parsed.query)) == (driver, query)


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("secret", "is not the URL of a database"),
        ("postgresql://u:secret@h:port/d", "is not the URL of a database"),
        ("mysql://u:secret@h/d", "'mysql' is not a database"),
        ("postgresql://u:secret@h/d?sslmode=on", "has the sslmode 'on': use one of disable"),
        ("postgresql://u:secret@h/d?sslcert=x", "has the option 'sslcert'"),
        ("sqlite:///a.db?mode=ro", "has the option 'mode'"),
    ],
)
def test_a_url_that_cannot_be_used(url: str, says: str) -> None:
    with pytest.raises(ValueError, match=says) as refused:
        parse_url(url)
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize("start", [migrate, open_sql])
async def test_a_file_that_is_no_database(tmp_path: Path, start: Callable[[str], Awaitable[object]]) -> None:
    (tmp_path / "notes.db").write_bytes(b"These are my notes. " * 100)
    with pytest.raises(StorageError, match="is not a database"):
        await start(f"sqlite:///{tmp_path}/notes.db")


@pytest.mark.parametrize("start", [migrate, open_sql])
async def test_postgres_says_why_it_refuses(
    postgres: PostgresServer, start: Callable[[str], Awaitable[object]]
) -> None:
    with pytest.raises(StorageError, match='"nowhere" does not exist'):
        await start(postgres.url("nowhere"))


async def test_a_failure_does_not_tell_parameters(sql: SqlMetadata, sql_url: str) -> None:
    await sql.put_workspace("acme", "Acme")
    async with connect(sql_url) as connection:
        for statement in FAIL[connection.dialect.name]:
            await connection.execute(text(statement.format(table="spaces")))
    with pytest.raises(DBAPIError) as failure:
        await sql.create_space(NewSpace(workspace_id="acme", meta={"a": "private"}))
    assert "private" not in str(failure.value)
    assert "parameters hidden" in str(failure.value)


async def test_a_database_without_room(sqlite_url: str) -> None:
    store = await open_sql(sqlite_url)
    await store.put_workspace("acme", "Acme")
    async with store._database.transaction() as transaction:
        await transaction.rows(text("PRAGMA max_page_count=1"))  # no less than it has
    space = NewSpace(workspace_id="acme", meta={"a": "x" * 16_000})
    with pytest.raises(OutOfSpace):
        await asyncio.gather(*[store.create_space(space) for _ in range(20)])
    await store.close()


async def test_a_damaged_database(sqlite_url: str) -> None:
    with open(sqlite_url.removeprefix("sqlite:///"), "r+b") as file:  # noqa: ASYNC230
        file.seek(4096)
        file.write(b"\xff" * 400_000)
    with pytest.raises(Corrupt):
        await open_sql(sqlite_url)


async def test_the_edge_waits_for_postgres_a_little_only(postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engines, "_EDGE_ANSWER_SECONDS", 0.5)
    store = await open_sql(postgres_url)
    async with connect(postgres_url) as connection:
        await connection.execute(text("LOCK TABLE store_state IN ACCESS EXCLUSIVE MODE"))
        with pytest.raises(Unavailable, match="in time"):
            await store.get_revision()
    assert await store.get_revision() == 0
    await store.close()


# Migrations.


@pytest.fixture(params=["sqlite", "postgres"])
def empty_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A database without any table, of each kind."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/empty.db"
    return str(request.getfixturevalue("empty_postgres_url"))


async def test_the_migrations_make_the_tables(sql_url: str) -> None:
    def compare(connection: AsyncConnection) -> list[object]:
        return list(compare_metadata(MigrationContext.configure(connection), metadata))  # type: ignore[arg-type]

    async with connect(sql_url) as connection:
        assert await connection.run_sync(compare) == []  # type: ignore[arg-type]
        assert (await connection.execute(text("SELECT version_num FROM alembic_version"))).scalar_one() == HEAD


@pytest.mark.parametrize("index", sorted({str(index.name) for index in files.indexes} - {"files_path"}))
async def test_indexes_of_files_are_of_live_rows(sql_url: str, index: str) -> None:
    async with connect(sql_url) as connection:
        if connection.dialect.name == "postgresql":
            found = await connection.execute(text(f"SELECT indexdef FROM pg_indexes WHERE indexname = '{index}'"))
        else:
            found = await connection.execute(text(f"SELECT sql FROM sqlite_master WHERE name = '{index}'"))
        assert "WHERE" in found.scalar_one()


async def test_migrating_again_changes_nothing(sql: SqlMetadata, sql_url: str) -> None:
    await sql.put_workspace("acme", "Acme")
    space_id = await make_everything(sql)
    before = await count_rows(sql_url)
    await migrate(sql_url)
    assert await count_rows(sql_url) == before
    assert await sql.find_space(space_id)


async def test_an_older_database_is_brought_up_to_date(empty_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "upgrade", partial(_upgrade_to, "0001", command.upgrade))
    await migrate(empty_url)
    monkeypatch.undo()
    async with connect(empty_url) as connection:
        for statement in OLDER_ROWS:
            await connection.execute(text(statement))
    await migrate(empty_url)
    store = await open_sql(empty_url)
    hosted = await store.find_site(["a.example"])
    assert hosted
    assert hosted.version == 3
    assert [file.path for file in await store.list_uncoded((0, ""), 10)] == ["a"]
    await store.put_variants("acme", {make_blob(1).digest: {"gzip": make_blob(2)}})
    assert len((await store.find_files("space_1", ["a"], 4))["a"].variants) == 1
    for revision, size in ((1, 5), (2, 6), (3, 1)):
        assert (await store.find_files("space_1", ["a"], revision))["a"].size == size
    past = (await store.find_files("space_1", ["b"], 3))["b"]
    assert (past.size, past.to_revision, past.removed_at) == (7, 2, 3000)
    page = await store.list_files("space_1", "", recursive=True, query=PageQuery())
    assert [entry.path for entry in page.items] == ["a"]
    await store.put_files("space_1", {"a": make_blob(8), "b": make_blob(9)})
    assert (await store.find_files("space_1", ["a"], 3))["a"].size == 1
    await store.delete_space("space_1")
    assert (await count_rows(empty_url))["files"] == 0
    await store.close()


def _upgrade_to(revision: str, upgrade: Callable[..., None], config: Config, _head: str) -> None:
    upgrade(config, revision)


OLDER_ROWS = (
    "INSERT INTO workspaces VALUES ('acme', 'Acme', 1)",
    "INSERT INTO spaces VALUES ('space_1', 'acme', NULL, '', '', NULL, '{}', '', 3, 0, 1, 1)",
    "INSERT INTO sites (id, workspace_id, space_id, domain, prefix, name, description, meta, meta_labels, revision, "
    "created_at, updated_at) VALUES ('site_1', 'acme', 'space_1', 'a.example', '', '', '', '{}', '', 2, 1, 1)",
    f"INSERT INTO files VALUES ('space_1', 'a', 3, '{make_blob(1).digest}', 1, 1, NULL, NULL)",
    f"INSERT INTO files VALUES ('space_1', 'a', 1, '{make_blob(5).digest}', 5, 1000, 2, 2000)",
    f"INSERT INTO files VALUES ('space_1', 'a', 2, '{make_blob(6).digest}', 6, 2000, 3, 3000)",
    f"INSERT INTO files VALUES ('space_1', 'b', 1, '{make_blob(7).digest}', 7, 1000, 2, 3000)",
    "UPDATE store_state SET revision = 3",
)


async def test_migrations_raced_in_one_process(empty_url: str) -> None:
    await asyncio.gather(*[migrate(empty_url) for _ in range(6)])
    store = await open_sql(empty_url)
    assert await store.get_revision() == 0
    await store.close()


START = """
import asyncio, sys
from storage.sql import migrate, open_sql
async def start(url):
    await migrate(url)
    store = await open_sql(url)
    await store.put_workspace("acme", "Acme")
    await store.close()
asyncio.run(start(sys.argv[1]))
"""


@pytest.mark.slow
async def test_migrations_raced_by_processes(empty_url: str) -> None:
    command = [sys.executable, "-c", START, empty_url]
    started = [await asyncio.create_subprocess_exec(*command) for _ in range(4)]
    assert [await process.wait() for process in started] == [0, 0, 0, 0]
    assert (await count_rows(empty_url))["workspaces"] == 1


async def test_a_database_that_is_not_migrated(empty_url: str) -> None:
    with pytest.raises(StorageError, match="migrate it"):
        await open_sql(empty_url)


async def test_a_database_of_a_newer_version(sql_url: str) -> None:
    async with connect(sql_url) as connection:
        await connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    for verb in (migrate(sql_url), open_sql(sql_url)):
        with pytest.raises(StorageError, match="9999"):
            await verb


def test_a_url_that_is_not_supported() -> None:
    with pytest.raises(ValueError, match="mysql"):
        parse_url("mysql://root@127.0.0.1/x")
    assert str(parse_url("sqlite+aiosqlite:////a/b.db")) == "sqlite+aiosqlite:////a/b.db"
    assert parse_url("postgresql://me@host/db?host=/tmp").drivername == "postgresql+asyncpg"

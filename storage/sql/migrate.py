"""Bring a database's tables to the form that this version uses.

Several processes may do so at once: one holds the database's lock for the whole of it, in one transaction, and the
others find nothing left to do.
"""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import Connection, func, select

from storage.errors import StorageError
from storage.sql.engines import create_writer, keep_write_ahead_log, parse_url
from storage.sql.failures import starting

_LOCK = 0x5BACE1A4E  # any number that no other program takes on the same PostgreSQL


async def migrate(url: str) -> None:
    """Raises `StorageError` if a newer version has already been there, `Unavailable` if it cannot be reached."""
    parsed = parse_url(url)
    engine = create_writer(parsed)
    try:
        with starting():
            if engine.dialect.name == "sqlite":
                keep_write_ahead_log(parsed)
            async with engine.begin() as connection:
                if engine.dialect.name == "postgresql":
                    await connection.execute(select(func.pg_advisory_xact_lock(_LOCK)))
                await connection.run_sync(_upgrade)
    finally:
        await engine.dispose()


def _upgrade(connection: Connection) -> None:
    # Imported here because one process of a server migrates, and the others need not start the slower for it.
    from alembic import command
    from alembic.config import Config
    from alembic.runtime.migration import MigrationContext
    from alembic.script import ScriptDirectory

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).with_name("migrations")))
    config.attributes["connection"] = connection
    known = {script.revision for script in ScriptDirectory.from_config(config).walk_revisions()}
    if newer := set(MigrationContext.configure(connection).get_current_heads()) - known:
        raise StorageError(
            f"the database was made by a newer version of Spacelane (its tables are at {', '.join(newer)}): "
            "start that version, or restore a backup from before the upgrade"
        )
    command.upgrade(config, "head")

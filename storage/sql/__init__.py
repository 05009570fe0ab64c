"""The metadata store on SQLite and PostgreSQL: SQLAlchemy Core, migrated by Alembic."""

from storage.sql.migrate import migrate
from storage.sql.store import SqlMetadata, open_sql

__all__ = ["SqlMetadata", "migrate", "open_sql"]

"""What Alembic runs: the migrations, in the transaction of whoever called."""

from __future__ import annotations

from alembic import context

from storage.sql.tables import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata)
with context.begin_transaction():
    context.run_migrations()

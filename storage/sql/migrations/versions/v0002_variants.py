"""Variants: contents in other codings, and the indexes by which to find the files that have them.

As in every migration, the tables are spelled out.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

Name = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
Number = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.add_column("spaces", sa.Column("variants_revision", Number, nullable=False, server_default="0"))
    op.create_table(
        "variants",
        sa.Column("workspace_id", Name, sa.ForeignKey("workspaces.id", ondelete="CASCADE"), primary_key=True),
        sa.Column("source_digest", Name, primary_key=True),
        sa.Column("coding", Name, primary_key=True),
        sa.Column("digest", Name),
        sa.Column("size", Number),
        sqlite_with_rowid=False,
    )
    live = sa.text("to_revision IS NULL")
    for name, columns in (("files_begun", ["from_revision", "path"]), ("files_content", ["digest"])):
        op.create_index(name, "files", columns, sqlite_where=live, postgresql_where=live)

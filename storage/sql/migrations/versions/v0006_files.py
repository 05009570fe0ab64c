"""Rows of files have a number, and their paths one index that a replaced file does not touch."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"

Name = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
Number = sa.BigInteger().with_variant(sa.Integer(), "sqlite")

_COLUMNS = "space_id, path, from_revision, digest, size, modified_at, to_revision, removed_at"


def upgrade() -> None:
    op.create_table(
        "numbered_files",
        sa.Column("id", Number, primary_key=True),
        sa.Column("space_id", Name, sa.ForeignKey("spaces.id", ondelete="CASCADE"), nullable=False),
        sa.Column("path", Name, nullable=False),
        sa.Column("from_revision", Number, nullable=False),
        sa.Column("digest", Name, nullable=False),
        sa.Column("size", Number, nullable=False),
        sa.Column("modified_at", Number, nullable=False),
        sa.Column("to_revision", Number),
        sa.Column("removed_at", Number),
    )
    op.execute(
        f"INSERT INTO numbered_files ({_COLUMNS}) SELECT {_COLUMNS} FROM files ORDER BY space_id, path, from_revision"
    )
    op.drop_table("files")
    op.rename_table("numbered_files", "files")
    op.create_index("files_path", "files", ["space_id", "path", "to_revision"], unique=True)
    live = sa.text("to_revision IS NULL")
    op.create_index("files_live", "files", ["space_id", "path"], unique=True, sqlite_where=live, postgresql_where=live)
    for name, columns in (("files_begun", ["from_revision", "path"]), ("files_content", ["digest"])):
        op.create_index(name, "files", columns, sqlite_where=live, postgresql_where=live)

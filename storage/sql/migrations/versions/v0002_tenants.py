"""Workspaces have aliases and limits."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

Name = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
Number = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    _limit_workspaces()


def _limit_workspaces() -> None:
    for column in ("max_sites", "max_files", "max_bytes", "requests_per_minute"):
        op.add_column("workspaces", sa.Column(column, Number))
    op.add_column("workspaces", sa.Column("alias", Name))
    op.create_index("workspaces_alias", "workspaces", ["alias"], unique=True)
    op.add_column("workspaces", sa.Column("updated_at", Number, nullable=False, server_default="0"))
    op.execute("UPDATE workspaces SET updated_at = created_at")

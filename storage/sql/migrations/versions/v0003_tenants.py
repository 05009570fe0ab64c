"""Workspaces have aliases and limits; changes are told of; calls may be repeated."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"

Name = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
Number = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    _limit_workspaces()
    _create_audit()
    _create_attempts()


def _of_workspace(*, primary_key: bool = False) -> sa.Column[str]:
    return sa.Column(
        "workspace_id",
        Name,
        sa.ForeignKey("workspaces.id", ondelete="CASCADE"),
        primary_key=primary_key,
        nullable=False,
    )


def _limit_workspaces() -> None:
    for column in ("max_sites", "max_files", "max_bytes", "requests_per_minute"):
        op.add_column("workspaces", sa.Column(column, Number))
    op.add_column("workspaces", sa.Column("alias", Name))
    op.create_index("workspaces_alias", "workspaces", ["alias"], unique=True)
    op.add_column("workspaces", sa.Column("updated_at", Number, nullable=False, server_default="0"))
    op.execute("UPDATE workspaces SET updated_at = created_at")


def _create_audit() -> None:
    op.create_table(
        "audit",
        sa.Column("id", Name, primary_key=True),
        _of_workspace(),
        sa.Column("actor_kind", Name, nullable=False),
        sa.Column("actor_key_id", Name),
        sa.Column("request_id", Name),
        sa.Column("action", Name, nullable=False),
        sa.Column("kind", Name, nullable=False),
        sa.Column("object_id", Name, nullable=False),
        sa.Column("space_id", Name),
        sa.Column("before", sa.Text),
        sa.Column("after", sa.Text),
        sa.Column("created_at", Number, nullable=False),
    )
    op.create_index("audit_workspace", "audit", ["workspace_id", "id"])
    op.create_index("audit_kind", "audit", ["workspace_id", "kind", "id"])
    op.create_index("audit_object", "audit", ["workspace_id", "object_id", "id"])
    op.create_index("audit_created", "audit", ["created_at"])


def _create_attempts() -> None:
    op.create_table(
        "attempts",
        _of_workspace(primary_key=True),
        sa.Column("scope", Name, primary_key=True),
        sa.Column("id", Name, nullable=False),
        sa.Column("body_digest", Name, nullable=False),
        sa.Column("started_at", Number, nullable=False),
        sa.Column("status", sa.Integer),
        sa.Column("answer", sa.Text),
        sqlite_with_rowid=False,
    )
    op.create_index("attempts_started", "attempts", ["started_at"])
    op.create_index("attempts_workspace", "attempts", ["workspace_id", "started_at"])

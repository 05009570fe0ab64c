"""Widgets, the sites of the Sites API: configurations, secrets, sessions, purges."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"

Name = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
Number = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.add_column("workspaces", sa.Column("max_widgets", Number))
    op.add_column("changes", sa.Column("widget", Name))
    _create_widgets()
    _create_what_outlives_them()


def _of_workspace() -> sa.Column[str]:
    reference = sa.ForeignKey("workspaces.id", ondelete="CASCADE")
    return sa.Column("workspace_id", Name, reference, nullable=False)


def _create_widgets() -> None:
    op.create_table(
        "widgets",
        sa.Column("id", Name, primary_key=True),
        _of_workspace(),
        sa.Column("site_id", Name, nullable=False),
        sa.Column("domain", Name, nullable=False),
        sa.Column("business_name", sa.Text, nullable=False),
        sa.Column("folded_name", sa.Text, nullable=False),
        sa.Column("settings", sa.Text, nullable=False),
        sa.Column("revision", Number, nullable=False),
        sa.Column("created_at", Number, nullable=False),
        sa.Column("updated_at", Number, nullable=False),
    )
    op.create_index("widgets_workspace", "widgets", ["workspace_id", "id"])
    op.create_index("widgets_site_id", "widgets", ["site_id"], unique=True)
    op.create_index("widgets_domain", "widgets", ["workspace_id", "domain"], unique=True)
    op.create_table("widget_names", sa.Column("site_id", Name, primary_key=True), sqlite_with_rowid=False)


def _create_what_outlives_them() -> None:
    op.create_table(
        "widget_secrets",
        sa.Column("widget_id", Name, primary_key=True),
        sa.Column("kind", Name, primary_key=True),
        _of_workspace(),
        sa.Column("sealed", sa.Text, nullable=False),
    )
    op.create_table(
        "widget_sessions",
        sa.Column("id", Name, primary_key=True),
        _of_workspace(),
        sa.Column("widget_id", Name, nullable=False),
        sa.Column("page", sa.Text, nullable=False),
        sa.Column("transcript", sa.Text, nullable=False),
        sa.Column("created_at", Number, nullable=False),
    )
    op.create_index("widget_sessions_widget", "widget_sessions", ["widget_id", "id"])
    op.create_table(
        "widget_purges",
        sa.Column("id", Name, primary_key=True),
        _of_workspace(),
        sa.Column("widget_id", Name, nullable=False),
        sa.Column("site_id", Name, nullable=False),
        sa.Column("created_at", Number, nullable=False),
        sa.Column("due_at", Number, nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("sessions", Number, nullable=False),
        sa.Column("outcomes", sa.Text, nullable=False),
    )
    op.create_index("widget_purges_due", "widget_purges", ["due_at"])

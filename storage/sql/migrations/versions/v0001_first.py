"""The first tables.

They are spelled out, not taken from `storage.sql.tables`: that module moves on, a migration never changes.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

Name = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
Number = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def _reference(column: str) -> sa.ForeignKey:
    return sa.ForeignKey(column, ondelete="CASCADE")


def upgrade() -> None:
    _create_log()
    _create_tenants()
    _create_spaces()
    _create_files()
    _create_deployments()


def _create_log() -> None:
    op.create_table(
        "store_state",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("revision", Number, nullable=False),
    )
    op.execute("INSERT INTO store_state (id, revision) VALUES (1, 0)")
    op.create_table(
        "changes",
        sa.Column("revision", Number, primary_key=True, autoincrement=False),
        sa.Column("kind", Name, nullable=False),
        sa.Column("hosts", sa.Text, nullable=False),
        sa.Column("space_id", Name),
    )


def _create_tenants() -> None:
    op.create_table(
        "workspaces",
        sa.Column("id", Name, primary_key=True),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("created_at", Number, nullable=False),
    )
    op.create_table(
        "keys",
        sa.Column("id", Name, primary_key=True),
        sa.Column("workspace_id", Name, _reference("workspaces.id"), nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("secret_hash", Name, nullable=False),
        sa.Column("scopes", sa.Text, nullable=False),
        sa.Column("dialect", Name, nullable=False),
        sa.Column("created_at", Number, nullable=False),
        sa.Column("expires_at", Number),
        sa.Column("revoked_at", Number),
        sa.Column("last_used_at", Number),
    )
    op.create_index("keys_workspace", "keys", ["workspace_id", "id"])
    op.create_index("keys_secret_hash", "keys", ["secret_hash"], unique=True)


def _create_spaces() -> None:
    op.create_table(
        "spaces",
        sa.Column("id", Name, primary_key=True),
        sa.Column("workspace_id", Name, _reference("workspaces.id"), nullable=False),
        sa.Column("alias", Name),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("description", sa.Text, nullable=False),
        sa.Column("contact_id", Name),
        sa.Column("meta", sa.Text, nullable=False),
        sa.Column("meta_labels", sa.Text, nullable=False),
        sa.Column("revision", Number, nullable=False),
        sa.Column("settings_at", Number, nullable=False),
        sa.Column("created_at", Number, nullable=False),
        sa.Column("updated_at", Number, nullable=False),
    )
    op.create_index("spaces_workspace", "spaces", ["workspace_id", "id"])
    op.create_index("spaces_contact", "spaces", ["workspace_id", "contact_id", "id"])
    op.create_index("spaces_alias", "spaces", ["workspace_id", "alias"], unique=True)
    op.create_table(
        "sites",
        sa.Column("id", Name, primary_key=True),
        sa.Column("workspace_id", Name, _reference("workspaces.id"), nullable=False),
        sa.Column("space_id", Name, _reference("spaces.id"), nullable=False),
        sa.Column("domain", Name, nullable=False),
        sa.Column("prefix", Name, nullable=False),
        sa.Column("named_index", Name),
        sa.Column("named_not_found", Name),
        sa.Column("alias", Name),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("description", sa.Text, nullable=False),
        sa.Column("meta", sa.Text, nullable=False),
        sa.Column("meta_labels", sa.Text, nullable=False),
        sa.Column("revision", Number, nullable=False),
        sa.Column("created_at", Number, nullable=False),
        sa.Column("updated_at", Number, nullable=False),
        sa.Column("settings_at", Number),
    )
    op.create_index("sites_space", "sites", ["space_id", "id"])
    op.create_index("sites_domain", "sites", ["domain"], unique=True)
    op.create_index("sites_alias", "sites", ["workspace_id", "alias"], unique=True)


def _create_files() -> None:
    op.create_table(
        "files",
        sa.Column("space_id", Name, _reference("spaces.id"), primary_key=True),
        sa.Column("path", Name, primary_key=True),
        sa.Column("from_revision", Number, primary_key=True, autoincrement=False),
        sa.Column("digest", Name, nullable=False),
        sa.Column("size", Number, nullable=False),
        sa.Column("modified_at", Number, nullable=False),
        sa.Column("to_revision", Number),
        sa.Column("removed_at", Number),
        sqlite_with_rowid=False,
    )
    live = sa.text("to_revision IS NULL")
    op.create_index("files_live", "files", ["space_id", "path"], unique=True, sqlite_where=live, postgresql_where=live)
    op.create_table(
        "workspace_blobs",
        sa.Column("workspace_id", Name, _reference("workspaces.id"), primary_key=True),
        sa.Column("digest", Name, primary_key=True),
        sa.Column("size", Number, nullable=False),
        sa.Column("uploaded_at", Number, nullable=False),
        sqlite_with_rowid=False,
    )


def _create_deployments() -> None:
    op.create_table(
        "deployments",
        sa.Column("id", Name, primary_key=True),
        sa.Column("workspace_id", Name, _reference("workspaces.id"), nullable=False),
        sa.Column("space_id", Name, _reference("spaces.id"), nullable=False),
        sa.Column("mode", Name, nullable=False),
        sa.Column("prefix", Name, nullable=False),
        sa.Column("message", sa.Text, nullable=False),
        sa.Column("base", Number, nullable=False),
        sa.Column("file_count", Number, nullable=False),
        sa.Column("byte_count", Number, nullable=False),
        sa.Column("revision", Number),
        sa.Column("created_at", Number, nullable=False),
        sa.Column("activated_at", Number),
    )
    op.create_index("deployments_space", "deployments", ["space_id", "id"])
    op.create_table(
        "deployment_files",
        sa.Column("deployment_id", Name, _reference("deployments.id"), primary_key=True),
        sa.Column("path", Name, primary_key=True),
        sa.Column("digest", Name, nullable=False),
        sa.Column("size", Number, nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_index("deployment_files_digest", "deployment_files", ["deployment_id", "digest"])

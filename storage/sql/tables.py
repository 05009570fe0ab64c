"""The tables. A change here needs a migration beside it, and `HEAD` names the newest.

Columns are named as the fields of the values in `storage.models` are. Identifiers and paths compare by code point on
every database, which is how Python compares them.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Dialect,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    Table,
    Text,
    TypeDecorator,
    true,
)

HEAD = "0006"


class Json(TypeDecorator[Any]):
    """JSON as text: an object, or the members of a collection, sorted unless `ordered`; read back as `shape`."""

    impl = Text
    cache_ok = True

    def __init__(self, shape: Callable[[Any], Any], *, ordered: bool = False) -> None:
        super().__init__()
        self.shape = shape
        self.ordered = ordered

    def process_bind_param(self, value: Any, dialect: Dialect) -> str | None:
        if value is None:
            return None
        return json.dumps(value if isinstance(value, Mapping) or self.ordered else sorted(value))

    def process_result_value(self, value: str | None, dialect: Dialect) -> Any:
        return None if value is None else self.shape(json.loads(value))


# SQLite compares text by code point already.
Name = Text().with_variant(Text(collation="C"), "postgresql")
# SQLite wants exactly INTEGER for a primary key that needs no index of its own.
Number = BigInteger().with_variant(Integer(), "sqlite")

metadata = MetaData()


def _reference(column: str) -> ForeignKey:
    return ForeignKey(column, ondelete="CASCADE")


# One row: the revision drawn last. Drawing one locks the row, which puts the writers in a queue.
store_state = Table(
    "store_state",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("revision", Number, nullable=False),
)

changes = Table(
    "changes",
    metadata,
    Column("revision", Number, primary_key=True, autoincrement=False),
    Column("kind", Name, nullable=False),
    Column("hosts", Json(tuple), nullable=False),
    Column("space_id", Name),
    Column("widget", Name),
)

workspaces = Table(
    "workspaces",
    metadata,
    Column("id", Name, primary_key=True),
    Column("alias", Name),
    Column("name", Text, nullable=False),
    Column("max_sites", Number),
    Column("max_files", Number),
    Column("max_bytes", Number),
    Column("max_widgets", Number),
    Column("requests_per_minute", Number),
    Column("created_at", Number, nullable=False),
    Column("updated_at", Number, nullable=False),
    Index("workspaces_alias", "alias", unique=True),
)

keys = Table(
    "keys",
    metadata,
    Column("id", Name, primary_key=True),
    Column("workspace_id", Name, _reference("workspaces.id"), nullable=False),
    Column("name", Text, nullable=False),
    Column("secret_hash", Name, nullable=False),
    Column("scopes", Json(frozenset), nullable=False),
    Column("dialect", Name, nullable=False),
    Column("created_at", Number, nullable=False),
    Column("expires_at", Number),
    Column("revoked_at", Number),
    Column("last_used_at", Number),
    Index("keys_workspace", "workspace_id", "id"),
    Index("keys_secret_hash", "secret_hash", unique=True),
)

spaces = Table(
    "spaces",
    metadata,
    Column("id", Name, primary_key=True),
    Column("workspace_id", Name, _reference("workspaces.id"), nullable=False),
    Column("alias", Name),
    Column("name", Text, nullable=False),
    Column("description", Text, nullable=False),
    Column("contact_id", Name),
    Column("meta", Json(dict), nullable=False),
    Column("meta_labels", Text, nullable=False),  # `rows.meta_labels` of `meta`: what a filter looks in
    Column("revision", Number, nullable=False),
    Column("settings_at", Number, nullable=False),  # the latest `settings_at` that any of its sites had; 0: none
    # when a live file last gained a variant, or a window of skew protection ended
    Column("variants_revision", Number, nullable=False, server_default="0"),
    Column("skew_revision", Number),  # of the activation whose removals are made up for; null: none is
    Column("skew_ends_at", Number),  # null with it
    Column("created_at", Number, nullable=False),
    Column("updated_at", Number, nullable=False),
    Index("spaces_workspace", "workspace_id", "id"),
    Index("spaces_contact", "workspace_id", "contact_id", "id"),
    Index("spaces_alias", "workspace_id", "alias", unique=True),
)
_ENDS = spaces.c.skew_ends_at.is_not(None)
Index("spaces_skew", spaces.c.skew_ends_at, sqlite_where=_ENDS, postgresql_where=_ENDS)

sites = Table(
    "sites",
    metadata,
    Column("id", Name, primary_key=True),
    Column("workspace_id", Name, _reference("workspaces.id"), nullable=False),
    Column("space_id", Name, _reference("spaces.id"), nullable=False),
    Column("domain", Name, nullable=False),
    Column("prefix", Name, nullable=False),
    Column("named_index", Name),
    Column("named_not_found", Name),
    Column("alias", Name),
    Column("name", Text, nullable=False),
    Column("description", Text, nullable=False),
    Column("meta", Json(dict), nullable=False),
    Column("meta_labels", Text, nullable=False),
    Column("revision", Number, nullable=False),
    Column("created_at", Number, nullable=False),
    Column("updated_at", Number, nullable=False),
    Column("settings_at", Number),
    Column("previews", Name, nullable=False, server_default="public"),
    Column("skew_protection", Boolean, nullable=False, server_default=true()),
    Index("sites_space", "space_id", "id"),
    Index("sites_domain", "domain", unique=True),
    Index("sites_alias", "workspace_id", "alias", unique=True),
)

# The rows of a path follow each other, and the last of them may be live: it has no `to_revision` yet. A live row that
# is replaced stays where it is, with the new content, and what it was becomes another row: so neither the index of
# paths nor that of live files is touched. Beside its columns an index holds small numbers of rows, and no paths.
files = Table(
    "files",
    metadata,
    Column("id", Number, primary_key=True),
    Column("space_id", Name, _reference("spaces.id"), nullable=False),
    Column("path", Name, nullable=False),
    Column("from_revision", Number, nullable=False),
    Column("digest", Name, nullable=False),
    Column("size", Number, nullable=False),
    Column("modified_at", Number, nullable=False),
    Column("to_revision", Number),
    Column("removed_at", Number),
    Index("files_path", "space_id", "path", "to_revision", unique=True),
)
_LIVE = files.c.to_revision.is_(None)
Index("files_live", files.c.space_id, files.c.path, unique=True, sqlite_where=_LIVE, postgresql_where=_LIVE)
Index("files_begun", files.c.from_revision, files.c.path, sqlite_where=_LIVE, postgresql_where=_LIVE)
Index("files_content", files.c.digest, sqlite_where=_LIVE, postgresql_where=_LIVE)

# What became of a content in a coding; without a digest: it saves too little to be kept.
variants = Table(
    "variants",
    metadata,
    Column("workspace_id", Name, _reference("workspaces.id"), primary_key=True),
    Column("source_digest", Name, primary_key=True),
    Column("coding", Name, primary_key=True),
    Column("digest", Name),
    Column("size", Number),
    sqlite_with_rowid=False,
)

workspace_blobs = Table(
    "workspace_blobs",
    metadata,
    Column("workspace_id", Name, _reference("workspaces.id"), primary_key=True),
    Column("digest", Name, primary_key=True),
    Column("size", Number, nullable=False),
    Column("uploaded_at", Number, nullable=False),
    sqlite_with_rowid=False,
)

deployments = Table(
    "deployments",
    metadata,
    Column("id", Name, primary_key=True),
    Column("workspace_id", Name, _reference("workspaces.id"), nullable=False),
    Column("space_id", Name, _reference("spaces.id"), nullable=False),
    Column("mode", Name, nullable=False),
    Column("prefix", Name, nullable=False),
    Column("message", Text, nullable=False),
    Column("base", Number, nullable=False),
    Column("file_count", Number, nullable=False),
    Column("byte_count", Number, nullable=False),
    Column("revision", Number),
    Column("created_at", Number, nullable=False),
    Column("activated_at", Number),
    Index("deployments_space", "space_id", "id"),
)

deployment_files = Table(
    "deployment_files",
    metadata,
    Column("deployment_id", Name, _reference("deployments.id"), primary_key=True),
    Column("path", Name, primary_key=True),
    Column("digest", Name, nullable=False),
    Column("size", Number, nullable=False),
    Index("deployment_files_digest", "deployment_id", "digest"),
    sqlite_with_rowid=False,
)

# Of what has gone, too: it refers to nothing but the workspace.
audit = Table(
    "audit",
    metadata,
    Column("id", Name, primary_key=True),
    Column("workspace_id", Name, _reference("workspaces.id"), nullable=False),
    Column("actor_kind", Name, nullable=False),
    Column("actor_key_id", Name),
    Column("request_id", Name),
    Column("action", Name, nullable=False),
    Column("kind", Name, nullable=False),
    Column("object_id", Name, nullable=False),
    Column("space_id", Name),
    Column("before", Json(dict)),
    Column("after", Json(dict)),
    Column("created_at", Number, nullable=False),
    Index("audit_workspace", "workspace_id", "id"),
    Index("audit_kind", "workspace_id", "kind", "id"),
    Index("audit_object", "workspace_id", "object_id", "id"),
    Index("audit_created", "created_at"),
)

attempts = Table(
    "attempts",
    metadata,
    Column("workspace_id", Name, _reference("workspaces.id"), primary_key=True),
    Column("scope", Name, primary_key=True),
    Column("id", Name, nullable=False),
    Column("body_digest", Name, nullable=False),
    Column("started_at", Number, nullable=False),
    Column("status", Integer),
    Column("answer", Text),
    Index("attempts_started", "started_at"),
    Index("attempts_workspace", "workspace_id", "started_at"),
    sqlite_with_rowid=False,
)

widgets = Table(
    "widgets",
    metadata,
    Column("id", Name, primary_key=True),
    Column("workspace_id", Name, _reference("workspaces.id"), nullable=False),
    Column("site_id", Name, nullable=False),
    Column("domain", Name, nullable=False),
    Column("business_name", Text, nullable=False),
    Column("folded_name", Text, nullable=False),  # what a search looks in
    Column("settings", Json(dict), nullable=False),
    Column("revision", Number, nullable=False),
    Column("created_at", Number, nullable=False),
    Column("updated_at", Number, nullable=False),
    Index("widgets_workspace", "workspace_id", "id"),
    Index("widgets_site_id", "site_id", unique=True),
    Index("widgets_domain", "workspace_id", "domain", unique=True),
)

# Every `site_id` that was ever claimed: pages that still name a deleted one must never load somebody else's widget.
widget_names = Table(
    "widget_names",
    metadata,
    Column("site_id", Name, primary_key=True),
    sqlite_with_rowid=False,
)

# These three outlive their widget, until its purge is over.
widget_secrets = Table(
    "widget_secrets",
    metadata,
    Column("widget_id", Name, primary_key=True),
    Column("kind", Name, primary_key=True),
    Column("workspace_id", Name, _reference("workspaces.id"), nullable=False),
    Column("sealed", Text, nullable=False),
)

widget_sessions = Table(
    "widget_sessions",
    metadata,
    Column("id", Name, primary_key=True),
    Column("workspace_id", Name, _reference("workspaces.id"), nullable=False),
    Column("widget_id", Name, nullable=False),
    Column("page", Text, nullable=False),
    Column("transcript", Text, nullable=False),
    Column("created_at", Number, nullable=False),
    Index("widget_sessions_widget", "widget_id", "id"),
)

widget_purges = Table(
    "widget_purges",
    metadata,
    Column("id", Name, primary_key=True),
    Column("workspace_id", Name, _reference("workspaces.id"), nullable=False),
    Column("widget_id", Name, nullable=False),
    Column("site_id", Name, nullable=False),
    Column("created_at", Number, nullable=False),
    Column("due_at", Number, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("sessions", Number, nullable=False),
    Column("outcomes", Json(tuple, ordered=True), nullable=False),
    Index("widget_purges_due", "due_at"),
)

# What the database names when a unique index refuses a row (PostgreSQL the index, SQLite its columns), and what that
# is to a caller: kind and field.
UNIQUE = {
    name: (kind, field)
    for kind, field, names in [
        ("workspace", "alias", ["workspaces_alias", "workspaces.alias"]),
        ("key", "secret_hash", ["keys_secret_hash", "keys.secret_hash"]),
        ("space", "alias", ["spaces_alias", "spaces.workspace_id, spaces.alias"]),
        ("site", "alias", ["sites_alias", "sites.workspace_id, sites.alias"]),
        ("site", "domain", ["sites_domain", "sites.domain"]),
        ("widget", "site_id", ["widget_names_pkey", "widget_names.site_id"]),
        ("widget", "domain", ["widgets_domain", "widgets.workspace_id, widgets.domain"]),
    ]
    for name in names
}

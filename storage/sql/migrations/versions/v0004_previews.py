"""Sites say who may see their previews; what an activation removes may be shown for a while longer."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"

Name = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
Number = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.add_column("sites", sa.Column("previews", Name, nullable=False, server_default="public"))
    op.add_column("sites", sa.Column("skew_protection", sa.Boolean, nullable=False, server_default=sa.true()))
    for column in ("skew_revision", "skew_ends_at"):
        op.add_column("spaces", sa.Column(column, Number))
    ends = sa.text("skew_ends_at IS NOT NULL")
    op.create_index("spaces_skew", "spaces", ["skew_ends_at"], sqlite_where=ends, postgresql_where=ends)

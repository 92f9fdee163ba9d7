"""Known releases, pins, inboxes and their notifications."""

import sqlalchemy as sa
from alembic import op

from shared.storage.migrations import create_message_tables

revision = "0001"
down_revision = None


def upgrade() -> None:
    create_message_tables()
    op.create_table(
        "known_releases",
        sa.Column("system", sa.String, primary_key=True),
        sa.Column("version", sa.String, primary_key=True),
        sa.Column("release", sa.JSON, nullable=False),
    )
    op.create_table(
        "inboxes",
        sa.Column("project", sa.String, primary_key=True),
        sa.Column("revision", sa.BigInteger, nullable=False),
        sa.Column("map_revision", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "pins",
        sa.Column("project", sa.String, primary_key=True),
        sa.Column("system", sa.String, primary_key=True),
        sa.Column("version", sa.String, nullable=False),
    )
    op.create_index("pins_by_version", "pins", ["system", "version"], postgresql_include=["project"])
    op.create_table(
        "notifications",
        sa.Column("project", sa.String, primary_key=True),
        sa.Column("system", sa.String, primary_key=True),
        sa.Column("version", sa.String, primary_key=True),
        sa.Column("state", sa.String, nullable=False),
        sa.Column("revision", sa.BigInteger, nullable=False),
        sa.Column("notification", sa.JSON, nullable=False),
    )
    op.create_index(
        "notifications_open",
        "notifications",
        ["project", "system"],
        unique=True,
        postgresql_where=sa.text("state = 'open'"),
    )

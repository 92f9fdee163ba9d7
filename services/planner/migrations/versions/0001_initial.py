"""Inbox and outbox; releases and Projects as the registry tells them; Runs."""

import sqlalchemy as sa
from alembic import op

from shared.storage.migrations import create_message_tables

revision = "0001"
down_revision = None


def upgrade() -> None:
    create_message_tables()
    op.create_table(
        "releases",
        sa.Column("system", sa.String, primary_key=True),
        sa.Column("version", sa.String, primary_key=True),
        sa.Column("revision", sa.BigInteger, nullable=False),
        sa.Column("release", sa.JSON, nullable=False),
    )
    op.create_table(
        "projects",
        sa.Column("id", sa.String, primary_key=True),
        sa.Column("project", sa.JSON),
        sa.Column("revision", sa.BigInteger, nullable=False),
        sa.Column("version_map", sa.JSON),
        sa.Column("map_revision", sa.BigInteger, nullable=False),
        sa.Column("fence", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "runs",
        sa.Column("id", sa.String, primary_key=True),
        sa.Column("project", sa.String, nullable=False),
        sa.Column("status", sa.String, nullable=False),
        sa.Column("started", sa.Boolean, nullable=False),
        sa.Column("ended", sa.Boolean, nullable=False),
        sa.Column("revision", sa.BigInteger, nullable=False),
        sa.Column("plan", sa.String),
        sa.Column("wake_at", sa.DateTime(timezone=True)),
        sa.Column("requested_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("state", sa.JSON, nullable=False),
        sa.Column("open_command", sa.JSON),
    )
    op.create_index("runs_of_a_project", "runs", ["project", "requested_at"])
    op.create_index("runs_by_plan", "runs", ["plan"])
    op.create_index("runs_with_a_timer", "runs", ["wake_at"], postgresql_where=sa.text("wake_at is not null"))
    # One started Run per Project at a time, whatever the code believes.
    op.create_index(
        "one_started_run",
        "runs",
        ["project"],
        unique=True,
        postgresql_where=sa.text("started and not ended"),
    )

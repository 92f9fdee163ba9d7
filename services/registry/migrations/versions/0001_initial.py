"""Releases, package checks, Projects, version maps and their history."""

import sqlalchemy as sa
from alembic import op

from shared.storage.migrations import create_message_tables

revision = "0001"
down_revision = None


def upgrade() -> None:
    create_message_tables()
    _create_library()
    _create_projects()


def _create_library() -> None:
    op.create_table(
        "systems",
        sa.Column("name", sa.String, primary_key=True),
        sa.Column("revision", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "releases",
        sa.Column("system", sa.String, primary_key=True),
        sa.Column("version", sa.String, primary_key=True),
        sa.Column("published", sa.JSON, nullable=False),
        sa.Column("withdrawal", sa.JSON),
        sa.Column("defaults", sa.JSON, nullable=False),
        sa.Column("defines", sa.JSON, nullable=False),
        sa.Column("changelog", sa.String, nullable=False),
        sa.Column("migration_notes", sa.String, nullable=False),
    )
    op.create_table(
        "package_checks",
        sa.Column("id", sa.BigInteger, sa.Identity(), primary_key=True),
        sa.Column("source", sa.String, nullable=False),
        sa.Column("message_id", sa.String, nullable=False),
        sa.Column("system", sa.String, nullable=False),
        sa.Column("command", sa.JSON, nullable=False),
        sa.Column("cause", sa.JSON, nullable=False),
        sa.Column("state", sa.String, nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("due_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("verdict", sa.JSON),
        sa.UniqueConstraint("source", "message_id"),
    )
    op.create_index(
        "package_checks_queued", "package_checks", ["id"], postgresql_where=sa.text("state = 'queued'")
    )


def _create_projects() -> None:
    op.create_table(
        "projects",
        sa.Column("id", sa.String, primary_key=True),
        sa.Column("registered", sa.JSON, nullable=False),
    )
    op.create_table(
        "version_maps",
        sa.Column("project", sa.String, sa.ForeignKey("projects.id"), primary_key=True),
        sa.Column("event_type", sa.String, nullable=False),
        sa.Column("event", sa.JSON, nullable=False),
        sa.Column("fence", sa.BigInteger, nullable=False),
        sa.Column("holder", sa.String),
    )
    op.create_table(
        "version_map_history",
        sa.Column("project", sa.String, sa.ForeignKey("projects.id"), primary_key=True),
        sa.Column("revision", sa.BigInteger, primary_key=True),
        sa.Column("event_type", sa.String, nullable=False),
        sa.Column("event", sa.JSON, nullable=False),
        sa.Column("happened_at", sa.DateTime(timezone=True), nullable=False),
    )

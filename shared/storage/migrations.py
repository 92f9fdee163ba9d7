"""Schema histories: every service's own, run by Alembic before the service starts."""

import asyncio
import threading
from pathlib import Path

import sqlalchemy as sa
from alembic import command, context, op
from alembic.config import Config
from alembic.script import ScriptDirectory

from shared.storage.audit import APPEND_ONLY
from shared.storage.connections import plain_engine

_SERVICES = Path(__file__).resolve().parents[2] / "services"
_LOCK = 4_711_001
# Alembic keeps what it works on in its modules, so within one process it is one at a time.
_ALEMBIC = threading.Lock()


def migrate(service: str, url: str) -> None:
    """Bring the database of `service` to its newest schema. Blocks; safe to call by several at once."""
    config = _config(service)
    config.attributes["url"] = url
    with _ALEMBIC:
        command.upgrade(config, "head")


def head(service: str) -> str | None:
    """The revision that a database of `service` has once everything is applied."""
    return ScriptDirectory.from_config(_config(service)).get_current_head()


def _config(service: str) -> Config:
    config = Config()
    config.set_main_option("script_location", str(_SERVICES / service / "migrations"))
    return config


async def migrate_async(service: str, url: str) -> None:
    """`migrate`, away from the event loop."""
    await asyncio.to_thread(migrate, service, url)


def run_environment() -> None:
    """What every service's `migrations/env.py` does."""
    asyncio.run(_run(context.config.attributes["url"]))


async def _run(url: str) -> None:
    engine = plain_engine(url)
    try:
        async with engine.connect() as connection:
            await connection.run_sync(_upgrade)
            await connection.commit()
    finally:
        await engine.dispose()


def _upgrade(connection: sa.Connection) -> None:
    context.configure(connection=connection)
    with context.begin_transaction():
        connection.execute(sa.text(f"select pg_advisory_xact_lock({_LOCK})"))
        context.run_migrations()


def create_message_tables() -> None:
    """The first step of every service's first migration."""
    op.create_table(
        "inbox",
        sa.Column("source", sa.String, primary_key=True),
        sa.Column("id", sa.String, primary_key=True),
        sa.Column("digest", sa.String, nullable=False),
        sa.Column("verdict", sa.JSON, nullable=False),
        sa.Column("handled_at", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now()),
    )
    op.create_table(
        "outbox",
        sa.Column("id", sa.BigInteger, sa.Identity(), primary_key=True),
        sa.Column("topic", sa.String, nullable=False),
        sa.Column("key", sa.LargeBinary),
        sa.Column("body", sa.LargeBinary),
        sa.Column("headers", sa.JSON, nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now()),
    )


def let_commits_be_sent_from_memory() -> None:
    """The outbox knows which of its rows a relay has in memory, and keeps bodies as they are.

    Compressing a body costs more than writing it, and it is deleted within the second.
    """
    op.add_column("outbox", sa.Column("epoch", sa.BigInteger, nullable=False, server_default="0"))
    op.create_index("ix_outbox_epoch", "outbox", ["epoch"])
    op.execute("create sequence outbox_epochs")
    op.execute("alter table outbox alter column body set storage external")
    op.execute("alter table outbox set (toast_tuple_target = 8160)")


def create_audit_tables() -> None:
    """Notes that wait to be sealed, and the log, which takes new entries and nothing else."""
    op.create_table(
        "audit_waiting",
        sa.Column("id", sa.BigInteger, sa.Identity(always=True), primary_key=True),
        sa.Column("noted_at", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now()),
        sa.Column("note", sa.JSON, nullable=False),
    )
    op.create_table(
        "audit",
        sa.Column("seq", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("hash", sa.String, nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("who", sa.String),
        sa.Column("project", sa.String),
        sa.Column("refused", sa.Boolean, nullable=False),
        sa.Column("waiting", sa.BigInteger, unique=True),
        sa.Column("entry", sa.JSON, nullable=False),
        sa.Column("head", sa.JSON),
    )
    op.create_index("audit_by_project", "audit", ["project", "seq"])
    op.create_index("audit_by_who", "audit", ["who", "seq"])
    for statement in APPEND_ONLY:
        op.execute(statement)


def create_job_tables() -> None:
    """What a worker's first migration creates besides."""
    op.create_table(
        "jobs",
        sa.Column("run_id", sa.String, primary_key=True),
        sa.Column("fence", sa.BigInteger, primary_key=True),
        sa.Column("project_id", sa.String, nullable=False, index=True),
        sa.Column("stage", sa.String, nullable=False),
        sa.Column("attempt", sa.Integer, nullable=False),
        sa.Column("state", sa.String, nullable=False),
        sa.Column("generation", sa.BigInteger, nullable=False),
        sa.Column("command", sa.JSON, nullable=False),
        sa.Column("cause", sa.JSON, nullable=False),
        sa.Column("result", sa.JSON),
        sa.Column("worker", sa.String),
        sa.Column("lease_until", sa.DateTime(timezone=True)),
        sa.Column("accepted_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True)),
        sa.UniqueConstraint("run_id", "stage", "attempt"),
    )
    op.create_index(
        "open_jobs",
        "jobs",
        ["accepted_at", "fence"],
        postgresql_where=sa.text("state in ('queued', 'leased')"),
    )
    op.create_table(
        "effects",
        sa.Column("id", sa.BigInteger, sa.Identity(), primary_key=True),
        sa.Column("run_id", sa.String, nullable=False, index=True),
        sa.Column("stage", sa.String, nullable=False),
        sa.Column("attempt", sa.Integer, nullable=False),
        sa.Column("fence", sa.BigInteger, nullable=False),
        sa.Column("generation", sa.BigInteger, nullable=False),
        sa.Column("name", sa.String, nullable=False),
        sa.Column("production", sa.Boolean, nullable=False),
        sa.Column("detail", sa.String, nullable=False),
        sa.Column("intended_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("done_at", sa.DateTime(timezone=True)),
    )

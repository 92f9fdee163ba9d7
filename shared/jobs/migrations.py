"""How the workers' tables have changed since their first migration."""

import sqlalchemy as sa
from alembic import op


def let_the_job_be_its_inbox() -> None:
    """A command's digest lies beside its job; what is asked of a whole batch has its index."""
    op.add_column("jobs", sa.Column("digest", sa.String))
    op.drop_index("ix_jobs_project_id", "jobs")
    op.create_index(
        "unsettled_jobs",
        "jobs",
        ["project_id"],
        postgresql_where=sa.text("state in ('queued', 'leased') or lease_until is not null"),
    )
    op.create_index(
        "writing_jobs", "jobs", ["project_id", "fence"], postgresql_where=sa.text("stage <> 'review'")
    )
    op.create_index(
        "one_open_write",
        "jobs",
        ["project_id"],
        unique=True,
        postgresql_where=sa.text("state in ('queued', 'leased') and stage <> 'review'"),
    )
    op.create_index(
        "one_open_job",
        "jobs",
        ["run_id"],
        unique=True,
        postgresql_where=sa.text("state in ('queued', 'leased')"),
    )
    # Until now a job that was done kept its lease's end, which now means that somebody is at work.
    op.execute("update jobs set lease_until = null where state = 'finished'")


def keep_commands_as_they_are() -> None:
    """A command is read once, and seldom: compressing it costs more than it saves."""
    op.execute("alter table jobs alter column command set storage external")

"""The workers' tables: jobs with their leases, and the effect journal."""

from datetime import datetime
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    Column,
    DateTime,
    Identity,
    Index,
    MetaData,
    UniqueConstraint,
    text,
)
from sqlmodel import Field, SQLModel

JOB_TABLES = MetaData()


class JobRow(SQLModel, table=True):
    """One attempt of one stage. `state`: queued, leased, finished or cancelled.

    The row is its command's inbox too: `digest` is the sha256 of the body that was accepted,
    none if that was before digests were kept.
    While `lease_until` is set somebody may be at work: a cancelled job's worker clears it once the work has
    stopped, and until it has passed nothing that excludes the job begins.
    """

    __tablename__ = "jobs"
    __table_args__ = (
        UniqueConstraint("run_id", "stage", "attempt"),
        Index("open_jobs", "accepted_at", "fence", postgresql_where=text("state in ('queued', 'leased')")),
        Index(
            "unsettled_jobs",
            "project_id",
            postgresql_where=text("state in ('queued', 'leased') or lease_until is not null"),
        ),
        # What excludes each other is never open together, whoever accepts it at the same moment.
        Index(
            "one_open_write",
            "project_id",
            unique=True,
            postgresql_where=text("state in ('queued', 'leased') and stage <> 'review'"),
        ),
        Index(
            "one_open_job",
            "run_id",
            unique=True,
            postgresql_where=text("state in ('queued', 'leased')"),
        ),
        Index("writing_jobs", "project_id", "fence", postgresql_where=text("stage <> 'review'")),
    )
    metadata = JOB_TABLES

    run_id: str = Field(primary_key=True)
    fence: int = Field(sa_column=Column(BigInteger, primary_key=True, autoincrement=False))
    project_id: str
    stage: str
    attempt: int
    state: str
    generation: int = Field(sa_column=Column(BigInteger, nullable=False))
    digest: str | None = None
    command: dict[str, Any] = Field(sa_column=Column(JSON, nullable=False))
    cause: dict[str, Any] = Field(sa_column=Column(JSON, nullable=False))
    result: dict[str, Any] | None = Field(default=None, sa_column=Column(JSON(none_as_null=True)))
    worker: str | None = None
    lease_until: datetime | None = Field(default=None, sa_column=Column(DateTime(timezone=True)))
    accepted_at: datetime = Field(sa_column=Column(DateTime(timezone=True), nullable=False))
    started_at: datetime | None = Field(default=None, sa_column=Column(DateTime(timezone=True)))


class EffectRow(SQLModel, table=True):
    """One effect on the world: intended, and perhaps done."""

    __tablename__ = "effects"
    metadata = JOB_TABLES

    id: int | None = Field(default=None, sa_column=Column(BigInteger, Identity(), primary_key=True))
    run_id: str = Field(index=True)
    stage: str
    attempt: int
    fence: int = Field(sa_column=Column(BigInteger, nullable=False))
    generation: int = Field(sa_column=Column(BigInteger, nullable=False))
    name: str
    production: bool
    detail: str
    intended_at: datetime = Field(sa_column=Column(DateTime(timezone=True), nullable=False))
    done_at: datetime | None = Field(default=None, sa_column=Column(DateTime(timezone=True)))

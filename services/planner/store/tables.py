"""The planner's tables."""

from datetime import datetime
from typing import Any

from sqlalchemy import JSON, BigInteger, Column, DateTime, Index, MetaData, text
from sqlmodel import Field, SQLModel

PLANNER_TABLES = MetaData()


class ReleaseRow(SQLModel, table=True):
    """A release as the registry last told it."""

    __tablename__ = "releases"
    metadata = PLANNER_TABLES

    system: str = Field(primary_key=True)
    version: str = Field(primary_key=True)
    revision: int = Field(sa_column=Column(BigInteger, nullable=False))
    release: dict[str, Any] = Field(sa_column=Column(JSON, nullable=False))


class ReleaseBookRow(SQLModel, table=True):
    """One row: how often any release has changed."""

    __tablename__ = "release_book"
    metadata = PLANNER_TABLES

    id: int = Field(default=1, primary_key=True)
    revision: int = Field(sa_column=Column(BigInteger, nullable=False))


class ProjectRow(SQLModel, table=True):
    """A Project as the registry last told it, and the fence, which is the planner's own.

    `version` grows with every change of the Project or of any of its Runs: who writes compares it.
    """

    __tablename__ = "projects"
    metadata = PLANNER_TABLES

    id: str = Field(primary_key=True)
    project: dict[str, Any] | None = Field(default=None, sa_column=Column(JSON))
    revision: int = Field(default=0, sa_column=Column(BigInteger, nullable=False))
    version_map: dict[str, Any] | None = Field(default=None, sa_column=Column(JSON))
    map_revision: int = Field(default=0, sa_column=Column(BigInteger, nullable=False))
    fence: int = Field(default=0, sa_column=Column(BigInteger, nullable=False))
    version: int = Field(default=1, sa_column=Column(BigInteger, nullable=False, server_default="1"))


class RunRow(SQLModel, table=True):
    """A Run: what it was opened with, its plan, and the last event, which holds everything else.

    `look_at` is when its timer is looked at: never after it comes, and often before.
    """

    __tablename__ = "runs"
    __table_args__ = (
        Index("runs_of_a_project", "project", "requested_at"),
        Index("runs_by_time", "requested_at", "id"),
        Index("runs_by_plan", "plan"),
        Index("runs_with_a_timer", "look_at", postgresql_where=text("look_at is not null")),
        Index("runs_that_await_thaw", "id", postgresql_where=text("awaits_thaw")),
        # One started Run per Project at a time, whatever the code believes.
        Index("one_started_run", "project", unique=True, postgresql_where=text("started and not ended")),
    )
    metadata = PLANNER_TABLES

    id: str = Field(primary_key=True)
    project: str
    status: str
    started: bool
    ended: bool
    revision: int = Field(sa_column=Column(BigInteger, nullable=False))
    plan: str | None = None
    look_at: datetime | None = Field(default=None, sa_column=Column(DateTime(timezone=True)))
    awaits_thaw: bool = False
    requested_at: datetime = Field(sa_column=Column(DateTime(timezone=True), nullable=False))
    told: str = Field(description="the body of its last `RunChanged`")
    origin: str = Field(description="`RunOrigin` as JSON")
    plan_document: str | None = Field(default=None, description="`Plan` as JSON")


class FleetRow(SQLModel, table=True):
    """What concerns every Project: one row at most, while deploys are frozen or were once."""

    __tablename__ = "fleet"
    metadata = PLANNER_TABLES

    id: str = Field(primary_key=True)
    state: dict[str, Any] = Field(sa_column=Column(JSON, nullable=False))

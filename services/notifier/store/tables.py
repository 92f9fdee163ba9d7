"""The notifier's tables."""

from typing import Any

from sqlalchemy import JSON, BigInteger, Column, Identity, Index, MetaData, text
from sqlmodel import Field, SQLModel

TABLES = MetaData()


class KnownReleaseRow(SQLModel, table=True):
    """A Release as the release events told it."""

    __tablename__ = "known_releases"
    metadata = TABLES

    system: str = Field(primary_key=True)
    version: str = Field(primary_key=True)
    release: dict[str, Any] = Field(sa_column=Column(JSON, nullable=False))


class ProjectInboxRow(SQLModel, table=True):
    """A Project's inbox: how often it has changed, and which revision of the version map it has seen."""

    __tablename__ = "inboxes"
    metadata = TABLES

    project: str = Field(primary_key=True)
    revision: int = Field(sa_column=Column(BigInteger, nullable=False))
    map_revision: int = Field(sa_column=Column(BigInteger, nullable=False))


class PinRow(SQLModel, table=True):
    """What a Project pins of one System."""

    __tablename__ = "pins"
    metadata = TABLES
    __table_args__ = (
        # Who is affected by a release is read from this index alone.
        Index("pins_by_version", "system", "version", "project"),
    )

    project: str = Field(primary_key=True)
    system: str = Field(primary_key=True)
    version: str


class NotificationRow(SQLModel, table=True):
    """The last state of a notification; at most one is open for a Project and a System."""

    __tablename__ = "notifications"
    metadata = TABLES
    __table_args__ = (
        Index(
            "notifications_open", "project", "system", unique=True, postgresql_where=text("state = 'open'")
        ),
    )

    project: str = Field(primary_key=True)
    system: str = Field(primary_key=True)
    version: str = Field(primary_key=True)
    state: str
    revision: int = Field(sa_column=Column(BigInteger, nullable=False))
    notification: dict[str, Any] = Field(sa_column=Column(JSON, nullable=False))


class FanoutRow(SQLModel, table=True):
    """A Release event of which not everybody has been told yet: those after `after_…` have not."""

    __tablename__ = "fanouts"
    metadata = TABLES

    id: int | None = Field(
        default=None, sa_column=Column(BigInteger, Identity(always=True), primary_key=True)
    )
    system: str
    versions: list[str] = Field(sa_column=Column(JSON, nullable=False))
    cause: dict[str, Any] = Field(sa_column=Column(JSON, nullable=False))
    after_version: str
    after_project: str

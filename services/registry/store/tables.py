"""The registry's tables. Documents are the messages as they were sent."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import JSON, BigInteger, Column, DateTime, ForeignKey, Identity, Index, MetaData, String, text
from sqlalchemy import UniqueConstraint as Unique
from sqlmodel import Field, SQLModel

from shared.contracts.releases import Release, ReleasePublished, ReleaseWithdrawn
from shared.contracts.version_maps import VersionMapHeld, VersionMapRecorded, VersionMapReleased
from shared.storage.pruning import older

TABLES = MetaData()
MAP_EVENTS: Mapping[str, type[VersionMapRecorded] | type[VersionMapHeld] | type[VersionMapReleased]] = {
    model.__name__: model for model in (VersionMapRecorded, VersionMapHeld, VersionMapReleased)
}


def _moment() -> Any:
    return Field(sa_column=Column(DateTime(timezone=True), nullable=False))


def _document() -> Any:
    return Field(sa_column=Column(JSON, nullable=False))


class SystemRow(SQLModel, table=True):
    """A System; each of its release events raises the revision."""

    __tablename__ = "systems"
    metadata = TABLES

    name: str = Field(primary_key=True)
    revision: int = Field(sa_column=Column(BigInteger, nullable=False))


class ReleaseRow(SQLModel, table=True):
    """One Release with its events, and what the gate holds later ones to."""

    __tablename__ = "releases"
    metadata = TABLES

    system: str = Field(primary_key=True)
    version: str = Field(primary_key=True)
    published: dict[str, Any] = _document()
    withdrawal: dict[str, Any] | None = Field(default=None, sa_column=Column(JSON(none_as_null=True)))
    defaults: dict[str, str] = _document()
    defines: list[str] = _document()
    changelog: str
    migration_notes: str

    def release(self) -> Release:
        """As it stands now: with the reason, once it is withdrawn."""
        if self.withdrawal is not None:
            return ReleaseWithdrawn.model_validate(self.withdrawal).release
        return ReleasePublished.model_validate(self.published).release


class PackageCheckRow(SQLModel, table=True):
    """A PublishRelease whose package is to be checked. `state`: queued or finished."""

    __tablename__ = "package_checks"
    metadata = TABLES
    __table_args__ = (
        Unique("source", "message_id"),
        Index("package_checks_queued", "id", postgresql_where=text("state = 'queued'")),
    )

    id: int | None = Field(default=None, sa_column=Column(BigInteger, Identity(), primary_key=True))
    source: str
    message_id: str
    system: str
    command: dict[str, Any] = _document()
    cause: dict[str, Any] = _document()
    state: str
    attempts: int
    due_at: datetime = _moment()
    verdict: dict[str, Any] | None = Field(default=None, sa_column=Column(JSON(none_as_null=True)))


class ReadingRow(SQLModel, table=True):
    """Tries to read a package that have not ended well, written down before they begin."""

    __tablename__ = "readings"
    metadata = TABLES

    digest: str = Field(primary_key=True)
    actor: str = Field(primary_key=True)
    tries: int
    file: str
    begun_at: datetime = _moment()


CHECKS = older("package_checks", "due_at", "state = 'finished'")
"""Checks that were answered; the command again is answered by the Release, or is checked again."""


class ProjectRow(SQLModel, table=True):
    """A registered Project, as its last event says."""

    __tablename__ = "projects"
    metadata = TABLES

    id: str = Field(primary_key=True)
    registered: dict[str, Any] = _document()
    repository: str | None = Field(default=None, sa_column=Column(String, unique=True))
    """The repository's identity; none for what two Projects had before repositories belonged to one."""


class ProposalRow(SQLModel, table=True):
    """A change of a registration that waits for approvers' words. One whose base has changed is void."""

    __tablename__ = "proposals"
    metadata = TABLES

    project: str = Field(primary_key=True)
    proposal: dict[str, Any] = _document()


class VersionMapRow(SQLModel, table=True):
    """Where a Project's version map stands."""

    __tablename__ = "version_maps"
    metadata = TABLES

    project: str = Field(sa_column=Column(ForeignKey("projects.id"), primary_key=True))
    event_type: str
    event: dict[str, Any] = _document()
    fence: int = Field(sa_column=Column(BigInteger, nullable=False))
    holder: str | None = None


class VersionMapHistoryRow(SQLModel, table=True):
    """Every event of every version map."""

    __tablename__ = "version_map_history"
    metadata = TABLES

    project: str = Field(sa_column=Column(ForeignKey("projects.id"), primary_key=True))
    revision: int = Field(sa_column=Column(BigInteger, primary_key=True))
    event_type: str
    event: dict[str, Any] = _document()
    happened_at: datetime = _moment()

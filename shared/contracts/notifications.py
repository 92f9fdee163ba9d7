"""Notifications: what a Project is told about a Release that concerns it."""

from typing import ClassVar, Literal

from pydantic import Field

from shared.contracts.topics import NOTIFICATION_EVENTS, Topic
from shared.contracts.values import Contract, Message, ProjectId, SystemName, Timestamp, Version

ChangeType = Literal["patch", "minor", "major"]


class Notification(Contract):
    """The five facts (version, pinned, change, what changed, migration) and where it stands."""

    project: ProjectId
    system: SystemName
    version: Version
    pinned: Version
    change: ChangeType
    what_changed: tuple[str, ...] = Field(
        description="`version: summary` of every version after the pinned one, newest first"
    )
    migration_required: bool
    required: bool = False
    breaking: tuple[str, ...] = ()
    signed: bool = Field(default=False, description="the Library's signature is on the package")
    supersedes: tuple[Version, ...] = Field(
        default=(), description="earlier notifications that this one replaces"
    )
    state: Literal["open", "superseded", "adopted", "withdrawn"] = "open"
    reason: str | None = None
    notified_at: Timestamp


class _NotificationEvent(Message):
    topic: ClassVar[Topic] = NOTIFICATION_EVENTS
    notification: Notification
    revision: int = Field(ge=1, description="of the Project's inbox")

    def key(self) -> str:
        return self.notification.project

    def identity(self) -> str:
        return f"{self.notification.project}/{self.revision}"


class NotificationReady(_NotificationEvent):
    """A Project has something new to consider. Nothing happens until its maintainer asks for a plan."""


class NotificationClosed(_NotificationEvent):
    """A notification is of no more use: its state says why."""

"""Releases: what the Systems Library publishes, and what the registry says of it."""

from typing import ClassVar, Literal

from pydantic import Field

from shared.contracts.topics import RELEASE_COMMANDS, RELEASE_EVENTS, Topic
from shared.contracts.values import Command, Contract, Digest, Message, SystemName, Timestamp, Version


class PackageMigration(Contract):
    """One migration of a package, by its folder's name."""

    name: str
    checksum: Digest
    reversible: bool = Field(description="the package has a down.sql for it")
    contracting: bool = Field(description="runs only after the new code is live")


class ReleaseSignature(Contract):
    """That the Library signed a package, and that the registry saw the signature in time."""

    envelope: Digest = Field(description="the Library's DSSE envelope, in the content store")
    kid: str = Field(max_length=200, description="the Library's key that proved it")
    signed_at: Timestamp = Field(description="by the signer's own clock")
    receipt: Digest = Field(description="the registry's DSSE envelope: it saw the other one at that time")


class Release(Contract):
    """One published version of a System."""

    system: SystemName
    version: Version
    package: Digest
    summary: str
    required: bool = False
    breaking: tuple[str, ...] = ()
    requires: dict[SystemName, str] = Field(default={})
    migrations: tuple[PackageMigration, ...] = Field(default=(), description="the whole history, in order")
    published_at: Timestamp
    published_by: str
    withdrawn: str | None = Field(default=None, description="the reason, once it is withdrawn")
    signature: ReleaseSignature | None = Field(default=None, description="none of an unsigned one")


class PublishRelease(Command):
    """Publish the package that lies in the content store under `package`."""

    topic: ClassVar[Topic] = RELEASE_COMMANDS
    answers: ClassVar[Topic] = RELEASE_EVENTS
    system: SystemName
    version: Version
    package: Digest
    signature: Digest | None = Field(
        default=None,
        description="the Library's DSSE envelope, in the content store; without it the package is unsigned",
    )

    def key(self) -> str:
        return self.system


class WithdrawRelease(Command):
    """Take a Release out of what is offered; it stays readable."""

    topic: ClassVar[Topic] = RELEASE_COMMANDS
    answers: ClassVar[Topic] = RELEASE_EVENTS
    system: SystemName
    version: Version
    reason: str = Field(min_length=1, max_length=2000)

    def key(self) -> str:
        return self.system


class _ReleaseEvent(Message):
    topic: ClassVar[Topic] = RELEASE_EVENTS
    release: Release
    revision: int = Field(ge=1, description="of the System: raised by each of its release events")

    def key(self) -> str:
        return self.release.system

    def identity(self) -> str:
        return f"{self.release.system}/{self.revision}"


class ReleasePublished(_ReleaseEvent):
    """A Release is out. Every affected Project is told."""

    change: Literal["patch", "minor", "major", "first"] = Field(
        description="against the newest version published before"
    )


class ReleaseWithdrawn(_ReleaseEvent):
    """A Release is no longer offered; the reason is in it."""

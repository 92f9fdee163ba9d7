"""Version maps: which version of each System a Project pins. Only the planner writes the commands."""

from typing import ClassVar

from pydantic import Field

from shared.contracts.policies import Agreement
from shared.contracts.topics import VERSION_MAP_COMMANDS, VERSION_MAP_EVENTS, Topic
from shared.contracts.values import (
    Command,
    Contract,
    Message,
    ProjectId,
    RunId,
    SentBy,
    SystemName,
    Timestamp,
    Version,
)

Pins = dict[SystemName, Version]


class VersionMap(Contract):
    """A Project's pins; `held_by` names the Run that alone may change them now."""

    project: ProjectId
    pins: Pins
    revision: int = Field(ge=1)
    held_by: RunId | None = None
    run_id: RunId | None = Field(default=None, description="the Run that recorded these pins")
    recorded_at: Timestamp


class _VersionMapCommand(Command):
    sent_by: ClassVar[SentBy] = "service"
    topic: ClassVar[Topic] = VERSION_MAP_COMMANDS
    answers: ClassVar[Topic] = VERSION_MAP_EVENTS
    project: ProjectId
    run_id: RunId
    fence: int = Field(ge=1, description="the planner's, growing per Project: older commands are refused")

    def key(self) -> str:
        return self.project

    def identity(self) -> str:
        return f"{self.run_id}/{self.fence}"


class HoldVersionMap(_VersionMapCommand):
    """Hold the map for a Run, if its pins are still the ones the Run was planned on."""

    expected_pins: Pins
    agreement: Agreement | None = Field(
        default=None,
        description="for a deploy: the registry holds the map only while this satisfies the present policy",
        exclude_if=lambda agreement: agreement is None,
    )


class RecordVersionMap(_VersionMapCommand):
    """Write the pins of the Run that holds the map, and let go."""

    pins: Pins


class ReleaseVersionMap(_VersionMapCommand):
    """Let go without a change, after a proven rollback."""


class _VersionMapEvent(Message):
    topic: ClassVar[Topic] = VERSION_MAP_EVENTS
    version_map: VersionMap
    fence: int = Field(
        default=0, description="of the command that caused it", exclude_if=lambda fence: not fence
    )

    def key(self) -> str:
        return self.version_map.project

    def identity(self) -> str:
        return f"{self.version_map.project}/{self.version_map.revision}"


class VersionMapRecorded(_VersionMapEvent):
    """The pins are these now, and nobody holds the map."""


class VersionMapHeld(_VersionMapEvent):
    """A Run holds the map from now on."""


class VersionMapReleased(_VersionMapEvent):
    """The Run let go; the pins stayed."""

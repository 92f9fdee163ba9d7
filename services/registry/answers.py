"""The documents that the registry's HTTP door takes and answers with."""

from typing import Literal

from pydantic import BaseModel, Field, JsonValue

from services.registry.domain.gate import Change
from shared.contracts.policies import Word
from shared.contracts.projects import Project
from shared.contracts.refusals import Refusal
from shared.contracts.registrations import Proposal
from shared.contracts.releases import Release
from shared.contracts.values import Digest, SystemName, Timestamp, Version
from shared.contracts.version_maps import Pins, VersionMap
from shared.messaging.inbox import Verdict


class Stored(BaseModel):
    """Where uploaded bytes are found."""

    digest: Digest


class Publication(BaseModel):
    """Which package to publish as what; upload it first."""

    system: SystemName
    version: Version
    package: Digest
    signature: Digest | None = Field(
        default=None, description="the Library's envelope about it; upload that first, too"
    )


class BeingChecked(BaseModel):
    """No verdict yet."""

    state: Literal["being-checked"] = "being-checked"
    idempotency_key: str
    cure: str = "send the same request again with this Idempotency-Key: it waits for the same verdict"


class SigningAnswer(BaseModel):
    """The signature that came with the package, and whether the gate takes it so."""

    found: Literal["signed", "unsigned", "not proven"]
    accepted: bool
    said: str


class GateAnswer(BaseModel):
    """What a publish would be told; System and version are null if the package cannot be read."""

    system: SystemName | None
    version: Version | None
    change: Change | None
    refusals: tuple[Refusal, ...]
    advice: tuple[Refusal, ...] = ()
    """In the words of refusals, but none of them stops a publish."""
    signing: SigningAnswer | None = None


def advised(verdict: Verdict) -> JsonValue:
    """The answer of a publish, with advice beside it. Who does not ask for that gets the event alone."""
    assert isinstance(verdict.answer, dict), "a publish is answered by its event"
    return {**verdict.answer, "advice": [each.model_dump(mode="json") for each in verdict.advice]}


class Withdrawal(BaseModel):
    """Why a Release is withdrawn."""

    reason: str = Field(min_length=1, max_length=2000)


class ReleasePage(BaseModel):
    """A Release, and what its package says of its version."""

    release: Release
    changelog: str
    migration_notes: str


class Registration(BaseModel):
    """A Project and its first pins; with `propose`, a change that approvers shall confirm."""

    project: Project
    pins: Pins = Field(min_length=1)
    propose: bool = False


class Confirmation(BaseModel):
    """Which proposed change is confirmed."""

    change: Digest


class ProjectListed(BaseModel):
    """A Project and what it pins."""

    project: Project
    version_map: VersionMap


class ProjectState(ProjectListed):
    """A Project, what it pins, how often its registration has changed, by whom last, and what waits."""

    revision: int
    changed_by: tuple[Word, ...] = ()
    policy_digest: Digest
    proposal: Proposal | None = None


class VersionMapChange(BaseModel):
    """One event of a version map, and the map after it."""

    event: Literal["VersionMapRecorded", "VersionMapHeld", "VersionMapReleased"]
    happened_at: Timestamp
    version_map: VersionMap

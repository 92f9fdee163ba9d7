"""The documents that the services' HTTP doors answer with, as far as they are not messages themselves."""

from datetime import datetime
from typing import Literal

from pydantic import Field

from shared.contracts.notifications import ChangeType
from shared.contracts.policies import Rules, Word
from shared.contracts.projects import Project
from shared.contracts.refusals import Refusal
from shared.contracts.registrations import Proposal
from shared.contracts.releases import Release
from shared.contracts.runs import Plan, RunView
from shared.contracts.values import Contract, Digest, ProjectId, SystemName, Version
from shared.contracts.version_maps import VersionMap


class StoredContent(Contract):
    """POST /registry/content"""

    digest: Digest


class SigningAnswer(Contract):
    """The signature that came with a package, and whether the gate takes it so."""

    found: Literal["signed", "unsigned", "not proven"]
    accepted: bool
    said: str


class GateAnswer(Contract):
    """POST /registry/releases/check: what a publish of these bytes would be told."""

    system: SystemName | None = None
    version: Version | None = None
    change: Literal["patch", "minor", "major", "first"] | None = None
    refusals: tuple[Refusal, ...] = ()
    advice: tuple[Refusal, ...] = ()
    signing: SigningAnswer | None = None


class PublishAnswer(Contract):
    """POST /registry/releases: the event, and what its publisher should know."""

    release: Release
    change: Literal["patch", "minor", "major", "first"]
    advice: tuple[Refusal, ...] = ()


class ReleaseAnswer(Contract):
    """GET /registry/releases/{system}/{version}"""

    release: Release
    changelog: str = ""
    migration_notes: str = ""


class ProjectAnswer(Contract):
    """GET /registry/projects/{id}, and one row of GET /registry/projects"""

    project: Project
    version_map: VersionMap | None = None
    revision: int | None = None
    changed_by: tuple[Word, ...] = ()
    policy_digest: Digest | None = None
    proposal: Proposal | None = None


class OutdatedRow(Contract):
    """One row of GET /notifier/outdated."""

    project: ProjectId
    system: SystemName
    pinned: Version
    newest: Version
    change: ChangeType
    migration_required: bool
    required: bool = False
    behind: int = Field(ge=0, description="versions between the pinned and the newest one, it included")
    signed: bool = True


class EffectAnswer(Contract):
    """One effect of a Run; under way while `done_at` is none."""

    stage: str
    attempt: int
    name: str
    detail: str
    done_at: datetime | None


class ReportAnswer(Contract):
    """GET /executor/runs/{id}, as far as it is shown."""

    effects: tuple[EffectAnswer, ...]


class RunAnswer(Contract):
    """GET /planner/runs/{id}"""

    run: RunView
    revision: int


class PlanAnswer(Contract):
    """GET /planner/runs/{id}/plan"""

    plan: Plan
    digest: Digest
    rules: Rules | None = None

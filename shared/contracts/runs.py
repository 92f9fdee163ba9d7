"""Runs: what a maintainer may ask of one, and what everybody may know of it."""

from operator import not_
from typing import ClassVar, Literal

from pydantic import Field

from shared.contracts.facts import (
    CheckResult,
    ConfigChange,
    FileChange,
    PlannedMigration,
    Proof,
    Review,
    RuleImpact,
    StagingCopy,
    Step,
    VersionNotes,
)
from shared.contracts.impact import WayDownMark
from shared.contracts.notifications import ChangeType
from shared.contracts.policies import Rules
from shared.contracts.run_state import RunOrigin, RunWork
from shared.contracts.run_words import Approval, BlockedBy, Resumption
from shared.contracts.stages import Begun, Finding
from shared.contracts.tasks import Move
from shared.contracts.topics import RUN_COMMANDS, RUN_EVENTS, Topic
from shared.contracts.values import (
    Command,
    Commit,
    Contract,
    Digest,
    Message,
    ProjectId,
    RunId,
    StageName,
    SystemName,
    Timestamp,
    Version,
)
from shared.contracts.version_maps import Pins


class _RunCommand(Command):
    topic: ClassVar[Topic] = RUN_COMMANDS
    answers: ClassVar[Topic] = RUN_EVENTS
    project: ProjectId

    def key(self) -> str:
        return self.project


class RequestPlan(_RunCommand):
    """Open a Run: what would it take to move, add and remove these Systems? Null means the newest."""

    systems: dict[SystemName, Version | None] = Field(description="that the Project pins")
    add: dict[SystemName, Version | None] = Field(
        default={}, description="that the Project does not pin yet", exclude_if=not_
    )
    remove: tuple[SystemName, ...] = Field(default=(), exclude_if=not_)


class _OnRun(_RunCommand):
    run_id: RunId


class StartRun(_OnRun):
    """Opt in: carry out exactly this plan, up to the approval."""

    plan: Digest


class AcceptMasks(_OnRun):
    """An approver's word: copies of this Run may mask less than before, as exactly this plan says."""

    plan: Digest
    remark: str = Field(default="", max_length=2000)


class ContinueRun(_OnRun):
    """A fix was pushed to the upgrade branch: prove that commit from `apply` on."""

    copy_again: bool = Field(
        default=False, description="copy production's rows to staging anew", exclude_if=not_
    )


class RetryStage(_OnRun):
    """Try the stage that waits once more, with nothing changed."""


class SignOff(_OnRun):
    """Answer a sign-off check."""

    check: str
    accepted: bool = True
    remark: str = Field(default="", max_length=2000)


class ApproveCandidate(_OnRun):
    """Deploy exactly this candidate to production."""

    candidate: Digest
    remark: str = Field(default="", max_length=2000)


class RejectCandidate(_OnRun):
    """Do not deploy: roll the Run back."""

    reason: str = Field(min_length=1, max_length=2000)


class CancelRun(_OnRun):
    """Stop before production is written; staging and branch are taken away."""

    reason: str = Field(min_length=1, max_length=2000)


class ResumeRun(_OnRun):
    """An SRE's word: go on with a stuck Run, from this stage or an earlier one, behind a new fence."""

    from_stage: StageName | None = Field(default=None, description="none: the stage at which it stands")
    reason: str = Field(min_length=1, max_length=2000)


class RollBackRun(_OnRun):
    """Bring everything back to what it was before the Run."""

    reason: str = Field(min_length=1, max_length=2000)
    restore_backup: bool = Field(default=False, description="consent to losing writes made since the backup")


# --- the plan ------------------------------------------------------------------------------------


class PlannedUpgrade(Move):
    """One System of a plan. `signed` and `from_signed` are there only where nobody proves a package."""

    signed: bool = Field(default=True, exclude_if=bool)
    from_signed: bool = Field(default=True, exclude_if=bool)
    change: ChangeType | Literal["added", "removed"]
    summary: str
    notes: tuple[VersionNotes, ...]


class Plan(Contract):
    """What would change, in what order, at what risk, how it is undone. Its digest is its name."""

    run_id: RunId
    project: ProjectId
    base: Commit
    production_schema: Digest
    pins_before: Pins
    pins_after: Pins
    upgrades: tuple[PlannedUpgrade, ...]
    review: Review
    rules: tuple[RuleImpact, ...]
    files: tuple[FileChange, ...]
    config: tuple[ConfigChange, ...]
    migrations: tuple[PlannedMigration, ...]
    reversibility: WayDownMark
    irreversible: tuple[str, ...] = Field(default=(), description="migrations with no way down")
    risk: Literal["low", "medium", "high"]
    risks: tuple[str, ...]
    diff: Digest
    left_alone: tuple[str, ...] = Field(
        default=(),
        description="what in production's database is its hosting's, as no file of the Project names it",
        exclude_if=lambda left: not left,
    )
    masks: Digest | None = Field(
        default=None, description="the mask rules that its start accepts", exclude_if=lambda masks: not masks
    )
    weaker: tuple[str, ...] = Field(
        default=(),
        description="in what production's rows would be masked less than before",
        exclude_if=lambda lines: not lines,
    )


class PlanReady(Message):
    """A plan can be read; `run start` with its digest opts in."""

    topic: ClassVar[Topic] = RUN_EVENTS
    plan: Plan
    digest: Digest

    @property
    def run_id(self) -> str:
        return self.plan.run_id

    def key(self) -> str:
        return self.plan.project

    def identity(self) -> str:
        return f"{self.plan.run_id}/{self.digest}"


# --- the run -------------------------------------------------------------------------------------


class StageRecord(Contract):
    """One stage of a Run, as far as it got."""

    stage: StageName
    attempt: int
    status: Literal["running", "waiting-for-retry", "succeeded", "failed", "errored", "cancelled"]
    started_at: Timestamp
    begun: Begun | None = Field(
        default=None, description="once a worker has said so: of long stages only", exclude_if=not_
    )
    finished_at: Timestamp | None = None
    detail: str = ""
    findings: tuple[Finding, ...] = ()
    results: tuple[CheckResult, ...] = ()
    steps: tuple[Step, ...] = ()


RunStatus = Literal[
    "planning", "planned", "running", "waiting", "rolling-back", "succeeded", "rolled-back", "cancelled"
]


class RunView(Contract):
    """A Run as everybody may see it."""

    id: RunId
    project: ProjectId
    status: RunStatus
    stage: StageName
    attempt: int
    fence: int
    systems: dict[SystemName, Version]
    removed: tuple[SystemName, ...] = Field(default=(), exclude_if=not_)
    pins_before: Pins
    plan: Digest | None = None
    candidate: Digest | None = None
    branch: str | None = None
    commit: Commit | None = None
    address: str | None = Field(default=None, description="of the staging app, while it is up")
    staging_copy: StagingCopy | None = Field(
        default=None, description="of production's rows, that staging works on", exclude_if=not_
    )
    deployed_commit: Commit | None = None
    blocked_by: BlockedBy | None = None
    stages: tuple[StageRecord, ...] = ()
    sign_offs: tuple[Approval, ...] = ()
    approval: Approval | None = Field(
        default=None, description="the word that completed the approvals: the candidate may be deployed"
    )
    approvals: tuple[Approval, ...] = Field(
        default=(), description="every word for the candidate that counts", exclude_if=not_
    )
    masks_accepted: Approval | None = Field(
        default=None, description="the word by which its copies may mask less than before", exclude_if=not_
    )
    rules: Rules | None = Field(
        default=None,
        description="the Project's policy with which it began, made stricter where it has become so",
        exclude_if=not_,
    )
    asked_by: tuple[str, ...] = Field(
        default=(), description="who asked for it, started it, and had it go on", exclude_if=not_
    )
    unsigned: tuple[str, ...] = Field(
        default=(),
        description="packages that no signature of the Library proves: `<system> <version>`, pinned or new",
        exclude_if=not_,
    )
    proof: tuple[Proof, ...] = ()
    resumptions: tuple[Resumption, ...] = Field(default=(), exclude_if=not_)
    reason: str | None = Field(default=None, description="why it was cancelled or rolled back")
    requested_by: str
    requested_at: Timestamp
    ended_at: Timestamp | None = None


class RunChanged(Message):
    """A Run is in another state than before: with the first of them and the plan, this is all of it."""

    topic: ClassVar[Topic] = RUN_EVENTS
    run: RunView
    revision: int = Field(ge=1, description="of the Run")
    work: RunWork | None = Field(default=None, description="what the planner keeps besides")
    origin: RunOrigin | None = Field(default=None, description="with revision 1 alone", exclude_if=not_)

    @property
    def run_id(self) -> str:
        return self.run.id

    def key(self) -> str:
        return self.run.project

    def identity(self) -> str:
        return f"{self.run.id}/{self.revision}"

"""Stage commands and results: what a worker is told, and what it found out or did."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field, JsonValue

from shared.contracts.projects import Check, Project
from shared.contracts.topics import EXECUTOR_COMMANDS, STAGE_RESULTS, VALIDATOR_COMMANDS, Topic
from shared.contracts.values import (
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


class Upgrade(Contract):
    """One System's way from its pinned package to the new one, in the order of the plan."""

    system: SystemName
    from_version: Version
    to_version: Version
    from_package: Digest
    to_package: Digest


class InstalledMigration(Contract):
    """One new migration, as it stands in the Project's `prisma/migrations`."""

    system: SystemName
    name: str = Field(description="the package's folder name")
    folder: str = Field(description="the Project's folder name: stamped after its last migration")
    checksum: Digest
    reversible: bool
    contracting: bool


# --- what each stage is told ---------------------------------------------------------------------


class ReviewTask(Contract):
    """Read the repository, both packages of each System and production's schema; change nothing."""

    stage: Literal["review"] = "review"
    upgrades: tuple[Upgrade, ...] = Field(min_length=1)
    pins: Pins


class PrepareTask(Contract):
    """Make the upgrade branch at `base` and a staging database with masked data."""

    stage: Literal["prepare"] = "prepare"
    branch: str
    base: Commit = Field(description="production's head that the plan was made on")


class ApplyTask(Contract):
    """Merge the new packages three-way; or, after a fix was pushed, take the branch as it is."""

    stage: Literal["apply"] = "apply"
    branch: str
    upgrades: tuple[Upgrade, ...]
    again: bool = Field(description="the branch carries an earlier try, and perhaps a maintainer's fix")
    merged_base: Commit = Field(description="production's head that the branch contains")


class MigrateTask(Contract):
    """Install the migrations on the branch, apply them to staging's database, start staging's app."""

    stage: Literal["migrate"] = "migrate"
    branch: str
    commit: Commit
    migrations: tuple[InstalledMigration, ...]
    upgrades: tuple[Upgrade, ...]


class ChecksTask(Contract):
    """Run the Project's checks of one stage against staging."""

    stage: Literal["validate", "check-workflows"]
    commit: Commit
    address: str | None = Field(description="of the started staging app")
    checks: dict[str, Check]


class DeployTask(Contract):
    """Bring the approved candidate to production; everything named here must still be so."""

    stage: Literal["deploy"] = "deploy"
    branch: str
    candidate: Digest
    base: Commit = Field(description="production's head that the candidate contains")
    commit: Commit
    tree: Commit
    production_schema: Digest
    migrations: tuple[InstalledMigration, ...]
    packages: tuple[Digest, ...]
    pins: Pins = Field(description="the version map after the deploy")
    title: str = Field(description="the merge commit's subject")
    approved_by: str


class RecordTask(Contract):
    """The version map is recorded: take staging and the branch away, keep the commits."""

    stage: Literal["record"] = "record"
    branch: str
    commit: Commit


class RollBackTask(Contract):
    """Bring code, pins, configuration and schema back to what they were before the Run, and prove it."""

    stage: Literal["roll-back"] = "roll-back"
    branch: str | None
    base: Commit | None = Field(description="production's head before the Run; none if it was never read")
    pins_before: Pins
    production_schema: Digest | None = Field(description="before the Run")
    commit: Commit | None = None
    deploy_began: bool
    migrations: tuple[InstalledMigration, ...] = ()
    backup: Digest | None = None
    restore_backup: bool = Field(default=False, description="the maintainer consents to losing later writes")
    reason: str


Task = Annotated[
    ReviewTask | PrepareTask | ApplyTask | MigrateTask | ChecksTask | DeployTask | RecordTask | RollBackTask,
    Field(discriminator="stage"),
]


class _StageCommand(Message):
    run_id: RunId
    project_id: ProjectId
    attempt: int = Field(ge=1)
    fence: int = Field(ge=1, description="grows with every stage command of a Project")
    deadline_s: float = Field(gt=0)
    project: Project
    task: Task

    def key(self) -> str:
        return self.project_id

    def identity(self) -> str:
        return f"{self.run_id}/{self.fence}"


class RunExecutorStage(_StageCommand):
    """A stage for the executor."""

    topic: ClassVar[Topic] = EXECUTOR_COMMANDS


class RunValidatorStage(_StageCommand):
    """A stage for the validator; it carries no name of a production secret that it could resolve."""

    topic: ClassVar[Topic] = VALIDATOR_COMMANDS


class _CancelStage(Message):
    run_id: RunId
    project_id: ProjectId
    stage: StageName
    attempt: int
    fence: int

    def key(self) -> str:
        return self.project_id

    def identity(self) -> str:
        return f"{self.run_id}/{self.fence}"


class CancelExecutorStage(_CancelStage):
    """Stop that attempt; its result is of no more interest."""

    topic: ClassVar[Topic] = EXECUTOR_COMMANDS


class CancelValidatorStage(_CancelStage):
    """Stop that attempt; its result is of no more interest."""

    topic: ClassVar[Topic] = VALIDATOR_COMMANDS


# --- what each stage brings back -----------------------------------------------------------------


class VersionNotes(Contract):
    """What a package says of one version."""

    version: Version
    changelog: str
    migration_notes: str = ""


class FileChange(Contract):
    """One file of the Project that the upgrade would touch."""

    path: str
    change: Literal["added", "changed", "deleted"]
    partner_edited: bool = False
    conflict: bool = False


class ConfigChange(Contract):
    """One key of `config/<system>.toml`: what is there, what the package wants, what will stand."""

    system: SystemName
    key: str
    before: JsonValue = None
    default: JsonValue = None
    after: JsonValue = None
    kept: bool = Field(default=False, description="the Project set it itself, so it stays")


class PlannedMigration(InstalledMigration):
    """A migration with its text, as the plan shows it."""

    sql: str
    down_sql: str | None = None


class RuleImpact(Contract):
    """A workflow rule of the partner that depends on something that changes."""

    rule: str
    depends_on: tuple[str, ...]


class ReviewFacts(Contract):
    """What the plan is made from."""

    stage: Literal["review"] = "review"
    head: Commit
    production_schema: Digest
    notes: dict[SystemName, tuple[VersionNotes, ...]] = Field(
        description="after the pinned version, newest first"
    )
    files: tuple[FileChange, ...]
    config: tuple[ConfigChange, ...]
    migrations: tuple[PlannedMigration, ...]
    rules: tuple[RuleImpact, ...]
    diff: Digest = Field(description="the whole change as a unified diff, in the content store")


class PrepareFacts(Contract):
    """The branch and the staging database are there."""

    stage: Literal["prepare"] = "prepare"
    commit: Commit
    database: str = Field(description="the staging database's name")
    rows: dict[str, int] = Field(description="rows copied, per table")
    masked_columns: int


class ApplyFacts(Contract):
    """The merge is on the branch."""

    stage: Literal["apply"] = "apply"
    commit: Commit
    tree: Commit
    base: Commit = Field(description="production's head that this commit contains")
    files: tuple[FileChange, ...]


class AppliedMigration(Contract):
    """A migration that ran."""

    folder: str
    checksum: Digest
    duration_ms: int


class MigrateFacts(Contract):
    """Staging runs the candidate."""

    stage: Literal["migrate"] = "migrate"
    commit: Commit
    tree: Commit
    migrations: tuple[AppliedMigration, ...]
    staging_schema: Digest
    production_schema: Digest = Field(description="seen at the same time")
    address: str | None


class CheckResult(Contract):
    """One check's verdict."""

    name: str
    kind: str
    verdict: Literal["passed", "failed", "needs-sign-off"]
    detail: str
    duration_ms: int
    log: Digest | None = None


class ChecksFacts(Contract):
    """Every check passed, or needs only a person's word."""

    stage: Literal["validate", "check-workflows"]
    commit: Commit
    results: tuple[CheckResult, ...]


class Step(Contract):
    """One thing that was done to production, in order."""

    name: str
    detail: str
    duration_ms: int


class DeployFacts(Contract):
    """Production runs the candidate."""

    stage: Literal["deploy"] = "deploy"
    commit: Commit = Field(description="the merge commit on the production branch")
    production_schema: Digest
    backup: Digest | None
    address: str | None
    steps: tuple[Step, ...]


class RecordFacts(Contract):
    """Nothing of staging is left."""

    stage: Literal["record"] = "record"
    removed: tuple[str, ...]


class Proof(Contract):
    """One thing that a rollback restored or left alone, before the Run and now."""

    what: str
    before: str
    now: str
    same: bool


class RollBackFacts(Contract):
    """Everything is as before the Run."""

    stage: Literal["roll-back"] = "roll-back"
    proof: tuple[Proof, ...]
    steps: tuple[Step, ...]


Facts = Annotated[
    ReviewFacts
    | PrepareFacts
    | ApplyFacts
    | MigrateFacts
    | ChecksFacts
    | DeployFacts
    | RecordFacts
    | RollBackFacts,
    Field(discriminator="stage"),
]


class Finding(Contract):
    """One reason why a stage failed."""

    kind: Literal[
        "conflict", "check", "drift", "migration", "package", "project-file", "environment", "data-loss"
    ]
    subject: str = Field(description="a path, a check's name, a migration…")
    detail: str
    cure: str


class Succeeded(Contract):
    """The work was done, and the answer is yes."""

    kind: Literal["succeeded"] = "succeeded"
    facts: Facts


class Failed(Contract):
    """The work was done, and the answer is no. Never retried by itself."""

    kind: Literal["failed"] = "failed"
    reason: str
    findings: tuple[Finding, ...] = ()
    results: tuple[CheckResult, ...] = ()
    touched_production: bool = Field(default=False, description="something in production was written")
    backup: Digest | None = None


class Errored(Contract):
    """It could not be found out. Retried with backoff, then parked."""

    kind: Literal["errored"] = "errored"
    reason: str
    touched_production: bool = False
    backup: Digest | None = None


Outcome = Annotated[Succeeded | Failed | Errored, Field(discriminator="kind")]


class StageFinished(Message):
    """A worker's answer to one stage command."""

    topic: ClassVar[Topic] = STAGE_RESULTS
    run_id: RunId
    project_id: ProjectId
    stage: StageName
    attempt: int
    fence: int
    outcome: Outcome
    worker: str
    started_at: Timestamp
    finished_at: Timestamp

    def key(self) -> str:
        return self.project_id

    def identity(self) -> str:
        return f"{self.run_id}/{self.fence}"

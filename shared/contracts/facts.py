"""What a worker brings back from a stage that succeeded."""

from operator import not_
from typing import Annotated, Literal

from pydantic import Field, JsonValue

from shared.contracts.impact import MigrationImpact, WayDown
from shared.contracts.tasks import InstalledMigration
from shared.contracts.values import Commit, Contract, Digest, SystemName, Timestamp, Version


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
    dispute: str = Field(
        default="",
        description="what the conflict is about: whose two sides say what, line by line",
        exclude_if=lambda dispute: not dispute,
    )


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
    impact: MigrationImpact | None = Field(default=None, exclude_if=lambda impact: impact is None)
    way_down: WayDown | None = Field(default=None, exclude_if=lambda way: way is None)


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
    left_alone: tuple[str, ...] = Field(
        default=(),
        description="what in production's database is its hosting's, as no file of the Project names it",
        exclude_if=lambda left: not left,
    )
    differs: tuple[str, ...] = Field(
        default=(),
        description="in what production's schema is not what the Project's migrations make",
        exclude_if=lambda lines: not lines,
    )
    masks: Digest | None = Field(
        default=None,
        description="by which rules the rows would be masked, in the content store; none with a seed file",
        exclude_if=lambda masks: masks is None,
    )
    weaker: tuple[str, ...] = Field(
        default=(),
        description="in what production's rows would be masked less than before",
        exclude_if=lambda lines: not lines,
    )


class StagingCopy(Contract):
    """Production's rows as staging has them: a copy, which is older with every hour."""

    database: str = Field(description="in which it lies, on staging's server")
    made_at: Timestamp = Field(description="the moment of production that it shows")


class PrepareFacts(Contract):
    """The branch and the staging database are there."""

    stage: Literal["prepare"] = "prepare"
    commit: Commit
    database: str = Field(description="the staging database's name")
    rows: dict[str, int] = Field(description="rows copied, per table")
    masked_columns: int
    copied: StagingCopy | None = Field(
        default=None, description="none of a seed file", exclude_if=lambda copied: copied is None
    )


class ApplyFacts(Contract):
    """The merge is on the branch."""

    stage: Literal["apply"] = "apply"
    commit: Commit
    tree: Commit
    base: Commit = Field(description="production's head that this commit contains")
    files: tuple[FileChange, ...]


class Step(Contract):
    """One thing that was done, in order."""

    name: str
    detail: str
    duration_ms: int


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
    steps: tuple[Step, ...] = Field(
        default=(),
        description="how long each took, and the way down as tried",
        exclude_if=lambda steps: not steps,
    )
    copied: StagingCopy | None = Field(
        default=None, description="the copy that it ran over", exclude_if=lambda copied: copied is None
    )
    refuted: tuple[str, ...] = Field(
        default=(),
        description="what was foretold to fail over the copy's rows, and passed",
        exclude_if=lambda refuted: not refuted,
    )
    backup_tried: bool = Field(
        default=False,
        description="a backup of production is being tried meanwhile; `prove-backup` says how it went",
        exclude_if=not_,
    )


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

    stage: Literal["validate", "check-workflows", "prove-backup"]
    commit: Commit
    results: tuple[CheckResult, ...]


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


class Answer(Contract):
    """The answer to one of the four review questions, and why."""

    answer: str
    because: tuple[str, ...] = ()


class Review(Contract):
    """The four review questions."""

    breaking: Answer
    workflow_rules: Answer
    more_tests_or_approvals: Answer
    required: Answer

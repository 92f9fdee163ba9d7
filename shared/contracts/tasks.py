"""What a worker is told, stage by stage: everything that it needs."""

from collections.abc import Iterable
from operator import not_
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from shared.contracts.candidates import ApprovedCandidate
from shared.contracts.projects import Check
from shared.contracts.releases import ReleaseSignature
from shared.contracts.values import (
    Commit,
    Contract,
    Digest,
    SystemName,
    Timestamp,
    Version,
)
from shared.contracts.version_maps import Pins


class Move(Contract):
    """One System's way from its pinned package to the new one.

    It comes from nothing if the Run adds the System, and leads to nothing if the Run removes it.
    """

    system: SystemName
    from_version: Version | None = Field(
        default=None,
        description="none of a System that is added",
        exclude_if=lambda version: version is None,
    )
    to_version: Version | None = Field(
        default=None,
        description="none of a System that is removed",
        exclude_if=lambda version: version is None,
    )
    from_package: Digest | None = Field(
        default=None,
        description="none of a System that is added",
        exclude_if=lambda package: package is None,
    )
    to_package: Digest | None = Field(
        default=None,
        description="none of a System that is removed",
        exclude_if=lambda package: package is None,
    )

    @model_validator(mode="after")
    def _has_two_whole_ends(self) -> Self:
        if (self.from_version is None) is not (self.from_package is None):
            raise ValueError("from_version and from_package come together")
        if (self.to_version is None) is not (self.to_package is None):
            raise ValueError("to_version and to_package come together")
        if self.from_version is None and self.to_version is None:
            raise ValueError("a move has a version to come from or one to go to")
        return self


class Upgrade(Move):
    """A move as a worker is told of it, in the order of the plan, and who signed the packages."""

    from_signature: ReleaseSignature | None = Field(
        default=None,
        description="none of an unsigned package",
        exclude_if=lambda signature: signature is None,
    )
    to_signature: ReleaseSignature | None = Field(
        default=None,
        description="none of an unsigned package",
        exclude_if=lambda signature: signature is None,
    )


def new_packages(moves: Iterable[Move]) -> tuple[Digest, ...]:
    """The packages that these moves bring in."""
    return tuple(move.to_package for move in moves if move.to_package is not None)


class InstalledMigration(Contract):
    """One new migration, as it stands in the Project's `prisma/migrations`."""

    system: SystemName
    name: str = Field(description="the package's folder name")
    folder: str = Field(description="the Project's folder name: stamped after its last migration")
    checksum: Digest
    reversible: bool
    contracting: bool
    generated_down: str | None = Field(
        default=None,
        description="the way down that we made, where the package has none",
        exclude_if=lambda text: text is None,
    )


class ReviewTask(Contract):
    """Read the repository, both packages of each System and production's schema; change nothing."""

    stage: Literal["review"] = "review"
    upgrades: tuple[Upgrade, ...] = Field(min_length=1)
    pins: Pins
    masks: Digest | None = Field(
        default=None,
        description="the mask rules that were accepted last, to compare with",
        exclude_if=lambda masks: masks is None,
    )


class PrepareTask(Contract):
    """Make the upgrade branch at `base` and a staging database with masked data."""

    stage: Literal["prepare"] = "prepare"
    branch: str
    base: Commit = Field(description="production's head that the plan was made on")
    masks: Digest | None = Field(
        default=None,
        description="the mask rules that were accepted with the Run's start: no copy masks less",
        exclude_if=lambda masks: masks is None,
    )


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
    copy_again: bool = Field(
        default=False, description="copy production's rows anew first", exclude_if=lambda again: not again
    )
    masks: Digest | None = Field(
        default=None,
        description="the mask rules that were accepted with the Run's start: no copy masks less",
        exclude_if=lambda masks: masks is None,
    )


class ChecksTask(Contract):
    """Run the Project's checks of one stage against staging."""

    stage: Literal["validate", "check-workflows"]
    commit: Commit
    address: str | None = Field(description="of the started staging app")
    checks: dict[str, Check]


class ProveBackupTask(Contract):
    """Say whether a backup of production has come back, in a scratch database on its server."""

    stage: Literal["prove-backup"] = "prove-backup"
    commit: Commit = Field(description="what the candidate is")


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
    upgrades: tuple[Upgrade, ...] = Field(
        default=(), description="whose packages these are, and who signed them", exclude_if=not_
    )
    pins: Pins = Field(description="the version map after the deploy")
    title: str = Field(description="the merge commit's subject")
    approved_by: str
    refuted: tuple[str, ...] = Field(
        default=(),
        description="foretold to fail, and passed in staging: shown, and no reason to stop",
        exclude_if=lambda refuted: not refuted,
    )
    copied_at: Timestamp | None = Field(
        default=None, description="of staging's copy", exclude_if=lambda at: at is None
    )
    approval: ApprovedCandidate | None = Field(
        default=None,
        description="what the executor checks before it deploys; without it none is deployed",
        exclude_if=lambda approval: approval is None,
    )


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
    ReviewTask
    | PrepareTask
    | ApplyTask
    | MigrateTask
    | ChecksTask
    | ProveBackupTask
    | DeployTask
    | RecordTask
    | RollBackTask,
    Field(discriminator="stage"),
]

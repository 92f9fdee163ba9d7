"""The stages in their order, who works on each, and what each is told."""

from typing import Final, get_args

from services.planner.approvals import askers, rules_for, words
from services.planner.deadlines import DEADLINES_S, VALIDATED
from services.planner.plans import build_candidate
from services.planner.run import Run
from shared.contracts.candidates import ApprovedCandidate
from shared.contracts.policies import Word
from shared.contracts.stages import (
    CancelExecutorStage,
    CancelValidatorStage,
    RunExecutorStage,
    RunValidatorStage,
)
from shared.contracts.tasks import (
    ApplyTask,
    ChecksTask,
    DeployTask,
    InstalledMigration,
    MigrateTask,
    PrepareTask,
    ProveBackupTask,
    RecordTask,
    ReviewTask,
    RollBackTask,
    Task,
    new_packages,
)
from shared.contracts.topics import principal_of
from shared.contracts.values import Message, StageName

STAGES: Final[tuple[StageName, ...]] = tuple(name for name in get_args(StageName) if name != "roll-back")
"""Of the way there, in their order."""


def after(stage: StageName) -> StageName:
    """The stage that follows; there is none after `record`."""
    return STAGES[STAGES.index(stage) + 1]


def branch_name(run_id: str) -> str:
    return f"upgradepath/{run_id}"


def worker_of(run: Run, stage: StageName) -> str:
    """The principal that is told to do a stage of this Run, and whose answer counts."""
    service = "validator" if stage in VALIDATED else "executor"
    return principal_of(service, run.registration.definition.pool)


def stage_command(
    run: Run, stage: StageName, attempt: int, fence: int
) -> RunExecutorStage | RunValidatorStage:
    """The command for one attempt of a stage; it carries everything that its worker needs."""
    kind = RunValidatorStage if stage in VALIDATED else RunExecutorStage
    return kind(
        run_id=run.id,
        project_id=run.project,
        attempt=attempt,
        fence=fence,
        deadline_s=DEADLINES_S[stage],
        project=run.registration,
        task=_task(run, stage),
    )


def cancel_command(run: Run) -> Message:
    """Stops the attempt that is under way."""
    kind = CancelValidatorStage if run.stage in VALIDATED else CancelExecutorStage
    return kind(
        run_id=run.id,
        project_id=run.project,
        stage=run.stage,
        attempt=run.attempt,
        fence=run.fence,
        pool=run.registration.definition.pool,
    )


def _task(run: Run, stage: StageName) -> Task:
    match stage:
        case "review":
            return ReviewTask(upgrades=run.upgrades, pins=run.pins_before, masks=run.masks_before)
        case "prepare":
            assert run.base is not None
            return PrepareTask(branch=branch_name(run.id), base=run.base, masks=run.masks)
        case "apply":
            assert run.base is not None
            return ApplyTask(
                branch=branch_name(run.id),
                upgrades=run.upgrades,
                again=run.attempt > 1,
                merged_base=run.base,
            )
        case "migrate":
            assert run.applied is not None
            return MigrateTask(
                branch=branch_name(run.id),
                commit=run.applied.commit,
                migrations=_migrations(run),
                upgrades=run.upgrades,
                copy_again=run.copy_again,
                masks=run.masks,
            )
        case "validate" | "check-workflows":
            assert run.migrated is not None
            checks = run.registration.definition.checks
            return ChecksTask(
                stage=stage,
                commit=run.migrated.commit,
                address=run.migrated.address,
                checks=dict(checks.validate_ if stage == "validate" else checks.check_workflows),
            )
        case "prove-backup":
            assert run.migrated is not None
            return ProveBackupTask(commit=run.migrated.commit)
        case "deploy":
            return _deploy(run)
        case "record":
            assert run.migrated is not None
            return RecordTask(branch=branch_name(run.id), commit=run.migrated.commit)
        case "roll-back":
            return _roll_back(run)


def _deploy(run: Run) -> DeployTask:
    assert run.applied is not None
    assert run.migrated is not None
    assert run.candidate is not None
    assert run.approval is not None
    return DeployTask(
        branch=branch_name(run.id),
        candidate=run.candidate,
        base=run.applied.base,
        commit=run.migrated.commit,
        tree=run.migrated.tree,
        production_schema=run.migrated.production_schema,
        migrations=_migrations(run),
        refuted=run.migrated.refuted,
        copied_at=run.staging_copy.made_at if run.staging_copy else None,
        packages=new_packages(run.upgrades),
        upgrades=run.upgrades,
        pins=run.pins_after,
        title=_title(run),
        approved_by=run.approval.by,
        approval=ApprovedCandidate(
            run_id=run.id,
            project=run.project,
            candidate=build_candidate(run),
            by=run.approval.by,
            at=run.approval.at,
            subject=run.approval.subject,
            words=tuple(Word(by=word.by, at=word.at) for word in words(run)),
            asked_by=askers(run),
            rules=rules_for(run),
        ),
    )


def _title(run: Run) -> str:
    gone = [each.system for each in run.upgrades if each.to_version is None]
    moved = [each for each in run.upgrades if each.from_version is not None and each.to_version is not None]
    added = [each for each in run.upgrades if each.from_version is None]
    parts = [
        "upgrade " + ", ".join(f"{each.system} to {each.to_version}" for each in moved) if moved else "",
        "add " + ", ".join(f"{each.system} {each.to_version}" for each in added) if added else "",
        "remove " + ", ".join(gone) if gone else "",
    ]
    title = "; ".join(filter(None, parts))
    return title[:1].upper() + title[1:]


def _roll_back(run: Run) -> RollBackTask:
    return RollBackTask(
        branch=branch_name(run.id) if run.record_of("prepare") else None,
        base=run.applied.base if run.deploy_began and run.applied else run.base,
        pins_before=run.pins_before,
        production_schema=(
            run.migrated.production_schema if run.deploy_began and run.migrated else run.production_schema
        ),
        commit=run.migrated.commit if run.migrated else None,
        deploy_began=run.deploy_began,
        migrations=_migrations(run),
        backup=run.backup,
        restore_backup=run.restore_backup,
        reason=run.reason or "it failed",
    )


def _migrations(run: Run) -> tuple[InstalledMigration, ...]:
    planned = run.plan_document.migrations if run.plan_document else ()
    return tuple(migration.part(InstalledMigration) for migration in planned)

"""Values for tests of the planner: one Project, a few releases, and what workers may answer."""

import hashlib
from collections.abc import Mapping
from datetime import UTC, datetime

from shared.contracts.facts import (
    AppliedMigration,
    ApplyFacts,
    CheckResult,
    ChecksFacts,
    ConfigChange,
    DeployFacts,
    Facts,
    FileChange,
    MigrateFacts,
    PlannedMigration,
    PrepareFacts,
    Proof,
    RecordFacts,
    ReviewFacts,
    RollBackFacts,
    RuleImpact,
    Step,
    VersionNotes,
)
from shared.contracts.projects import Project
from shared.contracts.releases import PackageMigration, Release, ReleaseSignature
from shared.contracts.stages import (
    Outcome,
    RunExecutorStage,
    RunValidatorStage,
    StageBegun,
    StageFinished,
    Succeeded,
)
from shared.contracts.tasks import (
    ApplyTask,
    ChecksTask,
    DeployTask,
    MigrateTask,
    PrepareTask,
    ProveBackupTask,
    RecordTask,
    ReviewTask,
    RollBackTask,
)
from shared.contracts.values import Actor
from shared.contracts.version_maps import Pins, VersionMap

NOON = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
PROJECT = "acme-portal"
MIRA = Actor(id="mira@acme.example", role="maintainer", projects=(PROJECT,))
OTTO = Actor(id="otto@acme.example", role="maintainer", projects=(PROJECT,))
SRE = Actor(id="sam@platform.example", role="sre")
PINS: Pins = {"auth-system": "1.2.0", "notifications-system": "0.3.0", "quote-engine": "2.0.0"}
StageCommand = RunExecutorStage | RunValidatorStage


def digest(text: str) -> str:
    """The sha256 of a text: a value that looks like what it stands for."""
    return hashlib.sha256(text.encode()).hexdigest()


def commit(text: str) -> str:
    """Forty hexadecimal digits that stand for a Git object."""
    return digest(text)[:40]


def project(on_failure: str = "wait", sign_off: bool = True) -> Project:
    """Mira may approve; with `sign_off`, check-workflows asks for a person's word."""
    environment = {
        "database": "secret:acme-staging-database",
        **{verb: ["python", f"hosting/{verb}.py"] for verb in ("activate", "observe", "health", "destroy")},
        "logs": ["python", "hosting/logs.py"],
        "variables": {"APP_TITLE": "Acme", "HOSTING_ROOT": "secret:acme-hosting"},
    }
    rules: dict[str, object] = {"quote-rules": {"kind": "command", "run": ["python", "rules.py"]}}
    if sign_off:
        rules["partner-sign-off"] = {"kind": "sign-off", "question": "Does the invitation flow still read?"}
    definition = {
        "id": PROJECT,
        "name": "Acme customer portal",
        "on_failure": on_failure,
        "environments": {
            "production": {**environment, "database": "secret:acme-production-database", "branch": "main"},
            "staging": environment,
        },
        "checks": {
            "validate": {"sign-in-page": {"kind": "http", "path": "/signin", "contains": "Acme"}},
            "check-workflows": rules,
        },
    }
    return Project.model_validate(
        {
            "id": PROJECT,
            "repository": "https://git.acme.example/portal.git",
            "definition": definition,
            "approvers": [MIRA.id],
            # One person does it all, unless a test is about two.
            "policy": {"single_person": True},
        }
    )


def version_map(revision: int = 1, held_by: str | None = None, **pins: str) -> VersionMap:
    """The Project's map; `pins` are written with underscores."""
    changed = {name.replace("_", "-"): version for name, version in pins.items()}
    return VersionMap(
        project=PROJECT, pins={**PINS, **changed}, revision=revision, held_by=held_by, recorded_at=NOON
    )


def release(
    system: str,
    version: str,
    *,
    requires: Mapping[str, str] | None = None,
    breaking: tuple[str, ...] = (),
    required: bool = False,
    withdrawn: str | None = None,
) -> Release:
    """One published version, with one migration of its own."""
    return Release(
        system=system,
        version=version,
        package=digest(f"{system} {version}"),
        summary=f"What {system} {version} brings",
        required=required,
        breaking=breaking,
        requires=dict(requires or {}),
        migrations=(
            PackageMigration(
                name="20260301120000_user_status",
                checksum=digest("alter table users"),
                reversible=True,
                contracting=False,
            ),
        ),
        published_at=NOON,
        published_by="lena@library.example",
        withdrawn=withdrawn,
        signature=ReleaseSignature(
            envelope=digest(f"{system} {version} signed"),
            kid="library-2026",
            signed_at=NOON,
            receipt=digest(f"{system} {version} seen"),
        ),
    )


def releases(*more: Release) -> dict[tuple[str, str], Release]:
    """What the Project pins, newer versions of it, and `more`."""
    known = [
        release("auth-system", "1.2.0"),
        release("auth-system", "1.3.0", requires={"notifications-system": ">=0.3,<0.5"}),
        release("auth-system", "1.4.0-rc.1"),
        release("notifications-system", "0.3.0"),
        release("notifications-system", "0.4.0"),
        release("quote-engine", "2.0.0"),
    ]
    return {(one.system, one.version): one for one in (*known, *more)}


def facts(command: StageCommand) -> Facts:
    """What a worker that succeeds brings back; it depends on nothing but the command."""
    mark = f"{command.run_id} {command.fence}"
    match command.task:
        case ReviewTask() as task:
            return review_facts(*(upgrade.system for upgrade in task.upgrades))
        case PrepareTask() as task:
            return PrepareFacts(commit=task.base, database="acme_run", rows={"users": 3}, masked_columns=2)
        case ApplyTask() as task:
            files = (FileChange(path="systems/auth-system/signin.py", change="changed", partner_edited=True),)
            return ApplyFacts(
                commit=commit(f"applied {mark}"), tree=commit("tree"), base=task.merged_base, files=files
            )
        case MigrateTask() as task:
            return MigrateFacts(
                commit=commit(f"migrated {mark}"),
                tree=commit(f"tree {mark}"),
                migrations=tuple(
                    AppliedMigration(folder=one.folder, checksum=one.checksum, duration_ms=12)
                    for one in task.migrations
                ),
                staging_schema=digest("schema after"),
                production_schema=digest("schema before"),
                address="http://127.0.0.1:8123",
            )
        case ChecksTask() as task:
            results = tuple(_passed(name, check.kind) for name, check in task.checks.items())
            return ChecksFacts(stage=task.stage, commit=task.commit, results=results)
        case ProveBackupTask() as task:
            return ChecksFacts(stage=task.stage, commit=task.commit, results=(_passed("backup", "restore"),))
        case DeployTask():
            return DeployFacts(
                commit=commit(f"merged {mark}"),
                production_schema=digest("schema after"),
                backup=digest(f"backup {mark}"),
                address="http://127.0.0.1:8080",
                steps=(Step(name="backup", detail="pg_dump", duration_ms=120),),
            )
        case RecordTask() as task:
            return RecordFacts(stage="record", removed=(task.branch, "acme_run"))
        case RollBackTask():
            same = Proof(what="schema", before=digest("a"), now=digest("a"), same=True)
            return RollBackFacts(proof=(same,), steps=())


def review_facts(*systems: str, reversible: bool = True, rules: int = 1) -> ReviewFacts:
    """A review of these Systems: one migration, one edited file, one changed default, `rules` rules."""
    names = systems or ("auth-system",)
    return ReviewFacts(
        head=commit("head"),
        production_schema=digest("schema before"),
        notes={
            name: (VersionNotes(version="1.3.0", changelog=f"{name}: a status", migration_notes="none"),)
            for name in names
        },
        files=(FileChange(path=f"systems/{names[0]}/signin.py", change="changed", partner_edited=True),),
        config=(
            ConfigChange(system=names[0], key="session_minutes", before=30, default=60, after=30, kept=True),
        ),
        migrations=(
            PlannedMigration(
                system=names[0],
                name="20260301120000_user_status",
                folder=f"20260301120000_{names[0]}_user_status",
                checksum=digest("alter table users"),
                reversible=reversible,
                contracting=False,
                sql="alter table users add column status text",
                down_sql="alter table users drop column status" if reversible else None,
            ),
        ),
        rules=tuple(
            RuleImpact(rule=f"workflows/rule-{number}.toml", depends_on=(f"{names[0]}:signin.py",))
            for number in range(rules)
        ),
        diff=digest("diff"),
    )


def at_work(command: StageCommand, at: datetime, worker: str = "executor@three") -> StageBegun:
    """What a worker says of a stage that takes it long."""
    return StageBegun(
        run_id=command.run_id,
        project_id=command.project_id,
        stage=command.task.stage,
        attempt=command.attempt,
        fence=command.fence,
        generation=1,
        worker=worker,
        begun_at=at,
    )


def finished(command: StageCommand, at: datetime, outcome: Outcome | None = None) -> StageFinished:
    """A worker's answer; without an outcome it succeeded."""
    return StageFinished(
        run_id=command.run_id,
        project_id=command.project_id,
        stage=command.task.stage,
        attempt=command.attempt,
        fence=command.fence,
        outcome=outcome or Succeeded(facts=facts(command)),
        worker="worker-1",
        started_at=at,
        finished_at=at,
    )


def _passed(name: str, kind: str) -> CheckResult:
    asks = kind == "sign-off"
    return CheckResult(
        name=name,
        kind=kind,
        verdict="needs-sign-off" if asks else "passed",
        detail="a person must answer" if asks else "as expected",
        duration_ms=5,
    )

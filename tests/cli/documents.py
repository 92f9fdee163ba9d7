"""Documents as the services give them, built from the contracts, so that their shapes cannot drift."""

from datetime import UTC, datetime, timedelta

from shared.contracts.facts import (
    Answer,
    CheckResult,
    ConfigChange,
    FileChange,
    PlannedMigration,
    Proof,
    Review,
    RuleImpact,
    VersionNotes,
)
from shared.contracts.notifications import Notification
from shared.contracts.releases import PackageMigration, Release
from shared.contracts.run_words import Approval, BlockedBy
from shared.contracts.runs import (
    Plan,
    PlannedUpgrade,
    RunView,
    StageRecord,
)
from shared.contracts.stages import Finding
from shared.contracts.version_maps import VersionMap

RUN = "run-1b9d6bcd4f21"
PROJECT = "acme-portal"
NOW = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)
CANDIDATE = "c" * 64
PINS = {"auth-system": "1.2.4", "quote-engine": "0.9.1"}


def release(version: str = "1.3.0", withdrawn: str | None = None) -> Release:
    return Release(
        system="auth-system",
        version=version,
        package="a" * 64,
        summary="Users have a status",
        breaking=("sign-in needs a status",),
        requires={"notifications-system": ">=0.3,<0.4"},
        migrations=(
            PackageMigration(name="20260301_a", checksum="b" * 64, reversible=True, contracting=False),
            PackageMigration(name="20260302_b", checksum="b" * 64, reversible=False, contracting=True),
        ),
        published_at=NOW,
        published_by="lib@innopo.example",
        withdrawn=withdrawn,
    )


def notification(state: str = "open") -> Notification:
    return Notification.model_validate(
        {
            "project": PROJECT,
            "system": "auth-system",
            "version": "1.3.0",
            "pinned": "1.2.4",
            "change": "minor",
            "what_changed": ["1.3.0: Users have a status"],
            "migration_required": True,
            "state": state,
            "reason": None if state == "open" else "the map moved to 1.3.0",
            "notified_at": NOW,
        }
    )


def version_map(revision: int = 1, auth: str = "1.2.4") -> VersionMap:
    return VersionMap(
        project=PROJECT,
        pins={**PINS, "auth-system": auth},
        revision=revision,
        run_id=RUN if revision > 1 else None,
        recorded_at=NOW + timedelta(days=revision),
    )


def plan(*, reversible: bool = False) -> Plan:
    migration = PlannedMigration(
        system="auth-system",
        name="20260301120100_user_status",
        folder="20260302090000_auth-system_user_status",
        checksum="d" * 64,
        reversible=reversible,
        contracting=True,
        sql='ALTER TABLE "users" ADD COLUMN "status" TEXT;',
        down_sql='ALTER TABLE "users" DROP COLUMN "status";' if reversible else None,
    )
    return Plan(
        run_id=RUN,
        project=PROJECT,
        base="1" * 40,
        production_schema="e" * 64,
        pins_before=PINS,
        pins_after={**PINS, "auth-system": "1.3.0"},
        upgrades=(
            PlannedUpgrade(
                system="auth-system",
                from_version="1.2.4",
                to_version="1.3.0",
                from_package="a" * 64,
                to_package="b" * 64,
                change="minor",
                summary="Users have a status",
                notes=(
                    VersionNotes(version="1.3.0", changelog="Adds status.", migration_notes="Ask the users."),
                ),
            ),
        ),
        review=Review(
            breaking=Answer(answer="no", because=("nothing is listed as breaking",)),
            workflow_rules=Answer(answer="yes", because=("invite.toml depends on model.User",)),
            more_tests_or_approvals=Answer(answer="partner-sign-off"),
            required=Answer(answer="no"),
        ),
        rules=(RuleImpact(rule="workflows/invite.toml", depends_on=("auth-system:model.User",)),),
        files=(
            FileChange(path="systems/auth-system/signin.py", change="changed", partner_edited=True),
            FileChange(path="systems/auth-system/users.py", change="changed", conflict=True),
            FileChange(path="systems/auth-system/events.py", change="added"),
        ),
        config=(
            ConfigChange(
                system="auth-system", key="session_minutes", before=15, default=30, after=15, kept=True
            ),
            ConfigChange(system="auth-system", key="event_retention_days", default=90, after=90),
        ),
        migrations=(migration,),
        reversibility="reversible" if reversible else "point of no return",
        irreversible=() if reversible else (migration.folder,),
        risk="high",
        risks=("a migration has no way back",),
        diff="f" * 64,
    )


def run(status: str = "planned", stage: str = "review", **changes: object) -> RunView:
    """A Run; `changes` are fields of `RunView`."""
    document = {
        "id": RUN,
        "project": PROJECT,
        "status": status,
        "stage": stage,
        "attempt": 1,
        "fence": 1,
        "systems": {"auth-system": "1.3.0"},
        "pins_before": PINS,
        "plan": plan().content_digest(),
        "requested_by": "mira@acme.example",
        "requested_at": NOW,
        **changes,
    }
    return RunView.model_validate(document)


def record(stage: str, status: str = "succeeded", **changes: object) -> StageRecord:
    finished = None if status == "running" else NOW + timedelta(seconds=75)
    document = {
        "stage": stage,
        "attempt": 1,
        "status": status,
        "started_at": NOW,
        "finished_at": finished,
        **changes,
    }
    return StageRecord.model_validate(document)


def waiting_for_approval() -> RunView:
    checks = (
        CheckResult(name="unit-tests", kind="command", verdict="passed", detail="", duration_ms=812),
        CheckResult(
            name="partner-sign-off",
            kind="sign-off",
            verdict="needs-sign-off",
            detail="Does it read as agreed?",
            duration_ms=0,
        ),
    )
    return run(
        "waiting",
        "check-workflows",
        candidate=CANDIDATE,
        branch=f"upgradepath/{RUN}",
        commit="2" * 40,
        address="http://127.0.0.1:4711",
        stages=(record("review"), record("prepare"), record("validate", results=checks)),
        sign_offs=(Approval(by="mira@acme.example", at=NOW, subject="validate/partner-sign-off"),),
        blocked_by=BlockedBy(
            who="approver",
            what="approval of the candidate",
            cures=(f"upgradepath run approve {RUN}", f"upgradepath run reject {RUN} --reason …"),
        ),
    )


def waiting_for_a_fix() -> RunView:
    conflict = Finding(
        kind="conflict",
        subject="systems/auth-system/users.py",
        detail="<<<<<<< yours\n7: x",
        cure="resolve it",
    )
    return run(
        "waiting",
        "apply",
        stages=(record("apply", "failed", detail="1 conflict", findings=(conflict,)),),
        blocked_by=BlockedBy(
            who="maintainer",
            what="1 conflict",
            cures=(f"resolve it, then: upgradepath run continue {RUN}", f"upgradepath run continue {RUN}"),
        ),
    )


def rolled_back() -> RunView:
    proof = Proof(what="schema", before="e" * 64, now="e" * 64, same=True)
    return run(
        "rolled-back",
        "roll-back",
        proof=(proof,),
        reason="changed our mind",
        stages=(record("roll-back"),),
        ended_at=NOW,
    )

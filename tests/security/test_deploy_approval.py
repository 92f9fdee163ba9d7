"""The executor deploys only what an approver of the Project has approved, whoever sent the command.

Each case is a command that the planner's key has proven all the same: what would be wrong with the planner,
or with whoever holds its key, stops here.
"""

from __future__ import annotations

from typing import Any

import pytest

from services.executor.clients.migration_files import Migration
from services.executor.stages.approval import require_approved, require_proven_scripts
from shared.contracts.candidates import ApprovedCandidate
from shared.contracts.facts import AppliedMigration
from shared.contracts.policies import Policy, Word
from shared.contracts.tasks import DeployTask, InstalledMigration, Upgrade
from shared.deciding import rules_of
from shared.errors import Failure
from shared.jobs.job import Job
from tests.jobs.job_world import RUN, project
from tests.support.approvals import approved
from tests.support.planner_examples import NOON

FOLDER, CHECKSUM = "20260101000000_auth_sessions", "d" * 64
UPGRADE = Upgrade(
    system="auth-system",
    from_version="1.2.4",
    to_version="1.3.0",
    from_package="f" * 64,
    to_package="e" * 64,
)
WORD = Word(by="mira@acme.example", at=NOON)
OTHER_COMMIT, OTHER_DIGEST = "9" * 40, "9" * 64


def _job() -> Job:
    return Job(RUN, project(), "deploy", 1, 7, 1, 60.0, journal=None)  # type: ignore[arg-type]


def _task() -> DeployTask:
    installed = InstalledMigration(
        system="auth-system",
        name="sessions",
        folder=FOLDER,
        checksum=CHECKSUM,
        reversible=True,
        contracting=False,
    )
    task = DeployTask(
        branch=f"upgradepath/{RUN}",
        candidate=OTHER_DIGEST,
        base="1" * 40,
        commit="2" * 40,
        tree="3" * 40,
        production_schema="a" * 64,
        migrations=(installed,),
        packages=("e" * 64,),
        upgrades=(UPGRADE,),
        pins={"auth-system": "1.3.0"},
        title="Upgrade",
        approved_by=project().approvers[0],
    )
    ran = AppliedMigration(folder=FOLDER, checksum=CHECKSUM, duration_ms=1)
    return approved(task, RUN, project().id, [ran])


def _approval(task: DeployTask) -> ApprovedCandidate:
    assert task.approval is not None
    return task.approval


def test_the_approved_candidate_is_deployed() -> None:
    assert require_approved(_job(), _task()).by == project().approvers[0]


def test_without_an_approval_nothing_is_deployed() -> None:
    """A command of an earlier planner has none; a repeat of the stage brings it."""
    with pytest.raises(Failure, match="carries no approval") as refused:
        require_approved(_job(), _task().with_(approval=None))
    assert "run retry" in refused.value.outcome.findings[0].cure


@pytest.mark.parametrize(
    "changes",
    [
        {"base": OTHER_COMMIT},
        {"commit": OTHER_COMMIT},
        {"tree": OTHER_COMMIT},
        {"production_schema": OTHER_DIGEST},
        {"packages": (OTHER_DIGEST,)},
        {"upgrades": ()},
        {"upgrades": (UPGRADE.with_(to_package=OTHER_DIGEST),)},
        {"upgrades": (UPGRADE, UPGRADE)},
        {"packages": ()},
        {"migrations": ()},
        {"candidate": OTHER_DIGEST},
        {"approved_by": "mal@globex.example"},
    ],
    ids=str,
)
def test_a_task_that_names_something_else_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(Failure, match="the deploy is not approved"):
        require_approved(_job(), _task().with_(**changes))


@pytest.mark.parametrize(
    "changes",
    [
        {"by": "mal@globex.example"},
        {"run_id": "run-ffffffffffff"},
        {"project": "globex"},
        {"subject": OTHER_DIGEST},
    ],
    ids=str,
)
def test_an_approval_of_something_else_is_refused(changes: dict[str, Any]) -> None:
    task = _task()
    with pytest.raises(Failure, match="the deploy is not approved"):
        require_approved(_job(), task.with_(approval=_approval(task).with_(**changes)))


@pytest.mark.parametrize(
    "changes",
    [
        {"plan": OTHER_DIGEST},
        {"commit": OTHER_COMMIT},
        {"checks": (("validate", "answers", "needs-sign-off"),)},
        {"migrations": ((FOLDER, OTHER_DIGEST),)},
        {"packages": (OTHER_DIGEST,)},
    ],
    ids=str,
)
def test_the_digest_is_computed_here(changes: dict[str, Any]) -> None:
    """The approval names a digest; what stands beside it must have that digest."""
    task = _task()
    approval = _approval(task)
    other = approval.with_(candidate=approval.candidate.with_(**changes))
    with pytest.raises(Failure, match="the approval is for the candidate"):
        require_approved(_job(), task.with_(approval=other))


def test_what_a_check_said_no_to_is_not_deployed_even_if_approved() -> None:
    task = _task()
    approval = _approval(task)
    failed = approval.candidate.with_(checks=(("validate", "answers", "failed"),))
    digest = failed.content_digest()
    other = approval.with_(candidate=failed, subject=digest)
    with pytest.raises(Failure, match="answers is failed"):
        require_approved(_job(), task.with_(approval=other, candidate=digest))


@pytest.mark.parametrize(
    "history", [[], [Migration(FOLDER, "drop table users", OTHER_DIGEST, None)]], ids=len
)
def test_a_script_that_staging_has_not_run_is_not_deployed(history: list[Migration]) -> None:
    with pytest.raises(Failure, match="not the script that was approved"):
        require_proven_scripts(_approval(_task()), history)
    require_proven_scripts(_approval(_task()), [Migration(FOLDER, "select 1", CHECKSUM, None)])


@pytest.mark.parametrize(
    ("policy", "changes", "fault"),
    [
        ({"approvals": 2}, {}, "1 of 2 approvals"),
        ({"approvals": 2}, {"words": (WORD, WORD)}, "1 of 2 approvals"),
        ({}, {"words": (WORD, WORD.with_(by="mal@globex.example"))}, "mal@globex.example is not an approver"),
        ({}, {"asked_by": (WORD.by,)}, "asked for it"),
        ({}, {"asked_by": ()}, "does not say who asked"),
        ({"approve": ["olga@acme.example"]}, {}, "is not an approver"),
    ],
    ids=str,
)
def test_the_policy_is_counted_once_more_here(
    policy: dict[str, Any], changes: dict[str, Any], fault: str
) -> None:
    """Would catch a planner that sends one word twice, or the word of who asked."""
    job = _job()
    approvers = (*job.project.approvers, "olga@acme.example")
    job.project = job.project.model_copy(update={"policy": Policy(**policy), "approvers": approvers})
    task = _task()
    with pytest.raises(Failure, match=fault):
        require_approved(job, task.with_(approval=_approval(task).with_(**changes)))


def test_rules_that_became_stricter_count_and_weaker_ones_do_not() -> None:
    job, task = _job(), _task()
    stricter = rules_of(job.project).with_(approvals=2)
    with pytest.raises(Failure, match="1 of 2 approvals"):
        require_approved(job, task.with_(approval=_approval(task).with_(rules=stricter)))
    weaker = rules_of(job.project).with_(single_person=True)
    own = _approval(task).with_(rules=weaker, asked_by=(WORD.by,))
    with pytest.raises(Failure, match="asked for it"):
        require_approved(job, task.with_(approval=own))

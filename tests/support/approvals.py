"""A deploy task with the approval that a Run of the planner would have brought it."""

from __future__ import annotations

from collections.abc import Iterable

from shared.contracts.candidates import ApprovedCandidate, Candidate
from shared.contracts.facts import AppliedMigration
from shared.contracts.policies import Word
from shared.contracts.tasks import DeployTask
from tests.support.planner_examples import NOON


def approved(
    task: DeployTask,
    run_id: str,
    project: str,
    migrations: Iterable[AppliedMigration],
    *,
    without_backup: bool = False,
) -> DeployTask:
    """The task, approved by whom it names; `migrations` are what staging has run.

    `without_backup`: it was accepted that the backup may not come back.
    """
    accepted = (("prove-backup", "backup", "needs-sign-off"),) if without_backup else ()
    candidate = Candidate(
        plan="b" * 64,
        base=task.base,
        tree=task.tree,
        commit=task.commit,
        migrations=tuple((migration.folder, migration.checksum) for migration in migrations),
        checks=(*accepted, ("validate", "answers", "passed")),
        packages=task.packages,
        production_schema=task.production_schema,
    )
    digest = candidate.content_digest()
    approval = ApprovedCandidate(
        run_id=run_id,
        project=project,
        candidate=candidate,
        by=task.approved_by,
        at=NOON,
        subject=digest,
        words=(Word(by=task.approved_by, at=NOON),),
        asked_by=("otto@acme.example",),
    )
    return task.with_(candidate=digest, approval=approval)

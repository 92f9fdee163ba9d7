"""Approval: a deploy brings exactly what an approver of the Project has said yes to, or it does not start.

The planner has checked it before. Here it is checked once more, because here production is written.
"""

from collections.abc import Iterable, Iterator, Sequence

from services.executor.clients.migration_files import Migration
from shared.contracts.candidates import ApprovedCandidate, Candidate
from shared.contracts.stages import Finding
from shared.contracts.tasks import DeployTask, new_packages
from shared.deciding import is_among, missing_approvals, rules_of, stricter
from shared.errors import Failure
from shared.jobs.job import Job

_GOOD = frozenset({"passed", "needs-sign-off"})


def require_approved(job: Job, task: DeployTask) -> ApprovedCandidate:
    """The approval that the task carries. Raises `Failure` when it is not for exactly this deploy."""
    approved = task.approval
    if approved is None:
        raise _refused(job, ["the command carries no approval"])
    faults = list(_faults(job, task, approved))
    if faults:
        raise _refused(job, faults)
    return approved


def require_proven_scripts(approved: ApprovedCandidate, history: Sequence[Migration]) -> None:
    """Raise `Failure` when a migration's script is not the one that staging has run."""
    found = {migration.folder: migration.checksum for migration in history}
    moved = [folder for folder, checksum in approved.candidate.migrations if found.get(folder) != checksum]
    if moved:
        raise _refusal([f"{folder} is not the script that was approved" for folder in moved])


def _faults(job: Job, task: DeployTask, approved: ApprovedCandidate) -> Iterator[str]:
    candidate = approved.candidate
    yield from _unsaid(job, task, approved)
    if (approved.run_id, approved.project) != (job.run_id, job.project.id):
        yield f"the approval is for {approved.run_id} of {approved.project}"
    digest = candidate.content_digest()
    if not digest == approved.subject == task.candidate:
        yield f"the approval is for the candidate {approved.subject}, and this one is {digest}"
    yield from (f"{name} is not what was approved" for name in _differing(task, candidate))
    bad = [
        f"{stage}/{check} is {verdict}" for stage, check, verdict in candidate.checks if verdict not in _GOOD
    ]
    yield from bad


def _unsaid(job: Job, task: DeployTask, approved: ApprovedCandidate) -> Iterator[str]:
    """What of the words that the Project's policy asks for is missing, or does not count."""
    rules = rules_of(job.project)
    if approved.rules is not None:
        rules = stricter(rules, approved.rules)
    words = [word.by for word in approved.words] or [approved.by]
    for by in dict.fromkeys((approved.by, task.approved_by, *words)):
        if by not in rules.approve or by not in words:
            yield f"{by} is not an approver of {job.project.id}"
    if not rules.single_person:
        if not approved.asked_by:
            yield "the command does not say who asked for the upgrade"
        asked = (by for by in words if is_among(by, approved.asked_by))
        yield from (f"{by} asked for it, and does not count" for by in asked)
    if missing := missing_approvals(rules, words, approved.asked_by):
        yield f"it has {rules.approvals - missing} of {rules.approvals} approvals"


def _differing(task: DeployTask, candidate: Candidate) -> Iterator[str]:
    """What the task names otherwise than the candidate."""
    pairs = {
        "the base": (task.base, candidate.base),
        "the commit": (task.commit, candidate.commit),
        "the tree": (task.tree, candidate.tree),
        "production's schema": (task.production_schema, candidate.production_schema),
        "the packages": (task.packages, candidate.packages),
        "whose packages they are": (new_packages(task.upgrades), candidate.packages),
        "the migrations": (
            sorted(migration.folder for migration in task.migrations),
            sorted(folder for folder, _ in candidate.migrations),
        ),
    }
    return (name for name, (named, approved) in pairs.items() if named != approved)


def _refused(job: Job, faults: Iterable[str]) -> Failure:
    return _refusal(faults, f"; `upgradepath run retry {job.run_id}` sends the command anew")


def _refusal(faults: Iterable[str], more: str = "") -> Failure:
    findings = [
        Finding(
            kind="drift",
            subject="approval",
            detail=fault,
            cure=f"`upgradepath run continue`, and approve the new candidate{more}",
        )
        for fault in faults
    ]
    return Failure("the deploy is not approved: " + "; ".join(each.detail for each in findings), *findings)

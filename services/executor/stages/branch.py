"""The upgrade branch as it stands: whose commits it carries, what of it nobody may change, and production."""

from dataclasses import dataclass

from services.executor.stages.drift import trailer
from services.executor.stages.project_tree import RUN_TRAILER, kept_ref
from shared.clients.git import Git, Labels
from shared.contracts.stages import Finding
from shared.contracts.tasks import ApplyTask
from shared.contracts.values import Commit
from shared.errors import Failure
from shared.jobs.job import Job
from shared.project_file import PROJECT_FILE, VERSION_MAP_FILE

SYSTEM_TRAILER = "Upgradepath-System"


@dataclass(frozen=True)
class Renewed:
    """A branch's commit that contains production's head."""

    commit: Commit
    head: Commit


async def read_branch(git: Git, job: Job, task: ApplyTask) -> Commit:
    """The branch's head, which must still stand on the production that it was made from."""
    head = await git.head(task.branch)
    if head is None:
        detail = "the branch is not there any more"
    elif not await git.has(task.merged_base) or not await git.is_ancestor(task.merged_base, head):
        detail = f"at {head} it does not contain {task.merged_base}, from which it was made"
    else:
        return head
    finding = Finding(
        kind="drift",
        subject=task.branch,
        detail=detail,
        cure=f"push the branch as it was ({kept_ref(job.run_id)} has it), then: "
        f"upgradepath run continue {job.run_id}; or request a new plan",
    )
    raise Failure(f"branch {task.branch} is not what it was", finding)


async def first_start(git: Git, job: Job, task: ApplyTask, head: Commit) -> Commit | None:
    """The commit on which this Run's merges were made; none when the branch does not carry them all."""
    merges: dict[str, Commit] = {}
    for logged in await git.log(task.merged_base, head):
        system = trailer(logged.message, SYSTEM_TRAILER)
        if system is not None and trailer(logged.message, RUN_TRAILER) == job.run_id:
            merges[system] = logged.commit
    wanted = [f"{upgrade.system} {upgrade.to_version or 'removed'}" for upgrade in task.upgrades]
    if not all(name in merges for name in wanted):
        return None
    return await git.parent(merges[wanted[0]])


async def with_production(git: Git, job: Job, task: ApplyTask, commit: Commit) -> Renewed:
    """Merge production's branch in when it moved on. Raises `Failure` when it was rewritten or conflicts."""
    branch = job.project.definition.environments.production.branch
    head = await git.head(branch)
    if head is None or not await git.is_ancestor(task.merged_base, head):
        finding = Finding(
            kind="drift",
            subject=branch,
            detail=f"it is at {head or 'nothing'}, which does not contain {task.merged_base}",
            cure="request a new plan",
        )
        raise Failure(f"production's branch {branch} was rewritten", finding)
    if await git.is_ancestor(head, commit):
        return Renewed(commit, head)
    merge = await git.merge_commits(commit, head, Labels(ours=task.branch, theirs=branch))
    if merge.conflicts:
        cure = (
            f"git fetch && git switch {task.branch} && git merge origin/{branch}, resolve it, commit, push, "
            f"then: upgradepath run continue {job.run_id}"
        )
        raise Failure(
            f"production's branch {branch} moved, and conflicts with the upgrade",
            *(
                Finding(kind="conflict", subject=conflict.path, detail=conflict.hunk, cure=cure)
                for conflict in merge.conflicts
            ),
        )
    message = f"Merge {branch} into the upgrade\n\n{RUN_TRAILER}: {job.run_id}\n"
    when = max(await git.date(commit), await git.date(head))
    return Renewed(await git.commit(merge.tree, [commit, head], message, when=when), head)


async def require_untouched_files(git: Git, job: Job, branch: str, base: Commit, commit: Commit) -> None:
    """Raise `Failure` when the branch changed a file that says who we are or what is pinned."""
    cures = {
        PROJECT_FILE: "change it on production's branch and register the Project again",
        VERSION_MAP_FILE: "only a deploy changes it",
    }
    findings = [
        Finding(
            kind="project-file",
            subject=path,
            detail=f"branch {branch} has changed it",
            cure=f"git switch {branch} && git checkout {base} -- {path}, commit, push, then: "
            f"upgradepath run continue {job.run_id}; {reason}",
        )
        for path, reason in cures.items()
        if await git.show(commit, path) != await git.show(base, path)
    ]
    if findings:
        raise Failure(f"branch {branch} changes what an upgrade may not change", *findings)

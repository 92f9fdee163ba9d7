"""The commits that change the production branch: the merge of a deploy, and the revert that undoes it."""

from dataclasses import dataclass

from services.executor.clients.reading import read_in_child
from services.executor.stages.drift import trailer
from services.executor.stages.project_tree import RUN_TRAILER, kept_ref
from shared.clients.git import Git
from shared.clients.git_merge import Labels
from shared.contracts.stages import Finding
from shared.contracts.tasks import DeployTask
from shared.contracts.values import Commit
from shared.errors import Failure
from shared.jobs.job import Job
from shared.project_file import VERSION_MAP_FILE, write_version_map

DEPLOY_TRAILER = "Upgradepath-Candidate"
REVERT_TRAILER = "Upgradepath-Reverts"


async def merge_commit(git: Git, job: Job, task: DeployTask) -> Commit:
    """The candidate with its pins, merged onto `base`; the same task gives the same commit."""
    before = await git.show(task.commit, VERSION_MAP_FILE)
    pins = await read_in_child(VERSION_MAP_FILE, write_version_map, task.pins, before)
    tree = await git.tree_with(task.commit, {VERSION_MAP_FILE: pins.encode()})
    message = (
        f"{task.title}\n\nApproved-by: {task.approved_by}\n{DEPLOY_TRAILER}: {task.candidate}\n"
        f"{RUN_TRAILER}: {job.run_id}\n"
    )
    return await git.commit(tree, [task.base, task.commit], message, when=await git.date(task.commit))


@dataclass(frozen=True)
class Deployed:
    """A Run's merge on the production branch, and the revert of it, if there is one."""

    merge: Commit
    revert: Commit | None


async def find_deployed(git: Git, run_id: str, base: Commit, head: Commit | None) -> Deployed | None:
    """What the production branch tells of a Run's deploy; none when its merge is not in it."""
    merge = await git.ref(kept_ref(run_id))
    if merge is None or head is None or not await git.is_ancestor(merge, head):
        return None
    newest = next(iter(await git.log(base, merge)), None)
    if newest is None or trailer(newest.message, DEPLOY_TRAILER) is None or trailer(newest.message) != run_id:
        return None
    later = await git.log(merge, head)
    revert = next((each.commit for each in later if trailer(each.message, REVERT_TRAILER) == merge), None)
    return Deployed(merge, revert)


async def revert_commit(
    git: Git, run_id: str, base: Commit, merge: Commit, head: Commit, reason: str
) -> Commit:
    """Onto `head`: what `merge` brought taken back to `base`, what others brought kept. Raises Failure."""
    labels = Labels("production", f"before-{run_id}")
    merged = await git.merge(await git.tree(merge), await git.tree(head), await git.tree(base), labels)
    if merged.conflicts:
        raise Failure(
            "later commits on the production branch stand on the upgrade, so it cannot be reverted alone",
            *(
                Finding(
                    kind="conflict",
                    subject=conflict.path,
                    detail=conflict.hunk,
                    cure="revert or change those commits on the production branch, then run roll-back again",
                )
                for conflict in merged.conflicts
            ),
        )
    first, *_ = reason.splitlines() or [""]
    message = (
        f"Revert the upgrade of {run_id}\n\n{first}\n\n{REVERT_TRAILER}: {merge}\n{RUN_TRAILER}: {run_id}\n"
    )
    return await git.commit(merged.tree, [head], message, when=await git.date(head))

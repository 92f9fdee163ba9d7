"""Roll back: code, pins, configuration and schema as before the Run, proven line by line."""

from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

from services.executor.clients import migrations, reverting
from services.executor.clients.migration_files import Migration
from services.executor.clients.scratch_database import end_trials
from services.executor.clients.written_since import since_backup
from services.executor.stages import staging
from services.executor.stages.deploy_commit import Deployed, find_deployed, revert_commit
from services.executor.stages.drift import moved_finding
from services.executor.stages.live import LiveProduction
from services.executor.stages.project_tree import kept_ref, migrations_at, tables_at
from services.executor.stages.restore_backup import opened_backup, restore_backup
from services.executor.stages.rollback_proof import prove, unproven
from services.executor.stages.staging import production_url
from services.executor.stages.steps import Steps
from services.executor.stages.tools import Tools
from shared.clients.git import Git, Moved
from shared.contracts.facts import RollBackFacts
from shared.contracts.stages import Finding
from shared.contracts.tasks import RollBackTask
from shared.contracts.values import Commit
from shared.errors import Failure, Retry
from shared.jobs.job import Job

_RESTORE_CURE = "run roll-back --restore-backup: it brings back the backup and loses what was written since"


async def run(job: Job, task: RollBackTask, tools: Tools) -> RollBackFacts:
    """Safe to repeat. Raises Failure when a row would be lost, or when the proof does not hold."""
    git = await tools.git(job)
    steps = Steps(job, production=True)
    await tools.trials.end(job.run_id)
    if task.deploy_began:
        await _undo(job, task, tools, git, steps)
    if task.branch is not None:
        commit = task.commit or await git.head(task.branch) or task.base
        async with steps.reading("remove staging"):
            await staging.remove(job, tools, git, task.branch, commit)
    proof = await prove(job, task, tools, git)
    if task.deploy_began and (findings := unproven(proof)):
        raise Failure("rolled back, but not everything is as before the Run", *findings)
    return RollBackFacts(proof=proof, steps=steps.done)


async def _undo(job: Job, task: RollBackTask, tools: Tools, git: Git, steps: Steps) -> None:
    assert task.base is not None, "a deploy begins at a known head"
    url = production_url(job, tools)
    await end_trials(url)
    branch = job.project.definition.environments.production.branch
    deployed = await find_deployed(git, job.run_id, task.base, await git.head(branch))
    done = await migrations.applied(url)
    ours = await _migrations_of_run(job, task, git, deployed)
    lossy = [each.folder for each in ours if each.folder in done and each.down_sql is None]
    contracted = {each.folder for each in task.migrations if each.contracting}
    if (
        lossy
        and not task.restore_backup
        and (
            any(folder in contracted for folder in lossy) or await _is_well(job, tools, git, deployed, steps)
        )
    ):
        # The old code may not live with what is left, or the new code is well: so it stays up until somebody
        # decides. Where it is ill, the old code comes back first, and the schema waits.
        raise await _irreversible(task, url, lossy)
    if task.restore_backup and task.backup is None:
        raise _no_backup()

    async with AsyncExitStack() as stack:
        undone = _Schema(job, task, git, url, ours, lossy)
        if task.restore_backup:
            # Before the code is reverted: a backup that does not open must cost nothing.
            undone.file = await stack.enter_async_context(opened_backup(job, task, tools, url, ours))
        if deployed is None:
            await undone.undo(steps)
            return
        target = await _revert_code(job, task, git, deployed, steps)
        async with LiveProduction(job, tools, git, target) as production:
            await production.bring_up(steps)
            await undone.undo(steps)
            await production.must_be_healthy(steps)


async def _is_well(job: Job, tools: Tools, git: Git, deployed: Deployed | None, steps: Steps) -> bool:
    """Whether what the Run deployed is live and healthy."""
    if deployed is None or deployed.revert is not None:
        return False
    async with LiveProduction(job, tools, git, deployed.merge) as production:
        try:
            await production.must_be_healthy(steps)
            return await production.observe() == deployed.merge
        except (Failure, Retry):
            return False


async def _migrations_of_run(
    job: Job, task: RollBackTask, git: Git, deployed: Deployed | None
) -> tuple[Migration, ...]:
    """The Run's migrations with their ways back, from the commit that was deployed or was to be."""
    folders = {each.folder for each in task.migrations}
    if not folders:
        return ()
    kept = await git.ref(kept_ref(job.run_id))
    commit = deployed.merge if deployed else task.commit or kept
    if commit is None or not await git.has(commit):
        raise Retry(f"the commits of {job.run_id} are not in the repository, nor {kept_ref(job.run_id)}")
    history = await migrations_at(git, commit, job.project.definition.prisma)
    return tuple(each for each in history if each.folder in folders)


async def _revert_code(job: Job, task: RollBackTask, git: Git, deployed: Deployed, steps: Steps) -> Commit:
    """Push the revert, unless it is there; the commit to activate."""
    assert task.base is not None
    if deployed.revert is not None:
        return deployed.revert
    branch = job.project.definition.environments.production.branch
    head = await git.head(branch)
    assert head is not None, "the merge was just found below it"
    commit = await revert_commit(git, job.run_id, task.base, deployed.merge, head, task.reason)
    async with steps.step("push revert", commit):
        try:
            await git.push([(f"refs/heads/{branch}", commit, head)])
        except Moved as error:
            # Somebody pushed at this moment: the next try reverts on top of that.
            finding = await moved_finding(git, branch, head, await git.head(branch), cure="retry")
            raise Retry(finding.detail) from error
    return commit


@dataclass
class _Schema:
    """How production's schema comes to be as before the Run."""

    job: Job
    task: RollBackTask
    git: Git
    url: str
    ours: Sequence[Migration]
    lossy: Sequence[str]
    file: Path | None = None
    """The backup that is restored, unless it was before."""

    async def undo(self, steps: Steps) -> None:
        """Raises Failure when a row would be lost and nobody has consented, or when it does not work."""
        if self.task.restore_backup:
            if self.file is not None:
                await restore_backup(self.job, self.task, self.url, self.file, steps)
            return
        if self.lossy:
            raise await _irreversible(self.task, self.url, self.lossy)
        if self.ours:
            assert self.task.base is not None
            kept = await tables_at(self.git, self.task.base, self.job.project.definition.prisma)
            folders = ", ".join(each.folder for each in reversed(self.ours))
            async with steps.step("undo migrations", folders):
                await reverting.revert(self.url, self.ours, self.job.fencing_token, kept=kept)


async def _irreversible(task: RollBackTask, url: str, folders: Sequence[str]) -> Failure:
    ours = [each.folder for each in task.migrations]
    written = None if task.backup is None else await since_backup(url, task.backup, ours)
    lost = "It is not known how much was written since the backup." if written is None else written.words()
    return Failure(
        f"no way back without losing rows: {', '.join(folders)}",
        *(
            Finding(
                kind="data-loss",
                subject=folder,
                detail=f"It is applied to production, and no statements lead back. {lost}",
                cure=_RESTORE_CURE,
            )
            for folder in folders
        ),
    )


def _no_backup() -> Failure:
    return Failure(
        "there is no backup of this Run to restore",
        Finding(
            kind="data-loss",
            subject="backup",
            detail="The deploy ended before production was dumped.",
            cure="run roll-back without --restore-backup",
        ),
    )

"""Prepare: the upgrade branch at production's head, and a staging database with masked rows."""

from functools import partial

from services.executor.stages import staging
from services.executor.stages.copies import copy_in, shown
from services.executor.stages.drift import moved_finding
from services.executor.stages.masks import accepted_masks
from services.executor.stages.project_tree import kept_ref, migrations_at
from services.executor.stages.tools import Tools
from shared.clients.git import Git, Moved
from shared.contracts.facts import PrepareFacts
from shared.contracts.stages import Finding
from shared.contracts.tasks import PrepareTask
from shared.contracts.values import Commit
from shared.errors import Failure
from shared.jobs.job import Job


async def run(job: Job, task: PrepareTask, tools: Tools) -> PrepareFacts:
    """Safe to repeat: a branch that is there stays, the database is made anew."""
    git = await tools.git(job)
    production = job.project.definition.environments.production
    head = await git.head(production.branch)
    if head != task.base:
        raise Failure(
            "production's branch moved since the plan was made",
            await moved_finding(git, production.branch, task.base, head, cure="request a new plan"),
        )
    commit = await _branch(job, git, task)
    history = await migrations_at(git, task.base, job.project.definition.prisma)
    database, copied = await staging.rebuild(
        job, tools, git, task.base, history, partial(accepted_masks, tools, task.masks)
    )
    return PrepareFacts(
        commit=commit,
        database=database.name,
        rows=copied.rows,
        masked_columns=copied.masked_columns,
        copied=shown(database.name, await copy_in(database.url)),
    )


async def _branch(job: Job, git: Git, task: PrepareTask) -> Commit:
    """The branch's head: `base`, or what an earlier try of this Run has put on it."""
    branch, kept = f"refs/heads/{task.branch}", kept_ref(job.run_id)
    there = await git.refs(branch, kept)
    missing = [(ref, task.base, None) for ref in (branch, kept) if ref not in there]
    if missing:
        async with job.journal.effect("branch", f"{task.branch} at {task.base}"):
            try:
                await git.push(missing)
            except Moved as error:
                raise _occupied(task, error.found) from error
    head = await git.head(task.branch)
    if head is None or not await git.is_ancestor(task.base, head):
        raise _occupied(task, head)
    return head


def _occupied(task: PrepareTask, found: Commit | None) -> Failure:
    return Failure(
        f"the branch {task.branch} is there and does not begin at production's head",
        Finding(
            kind="drift",
            subject=task.branch,
            detail=f"It is at {found or 'nothing'} and does not contain {task.base}.",
            cure=f"delete the branch {task.branch}, then retry the stage",
        ),
    )

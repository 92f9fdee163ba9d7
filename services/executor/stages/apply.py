"""Apply: the new packages merged onto the upgrade branch; or, after a fix was pushed, the branch as it is."""

from collections.abc import Sequence

from services.executor.clients.reading import read_in_child
from services.executor.stages.agreement import require_pins, require_registered
from services.executor.stages.branch import (
    SYSTEM_TRAILER,
    first_start,
    read_branch,
    require_untouched_files,
    with_production,
)
from services.executor.stages.merging import MergedAll, file_changes, merge_all
from services.executor.stages.project_tree import RUN_TRAILER, kept_ref, require_whole
from services.executor.stages.tools import Packages, Tools
from services.executor.stages.unified_schema import SchemaFiles, require_one_schema
from shared.clients.git import Git, RefUpdate
from shared.clients.git_merge import Conflict, hunks
from shared.contracts.facts import ApplyFacts
from shared.contracts.stages import Finding
from shared.contracts.tasks import ApplyTask
from shared.contracts.values import Commit
from shared.errors import Failure
from shared.jobs.job import Job
from shared.project_file import VERSION_MAP_FILE, read_version_map


async def run(job: Job, task: ApplyTask, tools: Tools) -> ApplyFacts:
    """Safe to repeat: the same commits come out, and what the branch carries already is not merged again.

    Raises `Failure` for conflicts, with the branch carrying their markers for the maintainer to solve.
    """
    git = await tools.git(job)
    upgrades = [await tools.packages(upgrade) for upgrade in task.upgrades]
    head = await read_branch(git, job, task)
    start = await first_start(git, job, task, head)
    if start is None:
        merged = await merge_all(git, head, upgrades, job.project.definition)
        commit = await _commits(git, job, upgrades, head, merged)
        await _push(job, git, task.branch, commit, head)
        await _refuse_conflicts(job, git, task.branch, commit, merged.conflicts, by_hand=False)
    else:
        merged = await merge_all(git, start, upgrades, job.project.definition)
        untouched = head == await _commits(git, job, upgrades, start, merged)
        await _refuse_conflicts(job, git, task.branch, head, merged.conflicts, by_hand=not untouched)
        commit = head
    base = task.merged_base
    if task.again:
        commit, base = await _renewed(job, git, task, commit)
        await _push(job, git, task.branch, commit, head)
    await require_whole(git, commit)
    await require_untouched_files(git, job, task.branch, base, commit)
    cure = (
        f"git fetch && git switch {task.branch}, correct it, commit, push, then: "
        f"upgradepath run continue {job.run_id}"
    )
    prisma = job.project.definition.prisma
    await require_one_schema(SchemaFiles(git, tools, prisma), base, commit, cure=cure)
    return ApplyFacts(
        commit=commit,
        tree=await git.tree(commit),
        base=base,
        files=await file_changes(git, base, commit, upgrades, {}, prisma),
    )


async def _commits(
    git: Git, job: Job, upgrades: Sequence[Packages], start: Commit, merged: MergedAll
) -> Commit:
    """One commit per System upon `start`, dated as it, so that a redo gives the same names."""
    commit, when = start, await git.date(start)
    for packages, tree in zip(upgrades, merged.trees, strict=True):
        upgrade = packages.upgrade
        summary = packages.new.manifest.summary if upgrade.to_version else "Its tables stay."
        message = (
            f"{packages.title}\n\n{summary}\n\n"
            f"{RUN_TRAILER}: {job.run_id}\n{SYSTEM_TRAILER}: {upgrade.system} {packages.target}\n"
        )
        commit = await git.commit(tree, [commit], message, when=when)
    return commit


async def _push(job: Job, git: Git, branch: str, commit: Commit, expected: Commit) -> None:
    """Move the branch, and the ref that keeps its commits, if they are not there yet."""
    kept = kept_ref(job.run_id)
    now = await git.ref(kept)
    if (commit, commit) == (expected, now):
        return
    async with job.journal.effect("push-branch", f"{branch} to {commit}"):
        await git.push([RefUpdate(f"refs/heads/{branch}", commit, expected), RefUpdate(kept, commit, now)])


async def _refuse_conflicts(
    job: Job,
    git: Git,
    branch: str,
    head: Commit,
    conflicts: Sequence[tuple[str, Conflict]],
    *,
    by_hand: bool,
) -> None:
    """Raise `Failure` for what is not solved at `head`.

    Once somebody has worked on the branch (`by_hand`), a conflict without markers, such as a deletion
    against an edit, counts as decided by what they left there.
    """
    open_ones: dict[str, tuple[str, str]] = {}
    for system, conflict in conflicts:
        content = await git.show(head, conflict.path) or b""
        shown = hunks(content)
        if shown or not by_hand:
            open_ones[conflict.path] = (system, shown if by_hand else conflict.hunk)
    if not open_ones:
        return
    cure = (
        f"git fetch && git switch {branch}, resolve it, commit, push, then: "
        f"upgradepath run continue {job.run_id}"
    )
    raise Failure(
        f"{len(open_ones)} file{'s' if len(open_ones) > 1 else ''} of branch {branch} in conflict",
        *(
            Finding(kind="conflict", subject=path, detail=f"{system}: {shown}", cure=cure)
            for path, (system, shown) in open_ones.items()
        ),
    )


async def _renewed(job: Job, git: Git, task: ApplyTask, commit: Commit) -> tuple[Commit, Commit]:
    """The branch with whatever reached production's branch meanwhile, and production's head."""
    production = await with_production(git, job, task, commit)
    if production.head != task.merged_base:
        await require_registered(git, production.head, job.project)
        pinned = await git.show(task.merged_base, VERSION_MAP_FILE) or b""
        pins = await read_in_child(VERSION_MAP_FILE, read_version_map, pinned.decode())
        await require_pins(git, production.head, pins)
    return production.commit, production.head

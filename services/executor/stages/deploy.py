"""Deploy: bring exactly the approved candidate to production, or nothing of it."""

import time
from collections.abc import Sequence

from services.executor.clients import migrations
from services.executor.clients.backup_places import PLACE, noted_place
from services.executor.clients.migration_files import Migration
from services.executor.clients.misfits import not_permitted
from services.executor.clients.postgres import schema_digest, schema_is
from services.executor.clients.reading import read_in_child
from services.executor.clients.restore_drill import Backup, backed_up, drill, fingerprint
from services.executor.clients.scratch_database import end_trials
from services.executor.clients.written_since import keep
from services.executor.stages.approval import require_approved, require_proven_scripts
from services.executor.stages.data_impact import would_fail
from services.executor.stages.deploy_commit import merge_commit
from services.executor.stages.drift import moved_finding
from services.executor.stages.live import LiveProduction
from services.executor.stages.project_tree import kept_ref, migrations_at
from services.executor.stages.prove_backup import accepted, proven
from services.executor.stages.readiness import unready
from services.executor.stages.staging import production_url
from services.executor.stages.steps import Steps
from services.executor.stages.tools import Tools
from services.executor.stages.whose import whose_at
from shared.clients.git import Git, Moved
from shared.contracts.facts import DeployFacts
from shared.contracts.stages import Finding
from shared.contracts.tasks import DeployTask
from shared.contracts.values import Commit, Digest
from shared.errors import Failure, Retry
from shared.isolation.scratch import temporary_folder
from shared.jobs.job import Effect, Job

BACKUP = "backup"
"""The effect whose detail is a backup's digest."""
_APPROVE_AGAIN = "request a new plan, or `upgradepath run continue` and approve the new candidate"


async def run(job: Job, task: DeployTask, tools: Tools) -> DeployFacts:
    """Safe to repeat: after a crash it looks at what is there and goes on.

    Raises Failure (drift) before any write when something of the candidate has moved, and Failure for what
    says no on the way; the journal knows whether production was written by then.
    """
    approved = require_approved(job, task)
    if not await _has_written(job):
        await _require_thawed(tools)
        tools.backups.require_keys(job.project)
        for upgrade in task.upgrades:
            await tools.require_proven(upgrade)
    # One that is still under way was waited for long enough: an approver has accepted that.
    await tools.trials.end(job.run_id)
    git = await tools.git(job)
    url = production_url(job, tools)
    commit = await merge_commit(git, job, task)
    history = await migrations_at(git, task.commit, job.project.definition.prisma)
    require_proven_scripts(approved, history)
    passed = await _require_unmoved(job, git, task, tools, commit, history)

    steps = Steps(job, production=True)
    for each in passed:
        copied = f"a copy of {task.copied_at:%Y-%m-%d %H:%M} UTC" if task.copied_at else "its rows"
        async with steps.reading("foretold to fail", f"{each}; it passed on staging with {copied}"):
            pass
    job.backup = await _backup(job, tools, url, steps, may_fail=accepted(approved))
    # A dump may take long, and a trial longer: ask once more, right before the first write.
    if not await _has_written(job):
        await _require_thawed(tools)
    await _require_unmoved(job, git, task, tools, commit, history)
    # One that another executor began and lost sight of would hold its tables' locks.
    await end_trials(url)
    await _migrate(job, task, url, history, steps, contracting=False)
    await _push(job, git, task, commit, steps)
    async with LiveProduction(job, tools, git, commit) as production:
        address = await production.bring_up(steps)
        if any(each.contracting for each in task.migrations):
            await _migrate(job, task, url, history, steps, contracting=True)
            await production.must_be_healthy(steps)
    return DeployFacts(
        commit=commit,
        production_schema=await schema_digest(url, await whose_at(git, task.commit, job.project.definition)),
        backup=job.backup,
        address=address,
        steps=steps.done,
    )


async def _has_written(job: Job) -> bool:
    """True once production was written: then the deploy goes on, whatever was frozen or revoked since."""
    return any(effect.production for effect in await job.journal.of_run())


async def _require_thawed(tools: Tools) -> None:
    """Raises `Retry` while deploys are frozen."""
    freeze = await tools.freeze()
    if freeze is not None:
        raise Retry(f"deploys are frozen by {freeze.by}: {freeze.reason}")


async def _require_unmoved(
    job: Job, git: Git, task: DeployTask, tools: Tools, commit: Commit, history: Sequence[Migration]
) -> list[str]:
    """Everything that the approval names is still so; reads only.

    Returns what is foretold to fail though staging has refuted it: worth a word, and no reason to stop.
    """
    url = production_url(job, tools)
    findings = await _moved_branches(job, git, task, commit)
    findings += [
        _drift(
            f"package {digest}", "It is not in the content store any more.", "publish the same bytes again"
        )
        for digest in task.packages
        if not await tools.content.has(digest)
    ]
    ours = {each.folder for each in task.migrations}
    # Before their conditions are asked of the rows.
    refused = [
        finding
        for each in history
        if each.folder in ours
        for finding in await read_in_child(each.path, not_permitted, [each])
    ]
    if refused:
        raise Failure("a migration must not run", *findings, *refused)
    failing: dict[str, Finding] = {}
    # Once a migration of ours is in, the schema is on its way and is no longer the one that was seen.
    if not ours & set(await migrations.applied(url)):
        whose = await whose_at(git, task.commit, job.project.definition)
        if not await schema_is(url, task.production_schema, whose):
            detail = (
                f"Its digest was {task.production_schema} when the candidate was proven, now it is"
                f" {await schema_digest(url, whose)}."
            )
            findings.append(_drift("production's schema", detail, _APPROVE_AGAIN))
        else:
            # Rows change without anybody's word, so they are asked once more.
            by_folder = {each.folder: each for each in history}
            as_they_run = sorted(task.migrations, key=lambda each: each.contracting)
            failing = await would_fail(url, [by_folder[each.folder] for each in as_they_run])
    findings += await unready(url, history, ours)
    rows = [finding for key, finding in failing.items() if key not in task.refuted]
    if rows and not findings:
        where = ", ".join(dict.fromkeys(each.subject for each in rows))
        raise Failure(f"production's rows would make it fail: {where}", *rows)
    findings += rows
    if findings:
        reasons = ", ".join(dict.fromkeys(finding.subject for finding in findings))
        raise Failure(f"not what was approved any more: {reasons}", *findings)
    return [key for key in failing if key in task.refuted]


async def _moved_branches(job: Job, git: Git, task: DeployTask, commit: Commit) -> list[Finding]:
    findings: list[Finding] = []
    branch = job.project.definition.environments.production.branch
    head = await git.head(branch)
    pushed = head is not None and await git.has(commit) and await git.is_ancestor(commit, head)
    if head != task.base and not pushed:
        findings.append(await moved_finding(git, branch, task.base, head, cure=_APPROVE_AGAIN))
    upgrade = await git.head(task.branch)
    if upgrade != task.commit:
        findings.append(await moved_finding(git, task.branch, task.commit, upgrade, cure=_APPROVE_AGAIN))
    if await git.tree(task.commit) != task.tree:
        detail = f"{task.commit} does not hold the tree {task.tree} that was proven."
        findings.append(_drift(task.branch, detail, _APPROVE_AGAIN))
    return findings


async def _backup(job: Job, tools: Tools, url: str, steps: Steps, *, may_fail: bool) -> Digest:
    """The digest of the dump in the content store.

    A repeated deploy that has written already must keep what it had: a new dump would hold our changes.
    """
    effects = await job.journal.of_run()
    earlier = backup_before_writing(effects)
    if earlier is not None:
        async with steps.reading("backup kept", earlier):
            there = await tools.backups.has(earlier, noted_place(effects, earlier))
        if not there and not may_fail:
            raise Failure("the backup of before the first write is not there", tools.backups.gone(earlier))
        return earlier
    async with temporary_folder(tools.folder, "backup") as folder:
        kept_until = f"kept until {tools.backups.keep_days:g} days after the Run's end"
        async with steps.reading("dump", f"pg_dump --format=custom; {kept_until}"):
            backup = await backed_up(url, folder / "production.dump", to_compare=not may_fail)
        if not may_fail:
            await _require_restorable(job, url, backup, steps)
        sealed = folder / "production.sealed"
        kept = await tools.backups.seal(job.project, backup.file, sealed)
        backup.file.unlink()
        # The intents name what is about to be stored, and where: whatever happens now, it is deleted in time.
        async with job.journal.effect(PLACE, f"{kept.file} {tools.backups.place}"):
            pass
        async with job.journal.effect(BACKUP, kept.file):
            await tools.backups.put(sealed)
            sealed.unlink()
            unopened = await tools.backups.unopened(job.project, kept, folder)
            if unopened is not None and not may_fail:
                raise Failure("the backup of production does not open again", unopened)
            await keep(url, kept.file, backup.noted)
            job.backup = kept.file
    return kept.file


async def _require_restorable(job: Job, url: str, backup: Backup, steps: Steps) -> None:
    """Raise Failure when the backup does not come back, and nobody has accepted that.

    It does where one with the same fingerprint did: all but rows is as it was then. Else it is tried now.
    """
    started = time.monotonic()
    earlier = proven(await job.journal.of_run(), await fingerprint(url, backup.file))
    if earlier is not None:
        steps.told("backup proven", f"all but rows is as when one was {earlier}", started)
        return
    tried = await drill(url, backup)
    if tried.findings:
        raise Failure("the backup of production does not come back as it was", *tried.findings)
    steps.told("backup proven", tried.words(), started)


def backup_before_writing(effects: Sequence[Effect]) -> Digest | None:
    """The last dump before a Run's deploys first wrote, of effects in order; none if nothing is written.

    An attempt that ended before it wrote has left a dump, too, which is older than it need be.
    """
    dump: Digest | None = None
    for effect in effects:
        if effect.stage == "deploy" and effect.name == BACKUP:
            dump = effect.detail
        elif effect.stage == "deploy" and effect.production:
            return dump
    return None


async def _migrate(
    job: Job,
    task: DeployTask,
    url: str,
    history: Sequence[Migration],
    steps: Steps,
    *,
    contracting: bool,
) -> None:
    folders = [each.folder for each in task.migrations if each.contracting is contracting]
    if folders:
        run = [each.folder for each in task.migrations]
        async with steps.step("contract" if contracting else "expand", ", ".join(folders)):
            await migrations.apply(url, history, job.fencing_token, wanted=folders, run=run)


async def _push(job: Job, git: Git, task: DeployTask, commit: Commit, steps: Steps) -> None:
    branch = job.project.definition.environments.production.branch
    head = await git.head(branch)
    if head is not None and await git.is_ancestor(commit, head):
        return
    ref = kept_ref(job.run_id)
    kept = await git.ref(ref)
    async with steps.step("push", commit):
        try:
            await git.push([(f"refs/heads/{branch}", commit, task.base), (ref, commit, kept)])
        except Moved as error:
            cure = f"run roll-back, then {_APPROVE_AGAIN}"
            finding = await moved_finding(git, branch, task.base, await git.head(branch), cure=cure)
            raise Failure("production's branch moved while the deploy was on its way", finding) from error


def _drift(subject: str, detail: str, cure: str) -> Finding:
    return Finding(kind="drift", subject=subject, detail=detail, cure=cure)

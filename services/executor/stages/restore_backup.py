"""Bring production's backup back; when that fails, say where, what stands, and which way leads on."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import asyncpg

from services.executor.clients import migrations
from services.executor.clients.backup import ProgramFailed, Programs
from services.executor.clients.backup_places import noted_place
from services.executor.clients.migration_files import Migration
from services.executor.clients.postgres import drop_database, session, words
from services.executor.clients.restore_copy import CopyFailed, copy_into, passes, why
from services.executor.clients.restore_plan import cannot_restore, plan_copy
from services.executor.clients.scratch_database import make_beside
from services.executor.stages.steps import Steps
from services.executor.stages.tools import Tools
from shared.clients.database_urls import database_of
from shared.contracts.stages import Finding
from shared.contracts.tasks import RollBackTask
from shared.errors import Failure, Retry, told
from shared.isolation.scratch import temporary_folder
from shared.jobs.job import Job

_NAME = "restore backup"


@asynccontextmanager
async def opened_backup(
    job: Job, task: RollBackTask, tools: Tools, url: str, ours: Sequence[Migration]
) -> AsyncIterator[Path | None]:
    """The backup's dump in this worker's scratch, for the block; none where it was restored before.

    A second time would lose what was written after the first. Raises Failure when it is gone or does not
    open: nothing of production has been touched by then.
    """
    assert task.backup is not None
    effects = await job.journal.of_run()
    tried = [effect for effect in effects if (effect.name, effect.detail) == (_NAME, task.backup)]
    applied = await migrations.applied(url)
    gone = bool(ours) and not any(each.folder in applied for each in ours)
    if any(effect.done_at is not None for effect in tried) or (tried and gone):
        yield None
        return
    async with temporary_folder(tools.folder, "restore") as folder:
        file = folder / "production.dump"
        await tools.backups.fetch(job.project, task.backup, file, noted_place(effects, task.backup))
        yield file


async def restore_backup(job: Job, task: RollBackTask, url: str, file: Path, steps: Steps) -> None:
    """Raises Failure when the backup does not come back. Production's database is then as it was."""
    assert task.backup is not None
    programs = await Programs.for_server(url)
    try:
        async with steps.step(_NAME, task.backup):
            await programs.restore(url, file, job.fencing_token)
    except ProgramFailed as error:
        if passes(error):
            stands = f"Database {database_of(url)} is as it was before, under its own name."
            told_so = [each.with_(detail=f"{each.detail} {stands}") for each in error.findings]
            raise Retry(str(error), *told_so) from error
        raise await _failed(job, task, url, programs, file, error) from error


async def _failed(
    job: Job, task: RollBackTask, url: str, programs: Programs, file: Path, error: ProgramFailed
) -> Failure:
    """The verdict, with the backup restored beside production where that can be done."""
    database = database_of(url)
    found = why(error)
    stands = f"Database {database} is as it was before the restore, under its own name."
    again = f"upgradepath run roll-back {job.run_id} --restore-backup --reason …"
    findings = [
        found.with_(detail=f"{found.detail} {stands}", cure=f"{found.cure}; then {again}"),
    ]
    # Each right that was lost since the plan asked for it, with the statement that gives it back.
    findings += await cannot_restore(url)
    beside = f"{database[:40]}_restored_{job.run_id.removeprefix('run-')}"
    try:
        await _restore_beside(url, beside, programs, file)
    except (CopyFailed, Retry, asyncpg.PostgresError) as second:
        said = words(second) if isinstance(second, asyncpg.PostgresError) else told(second)
        detail = f"The backup could not be restored beside it either: {said} It is kept under {task.backup}."
        cure = (
            f"`upgradepath backup open` {task.backup} of the backup store, and restore it by pg_restore as a"
            " superuser, into a new database;"
            f" let production's secret name that one; then {again}"
        )
        findings.append(Finding(kind="data-loss", subject=database, detail=detail, cure=cure))
    else:
        detail = f"The backup stands restored in database {beside}, on the same server and of the same role."
        cure = f"let production's secret name {beside} instead of {database}; then {again}"
        findings.append(Finding(kind="data-loss", subject=beside, detail=detail, cure=cure))
    return Failure("the backup did not come back, and production's database is untouched", *findings)


async def _restore_beside(url: str, name: str, programs: Programs, file: Path) -> None:
    """Into a database of its own, which stays; what an earlier try left of it goes first."""
    await drop_database(url, name)
    async with session(url) as connection:
        plan = await plan_copy(connection, await programs.listing(url, file))
    target = await make_beside(url, name)
    try:
        await copy_into(target, programs, file, plan)
    except BaseException:
        await drop_database(url, name)
        raise

"""Migrate: the new migrations on the branch, proven on an empty database, applied to staging, app started."""

from collections.abc import Awaitable, Callable, Sequence
from functools import partial

import asyncpg

from services.executor.clients import migrations
from services.executor.clients.losses import Tables
from services.executor.clients.migration_files import Migration
from services.executor.clients.migration_table import Row, reading
from services.executor.clients.postgres import create_database, drop_database, schema_digest
from services.executor.stages import staging
from services.executor.stages.copies import copy_in, foretell, over_a_copy, refuted_in, shown
from services.executor.stages.drift import moved_finding
from services.executor.stages.masks import accepted_masks
from services.executor.stages.numbering import installed_files
from services.executor.stages.project_tree import RUN_TRAILER, kept_ref, known_tables, migrations_at
from services.executor.stages.readiness import require_postgresql, require_ready
from services.executor.stages.return_trip import go_down, settle, start_of
from services.executor.stages.same_schema import Verdict, require_same_schema
from services.executor.stages.staging import StagingDatabase, production_url, staging_database
from services.executor.stages.timing import timed
from services.executor.stages.tools import Tools
from services.executor.stages.unified_schema import Proof, SchemaFiles, require_made_by_migrations
from services.executor.stages.whose import whose_at
from shared.clients.git import Git
from shared.contracts.facts import MigrateFacts, PlannedMigration
from shared.contracts.stages import Finding
from shared.contracts.tasks import InstalledMigration, MigrateTask
from shared.contracts.values import Commit
from shared.errors import Failure, Retry
from shared.jobs.job import Job

_REPLAYED = Verdict(
    "the migrations replayed on an empty database do not make staging's schema",
    "migration",
    "correct the migrations, so that they do not depend on rows or on their order",
    ("only replayed:", "only in staging:"),
)


async def run(job: Job, task: MigrateTask, tools: Tools) -> MigrateFacts:
    """Safe to repeat: what is on the branch and in staging's database already stays as it is."""
    git = await tools.git(job)
    commit = await _install(job, git, task, tools)
    history = await migrations_at(git, commit, job.project.definition.prisma)
    wanted = in_order(task.migrations)
    before = tuple(migration for migration in history if migration.folder not in wanted)
    await require_ready(production_url(job, tools), history, wanted, where="production")

    database, accepted = staging_database(job, tools), partial(accepted_masks, tools, task.masks)
    if not await _fits(database, history, before) or await _is_to_be_copied(job, task, database):
        database, _ = await staging.rebuild(job, tools, git, commit, before, accepted)
    await require_ready(database.url, history, wanted, where="staging")
    kept = await _kept(job, git, commit)
    there = await migrations.applied(database.url)
    by_folder = {each.folder: each for each in history}
    ours = [by_folder[each] for each in wanted]
    start = await start_of(database.url, kept, begun=any(folder in there for folder in wanted))
    if start is not None and start.is_of_others(ours):
        database, _ = await staging.rebuild(job, tools, git, commit, before, accepted)
        start = await start_of(database.url, kept, begun=False)
    if start is not None:
        await settle(database.url, history, ours, start, job.fencing_token)
    copy = await copy_in(database.url)
    await _foretell(database.url, ours)
    try:
        async with job.journal.effect("migrate-staging", ", ".join(wanted)):
            done = await migrations.apply(database.url, history, job.fencing_token, wanted=wanted, run=wanted)
    except Failure as failure:
        raise over_a_copy(failure, job, database.name, copy, wanted) from failure
    proof = Proof(SchemaFiles(git, tools, job.project.definition.prisma), commit, before)
    await _prove(job, database, history, partial(require_made_by_migrations, job, proof))
    steps = list(await timed(database.url, production_url(job, tools), ours, done))
    if start is not None:
        tried = await go_down(database.url, history, ours, start, job.fencing_token)
        steps += [tried] if tried is not None else []
    async with job.journal.effect("activate-staging", commit):
        address = await staging.activate(job, tools, git, commit)
    await tools.trials.begin(job, production_url(job, tools), tools.folder)
    return MigrateFacts(
        commit=commit,
        tree=await git.tree(commit),
        migrations=tuple(done),
        staging_schema=await schema_digest(database.url),
        production_schema=await _production_schema(job, tools, git, commit),
        address=address,
        steps=tuple(steps),
        copied=shown(database.name, copy),
        refuted=await refuted_in(database.url),
        backup_tried=True,
    )


async def _kept(job: Job, git: Git, commit: Commit) -> Tables:
    """The tables and columns that production's code knows."""
    head = await git.head(job.project.definition.environments.production.branch)
    return await known_tables(git, head or commit, job.project.definition.prisma) or {}


async def _foretell(url: str, ours: Sequence[Migration]) -> None:
    """Ask the rows of the copy, as long as none of the upgrade's migrations has changed them."""
    there = await migrations.applied(url)
    if not any(each.folder in there for each in ours):
        await foretell(url, ours)


async def _production_schema(job: Job, tools: Tools, git: Git, commit: Commit) -> str:
    return await schema_digest(
        production_url(job, tools), await whose_at(git, commit, job.project.definition)
    )


async def _is_to_be_copied(job: Job, task: MigrateTask, database: StagingDatabase) -> bool:
    """Whether newer rows are wanted than are there: those of this very attempt are new enough."""
    if not task.copy_again:
        return False
    copy = await copy_in(database.url)
    return copy is None or copy.fence != job.fence


def in_order(installed: tuple[InstalledMigration, ...]) -> list[str]:
    """The folders as they run: those that old code can live with first, those that need the new code last."""
    return [each.folder for each in sorted(installed, key=lambda each: each.contracting)]


async def _install(job: Job, git: Git, task: MigrateTask, tools: Tools) -> Commit:
    """Commit the folders that the branch lacks, and push. A folder that is there is the maintainer's word."""
    prisma = job.project.definition.prisma
    parent = prisma.migrations
    there = await git.paths(task.commit, parent)
    missing = [each for each in task.migrations if f"{parent}/{each.folder}/migration.sql" not in there]
    await require_postgresql(git, task.commit, prisma)
    head = await git.head(task.branch)
    if not missing:
        commit = task.commit
    else:
        files = installed_files(await _planned(task, missing, tools), parent)
        tree = await git.tree_with(task.commit, files)
        subject = f"Install {len(missing)} migration{'s' if len(missing) > 1 else ''}"
        body = "\n".join(each.folder for each in missing)
        message = f"{subject}\n\n{body}\n\n{RUN_TRAILER}: {job.run_id}\n"
        # Dated as its parent, so that a repeated stage makes the same commit again.
        commit = await git.commit(tree, [task.commit], message, when=await git.date(task.commit))
    if head not in (task.commit, commit):
        raise Failure(
            "the upgrade branch moved while it was being proven",
            await moved_finding(
                git, task.branch, task.commit, head, cure=f"upgradepath run continue {job.run_id}"
            ),
        )
    ref = kept_ref(job.run_id)
    if head != commit:
        kept = await git.ref(ref)
        async with job.journal.effect("install-migrations", commit):
            await git.push([(f"refs/heads/{task.branch}", commit, task.commit), (ref, commit, kept)])
    return commit


async def _planned(
    task: MigrateTask, missing: Sequence[InstalledMigration], tools: Tools
) -> list[PlannedMigration]:
    """The missing migrations with their texts, from the packages that the Run moves to."""
    packages = {upgrade.system: await tools.new_package(upgrade) for upgrade in task.upgrades}
    planned: list[PlannedMigration] = []
    for each in missing:
        found = next((m for m in packages[each.system].migrations if m.name == each.name), None)
        if found is None or found.checksum != each.checksum:
            raise Failure(
                f"the package of {each.system} has no migration {each.name} with the planned checksum",
                Finding(
                    kind="package",
                    subject=f"{each.system}: {each.name}",
                    detail=f"The plan says {each.checksum}, the package {found and found.checksum}.",
                    cure="request a new plan",
                ),
            )
        # A way down that was tried and does not lead back is none.
        down_sql = (found.down_sql or each.generated_down) if each.reversible else None
        texts = {"sql": found.sql, "down_sql": down_sql}
        planned.append(PlannedMigration.model_validate(each.model_dump() | texts))
    return planned


async def _fits(
    database: StagingDatabase, history: tuple[Migration, ...], before: tuple[Migration, ...]
) -> bool:
    """Whether staging has exactly what the branch had before, and nothing that the branch has edited."""
    try:
        async with reading(database.url) as table:
            rows = await table.rows()
    except asyncpg.InvalidCatalogNameError:
        return False
    checksums = {each.folder: each.checksum for each in history}
    done = {row.name for row in rows if row.applied}
    return {each.folder for each in before} <= done and not any(_unfit(row, checksums) for row in rows)


def _unfit(row: Row, checksums: dict[str, str]) -> bool:
    edited = checksums.get(row.name) != row.checksum
    if row.unfinished:
        return row.logs is not None or not row.ours or edited
    return row.applied and edited


async def _prove(
    job: Job,
    database: StagingDatabase,
    history: tuple[Migration, ...],
    agrees: Callable[[str], Awaitable[None]],
) -> None:
    """All migrations, in Prisma's order and on an empty database, must make the schema that staging has.

    `agrees` is asked of that database too, by its URL.
    """
    async with job.journal.effect("prove-migrations", database.proof):
        await drop_database(database.server, database.proof)
        try:
            await create_database(database.server, database.proof)
            await migrations.apply(database.proof_url, history, job.fencing_token)
            await require_same_schema(database.proof_url, database.url, _REPLAYED)
            await agrees(database.proof_url)
        except asyncpg.DuplicateDatabaseError as error:
            raise Retry(f"another worker proves in {database.proof}") from error
        finally:
            await drop_database(database.server, database.proof)

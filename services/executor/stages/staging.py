"""A Run's staging: its database, its app and its branch; made, made anew, and taken away."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import asyncpg

from services.executor.clients import migrations
from services.executor.clients.dressing import dress, dressing
from services.executor.clients.mask_weakening import Masks
from services.executor.clients.masking import Copied, Progress, masked_copy
from services.executor.clients.migration_files import Migration
from services.executor.clients.postgres import (
    create_database,
    drop_database,
    execute_script,
    foreign_schemas,
    quoted,
    session,
)
from services.executor.clients.scripts import refusals_of
from services.executor.domain.whose import Whose
from services.executor.stages.copies import moment_of, note_copy
from services.executor.stages.project_tree import checkout, kept_ref, models_at
from services.executor.stages.readiness import require_ready
from services.executor.stages.same_schema import Verdict, require_same_schema
from services.executor.stages.tools import Tools
from services.executor.stages.whose import whose_at
from shared.background import end
from shared.clients.database_urls import with_database
from shared.clients.environments import EnvironmentFailed, EnvironmentRunner
from shared.clients.git import Git
from shared.clients.staging import earlier_run, staging_database_name, staging_owner
from shared.contracts.stages import Finding
from shared.contracts.values import Commit
from shared.errors import Failure
from shared.jobs.job import Job, Say
from shared.sql.concerns import grouped

DRIFT = Verdict(
    "production's schema is not what the Project's migrations make",
    "drift",
    "bring the change into a migration of the Project, or undo it in production; name what is the"
    " hosting's under [hosting] in upgradepath.toml",
)
_TELL_S = 2.0
_ENVIRONMENT_CURE = "read the output; correct the Project or its hosting; then `upgradepath run continue`"


@dataclass(frozen=True)
class StagingDatabase:
    """`server` leads to the server by the Project's own staging URL, `url` to this Run's database.

    `proof` is the name of the database in which the migrations are proven, and which is gone afterwards.
    """

    server: str
    name: str
    proof: str

    @property
    def server_url(self) -> str:
        """A database of the server that is always there."""
        return with_database(self.server, "postgres")

    @property
    def url(self) -> str:
        return with_database(self.server, self.name)

    @property
    def proof_url(self) -> str:
        return with_database(self.server, self.proof)


def staging_database(job: Job, tools: Tools) -> StagingDatabase:
    """This Run's databases on staging's server. Raises `Failure` when the secret's URL names no database."""
    secrets = tools.secrets.of(job.project.id, "staging")
    server = secrets.resolve(job.project.definition.environments.staging.database)
    try:
        name = staging_database_name(server, job.run_id)
    except ValueError as error:
        where, cure = "environments.staging.database", "correct the secret"
        raise _no("environment", "staging has no database", where, str(error), cure) from error
    return StagingDatabase(server, name, staging_database_name(server, f"{job.run_id}-proof"))


def production_url(job: Job, tools: Tools) -> str:
    """The URL behind production's secret."""
    secrets = tools.secrets.of(job.project.id, "production")
    return secrets.resolve(job.project.definition.environments.production.database)


async def rebuild(
    job: Job,
    tools: Tools,
    git: Git,
    commit: Commit,
    history: tuple[Migration, ...],
    accepted: Callable[[], Awaitable[Masks]],
) -> tuple[StagingDatabase, Copied]:
    """Staging's database from nothing: `history` replayed, then production's rows masked, or the seed file.

    `commit` gives mask rules and seed, `accepted` the rules that none of them may be weaker than; it is not
    asked where a seed file serves. Raises Failure when production is not what `history` makes, or when
    its rows cannot be masked.
    """
    database, production = staging_database(job, tools), production_url(job, tools)
    seed = _seed_file(job)
    masks = {} if seed is not None else await accepted()
    async with job.journal.effect("staging-database", database.name):
        await _drop_orphans(job, database)
        await drop_database(database.server, database.name)
        await create_database(database.server, database.name)
        await _sign(job, database)
        await require_ready(production, history, (), where="production")
        await migrations.apply(database.url, history, job.fencing_token)
        whose = await whose_at(git, commit, job.project.definition, history)
        await require_same_schema(database.url, production, DRIFT, whose)
        await _dress(production, database.url)
        if seed is not None:
            return database, await _seed(database.url, git, commit, seed)
    models = await models_at(git, commit, job.project.definition.prisma)
    made_at = await moment_of(production)
    async with job.journal.effect("copy-rows", "counting") as say:
        progress = Progress()
        telling = asyncio.create_task(_tell(progress, say))
        try:
            foreign = await _foreign(production, whose)
            data = job.project.definition.staging
            copied = await masked_copy(production, database.url, models, progress, data, foreign, masks)
        finally:
            await end(telling)
        await note_copy(database.url, made_at, job.fence)
        await say(
            f"{sum(copied.rows.values())} rows of {len(copied.rows)} tables, {progress.bytes >> 20} MiB"
        )
    return database, copied


def _seed_file(job: Job) -> str | None:
    """The file that gives staging its rows; none where production's are copied."""
    definition = job.project.definition.staging
    return definition.seed if definition.data == "seed" else None


async def _foreign(production: str, whose: Whose) -> tuple[str, ...]:
    async with session(production) as connection:
        return await foreign_schemas(connection, whose)


async def _dress(production: str, staging: str) -> None:
    """Owners, rights, comments and options as production has them; roles that are missing are left out."""
    async with session(production) as source:
        worn = await dressing(source)
    async with session(staging) as target:
        await dress(target, worn)


async def _tell(progress: Progress, say: Say) -> None:
    """For whoever asks how far the copy is, until it is done."""
    while True:
        await asyncio.sleep(_TELL_S)
        await say(str(progress))


async def _sign(job: Job, database: StagingDatabase) -> None:
    """Write on the database whose it is: proof for whoever finds it when nobody needs it any more."""
    whose = staging_owner(job.project.id, job.project.repository, job.run_id, job.fence)
    async with session(database.server_url) as connection:
        await connection.execute(f"COMMENT ON DATABASE {quoted(database.name)} IS '{whose}'")


async def _drop_orphans(job: Job, database: StagingDatabase) -> None:
    """Drop what Runs before this one have left behind: a Project has one started Run at a time."""
    async with session(database.server_url) as connection:
        signed = await connection.fetch(
            "SELECT datname, shobj_description(oid, 'pg_database') AS whose FROM pg_database"
        )
    for name, whose in signed:
        earlier = earlier_run(whose or "", job.project.id, job.project.repository, job.fence)
        # The name must agree with the signature, so that a restored or renamed database is nobody's to drop.
        if (
            earlier is None
            or earlier == job.run_id
            or name != staging_database_name(database.server, earlier)
        ):
            continue
        async with job.journal.effect("drop-orphan", name):
            await drop_database(database.server, staging_database_name(database.server, f"{earlier}-proof"))
            await drop_database(database.server, name)


async def activate(job: Job, tools: Tools, git: Git, commit: Commit) -> str | None:
    """Start staging's app at `commit`, and see it healthy; its address. Raises Failure when it is not."""
    runner = _runner(job, tools)
    async with checkout(git, commit, tools.folder) as folder:
        try:
            address = await runner.activate(folder, commit)
            await runner.health(folder, commit)
        except EnvironmentFailed as error:
            where = f"environments.staging.{error.command}"
            reason = f"staging did not come up: {error}"
            raise _no("environment", reason, where, error.output, _ENVIRONMENT_CURE) from error
    return address


async def remove(job: Job, tools: Tools, git: Git, branch: str, commit: Commit | None) -> list[str]:
    """Take app, database and branch away; what was there. Safe to repeat; a commit is kept by its ref."""
    removed: list[str] = []
    database = staging_database(job, tools)
    at = commit if commit is not None and await git.has(commit) else None
    if at is not None:
        async with (
            job.journal.effect("destroy-staging", at),
            checkout(git, at, tools.folder, whole=False) as folder,
        ):
            await _runner(job, tools).destroy(folder, at)
        removed.append("staging's app")
    async with job.journal.effect("drop-staging-database", database.name):
        for name in (database.name, database.proof):
            if await drop_database(database.server, name):
                removed.append(f"database {name}")
    head = await git.head(branch)
    if head is not None:
        async with job.journal.effect("delete-branch", f"{branch} at {head}"):
            await git.push([(f"refs/heads/{branch}", None, head), *await _kept(job, git, head)])
        removed.append(f"branch {branch}")
    return removed


async def _kept(job: Job, git: Git, head: Commit) -> list[tuple[str, Commit | None, Commit | None]]:
    """The move that keeps the branch's commits alive under the Run's ref, if they are not yet."""
    ref = kept_ref(job.run_id)
    kept = await git.ref(ref)
    if kept is None or (kept != head and await git.is_ancestor(kept, head)):
        return [(ref, head, kept)]
    return []


def _runner(job: Job, tools: Tools) -> EnvironmentRunner:
    environment = job.project.definition.environments.staging
    url = staging_database(job, tools).url
    secrets = tools.secrets.of(job.project.id, "staging")
    return EnvironmentRunner(
        environment, "staging", job.run_id, secrets, database_url=url, isolation=tools.isolation
    )


async def _seed(url: str, git: Git, commit: Commit, path: str) -> Copied:
    script = await git.show(commit, path)
    if script is None:
        cure = "commit the file, or correct staging.seed in upgradepath.toml"
        raise _no("project-file", f"the seed file {path} is missing", path, f"not in {commit}", cure)
    await _require_permitted(path, script)
    async with session(url, statement_timeout_s=0) as connection:
        try:
            await execute_script(connection, script.decode())
        except (UnicodeDecodeError, asyncpg.PostgresError) as error:
            cure = "correct the seed file"
            raise _no("project-file", f"the seed file {path} failed", path, str(error), cure) from error
        tables = await connection.fetch(
            "SELECT n.nspname, c.relname, format('%I.%I', n.nspname, c.relname) AS name FROM pg_class c"
            " JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.relkind IN ('r', 'p')"
            " AND NOT c.relispartition AND c.relname <> '_prisma_migrations' AND n.nspname !~ '^pg_'"
            " AND n.nspname NOT IN ('information_schema', 'upgradepath') ORDER BY 3"
        )
        rows: dict[str, int] = {}
        for schema, table, name in tables:
            label = table if schema == "public" else f"{schema}.{table}"
            rows[label] = await connection.fetchval(f"SELECT count(*) FROM {name}")
    return Copied(rows, 0)


async def _require_permitted(path: str, script: bytes) -> None:
    """The seed runs with the rights of staging's role: it is held to what a Release is held to."""
    found = [(path, concern) for concern in await refusals_of(path, script.decode(errors="replace"))]
    if found:
        findings = [
            Finding(kind="project-file", subject=path, detail=f"{each.sentence}.", cure=each.cure)
            for each in grouped(found)
        ]
        raise Failure(f"the seed file {path} must not run", *findings)


def _no(kind: str, reason: str, subject: str, detail: str, cure: str) -> Failure:
    finding = {"kind": kind, "subject": subject, "detail": detail, "cure": cure}
    return Failure(reason, Finding.model_validate(finding))

"""The validator's stages: a checkout of the commit, staging's environment, every check, and nothing left."""

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from services.validator.checks import command, http, log, sign_off, sql
from services.validator.checks.context import Context, Seen
from services.validator.domain import phases, refuse_production_secrets, verdict
from shared.addresses import Network
from shared.clients.content import ContentStore
from shared.clients.environments import EnvironmentRunner
from shared.clients.git import Git
from shared.clients.project_repository import access_for, clone_name, repository_taken
from shared.clients.secrets import Secrets
from shared.clients.staging import staging_database_url
from shared.contracts.facts import CheckResult, ChecksFacts
from shared.contracts.projects import Check, CommandCheck, HttpCheck, LogCheck, SignOffCheck, SqlCheck
from shared.contracts.tasks import ChecksTask
from shared.crash_points import around, inside
from shared.errors import Retry
from shared.isolation.choosing import Isolation
from shared.isolation.leftovers import remove_tree
from shared.jobs.job import Job
from shared.private_files import private_folder
from shared.repository_urls import KNOWN_HOSTS, PUBLIC_ONLY, RepositoryRules


@dataclass(frozen=True)
class Tools:
    """What the stages need. `folder` is scratch: clones and checkouts, all of which may vanish."""

    content: ContentStore
    secrets: Secrets
    folder: Path
    isolation: Isolation = field(default_factory=Isolation.here)
    repositories: RepositoryRules = PUBLIC_ONLY
    known_hosts: Path = KNOWN_HOSTS
    networks: tuple[Network, ...] = ()
    """Where staging may be, besides the public network."""

    @property
    def clones(self) -> Path:
        """Where the clones of Projects lie."""
        return self.folder / "repositories"


async def run_checks(job: Job, task: ChecksTask, tools: Tools) -> ChecksFacts:
    """Run every check of the task, even when an early one fails.

    Raises `Failure` with all results when one failed. A missing secret, Git or a database that does not
    answer is an error.
    """
    refuse_production_secrets(job.project.definition.environments)
    with inside(task.stage):
        async with _staging(job, task, tools) as context, around("checks"):
            results = await _run_all(task.checks, context)
    return verdict(job.run_id, task, results)


@asynccontextmanager
async def _staging(job: Job, task: ChecksTask, tools: Tools) -> AsyncIterator[Context]:
    """Everything that the checks need, in a folder of its own that is gone afterwards."""
    environment = job.project.definition.environments.staging
    secrets = tools.secrets.of(job.project.id, "staging")
    database_url = staging_database_url(secrets.resolve(environment.database), job.run_id)
    # Of this lease alone: one that was lost may still be tidying up beside us, and must not take ours away.
    folder = tools.folder / "checks" / f"{job.run_id}-{job.fence}-{job.generation}"
    try:
        for left in (tools.folder / "checks").glob(f"{job.run_id}-*"):
            await asyncio.to_thread(remove_tree, left)
        checkout = private_folder(folder) / "checkout"
        await _check_out(job, task.commit, checkout, tools)
        staging = EnvironmentRunner(
            environment, "staging", job.run_id, secrets, database_url, isolation=tools.isolation
        )
        yield Context(
            commit=task.commit,
            address=task.address,
            checkout=checkout,
            database_url=database_url,
            staging=staging,
            secrets=secrets,
            content=tools.content,
            isolation=tools.isolation,
            networks=tools.networks,
        )
    finally:
        # Also when the stage is being cancelled: the next attempt must not meet what this one left.
        await asyncio.shield(asyncio.to_thread(remove_tree, folder))


async def _check_out(job: Job, commit: str, checkout: Path, tools: Tools) -> None:
    clone = tools.clones / clone_name(job.project)
    with repository_taken():
        access = access_for(job.project, tools.secrets, tools.repositories, tools.known_hosts)
        repository = await Git.open(job.project.repository, clone, access)
    if not await repository.has(commit):
        raise Retry(f"commit {commit} is not in the project's repository")
    await repository.export(commit, checkout)


async def _run_all(checks: Mapping[str, Check], context: Context) -> list[CheckResult]:
    """The results in the order of the checks' declaration."""
    results: dict[str, CheckResult] = {}
    for names in phases(checks):
        # All of a group end before an error is raised: nothing of it may go on after the stage.
        done = await asyncio.gather(
            *(_run(name, checks[name], context) for name in names), return_exceptions=True
        )
        for result in done:
            if isinstance(result, BaseException):
                raise result
            results[result.name] = result
    return [results[name] for name in checks]


async def _run(name: str, check: Check, context: Context) -> CheckResult:
    began_s = time.monotonic()
    deadline = asyncio.timeout(None if isinstance(check, CommandCheck) else check.deadline_s)
    try:
        async with deadline:
            seen = await _see(check, context)
    except TimeoutError:
        if not deadline.expired():
            raise
        seen = Seen("failed", f"was not done within its deadline of {check.deadline_s:g} s")
    return CheckResult(
        name=name,
        kind=check.kind,
        verdict=seen.verdict,
        detail=context.secrets.redact(seen.detail),
        duration_ms=round((time.monotonic() - began_s) * 1000),
        log=seen.log,
    )


async def _see(check: Check, context: Context) -> Seen:
    match check:
        case CommandCheck():
            return await command.run(check, context)
        case HttpCheck():
            return await http.run(check, context)
        case SqlCheck():
            return await sql.run(check, context)
        case LogCheck():
            return await log.run(check, context)
        case SignOffCheck():
            return await sign_off.run(check, context)

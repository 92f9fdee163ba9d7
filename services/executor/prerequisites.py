"""What a Project's Runs will need, asked before the first of them: all that is missing, at once.

The worker asks, because its place is where a Run works: its secrets, its network, its credential.
"""

import secrets as random
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from services.executor.clients import migrations
from services.executor.clients.postgres import create_database, drop_database
from services.executor.clients.restore_plan import cannot_restore
from services.executor.clients.roles import production_role, staging_role
from services.executor.stages.project_tree import migrations_at
from services.executor.stages.readiness import unready
from services.executor.stages.same_schema import Verdict, require_same_schema
from services.executor.stages.staging import DRIFT
from services.executor.stages.tools import Tools
from services.executor.stages.whose import whose_at
from shared.clients.database_urls import with_database
from shared.clients.git import Git, Moved, RefUpdate
from shared.clients.project_repository import access_for, repository_taken
from shared.clients.secret_sources import Scope, UnusableSecret
from shared.clients.secrets import ForbiddenScope, MissingSecret
from shared.clients.staging import staging_database_name
from shared.contracts.projects import Environment, Project
from shared.contracts.stages import Finding
from shared.errors import Failure, Retry, conflict
from shared.isolation.scratch import temporary_folder

_PROBE = "refs/upgradepath/adoption"
_DRIFT_CURE = "bring the change into a migration of the Project, or undo it in production"


async def missing(project: Project, tools: Tools) -> list[Finding]:
    """Each finding has its cure. What hangs on something that is missing is asked the next time."""
    found = [*_secrets(project, tools), *tools.backups.lacking(project)]
    lacking = {finding.subject for finding in found}
    async with AsyncExitStack() as stack:
        clones: list[Git] = []

        async def repository() -> list[Finding]:
            clones.append(await stack.enter_async_context(_clone(project, tools)))
            return await pushable(project, tools, clones[0])

        if "credential" not in lacking:
            found += await _said("repository", repository)
        if not lacking & {"environments.production.database", "environments.staging.database"}:
            databases = _Databases(project, tools)
            found += await _said("environments", databases.roles)
            if not found:
                found += await _said("environments", databases.owned)
            if not found:
                found += await _said("environments", lambda: databases.history(clones[0]))
    # A driver's error may quote the URL that it was given.
    return [
        each.model_copy(update={"detail": tools.secrets.redact(project.id, each.detail)}) for each in found
    ]


def _secrets(project: Project, tools: Tools) -> Iterator[Finding]:
    for scope, field, name in _named(project):
        try:
            tools.secrets.of(project.id, scope).resolve(name)
        except (MissingSecret, UnusableSecret, ForbiddenScope) as error:
            cure = f"keep the value of {name} in one of these places, where the executor runs"
            yield _finding(field, str(error), cure)


def _named(project: Project) -> Iterator[tuple[Scope, str, str]]:
    definition = project.definition
    if definition.credential is not None:
        yield "repository", "credential", definition.credential
    environments: tuple[tuple[Scope, Environment], ...] = (
        ("production", definition.environments.production),
        ("staging", definition.environments.staging),
    )
    for scope, environment in environments:
        yield scope, f"environments.{scope}.database", environment.database
        for variable, value in environment.variables.items():
            if value.startswith("secret:"):
                yield scope, f"environments.{scope}.variables.{variable}", value


async def pushable(project: Project, tools: Tools, git: Git) -> list[Finding]:
    """Findings where Git lets nobody move production's branch. Raises `Reject` while others try the same."""
    local = Path(project.repository.removeprefix("file://"))
    if tools.repositories.local and (local / ".git").exists():
        cure = f"register a bare one: git clone --bare {local} {local}.git, and make that your remote"
        return [_finding("repository", f"{local} is a checkout, whose branch nobody else may move", cure)]
    head = await git.head(project.definition.environments.production.branch)
    if head is None:
        branch = project.definition.environments.production.branch
        where = "environments.production.branch"
        return [_finding(where, f"the repository has no branch {branch}", "push it, or name another")]
    there = await git.ref(_PROBE)
    try:
        await git.push([RefUpdate(_PROBE, head, there)])
        await git.push([RefUpdate(_PROBE, None, head)])
    except Moved:
        raise conflict(
            "somebody else tries at this moment whether the repository takes a push",
            field="repository",
            cure="ask again",
        ) from None
    except Retry as error:
        cure = "give the executor's credential the right to push, or correct the repository's URL"
        return [_finding("repository", f"the executor cannot push to it: {error}", cure)]
    return []


@asynccontextmanager
async def _clone(project: Project, tools: Tools) -> AsyncIterator[Git]:
    """A clone of its own: a Run of the Project may be at work in the worker's."""
    async with temporary_folder(tools.folder, "asked") as folder:
        access = access_for(project, tools.secrets, tools.repositories, tools.known_hosts)
        with repository_taken():
            clone = await Git.open(project.repository, folder / "clone", access)
        yield clone


@dataclass(frozen=True)
class _Databases:
    project: Project
    tools: Tools

    def _url(self, scope: Scope) -> str:
        environments = self.project.definition.environments
        name = environments.production.database if scope == "production" else environments.staging.database
        return self.tools.secrets.of(self.project.id, scope).resolve(name)

    async def roles(self) -> list[Finding]:
        production = await production_role(self._url("production"))
        masked = self.project.definition.staging.data == "masked-copy"
        staging = await staging_role(self._url("staging"), production, masked=masked)
        return [*production.findings, *staging.findings]

    async def owned(self) -> list[Finding]:
        """Findings for what production's role could not bring back of a backup."""
        return await cannot_restore(self._url("production"))

    async def history(self, git: Git) -> list[Finding]:
        """Whether production's history is the repository's, and its schema what that history makes."""
        prisma = self.project.definition.prisma
        head = await git.head(self.project.definition.environments.production.branch)
        history = () if head is None else await migrations_at(git, head, prisma)
        whose = None if head is None else await whose_at(git, head, self.project.definition)
        found = await unready(self._url("production"), history, ())
        if found:
            return found
        async with self._scratch() as scratch:
            await migrations.apply(scratch, history, (0, 0))
            verdict = Verdict(DRIFT.reason, "drift", _DRIFT_CURE)
            await require_same_schema(scratch, self._url("production"), verdict, whose)
        return []

    @asynccontextmanager
    async def _scratch(self) -> AsyncIterator[str]:
        server = self._url("staging")
        # Named as a Run's, so that its own role may reach it and nobody else.
        name = staging_database_name(server, f"run-{random.token_hex(6)}")
        await create_database(server, name)
        try:
            yield with_database(server, name)
        finally:
            await drop_database(server, name)


async def _said(where: str, ask: Callable[[], Awaitable[list[Finding]]]) -> list[Finding]:
    """Its findings; a verdict's, and what could not be found out, are findings too."""
    try:
        return await ask()
    except Failure as failure:
        return list(failure.outcome.findings)
    except (Retry, ValueError) as error:
        cure = "check that it runs, that the executor reaches it, and that the secret's URL is right"
        return [_finding(where, f"it could not be asked: {error}", cure)]


def _finding(subject: str, detail: str, cure: str) -> Finding:
    return Finding(kind="environment", subject=subject, detail=detail, cure=cure)

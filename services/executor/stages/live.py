"""Production's app: bring a commit up, see it live and healthy, look at what is live.

What the Project's own commands print about production may quote its customers: it stays in production's
database, and what travels says only where.
"""

from contextlib import AsyncExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

from services.executor.clients.migration_table import guarded, keep_output
from services.executor.stages.project_tree import checkout
from services.executor.stages.staging import production_url
from services.executor.stages.steps import Steps
from services.executor.stages.tools import Tools
from shared.clients.environments import EnvironmentFailed, EnvironmentRunner
from shared.clients.git import Git
from shared.contracts.stages import Finding
from shared.contracts.values import Commit
from shared.errors import Failure, Retry
from shared.jobs.job import Job


class LiveProduction:
    """Production's commands, run in a checkout of `commit`, which is there while the context lasts."""

    def __init__(self, job: Job, tools: Tools, git: Git, commit: Commit) -> None:
        self._job, self._tools, self._git = job, tools, git
        self.commit = commit
        self._stack = AsyncExitStack()
        self._folder: Path
        self._runner: EnvironmentRunner

    async def __aenter__(self) -> Self:
        environment = self._job.project.definition.environments.production
        self._folder = await self._stack.enter_async_context(
            checkout(self._git, self.commit, self._tools.folder)
        )
        secrets = self._tools.secrets.of(self._job.project.id, "production")
        self._runner = EnvironmentRunner(
            environment, "production", self._job.run_id, secrets, isolation=self._tools.isolation
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stack.aclose()

    async def bring_up(self, steps: Steps) -> str | None:
        """Activate, probe, and see that it is this commit that is live; its address. Raises Failure."""
        try:
            url = production_url(self._job, self._tools)
            async with steps.step("activate", self.commit), guarded(url, self._job.fencing_token):
                address = await self._runner.activate(self._folder, self.commit)
        except EnvironmentFailed as error:
            raise await self._failure(error) from None
        await self.must_be_healthy(steps)
        live = await self.observe()
        if live != self.commit:
            raise Failure(
                "another commit is live than the one that was activated",
                Finding(
                    kind="environment",
                    subject="environments.production.observe",
                    detail=f"{live or 'nothing'} is live, not {self.commit}",
                    cure="see who else activates production; then retry the stage or run roll-back",
                ),
            )
        return address

    async def must_be_healthy(self, steps: Steps) -> None:
        """Raises Failure when production is not healthy."""
        try:
            async with steps.reading("health", self.commit):
                await self._runner.health(self._folder, self.commit)
        except EnvironmentFailed as error:
            raise await self._failure(error) from None

    async def observe(self) -> Commit | None:
        """The commit that is live. Raises Retry when production cannot say."""
        try:
            return await self._runner.observe(self._folder, self.commit)
        except EnvironmentFailed as error:
            finding = Finding(
                kind="environment",
                subject=f"environments.production.{error.command}",
                detail=f"{error.ending}; {await self._keep(error)}",
                cure="read what it printed; correct the Project or its hosting; then retry the stage",
            )
            raise Retry(f"production's {error.ending}; {await self._keep(error)}", finding) from None

    async def _failure(self, error: EnvironmentFailed) -> Failure:
        return Failure(
            f"production did not come up: {error.ending}",
            Finding(
                kind="environment",
                subject=f"environments.production.{error.command}",
                detail=f"{error.ending}; {await self._keep(error)}",
                cure="read what it printed; correct the Project or its hosting; then retry the stage"
                " or run roll-back",
            ),
        )

    async def _keep(self, error: EnvironmentFailed) -> str:
        """Where what was printed can be read."""
        printed = error.output.strip()
        if not printed:
            return "it printed nothing"
        subject = f"environments.production.{error.command}"
        url = production_url(self._job, self._tools)
        if not await keep_output(url, subject, self.commit, printed):
            return f"the {len(printed.splitlines())} lines that it printed could not be kept in production"
        return (
            f"the {len(printed.splitlines())} lines that it printed are in production's database:"
            f" SELECT logs FROM upgradepath.failure WHERE migration_name = '{subject}'"
            " ORDER BY failed_at DESC LIMIT 1"
        )

"""Databases of backups' trials whose executor was killed hold rows of production: they are swept.

Nobody may ever try another backup of that Project, which would sweep them. So every executor walks through
the Projects that it has worked for, at its start and then each hour. An advisory lock in production's
database says whether a trial lives, on whichever executor.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Iterable

import asyncpg
from prometheus_client.core import Metric

from services.executor.clients.scratch_database import sweep_scratch
from shared import background
from shared.clients.secret_sources import UnusableSecret
from shared.clients.secrets import ForbiddenScope, MissingSecret, Secrets
from shared.contracts.projects import Project
from shared.contracts.stages import RunExecutorStage
from shared.errors import Failure, Retry
from shared.jobs.store import WorkerTransaction
from shared.storage.database import Database, is_passing
from shared.telemetry.metrics import gauge

log = logging.getLogger(__name__)

_EVERY_S = 3600.0
# A Run's jobs stay until a later Run of its Project is recorded: whoever had a trial is among these.
_PROJECTS = "select distinct project_id from jobs where stage in ('migrate', 'prove-backup', 'deploy')"
_NEWEST = "select command::text as command from jobs where project_id = $1 order by fence desc limit 1"
# What keeps us from asking one Project's server keeps us from no other's.
_NOT_NOW = (asyncpg.PostgresError, Failure, Retry, MissingSecret, UnusableSecret, ForbiddenScope, ValueError)


class ScratchSweeper:
    """Drops what killed trials left, and knows of what it could not drop."""

    def __init__(self, database: Database[WorkerTransaction], secrets: Secrets) -> None:
        self._database = database
        self._secrets = secrets
        self._left: tuple[str, ...] = ()
        self._unasked = 0
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Returns at once."""
        self._task = asyncio.create_task(self._run(), name="sweeper of trials' databases")

    async def stop(self) -> None:
        await background.end(self._task)
        self._task = None

    async def gauges(self) -> Iterable[Metric]:
        """How many stand there still, and of how many Projects nobody could tell, at the last sweep."""
        counts: dict[tuple[str, ...], float] = {
            ("left",): float(len(self._left)),
            ("not asked",): float(self._unasked),
        }
        said = "Databases of backups' trials that stand though nobody tries them, and Projects not asked."
        return (gauge("scratch_databases", said, ("state",), counts),)

    async def sweep(self) -> tuple[str, ...]:
        """Sweep once; the names of what was dropped. Raises what our own database raises."""
        gone: list[str] = []
        left: list[str] = []
        unasked = 0
        async for project_id, command in self._commands():
            try:
                # Another version of the contracts may have written it.
                project = RunExecutorStage.read(command.encode()).project
                swept = await sweep_scratch(await self._production(project))
            except _NOT_NOW as error:
                log.info(
                    "databases of trials of %s were not looked for: %s", project_id, type(error).__name__
                )
                unasked += 1
                continue
            gone += swept.gone
            left += swept.left
            if swept.left:
                names = ", ".join(swept.left)
                log.warning("%s: rows of production stand in %s, which nobody tries", project_id, names)
        self._left, self._unasked = tuple(left), unasked
        return tuple(gone)

    async def _commands(self) -> AsyncIterator[tuple[str, str]]:
        """Each Project with the newest command for it."""
        async with self._database.transaction() as tx:
            known = [row[0] for row in await tx.fetch(_PROJECTS)]
        for project_id in known:
            async with self._database.transaction() as tx:
                for (command,) in await tx.fetch(_NEWEST, project_id):
                    yield project_id, command

    async def _production(self, project: Project) -> str:
        await self._secrets.prepare(project)
        secrets = self._secrets.of(project.id, "production")
        return secrets.resolve(project.definition.environments.production.database)

    async def _run(self) -> None:
        while True:
            try:
                if gone := await self.sweep():
                    log.warning("dropped what killed trials of backups left: %s", ", ".join(gone))
            except Exception as error:
                if not is_passing(error):
                    log.exception("databases of trials are not swept")
            await asyncio.sleep(_EVERY_S)

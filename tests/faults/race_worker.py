"""A worker process of the races: its stage writes to Git, a database and production, and may fall asleep.

`python -m tests.faults.race_worker FOLDER INSTANCE EXECUTOR_URL`
"""

import asyncio
import signal
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from services.executor.clients.fenced_git import FencedGit
from services.executor.clients.migration_table import guarded, locked
from shared.clients.git import Moved
from shared.contracts.facts import Facts, RecordFacts
from shared.contracts.stages import RunExecutorStage
from shared.errors import Stale
from shared.jobs.job import Job
from shared.jobs.store import WorkerTransaction
from shared.jobs.worker import Worker
from shared.storage.database import Database
from tests.faults.race_field import MAIN, Field
from tests.jobs.job_world import until
from tests.support.scopes import LOCAL

LEASE_S = 3.0
SLOTS = 40
ASLEEP_S = 300.0


class Contestant:
    """The stage. Whoever finds `asleep-at/<run>.<resource>` first sleeps there, between intent and write."""

    def __init__(self, folder: Path, instance: str) -> None:
        self._folder = folder
        self._instance = instance

    async def __call__(self, job: Job, task: Any) -> Facts:
        field = Field(self._folder, job.project.id)
        git = await FencedGit.enter(
            str(field.repository), self._folder / self._instance / field.name, job.fencing_token, LOCAL
        )
        head = await git.head("main")
        assert head is not None
        mark = f"{job.fence}.{job.generation}"
        token = job.fencing_token
        # A successor may find nothing to do: then nothing but the fences keeps the sleeper out.
        idle = (self._folder / "idle" / job.run_id).exists()

        async def push() -> None:
            commit = await git.commit(await git.tree(head), [head], mark, when=0)
            await git.push([] if idle else [(MAIN, commit, head)])

        async def migrate() -> None:
            async with locked(field.database_url, token) as table:
                if not idle:
                    await table.connection.execute("INSERT INTO marks (mark) VALUES ($1)", mark)

        async def activate() -> None:
            async with guarded(field.database_url, token):
                if not idle:
                    field.activated(mark)

        for resource, write in (("git", push), ("database", migrate), ("activation", activate)):
            async with job.journal.effect(resource, production=True):
                await self._perhaps_late(job, resource, write)
        return RecordFacts(removed=())

    async def _perhaps_late(self, job: Job, resource: str, write: Callable[[], Awaitable[None]]) -> None:
        try:
            bed = self._folder / "asleep" / job.run_id
            (self._folder / "asleep-at" / f"{job.run_id}.{resource}").rename(bed)
        except FileNotFoundError:
            await write()
            return
        # Not even the heartbeat that notices may keep it from writing: the resource has to.
        await asyncio.shield(asyncio.create_task(self._late(job, write)))

    async def _late(self, job: Job, write: Callable[[], Awaitable[None]]) -> None:
        wake = self._folder / "wake" / job.run_id

        async def woken() -> bool:
            return wake.exists()

        await until(woken, ASLEEP_S)
        said = "written"
        try:
            await write()
        except (Stale, Moved) as error:
            said = f"refused: {error}"
            raise
        finally:
            (self._folder / "said" / job.run_id).write_text(said)


async def main(folder: Path, instance: str, url: str) -> None:
    """Work until SIGTERM."""
    database = Database("executor", url, WorkerTransaction)
    worker = Worker(
        database,
        Contestant(folder, instance),
        command=RunExecutorStage,
        instance=instance,
        slots=SLOTS,
        lease_s=LEASE_S,
        redact=lambda _, text: text,
    )
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    await worker.start()
    await stop.wait()
    await worker.stop()
    await database.close()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), sys.argv[2], sys.argv[3]))

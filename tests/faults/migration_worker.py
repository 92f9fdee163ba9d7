"""The process that is killed: the executor's own worker, whose stages apply and undo migrations."""

import asyncio
from multiprocessing.connection import Connection

from services.executor.clients import migrations, reverting
from shared.contracts.facts import Facts, RecordFacts, RollBackFacts
from shared.contracts.stages import RunExecutorStage
from shared.jobs.job import Job
from shared.jobs.store import WorkerTransaction
from shared.jobs.worker import Worker
from shared.storage.database import Database
from tests.faults.migration_scripts import BACK, BASE, ONWARD

KEPT = {("public", "people"): frozenset({"id", "email"}), ("public", "orders"): frozenset({"id", "person"})}


def main(executor: str, told: Connection) -> None:
    """Works until it is killed, and tells when a stage begins."""
    asyncio.run(_work(executor, told))


async def _work(executor: str, told: Connection) -> None:
    # The Project's repository names its database here, and its branch which road is wanted.

    async def stage(job: Job, task: object) -> Facts:
        url, run = job.project.repository, BACK if getattr(task, "branch", "") == "back" else ONWARD
        told.send("begins")
        if job.stage == "roll-back":
            async with job.journal.effect("undo", production=True):
                await reverting.revert(url, run, job.fencing_token, kept=KEPT)
            return RollBackFacts(proof=(), steps=())
        async with job.journal.effect("expand", production=True):
            folders = [each.folder for each in run]
            await migrations.apply(url, [*BASE, *run], job.fencing_token, wanted=folders, run=folders)
        return RecordFacts(removed=())

    database = Database("executor", executor, WorkerTransaction)
    worker = Worker(
        database,
        stage,
        command=RunExecutorStage,
        instance="killed",
        slots=1,
        lease_s=60,
        redact=lambda _, text: text,
    )
    await worker.start()
    await asyncio.Event().wait()

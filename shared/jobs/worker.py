"""The worker: leases jobs, runs their stage under a deadline, heartbeats, and answers once."""

import asyncio
import contextlib
import logging
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from shared.clock import utc_now
from shared.contracts.stages import (
    Errored,
    Facts,
    Failed,
    Outcome,
    RunExecutorStage,
    RunValidatorStage,
    StageFinished,
    Succeeded,
)
from shared.errors import Failure, Stale
from shared.jobs.job import Effect, Job
from shared.jobs.store import JobRow, WorkerTransaction
from shared.storage.database import Database, is_passing

log = logging.getLogger(__name__)

Command = RunExecutorStage | RunValidatorStage
RunStage = Callable[[Job, Any], Awaitable[Facts]]
_POLL_S = 1.0


class Worker:
    """Runs the jobs of one service in this process, `slots` at a time.

    `run_stage(job, task)` returns the stage's facts; `Failure` is a verdict of no, any other exception
    means that it could not be found out. `redact` takes secrets out of what is answered.
    """

    def __init__(
        self,
        database: Database[WorkerTransaction],
        run_stage: RunStage,
        *,
        command: type[RunExecutorStage] | type[RunValidatorStage],
        instance: str,
        slots: int,
        lease_s: float,
        redact: Callable[[str], str],
    ) -> None:
        self.database = database
        self._run_stage = run_stage
        self._command = command
        self.name = f"{database.service}@{instance}"
        self._slots = asyncio.Semaphore(slots)
        self._lease_s = lease_s
        self._redact = redact
        self._wake = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._loop: asyncio.Task[None] | None = None

    def wake(self) -> None:
        self._wake.set()

    async def start(self) -> None:
        async with self.database.transaction() as tx:
            await tx.requeue_mine(self.name)
        self._loop = asyncio.create_task(self._lease_jobs(), name=f"{self.name} {os.getpid()}")

    async def stop(self) -> None:
        """Stop the work where it is; the next lease looks at the world and goes on."""
        for task in [self._loop, *self._tasks]:
            if task is not None:
                task.cancel()
        for task in [self._loop, *self._tasks]:
            if task is not None:
                with contextlib.suppress(asyncio.CancelledError):
                    await task

    async def _lease_jobs(self) -> None:
        while True:
            await self._slots.acquire()
            row = None
            try:
                row = await self._lease_one()
            finally:
                if row is None:
                    self._slots.release()
            if row is not None:
                task = asyncio.create_task(self._work(row), name=f"{row.run_id} {row.stage}")
                self._tasks.add(task)
                task.add_done_callback(self._worked)
                continue
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._wake.wait(), _POLL_S)

    async def _lease_one(self) -> JobRow | None:
        self._wake.clear()
        try:
            async with self.database.transaction() as tx:
                return await tx.lease(self.name, self._lease_s)
        except Exception as error:
            if not is_passing(error):
                raise
            log.warning("no job can be leased: %r", error)
            return None

    def _worked(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._slots.release()
        if not task.cancelled() and task.exception() is not None:
            log.error(
                "%s broke; its lease runs out and it is done again",
                task.get_name(),
                exc_info=task.exception(),
            )

    async def _work(self, row: JobRow) -> None:
        command = self._command.model_validate(row.command)
        started_at = utc_now()
        log.info("%s %s attempt %d: begins", row.run_id, row.stage, row.attempt)
        work = asyncio.create_task(self._outcome(command, row), name=f"{row.run_id} {row.stage} work")
        beat = asyncio.create_task(self._heartbeat(row))
        try:
            await asyncio.wait({work, beat}, return_when=asyncio.FIRST_COMPLETED)
            if not work.done():
                log.info(
                    "%s %s attempt %d: stopped, it is not ours any more", row.run_id, row.stage, row.attempt
                )
                return
            outcome = work.result()
        except Stale:
            log.info("%s %s attempt %d: superseded", row.run_id, row.stage, row.attempt)
            return
        finally:
            for task in (beat, work):
                task.cancel()
            await asyncio.gather(beat, work, return_exceptions=True)
        await self._answer(row, command, outcome, started_at)

    async def _answer(self, row: JobRow, command: Command, outcome: Outcome, started_at: Any) -> None:
        result = StageFinished(
            run_id=command.run_id,
            project_id=command.project_id,
            stage=command.task.stage,
            attempt=command.attempt,
            fence=command.fence,
            outcome=outcome,
            worker=self.name,
            started_at=started_at,
            finished_at=utc_now(),
        )
        async with self.database.transaction() as tx:
            await tx.finish(row, result)
        log.info("%s %s attempt %d: %s", row.run_id, row.stage, row.attempt, outcome.kind)

    async def _outcome(self, command: Command, row: JobRow) -> Outcome:
        journal = _Journal(self.database, row)
        job = Job(
            run_id=command.run_id,
            project=command.project,
            stage=command.task.stage,
            attempt=command.attempt,
            fence=command.fence,
            generation=row.generation,
            deadline_s=command.deadline_s,
            journal=journal,
        )
        try:
            async with asyncio.timeout(command.deadline_s):
                return Succeeded(facts=await self._run_stage(job, command.task))
        except Failure as failure:
            outcome: Failed | Errored = failure.outcome
        except Stale:
            raise
        except TimeoutError:
            outcome = Errored(
                reason=f"the stage was not done within its deadline of {command.deadline_s:g} s"
            )
        except Exception as error:
            log.warning("%s %s errored", row.run_id, row.stage, exc_info=error)
            outcome = Errored(reason=f"{type(error).__name__}: {error}")
        touched = any(effect.production for effect in await journal.of_run())
        text = self._redact(outcome.model_dump_json())
        return (
            type(outcome)
            .model_validate_json(text)
            .model_copy(update={"touched_production": touched, "backup": job.backup})
        )

    async def _heartbeat(self, row: JobRow) -> None:
        """Returns once the job is not ours any more: cancelled, superseded or taken over."""
        deadline = asyncio.get_running_loop().time() + self._lease_s
        while asyncio.get_running_loop().time() < deadline:
            await asyncio.sleep(self._lease_s / 5)
            try:
                async with self.database.transaction() as tx:
                    if not await tx.extend(row, self._lease_s):
                        return
            except Exception as error:
                if not is_passing(error):
                    raise
                log.warning("no heartbeat for %s %s: %r", row.run_id, row.stage, error)
            else:
                deadline = asyncio.get_running_loop().time() + self._lease_s


class _Journal:
    def __init__(self, database: Database[WorkerTransaction], row: JobRow) -> None:
        self._database = database
        self._row = row

    @asynccontextmanager
    async def effect(self, name: str, detail: str = "", *, production: bool = False) -> AsyncIterator[None]:
        async with self._database.transaction() as tx:
            if not await tx.still_mine(self._row):
                raise Stale(f"{self._row.run_id} {self._row.stage}")
            effect = await tx.add_effect(self._row, name, detail, production=production)
        yield
        async with self._database.transaction() as tx:
            await tx.effect_done(effect)

    async def of_run(self) -> list[Effect]:
        async with self._database.transaction() as tx:
            return await tx.effects(self._row.run_id)

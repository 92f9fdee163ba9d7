"""The worker: leases jobs, runs their stage under a deadline, heartbeats, and answers once."""

import asyncio
import logging
import traceback
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

from shared.clock import utc_now
from shared.contracts.facts import Facts
from shared.contracts.stages import (
    Errored,
    Outcome,
    RunExecutorStage,
    RunValidatorStage,
    StageFinished,
    Succeeded,
)
from shared.errors import Failure, Stale
from shared.jobs.job import Job
from shared.jobs.journal import LeaseJournal
from shared.jobs.redaction import without_secrets
from shared.jobs.store import Command, JobRow, WorkerTransaction
from shared.storage.database import Database, is_passing

log = logging.getLogger(__name__)

RunStage = Callable[[Job, Any], Awaitable[Facts]]
_POLL_S = 1.0
_HEARTBEATS_PER_LEASE = 5


class Worker:
    """Runs the jobs of one service in this process, `slots` at a time.

    `run_stage(job, task)` returns the stage's facts; `Failure` is a verdict of no, any other exception
    means that it could not be found out. `redact` takes secrets out of what is answered. `instance` names
    this process and no other that runs at the same time; after a restart it takes its jobs up at once.
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
        self._slots = slots
        self._lease_s = lease_s
        self._redact = redact
        self._wake = asyncio.Event()
        self._hurry: set[asyncio.Event] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._loop: asyncio.Task[None] | None = None

    def wake(self, *, hurry: bool) -> None:
        """Something was accepted: look now, not at the next poll; cancelled: not at the next heartbeat."""
        self._wake.set()
        if hurry:
            for heartbeat in self._hurry:
                heartbeat.set()

    async def start(self) -> None:
        async with self.database.transaction() as tx:
            await tx.free_leases_of(self.name)
        self._loop = asyncio.create_task(self._lease_jobs(), name=f"{self.name} leases")

    async def stop(self) -> None:
        """Stop the work where it is; the next lease looks at the world and goes on."""
        # The loop first: it must not begin what nobody would stop.
        for tasks in ([self._loop] if self._loop else [], self._tasks):
            stopping = list(tasks)
            for task in stopping:
                task.cancel()
            await asyncio.gather(*stopping, return_exceptions=True)
        try:
            async with self.database.transaction() as tx:
                await tx.free_leases_of(self.name)
        except Exception as error:
            if not is_passing(error):
                raise
            log.warning("the leases of %s run out by themselves: %r", self.name, error)

    # --- leasing ---------------------------------------------------------------------------------

    async def _lease_jobs(self) -> None:
        while True:
            self._wake.clear()
            rows = await self._lease_free_slots()
            for row in rows:
                task = asyncio.create_task(self._work(row), name=f"{row.run_id} {row.stage}")
                self._tasks.add(task)
                task.add_done_callback(self._worked)
            if not rows:
                with suppress(TimeoutError):
                    async with asyncio.timeout(_POLL_S):
                        await self._wake.wait()

    async def _lease_free_slots(self) -> list[JobRow]:
        free = self._slots - len(self._tasks)
        if free <= 0:
            return []
        try:
            async with self.database.transaction() as tx:
                return await tx.lease(self.name, self._lease_s, free)
        except Exception as error:
            # Even a bug must not end the loop: a worker that leases nothing looks healthy for ever.
            log.warning("no job can be leased: %r", error, exc_info=not is_passing(error))
            return []

    def _worked(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._wake.set()
        if not task.cancelled() and task.exception() is not None:
            log.error(
                "%s broke; its lease runs out and it is done again",
                task.get_name(),
                exc_info=task.exception(),
            )

    # --- one job ---------------------------------------------------------------------------------

    async def _work(self, row: JobRow) -> None:
        log.info("%s %s attempt %d: begins", row.run_id, row.stage, row.attempt)
        work = asyncio.create_task(self._do(row), name=f"{row.run_id} {row.stage} work")
        beat = asyncio.create_task(self._heartbeat(row), name=f"{row.run_id} {row.stage} heartbeat")
        try:
            await asyncio.wait({work, beat}, return_when=asyncio.FIRST_COMPLETED)
            ours = work.done()
        finally:
            work.cancel()
            await asyncio.gather(work, return_exceptions=True)
            beat.cancel()
            await asyncio.gather(beat, return_exceptions=True)
        if ours:
            work.result()
            return
        log.info("%s %s attempt %d: stopped, it is not ours any more", row.run_id, row.stage, row.attempt)
        async with self.database.transaction() as tx:
            await tx.let_go(row)
            tx.after_commit(self._wake.set)

    async def _do(self, row: JobRow) -> None:
        command = self._command.model_validate(row.command)
        job = Job(
            run_id=command.run_id,
            project=command.project,
            stage=command.task.stage,
            attempt=command.attempt,
            fence=command.fence,
            generation=row.generation,
            deadline_s=command.deadline_s,
            journal=LeaseJournal(self.database, row),
        )
        started_at = utc_now()
        outcome = without_secrets(await self._verdict(job, command), self._redact)
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
        while True:
            try:
                return await self._answer(row, job, result)
            except Exception as error:
                if not is_passing(error):
                    raise
                log.warning("%s %s: the answer waits for the database: %r", row.run_id, row.stage, error)
            # Ends with the lease at the latest: the heartbeat waits for the same database.
            await asyncio.sleep(_POLL_S)

    async def _verdict(self, job: Job, command: Command) -> Outcome:
        deadline = asyncio.timeout(command.deadline_s)
        try:
            async with deadline:
                return Succeeded(facts=await self._run_stage(job, command.task))
        except Failure as failure:
            return failure.outcome
        except Stale as error:
            # Whoever superseded us has our job, and this answer is dropped. If nobody has, it is news.
            return Errored(reason=f"a newer command has been here: {error}")
        except asyncio.CancelledError:
            ours = asyncio.current_task()
            if ours is None or ours.cancelling():
                raise
            return Errored(reason="the stage gave up: something that it waited for was cancelled")
        except Exception as error:
            if isinstance(error, TimeoutError) and deadline.expired():
                late = f"the stage was not done within its deadline of {command.deadline_s:g} s"
                return Errored(reason=late)
            trace = self._redact("".join(traceback.format_exception(error)))
            log.warning("%s %s errored\n%s", job.run_id, job.stage, trace)
            return Errored(reason=f"{type(error).__name__}: {error}")

    async def _answer(self, row: JobRow, job: Job, result: StageFinished) -> None:
        async with self.database.transaction() as tx:
            outcome = result.outcome
            if not isinstance(outcome, Succeeded):
                touched = any(effect.production for effect in await tx.effects(row.run_id))
                changes = {"touched_production": touched, "backup": job.backup}
                result = result.model_copy(update={"outcome": outcome.model_copy(update=changes)})
            answered = await tx.finish(row, result)
            if not answered:
                await tx.let_go(row)
            tx.after_commit(self._wake.set)
        said = outcome.kind if answered else "superseded, nothing is answered"
        log.info("%s %s attempt %d: %s", row.run_id, row.stage, row.attempt, said)

    async def _heartbeat(self, row: JobRow) -> None:
        """Returns once the job is not ours any more: cancelled, taken over, or its lease ran out."""
        now_s = asyncio.get_running_loop().time
        hurry = asyncio.Event()
        self._hurry.add(hurry)
        try:
            deadline_s = now_s() + self._lease_s
            while now_s() < deadline_s:
                with suppress(TimeoutError):
                    async with asyncio.timeout(self._lease_s / _HEARTBEATS_PER_LEASE):
                        await hurry.wait()
                hurry.clear()
                begun_s = now_s()
                try:
                    # A database that hangs must not make us work on beyond the lease.
                    async with asyncio.timeout_at(deadline_s), self.database.transaction() as tx:
                        if not await tx.extend(row, self._lease_s):
                            return
                except Exception as error:
                    log.warning(
                        "no heartbeat for %s %s: %r",
                        row.run_id,
                        row.stage,
                        error,
                        exc_info=not is_passing(error),
                    )
                else:
                    deadline_s = begun_s + self._lease_s
        finally:
            self._hurry.discard(hurry)

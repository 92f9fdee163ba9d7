"""The worker: leases jobs, runs their stage under a deadline, keeps them by heartbeats, and answers once."""

import asyncio
import logging
import traceback
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

from shared import background
from shared.clients.secret_sources import UnusableSecret
from shared.clients.secrets import MissingSecret, lacking
from shared.contracts.facts import Facts
from shared.contracts.stages import (
    Errored,
    Outcome,
    RunExecutorStage,
    RunValidatorStage,
    StageFinished,
    Succeeded,
)
from shared.errors import Failure, Retry, Stale, told
from shared.jobs.answers import Answers, Ended
from shared.jobs.batch import Command
from shared.jobs.fitting import that_fits
from shared.jobs.heartbeats import Heartbeats, Held
from shared.jobs.job import Job
from shared.jobs.journal import LeaseJournal
from shared.jobs.redaction import without_secrets
from shared.jobs.store import Lease, WorkerTransaction
from shared.quoted_rows import forget_rows
from shared.storage.database import Database, is_passing
from shared.telemetry.traces import span

log = logging.getLogger(__name__)

RunStage = Callable[[Job, Any], Awaitable[Facts]]
_POLL_S = 1.0
_STOP_WITHIN_S = 2.0


@dataclass
class Room:
    """Places that are kept for jobs which are about to be leased."""

    places: int
    since_s: float
    _begin: Callable[[Sequence[Lease], float], None]

    def begin(self, leases: Sequence[Lease]) -> None:
        self._begin(leases, self.since_s)


class Worker:
    """Runs the jobs of one service in this process, `slots` at a time.

    `run_stage(job, task)` returns the stage's facts; `Failure` is a verdict of no, any other exception
    means that it could not be found out. `redact(project, text)` takes secrets out of what is answered.
    `instance` names this process and no other that runs at the same time; after a restart it takes its
    jobs up at once.
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
        redact: Callable[[str, str], str],
    ) -> None:
        self.database = database
        self.name = f"{database.service}@{instance}"
        self.lease_s = lease_s
        self._run_stage = run_stage
        self._command = command
        self._slots = slots
        self._redact = redact
        self._wake = asyncio.Event()
        self._jobs_wait = False
        self._kept_places = 0
        self._work: set[asyncio.Task[None]] = set()
        self._leasing = asyncio.Lock()
        writing = asyncio.Lock()
        self._heartbeats = Heartbeats(database, self.name, lease_s, writing)
        self._answers = Answers(database, writing, self._wake.set)
        self._background: list[asyncio.Task[None]] = []

    def wake(self, *, hurry: bool) -> None:
        """Jobs wait: look when there is room, not at the next poll. `hurry`: something may be cancelled."""
        self._jobs_wait = True
        self._wake.set()
        if hurry:
            self._heartbeats.hurry()

    async def start(self) -> None:
        async with self.database.transaction() as tx:
            await tx.free_leases_of(self.name)
        self._background = [
            asyncio.create_task(self._lease_jobs(), name=f"{self.name} leases"),
            asyncio.create_task(self._heartbeats.run(), name=f"{self.name} heartbeats"),
            asyncio.create_task(self._answers.run(), name=f"{self.name} answers"),
        ]

    async def stop(self) -> None:
        """Stop the work where it is; the next lease looks at the world and goes on."""
        # The background first: it must not begin what nobody would stop. From here on there is no room.
        running, self._background = self._background, []
        # A lease that is being asked for is waited for: cancelled, the server may still give it after we have
        # let go of all that there is, and nobody would have the job until it runs out.
        with suppress(TimeoutError):
            async with asyncio.timeout(_STOP_WITHIN_S), self._leasing:
                pass
        for tasks in (running, list(self._work)):
            await asyncio.gather(*(background.end(task) for task in tasks))
        try:
            await self._answers.last()
            async with self.database.transaction() as tx:
                await tx.free_leases_of(self.name)
        except Exception as error:
            if not is_passing(error):
                raise
            log.warning("the leases of %s run out by themselves: %r", self.name, error)

    # --- leasing ---------------------------------------------------------------------------------

    @contextmanager
    def room(self, most: int) -> Iterator[Room]:
        """Keep up to `most` free places until the block ends; none when the worker does not run."""
        free = self._slots - len(self._work) - self._kept_places
        places = max(0, min(most, free)) if self._background else 0
        self._kept_places += places
        try:
            yield Room(places, asyncio.get_running_loop().time(), self._begin)
        finally:
            self._kept_places -= places

    async def _lease_jobs(self) -> None:
        while True:
            self._wake.clear()
            await self._lease_free_places()
            with suppress(TimeoutError):
                async with asyncio.timeout(_POLL_S):
                    await self._wake.wait()

    async def _lease_free_places(self) -> None:
        with self.room(self._slots) as room:
            if not room.places:
                return
            self._jobs_wait = False
            try:
                async with self._leasing, self.database.transaction() as tx:
                    leases = await tx.lease(self.name, self.lease_s, self._command, room.places)
            except Exception as error:
                # Even a bug must not end the loop: a worker that leases nothing looks healthy for ever.
                log.warning("no job can be leased: %r", error, exc_info=not is_passing(error))
                return
            self._jobs_wait |= len(leases) == room.places
            room.begin(leases)

    def _begin(self, leases: Sequence[Lease], since_s: float) -> None:
        for lease in leases:
            begun_at = self.database.clock.reckoned()
            held = Held(lease, until_s=since_s + self.lease_s, begun_at=begun_at)
            held.work = asyncio.create_task(self._do(held), name=str(lease))
            self._work.add(held.work)
            self._heartbeats.hold(held)
            held.work.add_done_callback(self._worked)

    def _worked(self, task: asyncio.Task[None]) -> None:
        self._work.discard(task)
        if self._jobs_wait:
            self._wake.set()
        if not task.cancelled() and task.exception() is not None:
            log.error(
                "%s broke; its lease runs out and it is done again",
                task.get_name(),
                exc_info=task.exception(),
            )

    # --- one job ---------------------------------------------------------------------------------

    async def _do(self, held: Held) -> None:
        """Work, and hand the result in; what was lost meanwhile is let go once it has stopped."""
        log.debug("%s: begins", held.lease)
        try:
            result = await self._result(held.lease)
        except asyncio.CancelledError:
            if not held.lost:
                raise
            result = None
        finally:
            self._heartbeats.drop(held)
        self._answers.give(Ended(held.lease, result))

    async def _result(self, lease: Lease) -> StageFinished:
        command = lease.command
        job = Job(
            run_id=command.run_id,
            project=command.project,
            stage=command.task.stage,
            attempt=command.attempt,
            fence=command.fence,
            generation=lease.generation,
            deadline_s=command.deadline_s,
            journal=LeaseJournal(self.database, lease),
        )
        started_at = self.database.clock.reckoned()
        with span(self.database.service, f"{job.stage} attempt {job.attempt}", lease.cause):
            outcome = without_secrets(
                await self._verdict(job, command), partial(self._redact, command.project_id)
            )
        if not isinstance(outcome, Succeeded) and job.backup is not None:
            outcome = outcome.model_copy(update={"backup": job.backup})
        answer = StageFinished(
            run_id=command.run_id,
            project_id=command.project_id,
            stage=command.task.stage,
            attempt=command.attempt,
            fence=command.fence,
            outcome=outcome,
            worker=self.name,
            started_at=started_at,
            finished_at=self.database.clock.reckoned(),
        )
        return that_fits(answer)

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
            forget_rows(error)
            trace = self._redact(command.project_id, "".join(traceback.format_exception(error)))
            log.warning("%s %s errored\n%s", job.run_id, job.stage, trace)
            if isinstance(error, Retry):
                return Errored(reason=f"Retry: {told(error)}", findings=error.findings)
            if isinstance(error, MissingSecret | UnusableSecret):
                return Errored(reason=told(error), findings=(lacking(error),))
            return Errored(reason=f"{type(error).__name__}: {told(error)}")

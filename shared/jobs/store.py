"""The workers' queries. Whole batches are one statement each: a job's share of a commit is what it costs."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import TextClause, insert, select, update
from sqlmodel import col

from shared.contracts.envelope import Envelope, Received
from shared.contracts.stages import StageFinished
from shared.jobs import statements
from shared.jobs.batch import Command, JobKey, Known, NewJob, writes
from shared.jobs.job import Effect
from shared.jobs.tables import EffectRow, JobRow
from shared.storage.database import Database, Transaction


@dataclass(frozen=True, eq=False)
class Lease:
    """A job in a worker's hands, until its heartbeats end or somebody takes it away."""

    command: Command
    cause: Envelope
    generation: int

    @property
    def key(self) -> JobKey:
        return (self.command.run_id, self.command.fence)

    def __str__(self) -> str:
        return f"{self.command.run_id} {self.command.task.stage} attempt {self.command.attempt}"


class WorkerTransaction(Transaction):
    """The queries of executor and validator."""

    # --- accepting -------------------------------------------------------------------------------

    async def lock_projects(self, projects: Iterable[str]) -> None:
        """Until the commit, nobody else accepts stages of these Projects."""
        await self._do(statements.LOCK_PROJECTS, projects=list(projects))

    async def known(self, commands: Sequence[Command]) -> dict[JobKey, Known]:
        """What the tables say of each command."""
        rows = await self._ask(statements.WHAT_IS_KNOWN, **_keys(commands), projects=_projects(commands))
        return {(run, fence): Known(*facts) for run, fence, *facts in rows}

    async def add_jobs(self, new: Sequence[NewJob], worker: str, lease_s: float) -> None:
        """Make these jobs, those that are `begun` in the hands of `worker`."""
        commands = [job.command for job in new]
        await self._do(
            statements.ADD_JOBS,
            **_keys(commands),
            projects=_projects(commands),
            stages=[command.task.stage for command in commands],
            attempts=[command.attempt for command in commands],
            states=[job.state for job in new],
            digests=[job.received.digest for job in new],
            commands=[command.model_dump_json() for command in commands],
            causes=[_cause(job.received) for job in new],
            worker=worker,
            lease_s=lease_s,
        )

    async def cancel_older(self, commands: Sequence[Command]) -> None:
        """Supersede what is under way below these commands' fences and excludes them."""
        await self._do(
            statements.CANCEL_OLDER,
            **_keys(commands),
            projects=_projects(commands),
            writes=[writes(command) for command in commands],
        )

    async def cancel(self, jobs: Sequence[JobKey]) -> None:
        await self._do(statements.CANCEL, runs=[run for run, _ in jobs], fences=[fence for _, fence in jobs])

    # --- leases ----------------------------------------------------------------------------------

    async def lease(self, worker: str, lease_s: float, command: type[Command], most: int = 1) -> list[Lease]:
        """Take the oldest jobs that nobody works on, `most` at the most; the generation of each grows."""
        rows = await self._ask(statements.LEASE, worker=worker, lease_s=lease_s, most=most)
        return [
            Lease(command.model_validate_json(body), _envelope(cause), generation)
            for body, cause, generation in rows
        ]

    async def finish(self, answers: Sequence[tuple[Lease, StageFinished]]) -> set[JobKey]:
        """Keep the results and answer with them; what is missing in the answer this worker has lost."""
        rows = await self._ask(
            statements.FINISH,
            **_held([lease for lease, _ in answers]),
            results=[result.model_dump_json() for _, result in answers],
        )
        kept = {(run, fence) for run, fence in rows}
        # No lock keeps a Project's answers in order: the next command is only sent when this answer was read.
        for lease, result in answers:
            if lease.key in kept:
                self.caused_by(lease.cause)
                self.send(result)
        return kept

    async def let_go(self, leases: Sequence[Lease]) -> None:
        """The work of cancelled jobs has stopped: what supersedes them may begin."""
        await self._do(statements.LET_GO, **_held(leases))

    async def free_leases_of(self, worker: str) -> None:
        """This worker does nothing now: what it had leased is anybody's."""
        await self._do(statements.FREE_LEASES, worker=worker)

    # --- the effect journal ----------------------------------------------------------------------

    async def still_mine(self, lease: Lease) -> bool:
        """Whether this lease is the newest; until the commit nobody takes it away."""
        (run, fence), generation = lease.key, lease.generation
        rows = await self._ask(statements.STILL_MINE, run=run, fence=fence, generation=generation)
        return bool(rows)

    async def add_effect(self, lease: Lease, name: str, detail: str, *, production: bool) -> int:
        """The intent of an effect; returns its id."""
        command = lease.command
        added = await self.session.execute(
            insert(EffectRow)
            .values(
                run_id=command.run_id,
                stage=command.task.stage,
                attempt=command.attempt,
                fence=command.fence,
                generation=lease.generation,
                name=name,
                production=production,
                detail=detail,
                intended_at=self.now,
            )
            .returning(col(EffectRow.id))
        )
        effect_id: int = added.scalar_one() or 0
        return effect_id

    async def effect_done(self, effect_id: int) -> None:
        await self.session.execute(
            update(EffectRow).where(col(EffectRow.id) == effect_id).values(done_at=self.now)
        )

    async def effects(self, run_id: str) -> list[Effect]:
        rows = await self.session.execute(
            select(EffectRow).where(col(EffectRow.run_id) == run_id).order_by(col(EffectRow.id))
        )
        return [
            Effect(row.stage, row.attempt, row.name, row.production, row.detail, row.intended_at, row.done_at)
            for row in rows.scalars()
        ]

    async def touched_production(self, runs: Sequence[str]) -> set[str]:
        """Which of these Runs have written, or meant to write, to production."""
        rows = await self._ask(statements.TOUCHED_PRODUCTION, runs=list(runs))
        return {run for (run,) in rows}

    # --- what the doors show -----------------------------------------------------------------------

    async def job(self, run_id: str, fence: int) -> JobRow | None:
        return await self.session.get(JobRow, (run_id, fence))

    async def jobs_of(self, run_id: str) -> list[JobRow]:
        rows = await self.session.execute(
            select(JobRow).where(col(JobRow.run_id) == run_id).order_by(col(JobRow.fence))
        )
        return list(rows.scalars())

    async def _ask(self, statement: TextClause, **values: Any) -> Sequence[Any]:
        return (await self.session.execute(statement, values)).all()

    async def _do(self, statement: TextClause, **values: Any) -> None:
        await self.session.execute(statement, values)


async def extend(
    database: Database[WorkerTransaction], leases: Sequence[Lease], lease_s: float
) -> set[JobKey]:
    """Heartbeat. What is missing in the answer was cancelled, or somebody else has it now."""
    # No transaction of several steps: a process that is stopped in one would keep its jobs from the others.
    async with database.connection() as connection:
        rows = await connection.execute(statements.EXTEND, {**_held(leases), "lease_s": lease_s})
        return {(run, fence) for run, fence in rows.tuples()}


def _keys(commands: Sequence[Command]) -> dict[str, list[Any]]:
    return {
        "runs": [command.run_id for command in commands],
        "fences": [command.fence for command in commands],
    }


def _projects(commands: Sequence[Command]) -> list[str]:
    return [command.project_id for command in commands]


def _held(leases: Sequence[Lease]) -> dict[str, list[Any]]:
    commands = [lease.command for lease in leases]
    return {**_keys(commands), "generations": [lease.generation for lease in leases]}


def _cause(received: Received) -> str:
    envelope = received.envelope
    return json.dumps({**vars(envelope), "time": envelope.time.isoformat()})


def _envelope(cause: str) -> Envelope:
    values = json.loads(cause)
    return Envelope(**{**values, "time": datetime.fromisoformat(values["time"])})

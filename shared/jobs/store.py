"""The workers' queries. Whole batches are one statement each: a job's share of a commit is what it costs."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from pydantic_core import from_json, to_json
from sqlalchemy import insert, select, update
from sqlmodel import col

from shared.contracts.envelope import Envelope
from shared.contracts.stages import StageFinished
from shared.crash_points import around
from shared.jobs import statements
from shared.jobs.batch import Command, JobKey, Known, NewJob, key_of, writes
from shared.jobs.job import Effect
from shared.jobs.tables import EffectRow, JobRow
from shared.storage.database import Transaction
from shared.storage.page_room import rows_that_fit
from shared.storage.statement import Part


@dataclass(frozen=True, eq=False)
class Lease:
    """A job in a worker's hands, until its heartbeats end or somebody takes it away."""

    command: Command
    cause: Envelope
    generation: int

    @property
    def key(self) -> JobKey:
        return key_of(self.command)

    def __str__(self) -> str:
        return f"{self.command.run_id} {self.command.task.stage} attempt {self.command.attempt}"


class WorkerTransaction(Transaction):
    """The queries of executor and validator."""

    def __init__(self, *about: Any) -> None:
        super().__init__(*about)
        self._guard: Part | None = None
        self._parts: list[Part] = []

    # --- accepting -------------------------------------------------------------------------------

    async def known(self, commands: Sequence[Command]) -> dict[JobKey, Known]:
        """What the tables say of each command."""
        runs, fences = _keys(commands)
        rows = await self.fetch(statements.WHAT_IS_KNOWN, runs, fences, _projects(commands))
        return {(run, fence): Known(*facts) for run, fence, *facts in rows}

    def add_jobs(self, new: Sequence[NewJob], worker: str, lease_s: float) -> None:
        """Make these jobs at the commit, those that are `begun` in the hands of `worker`.

        Two of which one excludes the other are never open at a time: the later one breaks an index.
        """
        commands = [job.command for job in new]
        columns = (
            *_keys(commands),
            _projects(commands),
            [command.task.stage for command in commands],
            [command.attempt for command in commands],
            [job.state for job in new],
            [job.received.digest for job in new],
            [job.received.body.decode() for job in new],
            [to_json(job.received.envelope).decode() for job in new],
        )
        self._parts.append(Part(statements.ADD_JOBS, (*columns, worker, lease_s)))

    def must_be_new(self, commands: Sequence[Command]) -> None:
        """The commit raises `Outrun`, and nothing is done, if the tables know what bears on these."""
        written = [writes(command) for command in commands]
        self._guard = Part(statements.ALL_NEW, (*_keys(commands), _projects(commands), written))

    async def cancel_older(self, commands: Sequence[Command]) -> None:
        """Supersede what is under way below these commands' fences and excludes them."""
        written = [writes(command) for command in commands]
        await self.fetch(statements.CANCEL_OLDER, *_keys(commands), _projects(commands), written)

    async def cancel(self, jobs: Sequence[JobKey]) -> None:
        await self.fetch(statements.CANCEL, [run for run, _ in jobs], [fence for _, fence in jobs])

    # --- leases ----------------------------------------------------------------------------------

    async def lease(self, worker: str, lease_s: float, command: type[Command], most: int = 1) -> list[Lease]:
        """Take the oldest jobs that nobody works on, `most` at the most; the generation of each grows."""
        async with around("lease"):
            rows = await self.fetch(statements.LEASE, worker, lease_s, most)
        return [
            Lease(command.read(body.encode()), _envelope(cause), generation)
            for body, cause, generation in rows
        ]

    async def extend(self, leases: Sequence[Lease], lease_s: float) -> set[JobKey]:
        """Heartbeat. What is missing in the answer was cancelled, or somebody else has it now."""
        async with around("heartbeat"):
            kept = await self.fetch(statements.EXTEND, *_held(leases), lease_s)
        return {(run, fence) for run, fence in kept}

    async def mine(self, leases: Sequence[Lease]) -> set[JobKey]:
        """Those that this worker still holds; nobody takes them away until the commit."""
        # Of several statements the first must begin a transaction, or it would be one of its own.
        await self.session.connection()
        return {(run, fence) for run, fence in await self.fetch(statements.MINE, *_held(leases))}

    def finish(self, answers: Sequence[tuple[Lease, StageFinished]]) -> None:
        """Keep the results and answer with them, all of them in one statement at the commit.

        The commit raises `Outrun`, and nothing is done, when this worker has lost one of the jobs.
        """
        held = _held([lease for lease, _ in answers])
        results = [result.model_dump_json() for _, result in answers]
        self._guard = Part(statements.STILL_MINE, held)
        self._parts.append(Part(statements.FINISH, (*held, results)))
        # No lock keeps a Project's answers in order: the next command is only sent when this answer was read.
        for (lease, result), body in zip(answers, results, strict=True):
            self.caused_by(lease.cause)
            self.send(result, body=body.encode())

    def guard(self) -> Part | None:
        return self._guard

    def parts(self) -> list[Part]:
        written, self._parts = self._parts, []
        return written

    async def let_go(self, leases: Sequence[Lease]) -> None:
        """The work of cancelled jobs has stopped: what supersedes them may begin."""
        await self.fetch(statements.LET_GO, *_held(leases))

    async def free_leases_of(self, worker: str) -> None:
        """This worker does nothing now: what it had leased is anybody's."""
        async with around("free-leases"):
            await self.fetch(statements.FREE_LEASES, worker)

    # --- the effect journal ----------------------------------------------------------------------

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

    async def effect_says(self, effect_id: int, detail: str) -> None:
        """How far an effect is that is under way."""
        await self.session.execute(
            update(EffectRow).where(col(EffectRow.id) == effect_id).values(detail=detail)
        )

    async def effect_done(self, effect_id: int) -> None:
        await self.session.execute(
            update(EffectRow).where(col(EffectRow.id) == effect_id).values(done_at=self.now)
        )

    async def effects(self, run_id: str) -> list[Effect]:
        rows = await self.session.execute(
            select(EffectRow).where(col(EffectRow.run_id) == run_id).order_by(col(EffectRow.id))
        )
        return [_effect(row) for row in rows.scalars()]

    async def touched_production(self, runs: Sequence[str]) -> set[str]:
        """Which of these Runs have written, or meant to write, to production."""
        rows = await self.fetch(statements.TOUCHED_PRODUCTION, list(runs))
        return {run for (run,) in rows}

    # --- what the doors show -----------------------------------------------------------------------

    async def job(self, run_id: str, fence: int) -> JobRow | None:
        return await self.session.get(JobRow, (run_id, fence))

    async def jobs_of(self, run_id: str, after: int = -1, most: int | None = None) -> list[JobRow]:
        """Up to `most` jobs of the Run with a higher fence than `after`, in order."""
        rows = await self.session.execute(
            select(JobRow)
            .where(col(JobRow.run_id) == run_id, col(JobRow.fence) > after)
            .order_by(col(JobRow.fence))
            .limit(most)
        )
        return list(rows.scalars())

    async def jobs_page(self, run_id: str, after: int, most: int) -> tuple[list[JobRow], bool]:
        """The Run's jobs behind `after`, fewer than `most`, as a page has room, and whether more follow."""
        rows = await self.fetch(
            "select coalesce(octet_length(result::text), 0) from jobs where run_id = $1 and fence > $2"
            " order by fence limit $3",
            *(run_id, after, most),
        )
        fit = rows_that_fit([size for (size,) in rows], most)
        return await self.jobs_of(run_id, after, fit) if fit else [], len(rows) > fit

    async def jobs_naming(self, run_id: str, word: str) -> AsyncIterator[JobRow]:
        """The Run's jobs in whose result this word stands, one after the other: each may be large."""
        rows = await self.fetch(
            "select fence from jobs where run_id = $1 and position($2 in result::text) > 0 order by fence",
            *(run_id, word),
        )
        for (fence,) in rows:
            if (job := await self.job(run_id, fence)) is not None:
                yield job

    async def effects_page(self, run_id: str, after: int, most: int) -> list[tuple[int, Effect]]:
        """Up to `most` effects of the Run behind `after`, each with its number, in order."""
        rows = await self.session.execute(
            select(EffectRow)
            .where(col(EffectRow.run_id) == run_id, col(EffectRow.id) > after)
            .order_by(col(EffectRow.id))
            .limit(most)
        )
        return [(row.id or 0, _effect(row)) for row in rows.scalars()]

    async def project_of(self, run_id: str) -> str | None:
        """The Project of a Run that has a job here."""
        rows = await self.fetch("select project_id from jobs where run_id = $1 limit 1", run_id)
        return rows[0][0] if rows else None


def _effect(row: EffectRow) -> Effect:
    return Effect(row.stage, row.attempt, row.name, row.production, row.detail, row.intended_at, row.done_at)


def _keys(commands: Sequence[Command]) -> tuple[list[str], list[int]]:
    return [command.run_id for command in commands], [command.fence for command in commands]


def _projects(commands: Sequence[Command]) -> list[str]:
    return [command.project_id for command in commands]


def _held(leases: Sequence[Lease]) -> tuple[list[str], list[int], list[int]]:
    return (*_keys([lease.command for lease in leases]), [lease.generation for lease in leases])


def _envelope(cause: str) -> Envelope:
    values = from_json(cause)
    return Envelope(**{**values, "time": datetime.fromisoformat(values["time"])})

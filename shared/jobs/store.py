"""The workers' tables: jobs with their leases, and the effect journal."""

from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    Column,
    ColumnElement,
    DateTime,
    Identity,
    Index,
    MetaData,
    UniqueConstraint,
    and_,
    exists,
    func,
    insert,
    or_,
    select,
    text,
    tuple_,
    update,
)
from sqlalchemy.orm import aliased
from sqlmodel import Field, SQLModel, col

from shared.contracts.envelope import Envelope
from shared.contracts.stages import RunExecutorStage, RunValidatorStage, StageFinished
from shared.jobs.job import Effect
from shared.storage.database import Transaction

JOB_TABLES = MetaData()

Command = RunExecutorStage | RunValidatorStage
_OPEN = ("queued", "leased")


class JobRow(SQLModel, table=True):
    """One attempt of one stage. `state`: queued, leased, finished or cancelled.

    A cancelled job whose `lease_until` has not passed may still be at work; its worker clears that once
    the work has stopped.
    """

    __tablename__ = "jobs"
    __table_args__ = (
        UniqueConstraint("run_id", "stage", "attempt"),
        Index("open_jobs", "accepted_at", "fence", postgresql_where=text("state in ('queued', 'leased')")),
    )
    metadata = JOB_TABLES

    run_id: str = Field(primary_key=True)
    fence: int = Field(sa_column=Column(BigInteger, primary_key=True, autoincrement=False))
    project_id: str = Field(index=True)
    stage: str
    attempt: int
    state: str
    generation: int = Field(sa_column=Column(BigInteger, nullable=False))
    command: dict[str, Any] = Field(sa_column=Column(JSON, nullable=False))
    cause: dict[str, Any] = Field(sa_column=Column(JSON, nullable=False))
    result: dict[str, Any] | None = Field(default=None, sa_column=Column(JSON(none_as_null=True)))
    worker: str | None = None
    lease_until: datetime | None = Field(default=None, sa_column=Column(DateTime(timezone=True)))
    accepted_at: datetime = Field(sa_column=Column(DateTime(timezone=True), nullable=False))
    started_at: datetime | None = Field(default=None, sa_column=Column(DateTime(timezone=True)))


class EffectRow(SQLModel, table=True):
    """One effect on the world: intended, and perhaps done."""

    __tablename__ = "effects"
    metadata = JOB_TABLES

    id: int | None = Field(default=None, sa_column=Column(BigInteger, Identity(), primary_key=True))
    run_id: str = Field(index=True)
    stage: str
    attempt: int
    fence: int = Field(sa_column=Column(BigInteger, nullable=False))
    generation: int = Field(sa_column=Column(BigInteger, nullable=False))
    name: str
    production: bool
    detail: str
    intended_at: datetime = Field(sa_column=Column(DateTime(timezone=True), nullable=False))
    done_at: datetime | None = Field(default=None, sa_column=Column(DateTime(timezone=True)))


class WorkerTransaction(Transaction):
    """The queries of executor and validator."""

    async def job(self, run_id: str, fence: int) -> JobRow | None:
        return await self.session.get(JobRow, (run_id, fence), with_for_update=True)

    async def newest_fence(self, command: Command) -> int:
        """The highest fence that this service has seen of what excludes `command`, 0 when none."""
        newest = await self.session.execute(
            select(JobRow.fence)  # type: ignore[call-overload]
            .where(_exclude_each_other(JobRow, command.project_id, command.run_id, command.task.stage))
            .order_by(col(JobRow.fence).desc())
            .limit(1)
        )
        return newest.scalar_one_or_none() or 0

    async def add_job(self, row: JobRow) -> None:
        await self.session.execute(insert(JobRow), [row.model_dump()])

    async def cancel_older(self, command: Command) -> bool:
        """Supersede what is under way below this command's fence and excludes it; whether there was any."""
        superseded = await self.session.execute(
            update(JobRow)
            .where(
                _exclude_each_other(JobRow, command.project_id, command.run_id, command.task.stage),
                col(JobRow.fence) < command.fence,
                col(JobRow.state).in_(_OPEN),
            )
            .values(state="cancelled")
            .returning(col(JobRow.fence))
        )
        return bool(superseded.all())

    async def cancel(self, run_id: str, fence: int) -> None:
        await self.session.execute(
            update(JobRow)
            .where(
                col(JobRow.run_id) == run_id,
                col(JobRow.fence) == fence,
                col(JobRow.state).in_(_OPEN),
            )
            .values(state="cancelled")
        )

    async def lease(self, worker: str, lease_s: float, most: int = 1) -> list[JobRow]:
        """Take the oldest jobs that nobody works on, `most` at the most; the generation of each grows.

        A job waits for what it supersedes: that work is being stopped, and must not act beside it.
        """
        older = aliased(JobRow)
        still_stopping = exists().where(
            _exclude_each_other(older, col(JobRow.project_id), col(JobRow.run_id), col(JobRow.stage)),
            col(older.fence) < col(JobRow.fence),
            col(older.state) == "cancelled",
            col(older.lease_until) >= self.now,
        )
        free = (
            select(col(JobRow.run_id), col(JobRow.fence))
            .where(
                col(JobRow.state).in_(_OPEN),
                or_(
                    and_(col(JobRow.state) == "queued", ~still_stopping),
                    and_(col(JobRow.state) == "leased", col(JobRow.lease_until) < self.now),
                ),
            )
            .order_by(col(JobRow.accepted_at), col(JobRow.fence))
            .limit(most)
            .with_for_update(skip_locked=True)
        )
        leased = await self.session.execute(
            update(JobRow)
            .where(tuple_(col(JobRow.run_id), col(JobRow.fence)).in_(free))
            .values(
                state="leased",
                generation=JobRow.generation + 1,
                worker=worker,
                lease_until=self.now + timedelta(seconds=lease_s),
                started_at=func.coalesce(JobRow.started_at, self.now),
            )
            .returning(JobRow)
            .execution_options(synchronize_session=False)
        )
        return sorted(leased.scalars(), key=lambda row: (row.accepted_at, row.fence))

    async def extend(self, row: JobRow, lease_s: float) -> bool:
        """Heartbeat. False: it was cancelled, or somebody else has it now."""
        return await self._change_mine(row, lease_until=self.now + timedelta(seconds=lease_s))

    async def finish(self, row: JobRow, result: StageFinished) -> bool:
        """Keep the result and answer with it; False when this worker has lost the job."""
        await self.lock("project", row.project_id)
        if not await self._change_mine(row, state="finished", result=result.model_dump(mode="json")):
            return False
        self.caused_by(Envelope(**{**row.cause, "time": datetime.fromisoformat(row.cause["time"])}))
        self.send(result)
        return True

    async def let_go(self, row: JobRow) -> None:
        """The work of a cancelled job has stopped: what supersedes it may begin."""
        await self.session.execute(
            update(JobRow)
            .where(
                col(JobRow.run_id) == row.run_id,
                col(JobRow.fence) == row.fence,
                col(JobRow.generation) == row.generation,
                col(JobRow.state) == "cancelled",
            )
            .values(lease_until=None)
        )

    async def free_leases_of(self, worker: str) -> None:
        """This worker does nothing now: what it had leased is anybody's."""
        mine = col(JobRow.worker) == worker
        await self.session.execute(
            update(JobRow).where(mine, col(JobRow.state) == "leased").values(state="queued", lease_until=None)
        )
        await self.session.execute(
            update(JobRow).where(mine, col(JobRow.state) == "cancelled").values(lease_until=None)
        )

    async def _change_mine(self, row: JobRow, **values: Any) -> bool:
        changed = await self.session.execute(
            update(JobRow)
            .where(
                col(JobRow.run_id) == row.run_id,
                col(JobRow.fence) == row.fence,
                col(JobRow.generation) == row.generation,
                col(JobRow.state) == "leased",
            )
            .values(**values)
            .returning(col(JobRow.run_id))
        )
        return changed.scalar_one_or_none() is not None

    async def still_mine(self, row: JobRow) -> bool:
        """Whether this lease is the newest; until the commit nobody takes it away."""
        return await self._change_mine(row, worker=row.worker)

    async def add_effect(self, row: JobRow, name: str, detail: str, *, production: bool) -> int:
        """The intent of an effect; returns its id."""
        added = await self.session.execute(
            insert(EffectRow)
            .values(
                run_id=row.run_id,
                stage=row.stage,
                attempt=row.attempt,
                fence=row.fence,
                generation=row.generation,
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

    async def jobs_of(self, run_id: str) -> list[JobRow]:
        rows = await self.session.execute(
            select(JobRow).where(col(JobRow.run_id) == run_id).order_by(col(JobRow.fence))
        )
        return list(rows.scalars())


def _exclude_each_other(job: type[JobRow], project: Any, run: Any, stage: Any) -> ColumnElement[bool]:
    """Whether `job` and a job of this project, run and stage may not be under way together.

    A review changes nothing, so that of a new Run does not disturb the Run that is under way.
    """
    same_run = col(job.run_id) == run
    both_write = and_(col(job.stage) != "review", stage != "review")
    return and_(col(job.project_id) == project, or_(same_run, both_write))

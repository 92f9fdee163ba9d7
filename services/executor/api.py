"""The executor's HTTP door: what it is doing, and what it has done to the world."""

from datetime import datetime

from fastapi import APIRouter
from pydantic import BaseModel

from shared.contracts.stages import Outcome, StageFinished
from shared.contracts.values import RunId
from shared.errors import not_found
from shared.http.tokens import WhoAsks, may_see
from shared.jobs.store import WorkerTransaction
from shared.jobs.tables import JobRow
from shared.storage.database import Database


class JobView(BaseModel):
    """One attempt of one stage. `state`: queued, leased, finished or cancelled."""

    stage: str
    attempt: int
    fence: int
    generation: int
    state: str
    worker: str | None
    accepted_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    outcome: Outcome | None


class EffectView(BaseModel):
    """One effect on the world: intended, and done unless `done_at` is none."""

    stage: str
    attempt: int
    name: str
    production: bool
    detail: str
    intended_at: datetime
    done_at: datetime | None


class RunReport(BaseModel):
    """Everything that this service did for one Run, oldest first."""

    jobs: list[JobView]
    effects: list[EffectView]


def router(database: Database[WorkerTransaction]) -> APIRouter:
    """The routes, without the service's prefix."""
    routes = APIRouter()

    @routes.get("/runs/{run_id}")
    async def run(run_id: RunId, who: WhoAsks) -> RunReport:
        """The Run's jobs and its effect journal."""
        async with database.transaction() as tx:
            jobs = await tx.jobs_of(run_id)
            effects = await tx.effects(run_id)
        if not jobs:
            raise not_found(
                f"the executor has no job of {run_id}",
                field="run_id",
                value=run_id,
                cure="`upgradepath run list` names the Runs",
            )
        may_see(who, jobs[0].project_id)
        return RunReport(
            jobs=[_view(job) for job in jobs],
            effects=[EffectView.model_validate(effect, from_attributes=True) for effect in effects],
        )

    return routes


def _view(job: JobRow) -> JobView:
    result = None if job.result is None else StageFinished.model_validate(job.result)
    return JobView(
        stage=job.stage,
        attempt=job.attempt,
        fence=job.fence,
        generation=job.generation,
        state=job.state,
        worker=job.worker,
        accepted_at=job.accepted_at,
        started_at=job.started_at,
        finished_at=result.finished_at if result else None,
        outcome=result.outcome if result else None,
    )

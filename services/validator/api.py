"""The validator's HTTP door: what each check said, and what it printed."""

from typing import Annotated

from fastapi import APIRouter, Path
from fastapi.responses import PlainTextResponse
from pydantic import BaseModel

from services.validator.domain import results_of
from shared.clients.content import ContentStore
from shared.contracts.facts import CheckResult
from shared.contracts.stages import StageFinished
from shared.contracts.values import Digest, RunId
from shared.errors import not_found
from shared.http.tokens import WhoAsks, may_see
from shared.jobs.store import WorkerTransaction
from shared.jobs.tables import JobRow
from shared.storage.database import Database


class ChecksView(BaseModel):
    """One attempt of one stage; `results` in the order in which the Project declares its checks."""

    stage: str
    attempt: int
    state: str
    results: tuple[CheckResult, ...]


class ChecksReport(BaseModel):
    """Everything that the validator found out for one Run, oldest first."""

    jobs: list[ChecksView]


def router(database: Database[WorkerTransaction], content: ContentStore) -> APIRouter:
    """The routes, without the service's prefix."""
    routes = APIRouter()

    async def jobs_for(run_id: str, who: WhoAsks) -> list[JobRow]:
        async with database.transaction() as tx:
            jobs = await tx.jobs_of(run_id)
        if not jobs:
            raise not_found(
                f"the validator has no job of {run_id}",
                field="run_id",
                value=run_id,
                cure="`upgradepath run list` names the Runs",
            )
        may_see(who, jobs[0].project_id)
        return jobs

    @routes.get("/runs/{run_id}")
    async def run(run_id: RunId, who: WhoAsks) -> ChecksReport:
        """What each check of the Run said."""
        return ChecksReport(
            jobs=[
                ChecksView(stage=job.stage, attempt=job.attempt, state=job.state, results=_results(job))
                for job in await jobs_for(run_id, who)
            ]
        )

    @routes.get("/runs/{run_id}/logs/{digest}", response_class=PlainTextResponse)
    async def log(run_id: RunId, digest: Annotated[Digest, Path()], who: WhoAsks) -> PlainTextResponse:
        """What a check of this Run printed or read."""
        jobs = await jobs_for(run_id, who)
        # The content store holds everybody's files: only what this Run's checks left may be read here.
        if digest not in {result.log for job in jobs for result in _results(job)}:
            raise not_found(
                f"no check of {run_id} left this log",
                field="digest",
                value=digest,
                cure=f"GET /validator/runs/{run_id} names the logs",
            )
        return PlainTextResponse(await content.get(digest))

    return routes


def _results(job: JobRow) -> tuple[CheckResult, ...]:
    return () if job.result is None else results_of(StageFinished.model_validate(job.result).outcome)

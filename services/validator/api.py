"""The validator's HTTP door: what each check said, and what it printed."""

from typing import Annotated

from fastapi import APIRouter, Path, Response
from fastapi.responses import PlainTextResponse
from pydantic import BaseModel, Field

from services.validator.domain import results_of
from shared.clients.content import ContentStore
from shared.contracts.facts import CheckResult
from shared.contracts.stages import StageFinished
from shared.contracts.values import Actor, Digest, RunId
from shared.errors import not_found
from shared.http.downloads import download
from shared.http.pages import AsksPage
from shared.http.tokens import WhoAsks
from shared.jobs.absent import no_job
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
    next: str | None = Field(default=None, description="the cursor of the next page, if there is one")


def router(database: Database[WorkerTransaction], content: ContentStore) -> APIRouter:
    """The routes, without the service's prefix."""
    routes = APIRouter()

    async def jobs_for(run_id: str, who: Actor, after: int = -1, most: int | None = None) -> list[JobRow]:
        async with database.transaction() as tx:
            project = await tx.project_of(run_id)
            if project is None or not who.may_act_for(project):
                raise no_job("validator", run_id)
            return await tx.jobs_of(run_id, after, most)

    @routes.get("/runs/{run_id}")
    async def run(run_id: RunId, who: WhoAsks, page: AsksPage) -> ChecksReport:
        """What each check of the Run said."""
        [after] = page.after(int) or (-1,)
        jobs = await jobs_for(run_id, who, after, page.most)
        shown = jobs[: page.limit]
        return ChecksReport(
            jobs=[
                ChecksView(stage=job.stage, attempt=job.attempt, state=job.state, results=_results(job))
                for job in shown
            ],
            next=page.goes_on((shown[-1].fence,)) if len(jobs) > page.limit else None,
        )

    @routes.get("/runs/{run_id}/logs/{digest}", response_class=PlainTextResponse)
    async def log(run_id: RunId, digest: Annotated[Digest, Path()], who: WhoAsks) -> Response:
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
        return await download(content, digest, "text/plain; charset=utf-8")

    return routes


def _results(job: JobRow) -> tuple[CheckResult, ...]:
    return () if job.result is None else results_of(StageFinished.model_validate(job.result).outcome)

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

    async def must_see(tx: WorkerTransaction, run_id: str, who: Actor) -> None:
        project = await tx.project_of(run_id)
        if project is None or not who.may_act_for(project):
            raise no_job("validator", run_id, project)

    @routes.get("/runs/{run_id}", response_model=ChecksReport)
    async def run(run_id: RunId, who: WhoAsks, page: AsksPage) -> Response:
        """What each check of the Run said."""
        [after] = page.after(int) or (-1,)
        async with database.transaction() as tx:
            await must_see(tx, run_id, who)
            shown, more = await tx.jobs_page(run_id, after, page.most)
        report = ChecksReport(
            jobs=[
                ChecksView(stage=job.stage, attempt=job.attempt, state=job.state, results=_results(job))
                for job in shown
            ],
            next=page.goes_on((shown[-1].fence,)) if more else None,
        )
        return page.answer(report)

    @routes.get("/runs/{run_id}/logs/{digest}", response_class=PlainTextResponse)
    async def log(run_id: RunId, digest: Annotated[Digest, Path()], who: WhoAsks) -> Response:
        """What a check of this Run printed or read."""
        async with database.transaction() as tx:
            await must_see(tx, run_id, who)
            naming = tx.jobs_naming(run_id, digest)
            left_here = any([digest == result.log async for job in naming for result in _results(job)])
        # The content store holds everybody's files: only what this Run's checks left may be read here.
        if not left_here:
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

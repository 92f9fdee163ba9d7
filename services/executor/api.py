"""The executor's HTTP door: what it is doing, and what it has done to the world."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import datetime

from fastapi import APIRouter, Response
from pydantic import BaseModel, Field

from shared.acting import acting_for
from shared.contracts.projects import Project
from shared.contracts.stages import Finding, Outcome, StageFinished
from shared.contracts.values import RunId
from shared.errors import Retry, forbidden
from shared.http.pages import AsksPage
from shared.http.tokens import WhoAsks
from shared.jobs.absent import no_job
from shared.jobs.store import WorkerTransaction
from shared.jobs.tables import JobRow
from shared.queueing import Queues
from shared.storage.database import Database

_ASKED_AT_ONCE = 8
_WAITING_MAX = 4
_ASKED_WITHIN_S = 60.0
"""A person waits for the answer, and for a place as well."""
_TOO_SLOW = Finding(
    kind="environment",
    subject="environments",
    detail=f"a database or the repository did not answer within {_ASKED_WITHIN_S:g} s",
    cure="check that the executor reaches both, and ask again",
)


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
    next: str | None = Field(default=None, description="the cursor of the next page, if there is one")


class Prerequisites(BaseModel):
    """What a Project's Runs will need and do not have; empty when all of it is there."""

    findings: list[Finding]


AskMissing = Callable[[Project], Awaitable[list[Finding]]]


class Asking:
    """One place for each Project and each person, eight in all; who waits is served in turn."""

    def __init__(self, ask_missing: AskMissing, within_s: float = _ASKED_WITHIN_S) -> None:
        self._ask_missing = ask_missing
        self._within_s = within_s
        self._of_people = Queues("questions wait", _WAITING_MAX)
        self._of_projects = Queues("questions wait", _WAITING_MAX)
        self._places = asyncio.Semaphore(_ASKED_AT_ONCE)

    async def missing(self, project: Project, person: str) -> list[Finding]:
        """Findings, perhaps that it took too long. Raises `Retry` without a place, `Reject` as asked."""
        begun = False
        acting_for(f"project {project.id}")
        try:
            async with (
                asyncio.timeout(self._within_s),
                # Always in this order, so that no two wait for each other.
                self._of_people.turn(person),
                self._of_projects.turn(project.id),
                self._places,
            ):
                begun = True
                return await self._ask_missing(project)
        except TimeoutError:
            if not begun:
                raise Retry("others are being answered, and no place became free: ask again") from None
            return [_TOO_SLOW]


def router(database: Database[WorkerTransaction], ask_missing: AskMissing) -> APIRouter:
    """The routes, without the service's prefix. `ask_missing` is of a Project that need not be registered."""
    routes = APIRouter()
    asking = Asking(ask_missing)

    @routes.post("/prerequisites")
    async def prerequisites(project: Project, who: WhoAsks) -> Prerequisites:
        """What the Project's Runs will need and do not have: secrets, roles, a repository, its history."""
        if not who.may_act_for(project.id):
            raise forbidden("this is for the Project's own maintainers", cure="use a token that names it")
        return Prerequisites(findings=await asking.missing(project, who.id))

    @routes.get("/runs/{run_id}", response_model=RunReport)
    async def run(run_id: RunId, who: WhoAsks, page: AsksPage) -> Response:
        """The Run's jobs and its effect journal: up to `limit` of each, the rest on the next pages."""
        fence, number = page.after(int, int) or (-1, -1)
        async with database.transaction() as tx:
            project = await tx.project_of(run_id)
            if project is None or not who.may_act_for(project):
                raise no_job("executor", run_id, project)
            shown, more = await tx.jobs_page(run_id, fence, page.most)
            effects = await tx.effects_page(run_id, number, page.most)
        done = effects[: page.limit]
        ends = (shown[-1].fence if shown else fence, done[-1][0] if done else number)
        goes_on = more or len(effects) > page.limit
        report = RunReport(
            jobs=[_view(job) for job in shown],
            effects=[EffectView.model_validate(effect, from_attributes=True) for _, effect in done],
            next=page.goes_on(ends) if goes_on else None,
        )
        return page.answer(report)

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

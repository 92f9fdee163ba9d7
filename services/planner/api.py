"""The planner's HTTP door."""

import asyncio
from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Body, Path, Query, Request, Response
from fastapi.responses import PlainTextResponse
from pydantic import BaseModel, Field, JsonValue, create_model

from services.planner.approvals import rules_for
from services.planner.recovery import FleetState
from services.planner.run import Run
from services.planner.store import PlannerTransaction
from services.planner.store.lists import plan_for, revision_of, run_for, runs_page
from services.planner.store.transaction import unregistered
from shared.clients.content import ContentStore
from shared.contracts.freezes import FreezeDeploys, ThawDeploys
from shared.contracts.policies import Rules
from shared.contracts.runs import (
    AcceptMasks,
    ApproveCandidate,
    CancelRun,
    ContinueRun,
    Plan,
    RejectCandidate,
    RequestPlan,
    ResumeRun,
    RetryStage,
    RollBackRun,
    RunStatus,
    RunView,
    SignOff,
    StartRun,
)
from shared.contracts.values import Actor, Digest, ProjectId, SystemName, Version
from shared.errors import conflict
from shared.http.door import IdempotencyKey, perform
from shared.http.downloads import download
from shared.http.limits import Slots
from shared.http.pages import AsksPage
from shared.http.tokens import WhoAsks, may_see, visible_to
from shared.messaging.inbox import Inbox
from shared.storage.database import Database

_WAIT_POLL_S = 0.2
RunName = Annotated[str, Path(max_length=100)]
"""Of any form: what there is not is not found, however it is spelled."""
_WAITS = 50
"""Long polls at once, unless the settings say another number."""


class PlanRequest(BaseModel):
    """Which Systems of which Project to move, and which to add or remove; null means the newest version."""

    project: ProjectId
    systems: dict[SystemName, Version | None] = {}
    add: dict[SystemName, Version | None] = {}
    remove: tuple[SystemName, ...] = ()


class ProjectKnown(BaseModel):
    """A Project that the planner has read of, and the newest version map of it that it has."""

    project: ProjectId
    map_revision: int


class FleetReason(BaseModel):
    """Why deploys are frozen, or are not any more."""

    reason: str = Field(min_length=1, max_length=2000)


class RunState(BaseModel):
    """A Run and how often it has changed."""

    run: RunView
    revision: int


class PlanState(BaseModel):
    """A plan, its name, and the rules by which it is decided."""

    plan: Plan
    digest: Digest
    rules: Rules | None = None


def router(
    inbox: Inbox[PlannerTransaction],
    database: Database[PlannerTransaction],
    content: ContentStore,
    waits: Slots | None = None,
) -> APIRouter:
    """Runs and plans: read by everybody who may act for their Project, commanded by its maintainers."""
    routes = APIRouter()
    _add_reads(routes, database, content, waits or Slots(_WAITS, _WAITS))
    _add_commands(routes, inbox, database)
    _add_fleet(routes, inbox, database)
    return routes


async def _visible(database: Database[PlannerTransaction], run_id: str, who: Actor) -> tuple[Run, int]:
    async with database.transaction() as tx:
        return await run_for(tx, run_id, who)


async def _changed(
    database: Database[PlannerTransaction], run_id: str, revision: int, within_s: float, request: Request
) -> None:
    """Returns once the Run's revision is above `revision`, the time is over, or the client went away."""
    end = asyncio.get_running_loop().time() + within_s
    while asyncio.get_running_loop().time() < end and not await request.is_disconnected():
        async with database.transaction() as tx:
            if await revision_of(tx, run_id) > revision:
                return
        await asyncio.sleep(_WAIT_POLL_S)


def plan_of(run: Run) -> PlanState:
    """The Run's plan. Raises `Reject` when it has none yet."""
    if run.plan_document is None or run.plan is None:
        raise conflict(
            f"{run.id} has no plan yet: it is {run.status} at {run.stage}",
            field="run_id",
            value=run.id,
            cure=f"wait for it: upgradepath run watch {run.id}",
        )
    return PlanState(plan=run.plan_document, digest=run.plan, rules=rules_for(run))


def _add_reads(
    routes: APIRouter, database: Database[PlannerTransaction], content: ContentStore, waits: Slots
) -> None:
    @routes.get("/runs")
    async def list_runs(
        who: WhoAsks, page: AsksPage, project: ProjectId | None = None, status: RunStatus | None = None
    ) -> list[RunView]:
        """Newest first; only of Projects that the token may speak for."""
        after = page.after(datetime, str)
        async with database.transaction() as tx:
            runs, more = await runs_page(tx, visible_to(who, project), status, after, page.most)
        return [run for run, _ in page.cut(runs, lambda row: row[1], more=more)]

    @routes.get("/runs/{run_id}")
    async def show_run(
        run_id: RunName,
        who: WhoAsks,
        request: Request,
        after_revision: Annotated[int, Query(ge=0, lt=1 << 63)] = 0,
        wait_s: Annotated[float, Query(ge=0, le=60)] = 0,
    ) -> RunState:
        """With `wait_s`: answers once the revision is above `after_revision`, or the time is over."""
        run, revision = await _visible(database, run_id, who)
        if revision <= after_revision and wait_s > 0:
            with waits.hold(who.id):
                await _changed(database, run_id, after_revision, wait_s, request)
            run, revision = await _visible(database, run_id, who)
        return RunState(run=run.view(), revision=revision)

    @routes.get("/runs/{run_id}/plan")
    async def show_plan(run_id: RunName, who: WhoAsks) -> PlanState:
        return plan_of((await _visible(database, run_id, who))[0])

    @routes.get("/runs/{run_id}/diff", response_class=PlainTextResponse)
    async def show_diff(run_id: RunName, who: WhoAsks) -> Response:
        """The whole change as a unified diff."""
        plan = plan_of((await _visible(database, run_id, who))[0]).plan
        return await download(content, plan.diff, "text/plain; charset=utf-8")

    @routes.get("/projects/{project}")
    async def knows_project(project: ProjectId, who: WhoAsks) -> ProjectKnown:
        """Whether the planner has read of this Project: then a plan can be asked for."""
        may_see(who, project, unregistered(project))
        async with database.transaction() as tx:
            _, version_map = await tx.registration(project)
        return ProjectKnown(project=project, map_revision=version_map.revision)

    @routes.get("/plans/{digest}")
    async def plan_by_digest(digest: Annotated[str, Path(max_length=100)], who: WhoAsks) -> Plan:
        async with database.transaction() as tx:
            return await plan_for(tx, digest, visible_to(who))


def _add_commands(
    routes: APIRouter, inbox: Inbox[PlannerTransaction], database: Database[PlannerTransaction]
) -> None:
    @routes.post("/runs", status_code=201, response_model=RunView)
    async def request_plan(request: PlanRequest, who: WhoAsks, key: IdempotencyKey = None) -> JsonValue:
        may_see(who, request.project, unregistered(request.project))
        command = RequestPlan(actor=who, **dict(request))
        return await perform(inbox, command, key)

    def add(verb: str, command: type[Any], about: str) -> None:
        fields = set(command.model_fields) - {"actor", "project", "run_id"}
        body = _body_model(command, fields)

        async def act(
            run_id: RunName, who: WhoAsks, request: Annotated[Any, Body()], key: IdempotencyKey = None
        ) -> JsonValue:
            run, _ = await _visible(database, run_id, who)
            given = {name: getattr(request, name) for name in fields}
            return await perform(inbox, command(actor=who, project=run.project, run_id=run_id, **given), key)

        act.__annotations__["request"] = body
        act.__name__ = command.__name__
        act.__doc__ = about
        routes.post(f"/runs/{{run_id}}/{verb}", response_model=RunView)(act)

    add("start", StartRun, "Opt in to exactly this plan.")
    add("accept-masks", AcceptMasks, "Let copies of production mask less, as exactly this plan says.")
    add("continue", ContinueRun, "A fix was pushed, or rows were corrected: prove it, from `apply` on.")
    add("retry", RetryStage, "Try the stage that waits once more.")
    add("sign-off", SignOff, "Answer a sign-off check.")
    add("approve", ApproveCandidate, "Deploy exactly this candidate to production.")
    add("reject", RejectCandidate, "Do not deploy: roll back.")
    add("cancel", CancelRun, "Stop before production is written.")
    add("resume", ResumeRun, "An SRE: go on from here or an earlier stage, behind a new fence.")
    add("roll-back", RollBackRun, "Bring everything back to what it was before the Run.")


def _add_fleet(
    routes: APIRouter, inbox: Inbox[PlannerTransaction], database: Database[PlannerTransaction]
) -> None:
    @routes.get("/freeze")
    async def freeze(_: WhoAsks) -> FleetState:
        """Whether deploys are frozen: by whom, why, since when."""
        async with database.transaction() as tx:
            return await tx.fleet()

    @routes.post("/freeze", response_model=FleetState)
    async def freeze_deploys(body: FleetReason, who: WhoAsks, key: IdempotencyKey = None) -> JsonValue:
        """Let no deploy start from now on, of whatever Project. The first word stands."""
        return await perform(inbox, FreezeDeploys(actor=who, reason=body.reason), key)

    @routes.post("/thaw", response_model=FleetState)
    async def thaw_deploys(body: FleetReason, who: WhoAsks, key: IdempotencyKey = None) -> JsonValue:
        """Let deploys start again; those that wait go on by themselves."""
        return await perform(inbox, ThawDeploys(actor=who, reason=body.reason), key)


def _body_model(command: type[BaseModel], fields: set[str]) -> type[BaseModel]:
    """The command without what the path and the token say."""
    chosen: dict[str, Any] = {
        name: (info.annotation, info) for name, info in command.model_fields.items() if name in fields
    }
    return create_model(f"{command.__name__}Request", __doc__=command.__doc__, **chosen)

"""What the planner shows: each query looks only among the Projects that its asker may see."""

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import func, select, tuple_
from sqlmodel import col

from services.planner.run import Run
from services.planner.store import statements
from services.planner.store.memory import KeptRun
from services.planner.store.tables import RunRow
from services.planner.store.transaction import PlannerTransaction, no_run
from shared.audit import origins
from shared.contracts.runs import Plan, RunChanged, RunView
from shared.contracts.values import Actor
from shared.errors import not_found
from shared.storage.page_room import rows_that_fit


async def runs_page(
    tx: PlannerTransaction,
    among: Sequence[str] | None,
    status: str | None,
    after: tuple[datetime, str] | None,
    most: int,
) -> tuple[list[tuple[RunView, tuple[datetime, str]]], bool]:
    """Runs of these Projects (None: of all), newest first, each with its place, and whether more follow.

    Fewer than `most`, as many as a page has room for.
    """
    query = select(col(RunRow.requested_at), col(RunRow.id)).order_by(
        col(RunRow.requested_at).desc(), col(RunRow.id).desc()
    )
    if among is not None:
        query = query.where(col(RunRow.project).in_(among))
    if status is not None:
        query = query.where(col(RunRow.status) == status)
    if after is not None:
        query = query.where(tuple_(col(RunRow.requested_at), col(RunRow.id)) < after)
    sized = await tx.session.execute(query.add_columns(func.octet_length(RunRow.told)).limit(most))
    sizes = [size for *_, size in sized]
    fit = rows_that_fit(sizes, most)
    rows = await tx.session.execute(query.add_columns(col(RunRow.told)).limit(fit))
    found = [(RunChanged.model_validate_json(told).run, (at, name)) for at, name, told in rows]
    return found, len(sizes) > fit


async def run_for(tx: PlannerTransaction, run_id: str, who: Actor) -> tuple[Run, int]:
    """A Run and how often it has changed. Raises `Reject` if there is none that `who` may see."""
    for project, *row in await tx.fetch(statements.RUNS, [run_id]):
        if who.may_act_for(project):
            kept = KeptRun.stored(*row)
            return kept.run, kept.revision
        origins.hid(project)
    raise no_run(run_id)


async def revision_of(tx: PlannerTransaction, run_id: str) -> int:
    """How often the Run has changed; 0 if there is none."""
    rows = await tx.fetch("select revision from runs where id = $1", run_id)
    return rows[0][0] if rows else 0


async def plan_for(tx: PlannerTransaction, digest: str, among: Sequence[str] | None) -> Plan:
    """The plan of this digest. Raises `Reject` if there is none of these Projects."""
    query = select(col(RunRow.plan_document)).where(col(RunRow.plan) == digest)
    if among is not None:
        query = query.where(col(RunRow.project).in_(among))
    plan = (await tx.session.execute(query.limit(1))).scalar_one_or_none()
    if plan is None:
        if among is not None:
            origins.hid(None)
        raise not_found("there is no such plan", field="plan", value=digest, cure="upgradepath run list")
    return Plan.model_validate_json(plan)

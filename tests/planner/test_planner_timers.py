"""Timers are looked at when they come or before, never after; one that was moved costs one look."""

from datetime import datetime, timedelta

from sqlalchemy import text

from services.planner.store import PlannerTransaction
from services.planner.timers import Timers
from shared.contracts.runs import RequestPlan, StartRun
from shared.storage.clock import DatabaseClock
from shared.storage.database import Database
from tests.support.planner_examples import MIRA, PROJECT
from tests.support.planner_service import PlannerService


class Moved(DatabaseClock):
    """A clock that tests move."""

    by = timedelta()

    async def now(self) -> datetime:
        return await super().now() + self.by


async def _look(database: Database[PlannerTransaction]) -> tuple[bool, bool]:
    """Of the only Run: whether it is looked at just when its timer comes, and whether before."""
    async with database.transaction() as tx:
        rows = await tx.session.execute(
            text(
                "select look_at is not distinct from wake_at, coalesce(look_at < wake_at, false)"
                " from runs, lateral (select (told::json->'work'->>'wake_at')::timestamptz as wake_at) as t"
            )
        )
        [(exact, early)] = rows
        return exact, early


async def test_a_timer_that_was_moved_is_looked_at_once_and_then_when_it_comes(
    planner: PlannerService,
) -> None:
    database, clock = planner.database, Moved(planner.database.lane)
    database.clock = clock
    run = await planner.ask(RequestPlan(actor=MIRA, project=PROJECT, systems={"auth-system": None}))
    assert await _look(database) == (True, False)

    clock.by = timedelta(seconds=30)
    planned = await planner.answered(run.id)
    assert planned.plan is not None
    started = await planner.ask(StartRun(actor=MIRA, project=PROJECT, run_id=run.id, plan=planned.plan))
    assert await _look(database) == (False, True), "the first stage's timer is still written down"

    clock.by = timedelta(seconds=61)
    await Timers(database).fire_due()
    assert await _look(database) == (True, False)
    assert await planner.view(run.id) == started, "the first stage's time was not meant"

    clock.by = timedelta(seconds=91)
    await Timers(database).fire_due()
    late = await planner.view(run.id)
    assert late.blocked_by is not None
    assert "no executor has begun prepare" in late.blocked_by.what

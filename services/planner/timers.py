"""Timers live in the planner's database: deadlines and next tries survive every restart."""

import asyncio
import logging

from services.planner.handlers import on_timer
from services.planner.store import PlannerTransaction
from shared import background
from shared.contracts.envelope import Envelope
from shared.storage.database import Database, is_passing

log = logging.getLogger(__name__)

_POLL_S = 0.5


class Timers:
    """Wakes the Runs whose time has come."""

    def __init__(self, database: Database[PlannerTransaction]) -> None:
        self.database = database
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        self._task = asyncio.create_task(self._run(), name="timers of the planner")

    async def stop(self) -> None:
        await background.end(self._task)

    async def _run(self) -> None:
        while True:
            try:
                await self.fire_due()
            except Exception as error:
                # Even a bug must not end the loop: without timers every retry and deadline is lost.
                log.warning("timers wait: %r", error, exc_info=not is_passing(error))
            await asyncio.sleep(_POLL_S)

    async def fire_due(self) -> None:
        """Handle every timer that is due, each in its own transaction: one that fails stops no other."""
        async with self.database.transaction() as tx:
            due = await tx.due()
        for run_id, project in due:
            try:
                await self._fire(run_id, project)
            except Exception as error:
                if is_passing(error):
                    raise
                log.exception("the timer of %s could not be handled; it stays due", run_id)

    async def _fire(self, run_id: str, project: str) -> None:
        async with self.database.transaction() as tx:
            tx.caused_by(_cause(run_id, tx))
            await on_timer(run_id, project, tx)


def _cause(run_id: str, tx: PlannerTransaction) -> Envelope:
    return Envelope(
        id=f"timer/{run_id}/{tx.now.isoformat()}",
        source=tx.source,
        type="upgrades.TimerDue.v1",
        subject=run_id,
        time=tx.now,
        correlation_id=run_id,
    )

"""Heartbeats: one statement keeps every job of this process, and tells which of them are lost."""

import asyncio
import logging
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from shared.contracts.stages import StageBegun
from shared.jobs.batch import JobKey
from shared.jobs.store import Lease, WorkerTransaction
from shared.storage.database import Database, is_passing

log = logging.getLogger(__name__)

_BEATS_PER_LEASE = 5
_LONG_S = 20.0
"""Work that takes longer, or longer than a lease, is said to have begun; the planner waits for 60 s."""


@dataclass
class Held:
    """A lease and the work under it. `until_s` is when it ends, by this process's monotonic clock.

    `begun_at` is by the database's: it is told to others, whose clocks are not this machine's.
    """

    lease: Lease
    until_s: float
    begun_at: datetime
    begun_s: float = field(default_factory=time.monotonic)
    work: "asyncio.Task[Any]" = field(init=False)
    lost: bool = False
    told: bool = False
    """That it has begun was said."""

    def begun(self, worker: str) -> StageBegun:
        """What the planner is told of it."""
        command = self.lease.command
        return StageBegun(
            run_id=command.run_id,
            project_id=command.project_id,
            stage=command.task.stage,
            attempt=command.attempt,
            fence=command.fence,
            generation=self.lease.generation,
            worker=worker,
            begun_at=self.begun_at,
        )

    def lose(self) -> None:
        """It was cancelled, taken over, or ran out: the work must stop."""
        if not self.work.done():
            self.lost = True
            self.work.cancel()


class Heartbeats:
    """Extends the leases of whatever is being worked on. What cannot be extended in time is stopped.

    Of what takes long it says that `worker` has begun it. `writing` is held by whoever else changes many of
    these rows at once: in another order they would lock each other out.
    """

    def __init__(
        self, database: Database[WorkerTransaction], worker: str, lease_s: float, writing: asyncio.Lock
    ) -> None:
        self._database = database
        self._worker = worker
        self._lease_s = lease_s
        self._writing = writing
        self._held: dict[JobKey, Held] = {}
        self._hurry = asyncio.Event()

    def hold(self, held: Held) -> None:
        self._held[held.lease.key] = held

    def drop(self, held: Held) -> None:
        """The work has ended: its lease may run out."""
        # A lease that ran out may have come back to this very process, with a later generation.
        if self._held.get(held.lease.key) is held:
            del self._held[held.lease.key]

    def hurry(self) -> None:
        """Beat now: something may have been cancelled."""
        self._hurry.set()

    async def run(self) -> None:
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(self._lease_s / _BEATS_PER_LEASE):
                    await self._hurry.wait()
            self._hurry.clear()
            held = list(self._held.values())
            if held:
                await self._beat(held)

    async def _beat(self, held: Sequence[Held]) -> None:
        now_s = asyncio.get_running_loop().time
        begun_s = now_s()
        try:
            # A database that hangs must not make us work on beyond a lease.
            async with (
                asyncio.timeout_at(min(one.until_s for one in held)),
                self._writing,
                self._database.transaction() as tx,
            ):
                kept = await tx.extend([one.lease for one in held], self._lease_s)
                telling = [one for one in held if one.lease.key in kept and self._is_news(one)]
                for one in telling:
                    tx.caused_by(one.lease.cause)
                    tx.send(one.begun(self._worker))
        except Exception as error:
            log.warning("no heartbeat: %r", error, exc_info=not is_passing(error))
        else:
            for one in telling:
                one.told = True
            for one in held:
                if one.lease.key in kept:
                    one.until_s = begun_s + self._lease_s
                else:
                    one.lose()
        for one in held:
            if one.until_s <= now_s():
                one.lose()

    def _is_news(self, one: Held) -> bool:
        return not one.told and time.monotonic() - one.begun_s >= min(_LONG_S, self._lease_s)

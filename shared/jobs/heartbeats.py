"""Heartbeats: one statement keeps every job of this process, and tells which of them are lost."""

import asyncio
import logging
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from shared.jobs.batch import JobKey
from shared.jobs.store import Lease, WorkerTransaction
from shared.storage.database import Database, is_passing

log = logging.getLogger(__name__)

_BEATS_PER_LEASE = 5


@dataclass
class Held:
    """A lease and the work under it. `until_s` is when it ends, by this process's monotonic clock."""

    lease: Lease
    until_s: float
    work: "asyncio.Task[Any]" = field(init=False)
    lost: bool = False

    def lose(self) -> None:
        """It was cancelled, taken over, or ran out: the work must stop."""
        if not self.work.done():
            self.lost = True
            self.work.cancel()


class Heartbeats:
    """Extends the leases of whatever is being worked on. What cannot be extended in time is stopped.

    `writing` is held by whoever else changes many of these rows at once: in another order they would lock
    each other out.
    """

    def __init__(self, database: Database[WorkerTransaction], lease_s: float, writing: asyncio.Lock) -> None:
        self._database = database
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
        except Exception as error:
            log.warning("no heartbeat: %r", error, exc_info=not is_passing(error))
        else:
            for one in held:
                if one.lease.key in kept:
                    one.until_s = begun_s + self._lease_s
                else:
                    one.lose()
        for one in held:
            if one.until_s <= now_s():
                one.lose()

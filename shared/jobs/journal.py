"""The effect journal of one leased job: intent before, outcome after, each in its own commit."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from shared.crash_points import inside
from shared.errors import Stale
from shared.jobs.job import Effect, Say
from shared.jobs.store import Lease, WorkerTransaction
from shared.storage.database import Database


class LeaseJournal:
    """The `Journal` of whoever holds the lease."""

    def __init__(self, database: Database[WorkerTransaction], lease: Lease) -> None:
        self._database = database
        self._lease = lease

    @asynccontextmanager
    async def effect(self, name: str, detail: str = "", *, production: bool = False) -> AsyncIterator[Say]:
        with inside(name, "intent"):
            async with self._database.transaction() as tx:
                if not await tx.mine([self._lease]):
                    raise Stale(f"{self._lease} is not leased to this worker any more")
                effect = await tx.add_effect(self._lease, name, detail, production=production)

        async def say(words: str) -> None:
            async with self._database.transaction() as tx:
                await tx.effect_says(effect, words)

        with inside(name):
            yield say
        with inside(name, "outcome"):
            async with self._database.transaction() as tx:
                await tx.effect_done(effect)

    async def of_run(self) -> list[Effect]:
        async with self._database.transaction() as tx:
            return await tx.effects(self._lease.command.run_id)

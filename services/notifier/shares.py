"""Tells the rest of those whom a Release concerns, a share at a time, while the one before is being sent."""

import asyncio
import logging

from services.notifier.handlers import tell_share
from services.notifier.store import NotifierTransaction, fanouts_wait
from shared import background
from shared.messaging.backoff import delays_s
from shared.storage.database import Database, is_passing

log = logging.getLogger(__name__)

_POLL_S = 1.0


class Shares:
    """Works through what waits in the table of fan-outs; each share is one commit, wherever a crash falls.

    Several processes may do so side by side: the weighing's lock lets one at a time take a share.
    """

    def __init__(self, database: Database[NotifierTransaction]) -> None:
        self.database = database
        self._woken = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def wake(self) -> None:
        """There is something to tell."""
        self._woken.set()

    async def start(self) -> None:
        self._task = asyncio.create_task(self._run(), name="shares of the notifier")

    async def stop(self) -> None:
        """A share under way is left undone; whoever starts next tells it."""
        await background.end(self._task)

    async def _run(self) -> None:
        delays = delays_s()
        while True:
            self._woken.clear()
            try:
                while await self.tell_next():
                    await self.database.outlet.room()
                delays = delays_s()
            except Exception as error:
                # Even a bug must not end the loop: whoever was not told yet would never be.
                log.warning(
                    "not everybody is told of a release yet: %r", error, exc_info=not is_passing(error)
                )
                await asyncio.sleep(next(delays))
                continue
            try:
                async with asyncio.timeout(_POLL_S):
                    await self._woken.wait()
            except TimeoutError:
                continue  # another process may have begun one, and gone

    async def tell_next(self) -> bool:
        """Tell one share, of the oldest fan-out; whether there was any."""
        if not await fanouts_wait(self.database):
            return False
        async with self.database.transaction() as tx:
            await tx.begin_weighing()
            fanout = await tx.next_fanout()
            if fanout is not None:
                await tell_share(fanout, tx)
        return fanout is not None

"""Answers: whatever ended while the last commit was under way goes into the next one together."""

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from shared.contracts.stages import StageFinished, Succeeded
from shared.jobs.batch import JobKey
from shared.jobs.store import Lease, WorkerTransaction
from shared.storage.database import Database, Outrun, is_passing

log = logging.getLogger(__name__)

_TOGETHER_MAX = 1000
_AGAIN_S = 1.0


@dataclass(frozen=True, eq=False)
class Ended:
    """A job whose work has ended. `result` is none when it was stopped because it is not ours any more."""

    lease: Lease
    result: StageFinished | None


class Answers:
    """Keeps the results of ended jobs and sends them, in group commits; waits while the database is down.

    `writing` excludes the heartbeats. `settled` is called when lost work has stopped: its successor may
    begin.
    """

    def __init__(
        self,
        database: Database[WorkerTransaction],
        writing: asyncio.Lock,
        settled: Callable[[], None],
    ) -> None:
        self._database = database
        self._writing = writing
        self._settled = settled
        self._waiting: list[Ended] = []
        self._more = asyncio.Event()

    def give(self, ended: Ended) -> None:
        self._waiting.append(ended)
        self._more.set()

    async def run(self) -> None:
        while True:
            await self._more.wait()
            self._more.clear()
            while self._waiting:
                try:
                    await self._commit_together()
                except Exception as error:
                    # Even a bug must not end the loop: the jobs would look as if they were worked on.
                    passing = is_passing(error)
                    log.warning("%d answers wait: %r", len(self._waiting), error, exc_info=not passing)
                    await asyncio.sleep(_AGAIN_S)

    async def last(self) -> None:
        """Commit what is waiting, while the worker stops. What fails is done again by whoever leases it."""
        while self._waiting:
            await self._commit_together()

    async def _commit_together(self) -> None:
        together = self._waiting[:_TOGETHER_MAX]
        try:
            await self._commit(together)
        except Exception as error:
            if is_passing(error):
                raise
            for one in together:
                await self._commit_alone(one)
        del self._waiting[: len(together)]

    async def _commit_alone(self, ended: Ended) -> None:
        """One that cannot be kept costs no other its answer."""
        try:
            await self._commit([ended])
        except Exception as error:
            if is_passing(error):
                raise
            log.exception("%s broke; its lease runs out and it is done again", ended.lease)

    async def _commit(self, ended: Sequence[Ended]) -> None:
        kept = {one.lease.key for one in ended if one.result is not None}
        if len(kept) < len(ended) or not await self._commit_all(ended):
            kept = await self._commit_with_losses(ended)
        for one in ended:
            if one.result is not None and one.lease.key in kept:
                log.info("%s: %s", one.lease, one.result.outcome.kind)
            else:
                log.info("%s: it is not ours any more, nothing is answered", one.lease)

    async def _commit_all(self, ended: Sequence[Ended]) -> bool:
        """Answer all of them in one statement; False when one is not ours any more."""
        try:
            async with self._writing, self._database.transaction() as tx:
                tx.finish(await _complete(ended, tx))
        except Outrun:
            return False
        return True

    async def _commit_with_losses(self, ended: Sequence[Ended]) -> set[JobKey]:
        """Answer what is still ours and let the others go; those that were answered."""
        async with self._writing, self._database.transaction() as tx:
            mine = await tx.mine([one.lease for one in ended])
            answers = [one for one in ended if one.result is not None and one.lease.key in mine]
            tx.finish(await _complete(answers, tx))
            await tx.let_go([one.lease for one in ended if one not in answers])
            tx.after_commit(self._settled)
        return {one.lease.key for one in answers}


async def _complete(ended: Sequence[Ended], tx: WorkerTransaction) -> list[tuple[Lease, StageFinished]]:
    """The answers; those that say no say whether their Run has touched production."""
    answers = [(one.lease, one.result) for one in ended if one.result is not None]
    runs = [result.run_id for _, result in answers if not isinstance(result.outcome, Succeeded)]
    touched = await tx.touched_production(runs) if runs else set()
    complete = []
    for lease, result in answers:
        if result.run_id in touched and not isinstance(result.outcome, Succeeded):
            outcome = result.outcome.model_copy(update={"touched_production": True})
            result = result.model_copy(update={"outcome": outcome})
        complete.append((lease, result))
    return complete

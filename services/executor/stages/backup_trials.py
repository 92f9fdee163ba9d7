"""Backups that are being tried in the background, while checks run and people read.

A trial lives in this process alone. Where it is gone, or began on another machine, whoever needs it begins
anew: nothing of it is lost but time.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from services.executor.clients.scratch_database import of_trial, sweep_scratch
from shared.background import end
from shared.clients.database_urls import place
from shared.contracts.stages import Finding
from shared.contracts.values import RunId
from shared.errors import Retry
from shared.isolation.scratch import temporary_folder
from shared.jobs.job import Job

if TYPE_CHECKING:
    from services.executor.clients.restore_drill import Drill

_AT_ONCE = 2
_LIMIT_S = 2 * 3600.0
# What these do begins where a trial is of use; once anything else is at work, nobody waits for it.
_BEFORE_APPROVAL = ("prepare", "apply", "migrate", "prove-backup")


@dataclass(frozen=True)
class BackupTrials:
    """The trials of this process, by Run.

    Two work at a time, of two databases, as each takes a server's and a disk's time: one that hangs stops no
    other Project. Each ends `limit_s` seconds after its turn has come.
    """

    limit_s: float = _LIMIT_S
    _tasks: dict[RunId, asyncio.Task[Drill]] = field(default_factory=dict)
    _places: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(_AT_ONCE))
    _turns: dict[str, asyncio.Lock] = field(default_factory=lambda: defaultdict(asyncio.Lock))

    async def begin(self, job: Job, url: str, scratch: Path) -> None:
        """Back production up below `scratch` and try the backup; an earlier trial of the Run is ended."""
        known = len(await job.journal.of_run())
        await self.end(job.run_id)
        trial = self._try(job, known, url, scratch)
        self._tasks[job.run_id] = asyncio.create_task(trial, name=f"backup trial of {job.run_id}")

    async def result(self, job: Job, url: str, scratch: Path, within_s: float) -> Drill | None:
        """How it went, begun now where it is not under way; None when it goes on after `within_s` seconds.

        Who is cancelled meanwhile ends it. Raises Retry when it cannot be done now.
        """
        if job.run_id not in self._tasks:
            await self.begin(job, url, scratch)
        task = self._tasks[job.run_id]
        try:
            await asyncio.wait({task}, timeout=within_s)
        except asyncio.CancelledError:
            await self.end(job.run_id)
            raise
        if not task.done():
            return None
        if self._tasks.get(job.run_id) is task:
            del self._tasks[job.run_id]
        if task.cancelled():
            raise Retry("the trial of the backup was ended: something else of this Run has begun")
        return task.result()

    async def end(self, run_id: RunId) -> None:
        """Nobody needs it any more."""
        await end(self._tasks.pop(run_id, None))

    async def start(self) -> None:
        """Nothing is under way."""

    async def stop(self) -> None:
        """End all of them; their databases and dumps go with them."""
        for run_id in list(self._tasks):
            await self.end(run_id)

    async def _try(self, job: Job, known: int, url: str, scratch: Path) -> Drill:
        # It brings the parser of SQL, which a worker at rest does without.
        from services.executor.clients.restore_drill import backed_up, drill

        async with self._turns[place(url)], self._places:
            since = (await job.journal.of_run())[known:]
            if any(effect.stage not in _BEFORE_APPROVAL for effect in since):
                # Another worker has deployed the Run, or rolled it back, while this one waited.
                self._tasks.pop(job.run_id, None)
                raise asyncio.CancelledError
            try:
                async with asyncio.timeout(self.limit_s) as limit:
                    await sweep_scratch(url)
                    of = of_trial(url)
                    async with temporary_folder(scratch, "trial") as folder:
                        backup = await backed_up(of, folder / "production.dump", to_keep=False)
                        return await drill(of, backup)
            except TimeoutError:
                if not limit.expired():
                    raise
                return _took_too_long(self.limit_s)


def _took_too_long(limit_s: float) -> Drill:
    from services.executor.clients.restore_drill import untried

    return untried(
        Finding(
            kind="data-loss",
            subject="backup",
            detail=f"It could not be tried in time: dump, restore and comparison took over {limit_s:g} s.",
            cure="look at production's server for what waits there, or for functions that are slow",
        )
    )

"""Backups that are being tried in the background, while checks run and people read.

A trial lives in this process alone. Where it is gone, or began on another machine, whoever needs it begins
anew: nothing of it is lost but time.
"""

import asyncio
from dataclasses import dataclass, field
from pathlib import Path

from services.executor.clients.restore_drill import Drill, backed_up, drill
from services.executor.clients.scratch_database import sweep_scratch
from shared.background import end
from shared.contracts.values import RunId
from shared.isolation.scratch import temporary_folder

_AT_ONCE = 1


@dataclass(frozen=True)
class BackupTrials:
    """The trials of this process, by Run; one works at a time, as each takes a server's and a disk's time."""

    _tasks: dict[RunId, asyncio.Task[Drill]] = field(default_factory=dict)
    _places: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(_AT_ONCE))

    async def begin(self, run_id: RunId, url: str, scratch: Path) -> None:
        """Back production up below `scratch` and try the backup; an earlier trial of the Run is ended."""
        await self.end(run_id)
        self._tasks[run_id] = asyncio.create_task(self._try(url, scratch), name=f"backup trial of {run_id}")

    async def result(self, run_id: RunId, url: str, scratch: Path) -> Drill:
        """How it went, once it is done; begun now where it is not under way.

        Raises Retry when it cannot be done now.
        """
        if run_id not in self._tasks:
            await self.begin(run_id, url, scratch)
        task = self._tasks[run_id]
        try:
            return await task
        finally:
            await end(self._tasks.pop(run_id, None))

    async def end(self, run_id: RunId) -> None:
        """Nobody needs it any more."""
        await end(self._tasks.pop(run_id, None))

    async def start(self) -> None:
        """Nothing is under way."""

    async def stop(self) -> None:
        """End all of them; their databases and dumps go with them."""
        for run_id in list(self._tasks):
            await self.end(run_id)

    async def _try(self, url: str, scratch: Path) -> Drill:
        async with self._places:
            await sweep_scratch(url)
            with temporary_folder(scratch, "trial") as folder:
                return await drill(url, await backed_up(url, folder / "production.dump"))

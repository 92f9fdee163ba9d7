"""The steps of a stage: journalled before and after, and timed for whoever reads the Run later."""

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from shared.contracts.facts import Step
from shared.jobs.job import Job


class Steps:
    """What was done so far, in order."""

    def __init__(self, job: Job, *, production: bool) -> None:
        self._job = job
        self._production = production
        self._done: list[Step] = []

    @property
    def done(self) -> tuple[Step, ...]:
        return tuple(self._done)

    @asynccontextmanager
    async def step(self, name: str, detail: str = "") -> AsyncIterator[None]:
        """One effect; it stands in the list once the body has succeeded. Raises `Stale` when superseded."""
        started = time.monotonic()
        async with self._job.journal.effect(name, detail, production=self._production):
            yield
        self.told(name, detail, started)

    @asynccontextmanager
    async def reading(self, name: str, detail: str = "") -> AsyncIterator[None]:
        """One step that writes nothing, so the journal has no line for it."""
        started = time.monotonic()
        yield
        self.told(name, detail, started)

    def told(self, name: str, detail: str, started: float) -> None:
        """One step that is done; `started` is of the monotonic clock."""
        duration_ms = round((time.monotonic() - started) * 1000)
        self._done.append(Step(name=name, detail=detail, duration_ms=duration_ms))

"""What a stage's code sees of the job that it is part of."""

from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from shared.contracts.projects import Project
from shared.contracts.values import Digest, RunId


@dataclass(frozen=True)
class Effect:
    """One line of a Run's effect journal; `done_at` is none while only the intent is known."""

    stage: str
    attempt: int
    name: str
    production: bool
    detail: str
    intended_at: datetime
    done_at: datetime | None


Say = Callable[[str], Awaitable[None]]
"""Put new words in the place of an effect's detail."""


class Journal(Protocol):
    """Intent before, outcome after, each in its own commit of the worker's database."""

    def effect(
        self, name: str, detail: str = "", *, production: bool = False
    ) -> AbstractAsyncContextManager[Say]:
        """Commit the intent, let the body act, commit the outcome. Raises `Stale` when superseded.

        What takes long tells how far it is by what it is given: it takes the place of `detail`.
        """
        ...

    async def of_run(self) -> list[Effect]:
        """Every effect of this Run that any worker of this service has journalled, oldest first."""
        ...


@dataclass
class Job:
    """One leased attempt of one stage of one Run."""

    run_id: RunId
    project: Project
    stage: str
    attempt: int
    fence: int
    generation: int
    deadline_s: float
    journal: Journal
    backup: Digest | None = field(default=None)
    """Set by deploy once production's backup lies in the content store."""

    @property
    def fencing_token(self) -> tuple[int, int]:
        """The planner's fence first, the lease's generation second."""
        return (self.fence, self.generation)

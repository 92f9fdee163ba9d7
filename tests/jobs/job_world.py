"""A worker's world for tests: real tables, commands as the planner sends them, and a stage that obeys."""

import asyncio
import hashlib
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

from sqlalchemy import select

from services.executor.handlers import HANDLERS
from shared.clock import utc_now
from shared.contracts.envelope import Received, receive, seal, to_body, to_headers
from shared.contracts.facts import Facts, RecordFacts
from shared.contracts.projects import Project, ProjectDefinition
from shared.contracts.stages import CancelExecutorStage, RunExecutorStage, StageFinished
from shared.contracts.tasks import RecordTask, ReviewTask, Upgrade
from shared.contracts.values import Message
from shared.jobs.handlers import WorkerInbox
from shared.jobs.job import Job
from shared.jobs.store import Lease, WorkerTransaction
from shared.jobs.tables import JobRow
from shared.jobs.worker import Room, Worker
from shared.storage.database import Database
from shared.storage.tables import OutboxRow

RUN = "run-0123456789ab"
OTHER_RUN = "run-ba9876543210"
COMMIT = "c" * 40
DONE = RecordFacts(removed=("staging",))
WITHIN_S = 10.0

Stage = Callable[[Job, Any], Awaitable[Facts]]


def project(name: str = "acme") -> Project:
    commands = dict.fromkeys(("activate", "observe", "health", "destroy", "logs"), ("true",))
    definition = {
        "id": name,
        "name": name,
        "environments": {
            "production": {"database": "secret:production", **commands},
            "staging": {"database": "secret:staging", **commands},
        },
        "checks": {
            stage: {"unit-tests": {"kind": "command", "run": ("true",)}}
            for stage in ("validate", "check-workflows")
        },
    }
    return Project(
        id=name,
        repository="/repository",
        definition=ProjectDefinition.model_validate(definition),
        approvers=("mira@acme.example",),
    )


def record(
    fence: int = 1, *, run: str = RUN, of: str = "acme", deadline_s: float = 60, attempt: int | None = None
) -> RunExecutorStage:
    """The command for a stage that writes."""
    return RunExecutorStage(
        run_id=run,
        project_id=of,
        attempt=attempt or fence,
        fence=fence,
        deadline_s=deadline_s,
        project=project(of),
        task=RecordTask(branch=f"upgradepath/{run}", commit=COMMIT),
    )


def review(fence: int, *, run: str = OTHER_RUN) -> RunExecutorStage:
    """The command for the one stage that changes nothing."""
    upgrade = Upgrade(
        system="auth-system",
        from_version="1.2.4",
        to_version="1.3.0",
        from_package="1" * 64,
        to_package="2" * 64,
    )
    return record(fence, run=run).model_copy(
        update={"task": ReviewTask(upgrades=(upgrade,), pins={"auth-system": "1.2.4"})}
    )


def cancel(command: RunExecutorStage) -> CancelExecutorStage:
    return CancelExecutorStage(
        run_id=command.run_id,
        project_id=command.project_id,
        stage=command.task.stage,
        attempt=command.attempt,
        fence=command.fence,
    )


def as_sent(message: Message) -> Received:
    """The message as the worker reads it from its topic."""
    headers = to_headers(seal(message, source="/upgrades/planner", now=utc_now()))
    return receive(headers, to_body(message))


async def until(condition: Callable[[], Awaitable[Any]], within_s: float = WITHIN_S) -> Any:
    """The condition's first answer that is true; there is no event for what happens in a database."""
    async with asyncio.timeout(within_s):
        while True:
            if answer := await condition():
                return answer
            await asyncio.sleep(0.01)


@dataclass
class Full:
    """A process without a free place: whatever it accepts waits, and it tells every worker there is."""

    workers: list[Worker]
    name: str = "executor@full"
    lease_s: float = 60

    @contextmanager
    def room(self, most: int) -> Iterator[Room]:
        yield Room(0, 0.0, self._begin)

    def _begin(self, leases: Sequence[Lease], since_s: float) -> None:
        assert not leases

    def wake(self, *, hurry: bool) -> None:
        for worker in self.workers:
            worker.wake(hurry=hurry)


def inbox_of(database: Database[WorkerTransaction], worker: Worker | Full) -> WorkerInbox:
    return WorkerInbox(database, HANDLERS, worker)


class World:
    """One service's database, and the workers on it.

    What is delivered goes to the first worker's process; `queued`, to one that has no place free.
    """

    def __init__(
        self, database: Database[WorkerTransaction], stack: AsyncExitStack, *, queued: bool = False
    ) -> None:
        self.database = database
        self._stack = stack
        self._workers: list[Worker] = []
        self._queued = queued

    async def worker(
        self,
        stage: Stage,
        *,
        instance: str = "one",
        lease_s: float = 60,
        redact: Callable[[str, str], str] = lambda _, text: text,
    ) -> Worker:
        """A started worker, stopped with the test."""
        worker = Worker(
            self.database,
            stage,
            command=RunExecutorStage,
            instance=instance,
            slots=4,
            lease_s=lease_s,
            redact=redact,
        )
        await worker.start()
        self._stack.push_async_callback(worker.stop)
        self._workers.append(worker)
        return worker

    @property
    def _inbox(self) -> WorkerInbox:
        full = self._queued or not self._workers
        return inbox_of(self.database, Full(self._workers) if full else self._workers[0])

    async def deliver(self, *messages: Message) -> None:
        await self.deliver_received(*(as_sent(message) for message in messages))

    async def deliver_received(self, *messages: Received) -> None:
        await self._inbox.handle_together(messages)

    async def deliver_alone(self, message: Message) -> None:
        await self._inbox.handle_alone(as_sent(message))

    async def sent(self) -> list[OutboxRow]:
        async with self.database.transaction() as tx:
            rows = await tx.session.execute(select(OutboxRow).order_by(OutboxRow.id))  # type: ignore[arg-type]
            return list(rows.scalars())

    async def answers(self, how_many: int = 1) -> list[StageFinished]:
        """The results that were sent, once there are so many."""

        async def enough() -> list[StageFinished]:
            there = await self.answers_so_far()
            return there if len(there) >= how_many else []

        found: list[StageFinished] = await until(enough)
        return found

    async def answers_so_far(self) -> list[StageFinished]:
        """That work has begun is no answer."""
        rows = [row.body or b"" for row in await self.sent()]
        return [StageFinished.model_validate_json(body) for body in rows if b'"outcome"' in body]

    async def job(self, fence: int, run: str = RUN) -> JobRow:
        async with self.database.transaction() as tx:
            row = await tx.job(run, fence)
            assert row is not None
            return row

    async def lease(self, worker: str, lease_s: float) -> Lease:
        """A lease whose holder does nothing: it has crashed."""
        async with self.database.transaction() as tx:
            (lease,) = await tx.lease(worker, lease_s, RunExecutorStage)
        return lease


class Obedient:
    """A stage that says when it begins and ends when it is told to."""

    def __init__(self) -> None:
        self.begun = asyncio.Event()
        self.may_end = asyncio.Event()
        self.log: list[str] = []

    async def __call__(self, job: Job, task: Any) -> Facts:
        self.log.append(f"{job.fence} begins")
        self.begun.set()
        try:
            await self.may_end.wait()
        except asyncio.CancelledError:
            # Some turns, as a subprocess needs them to be killed, say.
            for _ in range(10):
                await asyncio.sleep(0)
            self.log.append(f"{job.fence} stopped")
            raise
        self.log.append(f"{job.fence} ends")
        return DONE


def digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()

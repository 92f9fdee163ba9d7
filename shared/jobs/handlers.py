"""What a worker's service does with its messages: accept a stage once, and stop it when told.

A job's row is its command's place in the inbox, so nothing else is written for a command.
"""

import logging
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Protocol

from shared.contracts.envelope import Received
from shared.contracts.stages import (
    CancelExecutorStage,
    CancelValidatorStage,
    RunExecutorStage,
    RunValidatorStage,
    StageFinished,
)
from shared.jobs.batch import Batch, Command, JobKey, Known, key_of
from shared.jobs.store import Lease, WorkerTransaction
from shared.messaging.inbox import Handlers, Inbox, OtherBytes
from shared.storage.database import Database, Outrun, is_repeat

log = logging.getLogger(__name__)


async def accept_stage(command: Command, batch: Batch) -> None:
    """Accepts a stage command as a job, once."""
    assert batch.current is not None
    known = batch.job(command)
    if known is not None:
        if known.digest not in {None, batch.current.digest}:
            raise OtherBytes(f"two commands of {command.run_id} have the fence {command.fence}")
        if known.result is not None:
            # The first answer may have been lost with a broker that forgets; the same id makes it harmless.
            batch.answer_again(known.result)
        return
    if command.fence < batch.newest_fence(command):
        return  # old news: a newer command has been seen
    batch.add(command)


async def cancel_stage(command: CancelExecutorStage | CancelValidatorStage, batch: Batch) -> None:
    """Stops one attempt: whoever works on it finds out at its next heartbeat."""
    batch.cancel((command.run_id, command.fence))


class Room(Protocol):
    """Free places of a worker, kept for jobs that are about to be accepted."""

    places: int

    def begin(self, leases: Sequence[Lease]) -> None:
        """These jobs were given to the worker in a commit that is done."""
        ...


class Worker(Protocol):
    """Whoever does the jobs of this process."""

    name: str
    lease_s: float

    def room(self, most: int) -> AbstractContextManager[Room]:
        """Keep up to `most` free places until the block ends."""
        ...

    def wake(self, *, hurry: bool) -> None:
        """Jobs wait; `hurry` when something that is being worked on may have been cancelled."""
        ...


class WorkerInbox(Inbox[WorkerTransaction]):
    """Accepts a batch of commands in one transaction, and begins at once what there is room for."""

    def __init__(self, database: Database[WorkerTransaction], handlers: Handlers, worker: Worker) -> None:
        super().__init__(database, handlers)
        self._worker = worker

    async def handle_alone(self, received: Received) -> None:
        await self.handle_together([received])

    async def _handle_together(self, messages: Sequence[Received]) -> None:
        commands = [
            received.message
            for received in messages
            if isinstance(received.message, RunExecutorStage | RunValidatorStage)
        ]
        with self._worker.room(len(messages)) as room:
            decided = await self._accept_new(messages, commands, room.places)
            if decided is None:
                decided = await self._accept(messages, commands, room.places)
            begun = [job for job in decided.new.values() if job.begun]
            room.begin([Lease(job.command, job.received.envelope, 1) for job in begun])
        hurry = bool(decided.superseding or decided.cancels)
        if hurry or any(job.state == "queued" for job in decided.new.values()):
            self._worker.wake(hurry=hurry)

    async def _accept_new(
        self, messages: Sequence[Received], commands: Sequence[Command], places: int
    ) -> Batch | None:
        """Decide as if nothing were known of them, which the commit proves; else None: nothing was done."""
        nothing = Known()
        decided = await self._decide(messages, {key_of(command): nothing for command in commands}, places)
        if not decided.only_new:
            return None
        try:
            async with self.database.transaction() as tx:
                tx.must_be_new(commands)
                await self._save(decided, tx)
        except Exception as error:
            if isinstance(error, Outrun) or is_repeat(error):
                return None
            raise
        return decided

    async def _accept(self, messages: Sequence[Received], commands: Sequence[Command], places: int) -> Batch:
        """Look first at what is known of them."""
        async with self.database.transaction() as tx:
            decided = await self._decide(messages, await tx.known(commands) if commands else {}, places)
            await self._save(decided, tx)
        return decided

    async def _decide(
        self, messages: Sequence[Received], known: Mapping[JobKey, Known], places: int
    ) -> Batch:
        batch = Batch(known)
        for received in messages:
            batch.current = received
            await self.handlers[type(received.message)](received.message, batch)
        _begin(batch, places)
        return batch

    async def _save(self, batch: Batch, tx: WorkerTransaction) -> None:
        if batch.superseding or batch.cancels:
            await tx.session.connection()  # from here on it is one transaction
        if batch.superseding:
            await tx.cancel_older(batch.superseding)
        if batch.cancels:
            await tx.cancel(batch.cancels)
        if batch.new:
            tx.add_jobs(list(batch.new.values()), self._worker.name, self._worker.lease_s)
        for keep in batch.also:
            await keep(tx)
        for received, result in batch.answers_again:
            tx.caused_by(received.envelope)
            tx.send(StageFinished.model_validate_json(result))


def _begin(batch: Batch, places: int) -> None:
    """Give out the places, the oldest job first."""
    free = [job for job in batch.new.values() if job.alone and not job.cancelled]
    for job in free[:places]:
        job.begun = True

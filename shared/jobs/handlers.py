"""What a worker's service does with its messages: accept a stage once, and stop it when told."""

from dataclasses import asdict
from functools import partial
from typing import Protocol

from shared.contracts.envelope import Received
from shared.contracts.stages import (
    CancelExecutorStage,
    CancelValidatorStage,
    RunExecutorStage,
    RunValidatorStage,
    StageFinished,
)
from shared.jobs.store import Command, JobRow, WorkerTransaction
from shared.messaging.inbox import Inbox
from shared.storage.tables import InboxRow


class Wake(Protocol):
    """Tells the worker to look; `hurry` when something that it may be working on was cancelled."""

    def __call__(self, *, hurry: bool) -> None: ...


class AcceptStage:
    """Accepts a stage command as a job, once."""

    def __init__(self, wake: Wake) -> None:
        self._wake = wake

    async def __call__(self, command: Command, tx: WorkerTransaction) -> None:
        await tx.lock("project", command.project_id)
        known = await tx.job(command.run_id, command.fence)
        if known is not None:
            return  # the inbox answers it again
        if command.fence < await tx.newest_fence(command):
            return  # old news: a newer command has been seen
        superseding = await tx.cancel_older(command)
        assert tx.cause is not None
        cause = {**asdict(tx.cause), "time": tx.cause.time.isoformat()}
        await tx.add_job(
            JobRow(
                run_id=command.run_id,
                fence=command.fence,
                project_id=command.project_id,
                stage=command.task.stage,
                attempt=command.attempt,
                state="queued",
                generation=0,
                command=command.model_dump(mode="json"),
                cause=cause,
                accepted_at=tx.now,
            )
        )
        tx.after_commit(partial(self._wake, hurry=superseding))


class CancelStage:
    """Stops one attempt: whoever works on it finds out at its next heartbeat, which `wake` hurries."""

    def __init__(self, wake: Wake) -> None:
        self._wake = wake

    async def __call__(
        self, command: CancelExecutorStage | CancelValidatorStage, tx: WorkerTransaction
    ) -> None:
        await tx.lock("project", command.project_id)
        await tx.cancel(command.run_id, command.fence)
        tx.after_commit(partial(self._wake, hurry=True))


class WorkerInbox(Inbox[WorkerTransaction]):
    """An inbox in which a repeated stage command is answered again with the result that there is.

    The first answer may have been lost with a broker that forgets; the same id makes the second harmless.
    """

    async def answer_repeat(
        self, received: Received, row: InboxRow, tx: WorkerTransaction, *, answer: bool
    ) -> None:
        await super().answer_repeat(received, row, tx, answer=answer)
        command = received.message
        if not isinstance(command, RunExecutorStage | RunValidatorStage):
            return
        await tx.lock("project", command.project_id)
        known = await tx.job(command.run_id, command.fence)
        if known is not None and known.result is not None:
            tx.caused_by(received.envelope)
            tx.send(StageFinished.model_validate(known.result))

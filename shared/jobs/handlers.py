"""What a worker's service does with its messages: accept a stage once, and stop it when told."""

from collections.abc import Callable
from dataclasses import asdict

from shared.contracts.stages import (
    CancelExecutorStage,
    CancelValidatorStage,
    RunExecutorStage,
    RunValidatorStage,
    StageFinished,
)
from shared.jobs.store import JobRow, WorkerTransaction


class AcceptStage:
    """Accepts a stage command as a job; answers a repeat with the result that there is."""

    def __init__(self, wake: Callable[[], None]) -> None:
        self._wake = wake

    async def __call__(self, command: RunExecutorStage | RunValidatorStage, tx: WorkerTransaction) -> None:
        await tx.lock("project", command.project_id)
        known = await tx.job(command.run_id, command.fence)
        if known is not None:
            if known.result is not None:
                tx.send(StageFinished.model_validate(known.result))
            return
        if command.fence < await tx.newest_fence(command.project_id):
            return  # old news: a newer command of this Project has been seen
        await tx.cancel_older(command.project_id, command.fence)
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
        tx.after_commit(self._wake)


async def on_cancel_stage(command: CancelExecutorStage | CancelValidatorStage, tx: WorkerTransaction) -> None:
    """The attempt's heartbeat finds out, and the work is stopped."""
    await tx.lock("project", command.project_id)
    await tx.cancel(command.run_id, command.fence)

"""What the validator does with its messages, and with the one kind of task that it has."""

from services.validator.stage import Tools, run_checks
from shared.contracts.facts import ChecksFacts
from shared.contracts.stages import CancelValidatorStage, RunValidatorStage
from shared.contracts.tasks import ChecksTask, Task
from shared.jobs.handlers import AcceptStage, CancelStage, Wake
from shared.jobs.job import Job
from shared.messaging.inbox import Handlers


def handlers(wake: Wake) -> Handlers:
    """One per message; `wake` tells the worker to look."""
    return {RunValidatorStage: AcceptStage(wake), CancelValidatorStage: CancelStage(wake)}


async def run_stage(tools: Tools, job: Job, task: Task) -> ChecksFacts:
    """Run the checks of `validate` or `check-workflows`. Raises `Failure` when one of them fails."""
    match task:
        case ChecksTask():
            return await run_checks(job, task, tools)
        case _:
            raise TypeError(f"{task.stage} is the executor's work: the validator only looks")

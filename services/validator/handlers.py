"""What the validator does with its messages, and with the one kind of task that it has."""

from services.validator.stage import Tools, run_checks
from shared.acting import acting_for
from shared.contracts.facts import ChecksFacts
from shared.contracts.stages import CancelValidatorStage, RunValidatorStage
from shared.contracts.tasks import ChecksTask, Task
from shared.jobs.handlers import accept_stage, cancel_stage
from shared.jobs.job import Job
from shared.messaging.inbox import Handlers

HANDLERS: Handlers = {RunValidatorStage: accept_stage, CancelValidatorStage: cancel_stage}


async def run_stage(tools: Tools, job: Job, task: Task) -> ChecksFacts:
    """Run the checks of `validate` or `check-workflows`. Raises `Failure` when one of them fails."""
    acting_for(f"project {job.project.id}")
    match task:
        case ChecksTask():
            await tools.secrets.prepare(job.project)
            return await run_checks(job, task, tools)
        case _:
            raise TypeError(f"{task.stage} is the executor's work: the validator only looks")

"""What the executor does with its messages, and which stage each task is for."""

import asyncpg

from services.executor.freeze import hold_deploys
from services.executor.stages.tools import Tools
from shared.acting import acting_for
from shared.contracts.facts import Facts
from shared.contracts.freezes import HoldDeploys
from shared.contracts.stages import CancelExecutorStage, RunExecutorStage
from shared.contracts.tasks import (
    ApplyTask,
    ChecksTask,
    DeployTask,
    MigrateTask,
    PrepareTask,
    ProveBackupTask,
    RecordTask,
    ReviewTask,
    RollBackTask,
    Task,
)
from shared.crash_points import inside
from shared.jobs.handlers import accept_stage, cancel_stage
from shared.jobs.job import Job
from shared.messaging.inbox import Handlers

HANDLERS: Handlers = {
    RunExecutorStage: accept_stage,
    CancelExecutorStage: cancel_stage,
    HoldDeploys: hold_deploys,
}


async def run_stage(tools: Tools, job: Job, task: Task) -> Facts:
    """Do the stage that the task is for. Raises `Failure` for a verdict of no."""
    await tools.secrets.prepare(job.project)
    acting_for(f"project {job.project.id}")
    try:
        with inside(task.stage):
            return await _stage(tools, job, task)
    except asyncpg.PostgresError as error:
        from services.executor.clients.database_errors import answer

        answered = answer(error, task.stage)
        if answered is None:
            raise
        raise answered from error


async def _stage(tools: Tools, job: Job, task: Task) -> Facts:
    # Parsers of SQL and schemas take a tenth of the executor's memory: they come with the first stage.
    from services.executor.stages import (
        apply,
        deploy,
        migrate,
        prepare,
        prove_backup,
        record,
        review,
        roll_back,
    )

    match task:
        case ReviewTask():
            return await review.run(job, task, tools)
        case PrepareTask():
            return await prepare.run(job, task, tools)
        case ApplyTask():
            return await apply.run(job, task, tools)
        case MigrateTask():
            return await migrate.run(job, task, tools)
        case ProveBackupTask():
            return await prove_backup.run(job, task, tools)
        case DeployTask():
            return await deploy.run(job, task, tools)
        case RecordTask():
            return await record.run(job, task, tools)
        case RollBackTask():
            return await roll_back.run(job, task, tools)
        case ChecksTask():
            raise TypeError("checks are the validator's work: it must not see what the executor sees")

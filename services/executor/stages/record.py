"""Record: the Run succeeded, so nothing of its staging is left; its commits stay."""

from services.executor.stages import staging
from services.executor.stages.tools import Tools
from shared.contracts.stages import RecordFacts, RecordTask
from shared.jobs.job import Job


async def run(job: Job, task: RecordTask, tools: Tools) -> RecordFacts:
    """Safe to repeat."""
    git = await tools.git(job)
    return RecordFacts(removed=tuple(await staging.remove(job, tools, git, task.branch, task.commit)))

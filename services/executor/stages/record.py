"""Record: the Run succeeded, so nothing of its staging is left; its commits stay."""

from services.executor.stages import staging
from services.executor.stages.tools import Tools
from shared.contracts.facts import RecordFacts
from shared.contracts.tasks import RecordTask
from shared.jobs.job import Job


async def run(job: Job, task: RecordTask, tools: Tools) -> RecordFacts:
    """Safe to repeat."""
    git = await tools.git(job)
    return RecordFacts(removed=tuple(await staging.remove(job, tools, git, task.branch, task.commit)))

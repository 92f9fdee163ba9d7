"""The Project's database roles, looked at before anything is planned with them."""

from services.executor.clients.roles import production_role, staging_role
from services.executor.stages.staging import production_url, staging_database
from services.executor.stages.tools import Tools
from shared.errors import Failure
from shared.jobs.job import Job


async def require_own_roles(job: Job, tools: Tools) -> None:
    """Raise Failure when a role of the Project reaches more than its own databases; it says what suffices.

    The Project's programs get the roles' URLs. Raises Retry when a server cannot be asked.
    """
    production = await production_role(production_url(job, tools))
    masked = job.project.definition.staging.data == "masked-copy"
    staging = await staging_role(staging_database(job, tools).server, production, masked=masked)
    if found := (*production.findings, *staging.findings):
        raise Failure("a database role of the Project reaches more than its own databases", *found)

"""What the executor is told from its environment."""

from pydantic import Field

from shared.settings import WorkerSettings


class ExecutorSettings(WorkerSettings):
    """The workers' settings, and the executor's own database."""

    database_url: str = Field(validation_alias="UPGRADES_EXECUTOR_DATABASE_URL")

"""What the executor is told from its environment."""

from typing import ClassVar

from pydantic import Field

from shared.settings import WorkerSettings
from shared.signing.settings import PackageSettings


class ExecutorSettings(WorkerSettings, PackageSettings):
    """The workers' settings, and the executor's own database."""

    service: ClassVar[str] = "executor"
    database_url: str = Field(validation_alias="UPGRADES_EXECUTOR_DATABASE_URL")

"""What the validator is told from its environment."""

from typing import ClassVar

from pydantic import Field

from shared.settings import WorkerSettings


class ValidatorSettings(WorkerSettings):
    """The workers' settings, and the validator's own database."""

    service: ClassVar[str] = "validator"
    database_url: str = Field(validation_alias="UPGRADES_VALIDATOR_DATABASE_URL")

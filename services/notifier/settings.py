"""What the notifier is told from its environment."""

from typing import ClassVar

from pydantic import Field

from shared.settings import ServiceSettings


class NotifierSettings(ServiceSettings):
    """The common settings, and the notifier's own database."""

    service: ClassVar[str] = "notifier"
    database_url: str = Field(validation_alias="UPGRADES_NOTIFIER_DATABASE_URL")

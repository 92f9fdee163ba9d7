"""What the notifier is told from its environment."""

from pydantic import Field

from shared.settings import ServiceSettings


class NotifierSettings(ServiceSettings):
    """The common settings, and the notifier's own database."""

    database_url: str = Field(validation_alias="UPGRADES_NOTIFIER_DATABASE_URL")

"""What the planner is told from its environment."""

from typing import ClassVar

from pydantic import Field

from shared.pools import Names
from shared.settings import ServiceSettings


class PlannerSettings(ServiceSettings):
    """The common settings, and the planner's own database."""

    service: ClassVar[str] = "planner"
    pools: Names = Field(default=(), description="the worker pools that there are: acme,globex")
    database_url: str = Field(validation_alias="UPGRADES_PLANNER_DATABASE_URL")

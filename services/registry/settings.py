"""What the registry is told from its environment."""

from typing import ClassVar

from pydantic import Field

from shared.project_settings import RepositorySettings
from shared.signing.settings import PackageSettings


class RegistrySettings(PackageSettings, RepositorySettings):
    """The common settings, and the registry's own database."""

    service: ClassVar[str] = "registry"
    database_url: str = Field(validation_alias="UPGRADES_REGISTRY_DATABASE_URL")
    scratch_database_url: str | None = Field(
        default=None,
        validation_alias="UPGRADES_SCRATCH_DATABASE_URL",
        description="a server, and a role that may make databases there, for trying packages' migrations",
    )
    verdict_wait_s: float = Field(
        default=60, gt=0, description="how long an HTTP request waits for a package's check"
    )

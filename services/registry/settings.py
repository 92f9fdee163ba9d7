"""What the registry is told from its environment."""

import os
from typing import ClassVar, Self

from pydantic import Field, model_validator

from shared.plaintext import refuse_plaintext_database
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

    @model_validator(mode="after")
    def _trials_encrypted(self) -> Self:
        """Packages that nobody has published yet, and the role's password, stay off the wire."""
        if self.scratch_database_url is not None:
            name = "UPGRADES_SCRATCH_DATABASE_URL"
            refuse_plaintext_database(
                name, self.scratch_database_url, os.environ, allowed=self.allow_plaintext
            )
        return self

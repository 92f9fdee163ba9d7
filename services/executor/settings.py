"""What the executor is told from its environment."""

import os
import re
from typing import ClassVar, Self

from pydantic import Field, SecretStr, TypeAdapter, ValidationError, model_validator

from services.executor.clients.backup_keys import BackupKeys
from services.executor.clients.backup_places import EarlierPlaces
from services.executor.clients.backup_store import KEEP_DAYS
from shared.plaintext import refuse_plaintext_store
from shared.settings import CONTENT_URL, WorkerSettings
from shared.signing.settings import PackageSettings

_OPTIONS = TypeAdapter(dict[str, str])


class ExecutorSettings(WorkerSettings, PackageSettings):
    """The workers' settings, the executor's own database, and where its backups lie and for how long."""

    service: ClassVar[str] = "executor"
    database_url: str = Field(validation_alias="UPGRADES_EXECUTOR_DATABASE_URL")
    backup_store: str | None = Field(
        default=None,
        pattern=CONTENT_URL,
        description="file:///folder, s3://bucket/prefix, …: of backups alone",
    )
    backup_store_options: SecretStr | None = Field(
        default=None, description="what its client takes besides, as JSON: a credential of its own"
    )
    backup_stores_before: str = Field(
        default="",
        description="with commas, other places in which earlier backups lie: found and deleted there",
    )
    backup_recipients: str = Field(
        default="", description="age's public keys that seal each backup, or a file with them"
    )
    backup_key: SecretStr | None = Field(
        default=None, description="age's private keys, the newest first, or a file with them"
    )
    backup_keep_days: float = Field(
        default=KEEP_DAYS, ge=0, description="how long a backup is kept after its Run has ended"
    )
    backup_allow_unsealed: bool = Field(
        default=False, description="without a key, keep a dump of production as it is"
    )

    @property
    def backup_url(self) -> str:
        return self.backup_store or self._backup_default

    @property
    def _backup_default(self) -> str:
        return f"{self.content_url.rstrip('/')}/backups"

    @property
    def backup_places(self) -> EarlierPlaces:
        """Where earlier backups may lie. Raises ValueError."""
        given = [url.strip() for url in self.backup_stores_before.split(",") if url.strip()]
        for url in given:
            if not re.match(CONTENT_URL, url):
                raise ValueError(
                    "UPGRADES_BACKUP_STORES_BEFORE: write places as UPGRADES_BACKUP_STORE does, with commas"
                    " between: file:///folder,s3://bucket/prefix"
                )
            refuse_plaintext_store(
                "UPGRADES_BACKUP_STORES_BEFORE", url, os.environ, allowed=self.allow_plaintext
            )
        return EarlierPlaces.of(self._backup_default, given, self.backup_url, self.backup_options)

    @property
    def backup_options(self) -> dict[str, str]:
        """Raises ValueError, without a value in its text."""
        if self.backup_store_options is None:
            return {}
        try:
            return _OPTIONS.validate_json(self.backup_store_options.get_secret_value())
        except ValidationError:
            raise ValueError(
                "UPGRADES_BACKUP_STORE_OPTIONS is not a JSON object of texts: write"
                ' {"aws_access_key_id": "…", "aws_secret_access_key": "…"}'
            ) from None

    @property
    def backup_keys(self) -> BackupKeys:
        """Raises UnusableBackupKey, a ValueError."""
        private = "" if self.backup_key is None else self.backup_key.get_secret_value()
        return BackupKeys.read(self.backup_recipients, private)

    @model_validator(mode="after")
    def _backups_can_be_kept(self) -> Self:
        refuse_plaintext_store(
            "UPGRADES_BACKUP_STORE", self.backup_url, os.environ, allowed=self.allow_plaintext
        )
        _ = self.backup_options, self.backup_keys, self.backup_places
        return self

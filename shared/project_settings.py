"""What the operator settles for Projects: which repositories are taken, and where their secrets lie."""

from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import Annotated, Self

from pydantic import BeforeValidator, Field, SecretStr, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from shared.plaintext import ALLOW_PLAINTEXT, refuse_plaintext_url
from shared.repository_urls import RepositoryRules


def _split(given: object) -> object:
    return tuple(one.strip() for one in given.split(",") if one.strip()) if isinstance(given, str) else given


Listed = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_split)]
Networks = Annotated[tuple[IPv4Network | IPv6Network, ...], NoDecode, BeforeValidator(_split)]
"""Written with commas, as people write lists in variables."""


class RepositorySettings(BaseSettings):
    """Which repositories are taken: the registry asks it, and each worker again."""

    model_config = SettingsConfigDict(
        env_prefix="UPGRADES_", frozen=True, extra="ignore", populate_by_name=True
    )

    allow_local_repositories: bool = Field(
        default=False, description="take paths, file:// and hosts of this machine: for `dev` alone"
    )
    repository_hosts: Listed = Field(
        default=(), description="hosts whose repositories are taken, with commas; empty: every public one"
    )

    @property
    def repository_rules(self) -> RepositoryRules:
        return RepositoryRules(self.allow_local_repositories, self.repository_hosts)


class VaultSettings(BaseSettings):
    """HashiCorp Vault as a source of secrets; without an address there is none."""

    model_config = SettingsConfigDict(
        env_prefix="UPGRADES_VAULT_", frozen=True, extra="ignore", populate_by_name=True
    )

    address: str | None = Field(default=None, pattern=r"^https?://[^/@?#]+/?$")
    mount: str = Field(default="secret", description="of the KV engine, version 2")
    namespace: str | None = None
    ca_file: Path | None = Field(default=None, description="proves Vault's certificate")
    token: SecretStr | None = None
    token_file: Path | None = Field(default=None, description="as Vault's agent renews it")
    kubernetes_role: str | None = None
    kubernetes_mount: str = "kubernetes"
    kubernetes_token_file: Path = Path("/var/run/secrets/kubernetes.io/serviceaccount/token")
    approle_role_id: str | None = None
    approle_secret_id: SecretStr | None = None
    approle_mount: str = "approle"
    answer_within_s: float = Field(default=5, gt=0, le=60)
    allow_plaintext: bool = Field(default=False, validation_alias=ALLOW_PLAINTEXT)

    @model_validator(mode="after")
    def _encrypted(self) -> Self:
        if self.address is not None:
            name = "UPGRADES_VAULT_ADDRESS"
            refuse_plaintext_url(name, self.address, "secrets", allowed=self.allow_plaintext)
        return self

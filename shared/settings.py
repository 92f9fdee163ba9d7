"""What every service is told from its environment. Variables begin with `UPGRADES_`."""

import os
import socket
import ssl
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

from pydantic import Field, SecretStr, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from shared.contracts.topics import COMES_AGAIN_WITHIN_DAYS, principal_of
from shared.contracts.values import PoolName
from shared.identity.keys import UnusableKey
from shared.identity.service_keys import ServiceKeys
from shared.kafka_security import KafkaSecurity
from shared.plaintext import (
    ALLOW_PLAINTEXT,
    refuse_plaintext,
    refuse_plaintext_database,
    refuse_plaintext_store,
    refuse_plaintext_url,
)
from shared.pools import Names
from shared.project_settings import Networks, RepositorySettings, VaultSettings
from shared.repository_urls import KNOWN_HOSTS
from shared.token_settings import TokenSettings

# Its store is opened with the first file; what cannot be one is known at the start.
# Source: https://developmentseed.org/obstore/latest/api/store/#obstore.store.from_url
CONTENT_URL = r"^(file|memory|s3a?|gs|az|azure|adl|abfss?|https?)://"


class KafkaSettings(KafkaSecurity):
    """How to reach the broker, and what a client of ours does there."""

    session_timeout_ms: int = 6000
    stuck_after_s: float = Field(
        default=15, gt=0, description="a consumer that stands still for twice as long ends its process"
    )
    replication_factor: int = 1

    @property
    def fetch_max_wait_ms(self) -> int:
        """Kafka wakes a waiting fetch; the embedded broker does not, so there a record waits for its end."""
        return 40 if self.embedded else 500

    @property
    def heartbeat_interval_ms(self) -> int:
        """With it a member notices that others come and go: who is alone is only to be in time."""
        return max(200, self.session_timeout_ms // (3 if self.embedded else 10))


Exposure = Literal["off", "token", "loopback", "open"]
"""Who may read a page: nobody, who has a token, besides them whoever asks from this machine, anybody."""


class HttpSettings(BaseSettings):
    """What the HTTP listener bears. The defaults are far above what people and their programs need."""

    model_config = SettingsConfigDict(
        env_prefix="UPGRADES_HTTP_",
        env_ignore_empty=True,
        frozen=True,
        extra="ignore",
        populate_by_name=True,
        hide_input_in_errors=True,
    )

    head_within_s: float = Field(default=10, gt=0, description="a request's head must be here by then")
    body_within_s: float = Field(default=20, gt=0, description="and its body, with time for its size")
    body_bytes_per_s: int = Field(default=16_384, ge=1, description="slower senders are cut off")
    read_within_s: float = Field(default=30, gt=0, description="who reads nothing for so long is cut off")
    keep_alive_s: int = Field(default=20, ge=1, description="an idle connection is kept for so long")
    connections: int = Field(default=2000, ge=1, description="at once; more are answered 503")
    address_connections: int = Field(default=500, ge=1, description="at once from one address")
    actor_requests_per_s: float = Field(
        default=100, gt=0, description="of one actor on average, ten times as many at once"
    )
    address_requests_per_s: float = Field(
        default=500, gt=0, description="from one address on average, ten times as many at once"
    )
    waits: int = Field(default=500, ge=1, description="long polls at once")
    actor_waits: int = Field(default=50, ge=1, description="long polls of one actor at once")
    proxies: str = Field(
        default="", description="addresses of reverse proxies whose X-Forwarded-For is believed, by comma"
    )
    hosts: str = Field(
        default="",
        description="names by which it may be asked, by comma; none: any, on loopback localhost",
    )
    certfile: Path | None = Field(default=None, description="PEM: the listener's certificate and its chain")
    keyfile: Path | None = Field(default=None, description="PEM; by default it is in certfile")
    keyfile_password: SecretStr | None = None
    allow_plaintext: bool = Field(default=False, validation_alias=ALLOW_PLAINTEXT)

    def tls(self) -> dict[str, Any]:
        """What uvicorn is told of the listener's certificate: nothing when there is none."""
        if self.certfile is None:
            return {}
        password = self.keyfile_password
        return {
            "ssl_certfile": self.certfile,
            "ssl_keyfile": self.keyfile,
            "ssl_keyfile_password": None if password is None else password.get_secret_value(),
        }

    def refuse_plaintext(self, host: str) -> None:
        """Raises `Plaintext` when tokens would come to this address in the clear."""
        if self.certfile is None:
            cure = "set UPGRADES_HTTP_CERTFILE and UPGRADES_HTTP_KEYFILE (or --tls-certificate and --tls-key)"
            danger = "bearer tokens would come to the listener on"
            refuse_plaintext("--host", host, danger, cure, allowed=self.allow_plaintext)

    @model_validator(mode="after")
    def _certificate_is_whole(self) -> Self:
        if self.certfile is None:
            if self.keyfile is not None or self.keyfile_password is not None:
                raise ValueError(
                    "UPGRADES_HTTP_KEYFILE is set without a certificate: set UPGRADES_HTTP_CERTFILE"
                )
            return self
        password = self.keyfile_password
        secret = "" if password is None else password.get_secret_value()
        try:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(self.certfile, self.keyfile, lambda: secret)
        except (OSError, ssl.SSLError) as error:
            why = getattr(error, "strerror", None) or getattr(error, "reason", None) or type(error).__name__
            raise ValueError(
                f"UPGRADES_HTTP_CERTFILE and UPGRADES_HTTP_KEYFILE cannot be used ({why}): they name a"
                " certificate and its private key in PEM; UPGRADES_HTTP_KEYFILE_PASSWORD opens the key"
            ) from None
        return self


class ServiceSettings(TokenSettings):
    """What the five services have in common. Each adds the URL of its own database."""

    service: ClassVar[str] = ""
    """Its name; each of the five says it."""

    kafka: KafkaSettings = Field(default_factory=KafkaSettings)
    http: HttpSettings = Field(default_factory=HttpSettings)
    metrics: Exposure = Field(
        default="loopback", description="who may read /metrics; a token must be an SRE's"
    )
    docs: Exposure = Field(default="token", description="who may read /docs and /openapi.json")
    content_url: str = Field(pattern=CONTENT_URL, description="file:///folder, s3://bucket/prefix, …")
    service_key: SecretStr | None = Field(
        default=None,
        description="this service's private key: a PEM text, its file, or the folder with <service>.pem",
    )
    service_public_keys: str | None = Field(
        default=None, description="the services' public keys: a JWK Set, or its file"
    )
    instance: str = Field(
        default_factory=socket.gethostname, description="this process, stable over restarts"
    )
    database_pool: int = 8
    database_answer_within_s: float = Field(
        default=60, gt=0, description="a statement without an answer by then is given up, and done again"
    )
    loop_blocked_after_s: float = Field(
        default=30, gt=0, description="a process whose event loop does not run for so long ends itself"
    )
    keep_inbox_days: float = Field(
        default=180,
        ge=COMES_AGAIN_WITHIN_DAYS,
        description="how long it is known what was handled, and an Idempotency-Key is good for",
    )
    otlp_endpoint: str | None = Field(default=None, description="where traces go: http://collector:4318")

    @property
    def pool_name(self) -> str | None:
        """The worker pool that it is of, if of one."""
        return None

    @property
    def principal(self) -> str:
        """Who it is to the others."""
        return principal_of(self.service, self.pool_name)

    def keys(self) -> ServiceKeys:
        """Its own key and those of the others. Raises `UnusableKey`."""
        own = None if self.service_key is None else self.service_key.get_secret_value()
        return ServiceKeys.load(self.principal, own, self.service_public_keys)

    @model_validator(mode="after")
    def _encrypted(self) -> Self:
        """What would leave this machine in plaintext is known at the start."""
        database = f"UPGRADES_{self.service.upper()}_DATABASE_URL"
        url: str | None = getattr(self, "database_url", None)
        allowed = self.allow_plaintext
        if url is not None:
            refuse_plaintext_database(database, url, os.environ, allowed=allowed)
        refuse_plaintext_store("UPGRADES_CONTENT_URL", self.content_url, os.environ, allowed=allowed)
        if self.otlp_endpoint is not None:
            refuse_plaintext_url("UPGRADES_OTLP_ENDPOINT", self.otlp_endpoint, "traces", allowed=allowed)
        return self

    @model_validator(mode="after")
    def _keys_are_there(self) -> Self:
        try:
            self.keys()
            self.token_verifier()
        except (UnusableKey, OSError) as error:
            raise ValueError(str(error)) from error
        return self


class WorkerSettings(ServiceSettings, RepositorySettings):
    """What executor and validator have besides."""

    work_folder: Path = Field(description="scratch: clones and checkouts, all of which may vanish")
    secrets_folder: Path | None = Field(
        default=None, description="<project>/<environment>/<name> below it hold the secrets' values"
    )
    vault: VaultSettings = Field(default_factory=VaultSettings)
    ssh_known_hosts: Path = Field(default=KNOWN_HOSTS, description="hosts' keys, for repositories over ssh")
    staging_networks: Networks = Field(
        default=(),
        description="networks besides the public one in which staging may be, as 10.0.0.0/8 with commas",
    )
    job_slots: int = Field(default=4, ge=1)
    lease_s: float = Field(default=15, gt=0)
    pool: PoolName | None = Field(default=None, description="the worker pool that it is of, if of one")
    pool_projects: Names = Field(default=(), description="the Projects that this pool serves: acme-portal,…")

    @property
    def pool_name(self) -> str | None:
        return self.pool

    @model_validator(mode="after")
    def _pool_says_whom_it_serves(self) -> Self:
        if (self.pool is None) != (not self.pool_projects):
            raise ValueError(
                "UPGRADES_POOL and UPGRADES_POOL_PROJECTS belong together: a pool's worker is told which"
                " Projects it serves, for instance UPGRADES_POOL_PROJECTS=acme-portal"
            )
        return self

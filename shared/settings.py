"""What every service is told from its environment. Variables begin with `UPGRADES_`."""

import socket
from pathlib import Path

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

from shared.contracts.topics import COMES_AGAIN_WITHIN_DAYS

# Its store is opened with the first file; what cannot be one is known at the start.
# Source: https://developmentseed.org/obstore/latest/api/store/#obstore.store.from_url
_CONTENT_URL = r"^(file|memory|s3a?|gs|az|azure|adl|abfss?|https?)://"


class KafkaSettings(BaseSettings):
    """How to reach the broker."""

    model_config = SettingsConfigDict(env_prefix="UPGRADES_KAFKA_", frozen=True, extra="ignore")

    bootstrap_servers: str = "127.0.0.1:9092"
    embedded: bool = Field(
        default=False,
        description="the in-memory broker: it has no idempotent producer, and forgets when it stops",
    )
    session_timeout_ms: int = 6000
    stuck_after_s: float = Field(
        default=15, gt=0, description="a consumer that stands still for twice as long ends its process"
    )
    replication_factor: int = 1

    @property
    def fetch_max_wait_ms(self) -> int:
        """Kafka wakes a waiting fetch; the embedded broker does not, so there this is the latency."""
        return 40 if self.embedded else 500


class ServiceSettings(BaseSettings):
    """What the five services have in common. Each adds the URL of its own database."""

    model_config = SettingsConfigDict(
        env_prefix="UPGRADES_", frozen=True, extra="ignore", populate_by_name=True
    )

    kafka: KafkaSettings = Field(default_factory=KafkaSettings)
    content_url: str = Field(pattern=_CONTENT_URL, description="file:///folder, s3://bucket/prefix, …")
    token_key: SecretStr = Field(min_length=32, description="signs and proves bearer tokens (HS256)")
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


class WorkerSettings(ServiceSettings):
    """What executor and validator have besides."""

    work_folder: Path = Field(description="scratch: clones and checkouts, all of which may vanish")
    secrets_folder: Path | None = None
    job_slots: int = Field(default=4, ge=1)
    lease_s: float = Field(default=15, gt=0)

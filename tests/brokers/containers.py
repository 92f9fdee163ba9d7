"""Apache Kafka in a container, where a Docker engine answers."""

from __future__ import annotations

import asyncio
import functools
from types import TracebackType
from typing import Protocol, Self

import docker
from docker.errors import DockerException
from testcontainers.community.kafka import KafkaContainer

IMAGE = "confluentinc/cp-kafka:8.0.0"


@functools.cache
def why_no_container() -> str | None:
    """None when a Docker engine answers; else why not."""
    try:
        docker.from_env(timeout=3).ping()
    except DockerException as error:
        return f"no Docker engine answers: {error}"
    return None


class Broker(Protocol):
    """A broker that tests may kill; `start` goes on from what it kept."""

    @property
    def bootstrap_servers(self) -> str: ...

    async def start(self) -> None: ...

    async def kill(self) -> None: ...


class KafkaInContainer:
    """One KRaft node; after `kill`, `start` starts the same container with its data."""

    def __init__(self) -> None:
        self._container = KafkaContainer(IMAGE).with_kraft()
        self._container.with_env("KAFKA_AUTO_CREATE_TOPICS_ENABLE", "false")
        self._container.with_env("KAFKA_GROUP_INITIAL_REBALANCE_DELAY_MS", "0")
        self._container.with_env("KAFKA_GROUP_MIN_SESSION_TIMEOUT_MS", "1000")
        self._made = False

    @property
    def bootstrap_servers(self) -> str:
        """`host:port`, as Kafka clients take it."""
        return str(self._container.get_bootstrap_server())

    async def start(self) -> None:
        if self._made:
            await asyncio.to_thread(self._container.get_wrapped_container().start)
        else:
            await asyncio.to_thread(self._container.start)
            self._made = True

    async def kill(self) -> None:
        await asyncio.to_thread(self._container.get_wrapped_container().kill)

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await asyncio.to_thread(self._container.stop)

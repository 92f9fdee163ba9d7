"""The brokers on which the suite runs: the embedded one, and Apache Kafka."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator

import pytest

from local.broker import EmbeddedBroker
from local.kafka import ApacheKafka, availability
from shared.messaging.topic_admin import create_topics
from shared.settings import KafkaSettings
from tests.brokers.containers import Broker, KafkaInContainer, why_no_container
from tests.brokers.place import Place
from tests.conftest import PostgresServer


@pytest.fixture(scope="session")
async def embedded() -> AsyncIterator[EmbeddedBroker]:
    async with EmbeddedBroker() as broker:
        await create_topics(KafkaSettings(bootstrap_servers=broker.bootstrap_servers, embedded=True))
        yield broker


@pytest.fixture(scope="session")
async def kafka(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Broker]:
    """Apache Kafka from its jars, or else in a container; on the build server one of them must be there."""
    no_jars, no_container = availability(), why_no_container()
    broker: ApacheKafka | KafkaInContainer
    if no_jars is None:
        broker = ApacheKafka(tmp_path_factory.mktemp("kafka"))
    elif no_container is None:
        broker = KafkaInContainer()
    else:
        why = f"Apache Kafka: {no_jars}; in a container: {no_container}"
        if os.environ.get("CI") == "true":
            pytest.fail(why)
        pytest.skip(why)
    async with broker:
        await create_topics(KafkaSettings(bootstrap_servers=broker.bootstrap_servers))
        yield broker


def settings_of(broker: EmbeddedBroker | Broker) -> KafkaSettings:
    return KafkaSettings(
        bootstrap_servers=broker.bootstrap_servers,
        embedded=isinstance(broker, EmbeddedBroker),
        session_timeout_ms=2000,
    )


@pytest.fixture(params=["embedded", "kafka"])
def settings(request: pytest.FixtureRequest) -> KafkaSettings:
    """How to reach each broker in turn."""
    return settings_of(request.getfixturevalue(request.param))


@pytest.fixture
async def place(settings: KafkaSettings, postgres: PostgresServer) -> Place:
    """A place at each broker in turn."""
    return await _prepare(settings, postgres)


@pytest.fixture
async def kafka_place(kafka: Broker, postgres: PostgresServer) -> Place:
    """A place at Apache Kafka, for what the embedded broker does not promise."""
    return await _prepare(settings_of(kafka), postgres)


@pytest.fixture
async def embedded_place(embedded: EmbeddedBroker, postgres: PostgresServer) -> Place:
    """A place at the embedded broker, for what Apache Kafka does by itself."""
    return await _prepare(settings_of(embedded), postgres)


async def _prepare(settings: KafkaSettings, postgres: PostgresServer) -> Place:
    place = Place(settings, "")
    postgres.create_database(place.name)
    place.url = postgres.url(place.name)
    await place.prepare()
    return place

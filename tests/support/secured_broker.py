"""The fixture of a broker that asks who comes: a conftest imports it."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator

import pytest

from local.kafka import availability
from services.access import rules
from shared.messaging.access_lists import apply_rules
from shared.messaging.topic_admin import create_topics
from tests.support.secured_kafka import ADMIN, SecuredKafka
from tests.support.token_endpoint import JWKS


@pytest.fixture(scope="session")
async def secured_kafka(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[SecuredKafka]:
    """SASL_SSL with our topics and access lists; on the build server it must be there."""
    if why := availability():
        if os.environ.get("CI") == "true":
            pytest.fail(f"Apache Kafka: {why}")
        pytest.skip(f"Apache Kafka: {why}")
    async with SecuredKafka(tmp_path_factory.mktemp("kafka"), token_keys=JWKS) as kafka:
        await create_topics(kafka.settings(ADMIN))
        await apply_rules(kafka.settings(ADMIN), rules())
        yield kafka

"""A small batch that expands to a large one: no broker refuses it, and its readers do not expand it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from aiokafka import AIOKafkaProducer

from shared.contracts.topics import RELEASE_COMMANDS
from shared.messaging.partitions import partition_of
from tests.brokers.place import Place, eventually, header, versions

_EXPANDED = 96 << 20


@asynccontextmanager
async def _producer(place: Place, codec: str) -> AsyncIterator[AIOKafkaProducer]:
    """One that sends as large a batch as it is given."""
    producer = AIOKafkaProducer(
        bootstrap_servers=place.settings.bootstrap_servers,
        compression_type=codec,
        max_batch_size=2 * _EXPANDED,
        max_request_size=2 * _EXPANDED,
    )
    async with producer:
        yield producer


@pytest.mark.parametrize("codec", ["gzip", "zstd"])
async def test_a_bomb_stops_neither_a_service_nor_its_partition(place: Place, codec: str) -> None:
    [(key, value, headers)] = place.commands([1])
    async with place.service().running() as service, _producer(place, codec) as producer:
        await place.send(place.commands([0]))
        batch = producer.create_batch()
        for body in (bytes(_EXPANDED), value):
            assert batch.append(key=key, value=body, timestamp=None, headers=[*headers]) is not None
        batch.close()
        partition = partition_of(key, RELEASE_COMMANDS.partitions)
        await (await producer.send_batch(batch, RELEASE_COMMANDS.name, partition=partition))
        [letter] = await eventually(place.dead, lambda dead: len(dead) == 1)
        assert "expands to more than 16 MiB" in header(letter, "dead_reason")
        # Small and compressed is as good as any.
        await producer.send_and_wait(RELEASE_COMMANDS.name, value, key, headers=[*headers])
        await eventually(lambda: service.counted(place.name), lambda seen: len(seen) > 1)
        assert await service.counted(place.name) == versions(range(2))

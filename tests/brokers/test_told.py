"""What a rebuild reads of a topic is what is on it, at both brokers."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic, RecordsToDelete

from shared.contracts.topics import FOREVER, Topic
from shared.replay.reading import read_told
from shared.replay.told import NotOurs, Told
from shared.settings import KafkaSettings
from tests.brokers.conftest import settings_of
from tests.brokers.containers import Broker
from tests.brokers.tiny_service import publish, wire

BIG_BYTES = 900_000
_numbers = itertools.count(1)


@asynccontextmanager
async def topic_of(settings: KafkaSettings) -> AsyncIterator[tuple[Topic, AIOKafkaProducer]]:
    """A topic of this test alone, and whoever writes to it."""
    topic = Topic(f"upgrades.told-{next(_numbers)}.events.v1", "system", FOREVER)
    admin = AIOKafkaAdminClient(bootstrap_servers=settings.bootstrap_servers)
    await admin.start()
    try:
        await admin.create_topics([NewTopic(topic.name, topic.partitions, 1)])
    finally:
        await admin.close()
    async with AIOKafkaProducer(bootstrap_servers=settings.bootstrap_servers, acks="all") as producer:
        yield topic, producer


async def write(producer: AIOKafkaProducer, topic: Topic, bodies: dict[int, list[bytes]]) -> None:
    """These, by partition."""
    _, _, headers = wire(publish("auth-system", 1), "told")
    for number in range(max(map(len, bodies.values()))):
        for partition, wanted in bodies.items():
            if number < len(wanted):
                await producer.send(topic.name, wanted[number], partition=partition, headers=list(headers))
    await producer.flush()


async def read(settings: KafkaSettings, topic: Topic) -> dict[int, list[Told]]:
    """All that is there, by partition."""
    found: dict[int, list[Told]] = {}

    def take(at: TopicPartition, _: int, record: Any) -> Told:
        return Told(at.topic, at.partition, record.offset, record.value, record.headers)

    async for events in read_told(settings, [topic], take):
        assert events, "a list is never empty"
        for event in events:
            found.setdefault(event.partition, []).append(event)
    return found


async def test_every_event_is_read_once_and_in_order(settings: KafkaSettings) -> None:
    """Some of them are so big that a fetch has room for no other; one partition is empty."""
    bodies = {
        partition: [b"%d/%d" % (partition, number) for number in range(700)]
        + [b"x" * BIG_BYTES] * 2
        + [b"the last of %d" % partition]
        for partition in range(3)
    }
    async with topic_of(settings) as (topic, producer):
        await write(producer, topic, bodies)
        found = await read(settings, topic)
    assert {partition: [event.body for event in events] for partition, events in found.items()} == bodies
    for events in found.values():
        assert [event.offset for event in events] == list(range(len(events)))
        assert {(event.name, event.topic) for event in events} == {("PublishRelease", topic.name)}


async def test_a_topic_without_events_ends_at_once(settings: KafkaSettings) -> None:
    async with topic_of(settings) as (topic, _):
        assert await read(settings, topic) == {}


async def test_what_is_none_of_ours_ends_the_reading(settings: KafkaSettings) -> None:
    async with topic_of(settings) as (topic, producer):
        await producer.send_and_wait(topic.name, b"{}", partition=0, headers=[("ce_id", b"1")])
        with pytest.raises(NotOurs, match=r"it lacks ce_source"):
            await read(settings, topic)


async def test_what_is_gone_is_not_waited_for(kafka: Broker) -> None:
    """Old records may have been deleted: what is left does not begin at 0."""
    settings = settings_of(kafka)
    async with topic_of(settings) as (topic, producer):
        await write(producer, topic, {0: [b"%d" % number for number in range(20)], 1: [b"gone"]})
        admin = AIOKafkaAdminClient(bootstrap_servers=settings.bootstrap_servers)
        await admin.start()
        try:
            until = {TopicPartition(topic.name, 0): RecordsToDelete(before_offset=15)}
            until[TopicPartition(topic.name, 1)] = RecordsToDelete(before_offset=1)
            await admin.delete_records(until)
        finally:
            await admin.close()
        found = await read(settings, topic)
    assert {partition: [event.offset for event in events] for partition, events in found.items()} == {
        0: [15, 16, 17, 18, 19]
    }

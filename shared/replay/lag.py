"""How far a group is behind on a topic, and how long the oldest record that it has not read has waited."""

import asyncio
from dataclasses import dataclass
from datetime import datetime

from aiokafka import AIOKafkaConsumer, TopicPartition

from shared.contracts.topics import Topic
from shared.messaging.client_arguments import client_arguments
from shared.messaging.lenient_records import read_all_names
from shared.messaging.topic_admin import partition_counts
from shared.settings import KafkaSettings

_POLL_MS = 200
_ANSWER_WITHIN_S = 20.0
_AT_ONCE = 6


@dataclass(frozen=True)
class Lag:
    """One partition as one group stands on it. `committed` is none before the group's first commit."""

    service: str
    group: str
    topic: str
    partition: int
    committed: int | None
    end: int
    behind: int
    oldest_age_s: float | None


async def lags(settings: KafkaSettings, reads: list[tuple[str, Topic]], now: datetime) -> list[Lag]:
    """How each service stands on the topics that it reads; topics that are not there are left out.

    Raises KafkaError or TimeoutError when the broker does not answer.
    """
    counts = await partition_counts(settings, {topic.name for _, topic in reads})
    few = asyncio.Semaphore(_AT_ONCE)

    async def one(service: str, topic: Topic) -> list[Lag]:
        async with few, asyncio.timeout(_ANSWER_WITHIN_S):
            return await _of_group(settings, service, topic, counts[topic.name], now)

    known = [(service, topic) for service, topic in reads if topic.name in counts]
    found = await asyncio.gather(*(one(service, topic) for service, topic in known))
    return [lag for of_topic in found for lag in of_topic]


async def places(settings: KafkaSettings, group: str, topic: str, count: int) -> dict[int, int]:
    """Where the group goes on, per partition: its committed offset, or 0 before its first commit."""
    consumer = _consumer(settings, group)
    try:
        await consumer.start()
        partitions = [TopicPartition(topic, number) for number in range(count)]
        consumer.assign(partitions)
        return {place.partition: await consumer.committed(place) or 0 for place in partitions}
    finally:
        await consumer.stop()


def _consumer(settings: KafkaSettings, group: str) -> AIOKafkaConsumer:
    """In the group's name only to ask for its place: it never joins, and commits nothing."""
    read_all_names()
    return AIOKafkaConsumer(
        **client_arguments(settings),
        group_id=group,
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        isolation_level="read_committed",
        fetch_max_wait_ms=20,
        max_partition_fetch_bytes=64 * 1024,
    )


async def _of_group(
    settings: KafkaSettings, service: str, topic: Topic, count: int, now: datetime
) -> list[Lag]:
    consumer = _consumer(settings, topic.group(service))
    partitions = [TopicPartition(topic.name, number) for number in range(count)]
    try:
        await consumer.start()
        consumer.assign(partitions)
        committed = {place: await consumer.committed(place) for place in partitions}
        for place, offset in committed.items():
            if offset is not None:  # the group may commit more at any moment: read from what was told
                consumer.seek(place, offset)
        # Asked for its end offsets the embedded broker is wrong; what comes with a fetch is right at both.
        oldest: dict[TopicPartition, int] = {}
        while any(_unknown(consumer, place, oldest) for place in partitions):
            for place, records in (await consumer.getmany(timeout_ms=_POLL_MS)).items():
                oldest.setdefault(place, records[0].timestamp)
        starts = {place: await consumer.position(place) for place in partitions}
        return [
            _lag(service, topic, place, committed[place], consumer, oldest.get(place), starts[place], now)
            for place in partitions
        ]
    finally:
        await consumer.stop()


def _unknown(consumer: AIOKafkaConsumer, place: TopicPartition, oldest: dict[TopicPartition, int]) -> bool:
    return place not in oldest and consumer.last_stable_offset(place) is None


def _lag(
    service: str,
    topic: Topic,
    place: TopicPartition,
    committed: int | None,
    consumer: AIOKafkaConsumer,
    oldest_ms: int | None,
    position: int,
    now: datetime,
) -> Lag:
    end = consumer.last_stable_offset(place) or position
    behind = max(0, end - (committed or 0))
    age_s = None if oldest_ms is None or not behind else max(0.0, now.timestamp() - oldest_ms / 1000)
    return Lag(service, topic.group(service), topic.name, place.partition, committed, end, behind, age_s)

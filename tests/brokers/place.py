"""One test's place at a broker: a service of its own name, reading from now on, and ways to look."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from typing import TypeVar

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from shared.contracts.topics import RELEASE_COMMANDS, RELEASE_EVENTS, Topic, dead_letters
from shared.messaging.record import Record
from shared.messaging.topic_admin import DEAD_RECORD_BYTES_MAX
from shared.messaging.topic_reader import read_topic
from shared.settings import KafkaSettings
from tests.brokers.tiny_service import Pause, TinyService, publish, wire

T = TypeVar("T")
Wire = tuple[bytes | None, bytes | None, Iterable[tuple[str, bytes | None]]]

WITHIN_S = 30.0
_POLL_S = 0.02
_numbers = itertools.count(1)


async def eventually(
    look: Callable[[], Awaitable[T]], good: Callable[[T], bool], within_s: float = WITHIN_S
) -> T:
    """Look until it is good. AssertionError with what was seen last."""
    end = time.monotonic() + within_s
    while not good(seen := await look()):
        assert time.monotonic() < end, f"after {within_s:g} s it is still: {seen!r:.2000}"
        await asyncio.sleep(_POLL_S)
    return seen


@dataclass
class Place:
    """The name is new in each test, and so are the group, the database and the System that it writes of."""

    settings: KafkaSettings
    url: str
    name: str = field(default_factory=lambda: f"tiny-{next(_numbers)}")

    def service(self, pause: Pause | None = None) -> TinyService:
        return TinyService(self.name, self.url, self.settings, pause)

    async def prepare(self) -> None:
        """Make the dead-letter topic and let the group begin where the topic ends now."""
        admin = AIOKafkaAdminClient(bootstrap_servers=self.settings.bootstrap_servers)
        await admin.start()
        limits = {"max.message.bytes": str(DEAD_RECORD_BYTES_MAX)}
        try:
            await admin.create_topics([NewTopic(dead_letters(self.name).name, 4, 1, topic_configs=limits)])
        finally:
            await admin.close()
        ends = dict.fromkeys((TopicPartition(RELEASE_COMMANDS.name, number) for number in range(4)), 0)
        async for record in read_topic(self.settings, RELEASE_COMMANDS):
            ends[TopicPartition(record.topic, record.partition)] = record.offset + 1
        async with self._group_member() as consumer:
            consumer.assign(list(ends))
            await consumer.commit(ends)
        service = self.service()
        await service.create_tables()
        await service.database.close()

    def _group_member(self) -> AIOKafkaConsumer:
        return AIOKafkaConsumer(
            bootstrap_servers=self.settings.bootstrap_servers,
            group_id=RELEASE_COMMANDS.group(self.name),
            enable_auto_commit=False,
        )

    async def committed(self) -> int:
        """Offsets that the group has committed, summed over the partitions."""
        async with self._group_member() as consumer:
            partitions = [TopicPartition(RELEASE_COMMANDS.name, number) for number in range(4)]
            consumer.assign(partitions)
            offsets = [await consumer.committed(partition) for partition in partitions]
            return sum(offset or 0 for offset in offsets)

    async def send(self, records: Iterable[Wire], topic: Topic = RELEASE_COMMANDS) -> None:
        """Send records as they are, in order, as the outside world does."""
        producer = AIOKafkaProducer(
            bootstrap_servers=self.settings.bootstrap_servers,
            acks="all",
            enable_idempotence=not self.settings.embedded,
            max_request_size=4 * 1024 * 1024,
        )
        async with producer:
            for future in [
                await producer.send(topic.name, key=key, value=body, headers=list(headers))
                for key, body, headers in records
            ]:
                await future

    def commands(self, numbers: Iterable[int], system: str | None = None) -> list[Wire]:
        system = system or self.name
        return [wire(publish(system, number), f"{system}/{number}") for number in numbers]

    async def events(self, system: str | None = None) -> list[Record]:
        """The records of this System (the place's own, if none is named) on the event topic."""
        key = (system or self.name).encode()
        return [record async for record in read_topic(self.settings, RELEASE_EVENTS) if record.key == key]

    async def dead(self) -> list[Record]:
        return [record async for record in read_topic(self.settings, dead_letters(self.name))]


def header(record: Record, name: str) -> str:
    value = dict(record.headers)[name]
    assert value is not None
    return value.decode()


def versions(numbers: Iterable[int]) -> list[str]:
    return [f"1.{number}.0" for number in numbers]

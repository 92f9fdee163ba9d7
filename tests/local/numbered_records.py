"""What the tests of both brokers share."""

from __future__ import annotations

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic


class Records:
    """Sends numbered records to a topic and reads the topic from its beginning."""

    def __init__(self, bootstrap_servers: str, topic: str) -> None:
        self._servers = bootstrap_servers
        self._topic = topic

    async def make_topic(self) -> None:
        admin = AIOKafkaAdminClient(bootstrap_servers=self._servers)
        await admin.start()
        try:
            await admin.create_topics([NewTopic(self._topic, num_partitions=1, replication_factor=1)])
        finally:
            await admin.close()

    async def send(self, numbers: range, *, idempotent: bool) -> None:
        producer = AIOKafkaProducer(
            bootstrap_servers=self._servers, acks="all", enable_idempotence=idempotent
        )
        async with producer:
            for number in numbers:
                await producer.send_and_wait(self._topic, str(number).encode(), key=b"a key")

    async def read(self, count: int) -> list[int]:
        consumer = AIOKafkaConsumer(
            self._topic,
            bootstrap_servers=self._servers,
            auto_offset_reset="earliest",
            fetch_max_wait_ms=20,
        )
        async with consumer:
            return [int((await consumer.getone()).value) for _ in range(count)]

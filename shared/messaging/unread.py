"""What a group has not read yet of one key: for whoever must know before its consumer comes to it."""

from collections.abc import AsyncIterator

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.partitioner import DefaultPartitioner

from shared.contracts.topics import Topic
from shared.messaging.client_arguments import client_arguments
from shared.messaging.lenient_records import read_all_names
from shared.messaging.record import Record
from shared.messaging.topic_admin import partition_counts
from shared.settings import KafkaSettings

_POLL_MS = 200
_FETCH_WAIT_MS = 20


async def unread(settings: KafkaSettings, topic: Topic, service: str, key: bytes) -> AsyncIterator[Record]:
    """The records of `key` that lie before the group of `service` now, in their order.

    It joins nothing and commits nothing. What the group handled but has not committed yet comes, too. Raises
    KafkaError when the broker does not answer.
    """
    counts = await partition_counts(settings, [topic.name])
    if topic.name not in counts:
        return
    numbers = list(range(counts[topic.name]))
    place = TopicPartition(topic.name, DefaultPartitioner()(key, numbers, numbers))
    read_all_names()
    consumer = AIOKafkaConsumer(
        **client_arguments(settings),
        group_id=topic.group(service),
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        isolation_level="read_committed",
        # An empty partition says that it is empty only when the wait is over.
        fetch_max_wait_ms=_FETCH_WAIT_MS,
    )
    try:
        await consumer.start()
        consumer.assign([place])
        committed = await consumer.committed(place)
        if committed is not None:
            consumer.seek(place, committed)
        end: int | None = None
        while end is None or await consumer.position(place) < end:
            polled = await consumer.getmany(timeout_ms=_POLL_MS)
            # Asked for it the embedded broker is wrong; what comes with a fetch is right at both.
            end = consumer.last_stable_offset(place) if end is None else end
            for record in polled.get(place, ()):
                if record.key == key:
                    yield record
    finally:
        await consumer.stop()

"""Making the topics with their settings, and finding out which of them differ."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import TopicAlreadyExistsError, for_code

from shared.contracts.topics import DEAD_LETTERS, TOPICS, Topic
from shared.settings import KafkaSettings

RECORD_BYTES_MAX = 1024 * 1024
"""What a topic takes at most, with its headers. Anything large lies in the content store anyway."""
DEAD_RECORD_BYTES_MAX = RECORD_BYTES_MAX + 64 * 1024
"""A dead letter is the original and more: where it was and what is wrong with it."""


@dataclass(frozen=True)
class TopicState:
    """What became of one topic. A `differs` is never mended: partition counts are fixed once made."""

    topic: Topic
    state: Literal["made", "was there", "missing", "differs"]
    partitions: int


async def create_topics(settings: KafkaSettings) -> list[TopicState]:
    """Make every topic that is missing. Raises KafkaError when the broker refuses or is not there."""
    before = await describe_topics(settings)
    missing = [state.topic for state in before if state.state == "missing"]
    if missing:
        admin = AIOKafkaAdminClient(bootstrap_servers=settings.bootstrap_servers)
        try:
            await admin.start()
            answer = await admin.create_topics([_new(topic, settings) for topic in missing])
        finally:
            await admin.close()
        for name, code, *message in answer.topic_errors:
            error = for_code(code)
            if code != 0 and error is not TopicAlreadyExistsError:
                raise error(f"{name}: {message}")
    return [
        TopicState(state.topic, "made", state.topic.partitions) if state.state == "missing" else state
        for state in before
    ]


async def describe_topics(settings: KafkaSettings) -> list[TopicState]:
    """How each topic stands at the broker."""
    counts = await partition_counts(settings, [topic.name for topic in TOPICS])
    return [_state(topic, counts.get(topic.name, 0)) for topic in TOPICS]


async def partition_counts(settings: KafkaSettings, names: Iterable[str]) -> dict[str, int]:
    """How many partitions each of these topics has; one that is not there is left out."""
    admin = AIOKafkaAdminClient(bootstrap_servers=settings.bootstrap_servers)
    try:
        await admin.start()
        there = set(await admin.list_topics())
        known = [name for name in names if name in there]
        described = await admin.describe_topics(known) if known else []
    finally:
        await admin.close()
    return {entry["topic"]: len(entry["partitions"]) for entry in described}


def _state(topic: Topic, partitions: int) -> TopicState:
    if partitions == 0:
        return TopicState(topic, "missing", 0)
    return TopicState(topic, "was there" if partitions == topic.partitions else "differs", partitions)


def _new(topic: Topic, settings: KafkaSettings) -> NewTopic:
    bytes_max = DEAD_RECORD_BYTES_MAX if topic in DEAD_LETTERS else RECORD_BYTES_MAX
    return NewTopic(
        topic.name,
        num_partitions=topic.partitions,
        replication_factor=settings.replication_factor,
        topic_configs={
            "retention.ms": str(topic.retention_ms),
            "cleanup.policy": "delete",
            "max.message.bytes": str(bytes_max),
            # Acknowledged by all means little when one replica alone may be all.
            "min.insync.replicas": str(max(1, settings.replication_factor - 1)),
        },
    )

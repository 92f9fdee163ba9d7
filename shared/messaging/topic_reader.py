"""Reading a topic from its beginning, outside every group: for people, and to keep what is on it."""

import base64
import json
from collections.abc import AsyncIterator, Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import UnknownTopicOrPartitionError
from pydantic_core import from_json

from shared.contracts.header_names import holds_token, to_text
from shared.contracts.topics import Topic
from shared.messaging.client_arguments import client_arguments
from shared.messaging.lenient_records import read_all_names
from shared.messaging.record import Record
from shared.messaging.topic_admin import describe_topics, partition_counts
from shared.private_files import private_folder
from shared.settings import KafkaSettings

_HIDDEN = "(a token, not shown)"
_POLL_MS = 200
_EMPTY_MS = 20
_FETCH_BYTES = 4 * 1024 * 1024


async def read_topic(settings: KafkaSettings, topic: Topic, *, follow: bool = False) -> AsyncIterator[Record]:
    """Every record that is on the topic now, in order within each partition; with `follow`, then what comes.

    Commits nothing, so no group's place moves. Raises KafkaError when the broker is not there, or has no
    such topic.
    """
    async for records in read_batches(settings, [topic], follow=follow):
        for record in records:
            yield record


async def read_batches(
    settings: KafkaSettings, topics: Sequence[Topic], *, most: int | None = None, follow: bool = False
) -> AsyncIterator[list[Record]]:
    """As `read_topic`, for several topics and up to `most` records at once; a batch is never empty."""
    counts = await partition_counts(settings, [topic.name for topic in topics])
    for topic in topics:
        if topic.name not in counts:
            raise UnknownTopicOrPartitionError(f"the broker has no topic {topic.name}")
    partitions = [TopicPartition(name, number) for name, count in counts.items() for number in range(count)]
    read_all_names()
    consumer = AIOKafkaConsumer(
        **client_arguments(settings),
        group_id=None,
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        isolation_level="read_committed",
        max_partition_fetch_bytes=_FETCH_BYTES,
        # An empty partition says that it is empty only when the wait is over.
        fetch_max_wait_ms=settings.fetch_max_wait_ms if follow else _EMPTY_MS,
    )
    try:
        await consumer.start()
        consumer.assign(partitions)
        ends: dict[TopicPartition, int] = {}
        while follow or await _behind(consumer, partitions, ends):
            polled = await consumer.getmany(timeout_ms=_POLL_MS, max_records=most)
            records = [record for of_partition in polled.values() for record in of_partition]
            if records:
                yield records
    finally:
        await consumer.stop()


def describe(record: Record) -> dict[str, Any]:
    """The record as a JSON document; what is no text or no JSON stands as `{"base64": …}`.

    Tokens are left out.
    """
    time = datetime.fromtimestamp(record.timestamp / 1000, UTC) if record.timestamp >= 0 else None
    headers: dict[str, list[Any]] = {}
    for name, value in record.headers:
        shown = _HIDDEN if holds_token(name, value) else _text(value)
        headers.setdefault(to_text(name), []).append(shown)
    return {
        "topic": record.topic,
        "partition": record.partition,
        "offset": record.offset,
        "time": None if time is None else time.isoformat(),
        "key": _text(record.key),
        # A name may come more than once, though none of ours does.
        "headers": {name: values[0] if len(values) == 1 else values for name, values in headers.items()},
        "body": _body(record.value),
    }


async def dump_topics(settings: KafkaSettings, folder: Path, pools: Iterable[str] = ()) -> dict[str, int]:
    """Write what is on every topic to `<folder>/<topic>.jsonl`; how many records each one has."""
    private_folder(folder)
    counts = {}
    for state in await describe_topics(settings, pools):
        if state.state == "missing":
            continue
        counts[state.topic.name] = 0
        with (folder / f"{state.topic.name}.jsonl").open("w", encoding="utf-8") as lines:
            async for record in read_topic(settings, state.topic):
                lines.write(json.dumps(describe(record), ensure_ascii=False) + "\n")
                counts[state.topic.name] += 1
    return counts


async def _behind(
    consumer: AIOKafkaConsumer, partitions: list[TopicPartition], ends: dict[TopicPartition, int]
) -> bool:
    """Whether something is left to read; `ends` keeps where each partition ended when it first answered.

    Asked for its end offsets, the embedded broker names the beginning of the last batch: what comes with a
    fetch is right at both brokers.
    """
    for partition in partitions:
        end = consumer.last_stable_offset(partition)
        if end is not None:
            ends.setdefault(partition, end)
        if partition not in ends or await consumer.position(partition) < ends[partition]:
            return True
    return False


def _text(value: bytes | None) -> Any:
    if value is None:
        return None
    try:
        return value.decode()
    except UnicodeDecodeError:
        return _base64(value)


def _body(value: bytes | None) -> Any:
    if value is None:
        return None
    try:
        return from_json(value, allow_inf_nan=False)
    except ValueError:
        return _base64(value)


def _base64(value: bytes) -> dict[str, str]:
    return {"base64": base64.b64encode(value).decode()}

"""Topics are made once, as declared, and can be read by people without any group's noticing."""

from __future__ import annotations

import asyncio
import json
import time
from pathlib import Path

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import UnknownTopicOrPartitionError

from local.broker import EmbeddedBroker
from shared.contracts.topics import DAY_MS, NOTIFICATION_EVENTS, RELEASE_COMMANDS, RUN_EVENTS, TOPICS, Topic
from shared.messaging.topic_admin import create_topics, describe_topics
from shared.messaging.topic_reader import describe, dump_topics, read_topic
from shared.settings import KafkaSettings
from tests.brokers.containers import Broker, KafkaInContainer, why_no_container
from tests.brokers.place import WITHIN_S, Place


async def test_topics_are_made_once_and_then_are_there(settings: KafkaSettings) -> None:
    states = await create_topics(settings)
    assert [state.topic for state in states] == list(TOPICS)
    assert {state.state for state in states} == {"was there"}
    assert all(state.partitions == state.topic.partitions for state in states)


async def test_missing_topics_are_made_and_one_with_other_partitions_is_told_not_touched() -> None:
    async with EmbeddedBroker() as broker:
        settings = KafkaSettings(bootstrap_servers=broker.bootstrap_servers, embedded=True)
        assert {state.state for state in await describe_topics(settings)} == {"missing"}
        await _make(settings, RUN_EVENTS.name, 2)
        made = {state.topic: (state.state, state.partitions) for state in await create_topics(settings)}
        assert made.pop(RUN_EVENTS) == ("differs", 2)
        assert set(made.values()) == {("made", 4)}
        again = {state.topic: state.state for state in await create_topics(settings)}
        assert again.pop(RUN_EVENTS) == "differs"
        assert set(again.values()) == {"was there"}


async def test_apache_kafka_keeps_to_the_settings_of_a_topic(kafka: Broker) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka.bootstrap_servers)
    await admin.start()
    try:
        [answer] = await admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, RUN_EVENTS.name)])
    finally:
        await admin.close()
    configs = {entry[0]: entry[1] for entry in answer.resources[0][4]}
    assert configs["retention.ms"] == "-1"
    assert configs["cleanup.policy"] == "delete"
    assert configs["min.insync.replicas"] == "1"


async def test_a_sender_with_a_wrong_clock_is_heard_and_its_messages_are_kept(kafka: Broker) -> None:
    async with AIOKafkaProducer(bootstrap_servers=kafka.bootstrap_servers, acks="all") as producer:
        for days in (-400, 2):
            now_ms = int(time.time() * 1000)
            sent = await producer.send_and_wait(
                NOTIFICATION_EVENTS.name, b"whenever that is", timestamp_ms=now_ms + days * DAY_MS
            )
            assert sent.timestamp == pytest.approx(now_ms, abs=60_000), "the broker's own clock counts"


async def test_a_topic_that_is_not_there_is_told(settings: KafkaSettings) -> None:
    records = read_topic(settings, Topic("upgrades.nothing.v1", "none", -1))
    with pytest.raises(UnknownTopicOrPartitionError, match=r"no topic upgrades\.nothing"):
        await anext(records)


async def test_a_topic_is_read_whole_from_its_beginning(place: Place) -> None:
    before = len([record async for record in read_topic(place.settings, RELEASE_COMMANDS)])
    await place.send(place.commands(range(700)))
    records = [record async for record in read_topic(place.settings, RELEASE_COMMANDS)]
    assert len(records) == before + 700
    mine = [describe(record) for record in records if record.key == place.name.encode()]
    assert [document["body"]["version"] for document in mine] == [f"1.{number}.0" for number in range(700)]
    assert mine[0]["headers"]["ce_type"] == "upgrades.PublishRelease.v1"
    assert [document["offset"] for document in mine] == sorted(document["offset"] for document in mine)


async def test_a_topic_is_followed(place: Place) -> None:
    seen: asyncio.Queue[bytes | None] = asyncio.Queue()

    async def follow() -> None:
        async for record in read_topic(place.settings, RELEASE_COMMANDS, follow=True):
            if record.key == place.name.encode():
                seen.put_nowait(record.value)

    task = asyncio.create_task(follow())
    for number in range(3):
        [command] = place.commands([number])
        await place.send([command])
        async with asyncio.timeout(WITHIN_S):
            assert await seen.get() == command[1]
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_all_topics_are_written_to_files(place: Place, tmp_path: Path) -> None:
    await place.send([*place.commands([1]), (b"\xff", b"no JSON", [("odd", None), ("odd", b"\xfe")])])
    counts = await dump_topics(place.settings, tmp_path / "topics")
    assert set(counts) == {topic.name for topic in TOPICS}
    for name, count in counts.items():
        documents = [json.loads(line) for line in (tmp_path / "topics" / f"{name}.jsonl").open()]
        assert len(documents) == count
    commands = (tmp_path / "topics" / f"{RELEASE_COMMANDS.name}.jsonl").read_text().splitlines()
    odd = [json.loads(line) for line in commands if '"odd"' in line][-1]
    assert odd["key"] == {"base64": "/w=="}
    assert odd["headers"] == {"odd": [None, {"base64": "/g=="}]}
    assert odd["body"] == {"base64": "bm8gSlNPTg=="}


async def _make(settings: KafkaSettings, name: str, partitions: int) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=settings.bootstrap_servers)
    await admin.start()
    try:
        await admin.create_topics([NewTopic(name, partitions, 1)])
    finally:
        await admin.close()


@pytest.mark.skipif(why_no_container() is not None, reason=f"Kafka in a container: {why_no_container()}")
async def test_kafka_in_a_container_takes_the_topics() -> None:
    async with KafkaInContainer() as broker:
        settings = KafkaSettings(bootstrap_servers=broker.bootstrap_servers)
        assert {state.state for state in await create_topics(settings)} == {"made"}
        assert {state.state for state in await create_topics(settings)} == {"was there"}

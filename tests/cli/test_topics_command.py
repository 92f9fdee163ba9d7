"""`upgradepath topics …` against an embedded broker: made, listed, read, dumped, and what goes wrong."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from typer.testing import Result

from cli.backlog import reads
from cli.broker import with_broker
from cli.world import NoAnswer
from local.broker import EmbeddedBroker
from local.kafka import ApacheKafka, availability
from local.ports import free_port
from shared.clock import utc_now
from shared.contracts.topics import RUN_EVENTS, STAGE_RESULTS, TOPICS
from shared.replay.lag import lags
from shared.settings import KafkaSettings
from tests.brokers.place import eventually
from tests.cli.conftest import Type

NAMES = [topic.name for topic in TOPICS]
BOOTSTRAP = "UPGRADES_KAFKA_BOOTSTRAP_SERVERS"


@pytest.fixture
async def broker() -> AsyncIterator[str]:
    """The bootstrap servers of a broker with nothing on it."""
    async with EmbeddedBroker() as running:
        yield running.bootstrap_servers


@pytest.fixture
async def kafka_broker(tmp_path: Path) -> AsyncIterator[str]:
    """The bootstrap servers of an Apache Kafka with nothing on it."""
    if (why := availability()) is not None:
        if os.environ.get("CI") == "true":
            pytest.fail(f"Apache Kafka: {why}")
        pytest.skip(f"Apache Kafka: {why}")
    async with ApacheKafka(tmp_path) as running:
        yield running.bootstrap_servers


@pytest.fixture
def topics(upgradepath: Type, broker: str) -> Type:
    """Type a `topics` command with that broker."""

    def invoke(*arguments: str, typed: str | None = None, **environment: str | None) -> Result:
        return upgradepath("topics", *arguments, typed=typed, **{BOOTSTRAP: broker, **environment})

    return invoke


def states(result: Result) -> dict[str, str]:
    return {row["topic"]: row["state"] for row in json.loads(result.stdout)}


def send(broker: str, topic: str, values: Sequence[bytes]) -> None:
    async def send_all() -> None:
        producer = AIOKafkaProducer(bootstrap_servers=broker)
        await producer.start()
        try:
            for value in values:
                await producer.send_and_wait(topic, value, key=b"acme-portal", partition=0)
        finally:
            await producer.stop()

    asyncio.run(send_all())


def test_missing_made_there(topics: Type) -> None:
    before = topics("list", "--json")
    assert before.exit_code == 1
    assert states(before) == dict.fromkeys(NAMES, "missing")
    made = topics("create", "--json")
    assert made.exit_code == 0
    assert states(made) == dict.fromkeys(NAMES, "made")
    after = topics("list", "--json")
    assert after.exit_code == 0
    assert states(after) == dict.fromkeys(NAMES, "was there")
    assert states(topics("create", "--json")) == states(after)


def test_the_table_says_how_long_a_topic_is_kept(topics: Type) -> None:
    assert topics("create").exit_code == 0
    lines = [line.split("\t") for line in topics("list").stdout.splitlines()]
    assert lines[0] == ["topic", "state", "partitions", "key", "kept"]
    assert [RUN_EVENTS.name, "was there", "4", "project", "forever"] in lines
    assert [STAGE_RESULTS.name, "was there", "4", "project", "30 days"] in lines


def test_a_topic_that_differs_is_told_and_left_alone(topics: Type, broker: str) -> None:
    async def make_with_one_partition() -> None:
        admin = AIOKafkaAdminClient(bootstrap_servers=broker)
        await admin.start()
        try:
            await admin.create_topics([NewTopic(RUN_EVENTS.name, num_partitions=1, replication_factor=1)])
        finally:
            await admin.close()

    asyncio.run(make_with_one_partition())
    made = topics("create", "--json")
    assert {name: state for name, state in states(made).items() if state != "made"} == {
        RUN_EVENTS.name: "differs"
    }
    found = topics("list", "--json")
    assert found.exit_code == 1
    assert states(found)[RUN_EVENTS.name] == "differs"


def test_what_was_made_with_other_settings_gets_ours_and_keeps_what_is_not_ours(
    upgradepath: Type, kafka_broker: str
) -> None:
    """On Apache Kafka: the embedded broker alters nothing, and says so by what it lists."""

    async def make_one() -> None:
        admin = AIOKafkaAdminClient(bootstrap_servers=kafka_broker)
        await admin.start()
        given = {"retention.ms": "1000", "max.message.bytes": str(1024 * 1024), "segment.bytes": "2097152"}
        try:
            await admin.create_topics([NewTopic(RUN_EVENTS.name, 4, 1, topic_configs=given)])
        finally:
            await admin.close()

    async def settings_of_it() -> dict[str, str]:
        admin = AIOKafkaAdminClient(bootstrap_servers=kafka_broker)
        await admin.start()
        try:
            (answer,) = await admin.describe_configs(
                [ConfigResource(ConfigResourceType.TOPIC, RUN_EVENTS.name)]
            )
        finally:
            await admin.close()
        return {entry[0]: entry[1] for entry in answer.resources[0][4]}

    def topics(*words: str) -> Result:
        return upgradepath("topics", *words, **{BOOTSTRAP: kafka_broker})

    asyncio.run(make_one())
    dry = topics("create", "--dry-run", "--json")
    assert (dry.exit_code, states(dry)[RUN_EVENTS.name]) == (0, "outdated")
    assert set(states(dry).values()) == {"outdated", "missing"}
    assert topics("list").exit_code == 1
    said = topics("create")
    assert said.exit_code == 0
    assert f"{RUN_EVENTS.name}: retention.ms 1000 → -1" in said.stdout
    assert "max.message.bytes" not in said.stdout
    found = asyncio.run(eventually(settings_of_it, lambda seen: seen["retention.ms"] == "-1"))
    assert found["segment.bytes"] == "2097152", "somebody else gave it"
    after = topics("list", "--json")
    assert (after.exit_code, set(states(after).values())) == (0, {"was there"})


def test_tail_prints_a_document_a_line(topics: Type, broker: str) -> None:
    topics("create")
    send(broker, RUN_EVENTS.name, [b'{"n": 1}', '{"n": "ä"}'.encode(), b"no json"])
    result = topics("tail", "run.events")
    assert result.exit_code == 0
    records = [json.loads(line) for line in result.stdout.splitlines()]
    assert [record["body"] for record in records] == [{"n": 1}, {"n": "ä"}, {"base64": "bm8ganNvbg=="}]
    assert [(record["topic"], record["offset"]) for record in records] == [
        (RUN_EVENTS.name, offset) for offset in range(3)
    ]
    assert {record["key"] for record in records} == {"acme-portal"}


def test_tail_of_an_empty_topic_says_nothing_and_is_well(topics: Type) -> None:
    topics("create")
    result = topics("tail", RUN_EVENTS.name)
    assert (result.exit_code, result.stdout) == (0, "")


@pytest.mark.parametrize(("part", "candidate"), [("run", RUN_EVENTS.name), ("nothing-such", NAMES[0])])
def test_a_part_that_does_not_name_one_topic_is_typed_wrong(topics: Type, part: str, candidate: str) -> None:
    result = topics("tail", part, COLUMNS="2000")
    assert result.exit_code == 2
    assert candidate in result.stderr


def test_a_topic_that_is_not_made_yet_is_not_found(topics: Type) -> None:
    result = topics("tail", RUN_EVENTS.name)
    assert result.exit_code == 4
    assert "upgradepath topics create" in result.stderr


def test_dump_writes_a_file_per_topic(topics: Type, broker: str, tmp_path: Path) -> None:
    topics("create")
    send(broker, STAGE_RESULTS.name, [b'{"n": 1}', b'{"n": 2}'])
    result = topics("dump", str(tmp_path / "dumped"))
    assert result.exit_code == 0
    files = {path.name: path.read_text().splitlines() for path in (tmp_path / "dumped").iterdir()}
    assert set(files) == {f"{name}.jsonl" for name in NAMES}
    assert [json.loads(line)["body"] for line in files[f"{STAGE_RESULTS.name}.jsonl"]] == [{"n": 1}, {"n": 2}]
    assert sum(map(len, files.values())) == 2
    assert f"     2  {tmp_path / 'dumped' / STAGE_RESULTS.name}.jsonl" in result.stdout


def test_no_broker_is_no_answer(upgradepath: Type, tmp_path: Path) -> None:
    nowhere = f"127.0.0.1:{free_port()}"
    for arguments in (("list",), ("create",), ("tail", RUN_EVENTS.name), ("dump", str(tmp_path / "none"))):
        result = upgradepath("topics", *arguments, "--bootstrap-servers", nowhere)
        assert result.exit_code == 3
        assert "--bootstrap-servers" in result.stderr


@pytest.fixture
def silent() -> Iterator[str]:
    """The address of something that takes connections and never answers: a broker that hangs."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield f"127.0.0.1:{listening.getsockname()[1]}"


def test_a_broker_that_hangs_is_no_answer_in_time(silent: str) -> None:
    """Catches a question that ends long after its limit: connecting, and letting go again, have no end."""
    settings = KafkaSettings(bootstrap_servers=silent)
    began = time.monotonic()
    with pytest.raises(NoAnswer, match=rf"{silent} gave no answer within 0\.3 s") as unanswered:
        with_broker(settings, lags(settings, reads(None), utc_now()), within_s=0.3)
    assert unanswered.value.passing
    assert time.monotonic() - began < 3


def test_an_option_beats_a_variable_and_a_variable_the_world(
    upgradepath: Type, broker: str, world: Path
) -> None:
    nowhere = f"127.0.0.1:{free_port()}"
    announced = json.loads((world / "world.json").read_text())

    def announce(address: str) -> None:
        (world / "world.json").write_text(json.dumps({**announced, "bootstrap_servers": address}))

    announce(broker)
    made = upgradepath("topics", "create", **{BOOTSTRAP: None})
    assert made.exit_code == 0
    assert f"the local world's broker: {broker}" in made.stderr
    assert upgradepath("topics", "list", **{BOOTSTRAP: nowhere}).exit_code == 3
    announce(nowhere)
    assert upgradepath("topics", "list", **{BOOTSTRAP: broker}).exit_code == 0
    by_option = upgradepath("topics", "list", "--bootstrap-servers", broker, **{BOOTSTRAP: nowhere})
    assert by_option.exit_code == 0
